"""What the methods that learn a hash head by gradient steps share: head, training loop, estimator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdclib.methods.base import BaseHasher
from sdclib.methods.neighbours import N_STEPS, smooth_over_neighbours
from sdclib.progress import tqdm

__all__ = [
    "HashHead",
    "ScaledLayerNorm",
    "TrainedHasher",
    "adam",
    "draw_views",
    "gradient_step",
    "pick_device",
    "scale_input",
    "straight_through_sign",
    "train",
    "training_scale",
    "two_layers",
]


class HashHead(nn.Module):
    """Linear layers with GELU between, then BatchNorm without which bits would not be balanced.

    Parameters
    ----------
    n_features, n_bits : int
    hidden_features : int
        Width of the hidden layers. The paper has 4096; the authors' code has `n_features`.
    n_hidden_layers : int
        1 for sets of categories; 0 gives the linear head for instance sets.
    norm : {"batch", "plain", "fixed", "none"}
        The last layer: BatchNorm; BatchNorm without learned scale and shift; BatchNorm by mean and variance of all
        training rows, measured before the first step and kept; nothing.

    Source: supplement of the SDC paper, implementation details.
    """

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        hidden_features: int = 4096,
        n_hidden_layers: int = 1,
        norm: str = "batch",
    ):
        super().__init__()
        widths = [n_features, *[hidden_features] * n_hidden_layers]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.GELU()]
        layers.append(nn.Linear(widths[-1], n_bits))
        if norm != "none":
            layers.append(nn.BatchNorm1d(n_bits, affine=norm != "plain"))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (n, n_features) to continuous codes of shape (n, n_bits)."""
        return self.layers(features)


def two_layers(n_in: int, hidden_features: int, n_out: int) -> nn.Sequential:
    """Linear layer, ReLU, linear layer, as several rivals have them."""
    return nn.Sequential(nn.Linear(n_in, hidden_features), nn.ReLU(), nn.Linear(hidden_features, n_out))


SMALL_PRODUCT = 2**24  # multiply-adds a batch below which a second thread costs more than it gives


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` is the GPU where there is one, else the CPU; anything else is torch's own name of a device.

    ValueError if torch does not know the name, or that device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r} ({error})"
        ) from error


@contextmanager
def _arithmetic_for(multiply_adds: int) -> Iterator[None]:
    """Use one thread for small products, so that runs side by side do not wait for each other's threads.

    Numbers below 1e-38 count as 0 meanwhile: weights that decay to such numbers make products a hundred times slower.
    """
    before = torch.get_num_threads()
    flushed = not (torch.full((1,), 1e-38) * 1e-2).any()
    if multiply_adds < SMALL_PRODUCT:
        torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)


def gradient_step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Clear the gradients, compute those of `loss`, and let the optimizer take a step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train(
    step: Callable[[Tensor], Mapping[str, Tensor]],
    n: int,
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    batch_size: int,
    epochs: int,
    step_epoch: int | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    name: str = "",
    progress: bool = True,
    after_epoch: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Pass over the rows in batches, in a new seeded order every epoch; a short last batch is dropped.

    Parameters
    ----------
    step : callable
        ``step(rows)`` gets the row numbers of a batch, shape (batch_size,), int64, updates the weights (see
        `gradient_step`) and returns the terms of the loss by name, each a scalar; ``loss``, the total, is among them.
    n : int
        Rows; ValueError for fewer than `batch_size`, or where the loss is no longer finite.
    optimizers : sequence of torch.optim.Optimizer
        Those that `step` uses. After each `step_epoch` epochs their learning rates are multiplied by 0.1.
    seed, device
        Of the row numbers.
    name, progress
        Of the progress bar over epochs, and whether there is one.
    after_epoch : callable, optional
        Called with the number of each epoch that is over, from 1.

    Returns
    -------
    DataFrame
        One row an epoch: epoch (from 1), the terms (means over the epoch's batches), learning_rate (of the first
        optimizer), seconds (since the start).
    """
    if n < batch_size:
        raise ValueError(
            f"X: expected at least batch_size = {batch_size} training rows, got {n} sample(s); "
            "give more rows or a smaller batch_size"
        )
    shuffle = torch.Generator().manual_seed(seed)
    schedulers = [
        torch.optim.lr_scheduler.StepLR(optimizer, step_epoch or epochs, gamma=0.1)
        for optimizer in optimizers
    ]
    n_weights = sum(
        weight.numel()
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weight in group["params"]
    )
    n_batches = n // batch_size
    history = []
    start = time.perf_counter()
    bar = tqdm(range(1, epochs + 1), desc=name, unit="epoch", disable=not progress)
    for epoch in bar:
        order = torch.randperm(n, generator=shuffle)[: n_batches * batch_size]
        sums: dict[str, Tensor] = {}
        with _arithmetic_for(batch_size * n_weights):
            for rows in order.view(n_batches, batch_size).to(device):
                for term, value in step(rows).items():
                    sums[term] = sums[term] + value.detach() if term in sums else value.detach()
        means = {term: total.item() / n_batches for term, total in sums.items()}
        if not means["loss"] < float("inf"):
            raise ValueError(
                f"training diverged, loss is {means['loss']} in epoch {epoch}; try a smaller learning rate than "
                f"{schedulers[0].get_last_lr()[0]}, or features of moderate size"
            )
        history.append(
            {
                "epoch": epoch,
                **means,
                "learning_rate": schedulers[0].get_last_lr()[0],
                "seconds": time.perf_counter() - start,
            }
        )
        bar.set_postfix(loss=f"{means['loss']:.4f}")
        for scheduler in schedulers:
            scheduler.step()
        if after_epoch is not None:
            after_epoch(epoch)
    return pd.DataFrame(history)


ENCODE_ROWS = 4096  # rows through the head at a time: bounds memory, and keeps matrix products large


USUAL_LENGTH = 16.0  # of the features that settings were made for
LONGEST = 10.0  # medians of the rows' lengths; a longer row would drown the rest of its batch


def training_scale(lengths: NDArray[np.float64]) -> float:
    """Power of two that brings the median of the rows' lengths nearest to 16, where the methods' settings belong.

    The similarities that methods learn from are cosines, so nothing else depends on the features' length.
    """
    return 2.0 ** round(np.log2(USUAL_LENGTH / float(np.median(lengths))))


def scale_input(head: nn.Module, scale: float) -> None:
    """Let a head that was trained on features times `scale` take them as they are; nothing is rounded."""
    first = next(layer for layer in head.modules() if isinstance(layer, nn.Linear | ScaledLayerNorm))
    with torch.no_grad():
        (first.weight if isinstance(first, nn.Linear) else first.scale).mul_(scale)


class ScaledLayerNorm(nn.LayerNorm):
    """LayerNorm of its input times `scale`: because of its epsilon, the length of the input matters to it."""

    scale: Tensor

    def __init__(self, n_features: int, eps: float = 1e-5):
        super().__init__(n_features, eps=eps)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (n, n_features) to such of the same shape."""
        return super().forward(features * self.scale)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        state.setdefault(f"{prefix}scale", torch.ones(()))  # older models have none
        super()._load_from_state_dict(state, prefix, *args)


@dataclass(eq=False, repr=False)
class TrainedHasher(BaseHasher):
    """Base of the methods that learn a hash head by gradient steps.

    A method is a dataclass whose parameters are its fields; those that many share are described here. It makes its head
    in `_make_head`, by default a linear one, and trains it in `_train`. Features are multiplied with a power of two
    before, see `training_scale`, and rows of more than ten times the median length are shortened to that; the head then
    takes features as they are.
    Both draw from torch's generator, which is seeded by `random_state` and put back afterwards, so the same seed on the
    same machine with the same number of threads gives bit-identical weights.

    Parameters
    ----------
    n_bits : int
        Code length K.
    random_state : int or None
        Seed; None draws one, see `BaseHasher.seed_`.
    device : str
        Where to train and to encode: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.
    learning_rate, weight_decay : float
        Of Adam, unless a method says otherwise; the decay is an L2 penalty.
    batch_size : int
        Rows a step, at least 2; a short last batch is dropped.
    epochs : int
        Passes over the training rows.
    step_epoch : int, optional
        After each so many epochs the learning rate is multiplied by 0.1; None for never.
    optimizer : {"adam"}, optional
        Adam, with a learning rate that falls by `step_epoch` alone, in place of the method's own.
    n_neighbors, n_steps : int, optional
        Learn from similarities of centred features averaged over so many nearest neighbours, in so many steps (4 by
        default), rather than of the features; see `sdclib.methods.neighbours.smooth_over_neighbours`.

    Attributes
    ----------
    scale_ : float
        What features were multiplied with in training; not there after `load`.
    head_ : torch.nn.Module
        From features of shape (n, d) to continuous codes of shape (n, n_bits); on the CPU, in evaluation mode.
    history_ : DataFrame
        See `sdclib.methods.trained.train`; some methods add terms of their loss. Not there after `load`.
    """

    n_bits: int = 64
    _: KW_ONLY
    random_state: int | None = 0
    device: str = "auto"
    progress: bool = False
    if TYPE_CHECKING:  # fields of the methods, whose defaults differ
        learning_rate: Any
        batch_size: Any
        epochs: Any
        n_neighbors: Any
        n_steps: Any

    @property
    def _plain_adam(self) -> bool:
        return getattr(self, "optimizer", None) == "adam"

    def _make_head(self, n_features: int) -> nn.Module:
        return nn.Linear(n_features, self.n_bits)

    def _train(self, head: nn.Module, features: Tensor, *args: Any, **more: Any) -> pd.DataFrame:
        """Train `head` in place; all tensors lie on the device. Returns the history."""
        raise NotImplementedError

    def _fit(self, X: NDArray[np.float32], *args: Any, **more: Any) -> None:
        where = pick_device(self.device)
        lengths = np.sqrt(np.einsum("ij,ij->i", X, X, dtype=np.float64))
        self.scale_ = training_scale(lengths)
        X = _shortened(X, lengths) * np.float32(self.scale_)
        if "views" in more:
            more["views"] = more["views"] * np.float32(self.scale_)
        tensors = {name: torch.from_numpy(array).to(where) for name, array in more.items()}
        devices = [where] if where.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed_)
            head = self._make_head(X.shape[1]).to(where).train()
            self.history_ = self._train(head, torch.from_numpy(X).to(where), **tensors)
        self.head_ = head.cpu().eval()
        scale_input(self.head_, self.scale_)

    def _teacher(self, features: Tensor) -> Tensor:
        """Give what similarities are learned from: features, or centred ones averaged over nearest neighbours."""
        if self.n_neighbors is None:
            return features
        n_steps = N_STEPS if self.n_steps is None else self.n_steps
        centred = (features - features.mean(dim=0)).cpu().numpy()
        return torch.as_tensor(smooth_over_neighbours(centred, self.n_neighbors, n_steps)).to(features)

    def _nearest_by_teacher(self, features: Tensor) -> Tensor | None:
        """Find each row and its `n_neighbors` nearest by the teacher's cosine; None where there is no teacher."""
        teacher = self._teacher(features)
        if self.n_neighbors is None:
            return None
        teacher = normalize(teacher, dim=1)
        found = [(part @ teacher.T).topk(self.n_neighbors + 1).indices for part in teacher.split(ENCODE_ROWS)]
        return torch.cat(found)

    def _adam(self, weights: Iterable[nn.Parameter]) -> torch.optim.Adam:
        return adam(weights, self.learning_rate, getattr(self, "weight_decay", None) or 0)

    def _sgd(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """As `_adam`, with momentum; Adam where `optimizer` says so."""
        if self._plain_adam:
            return self._adam(weights)
        names = ("learning_rate", "momentum", "weight_decay")
        rate, momentum, decay = (float(getattr(self, name)) for name in names)
        return torch.optim.SGD(weights, lr=rate, momentum=momentum, weight_decay=decay, fused=True)

    def _schedule(self, **settings: Any) -> dict[str, Any]:
        """Arguments of `train` from the parameters, or from `settings` in their place."""
        return {
            **{name: getattr(self, name, None) for name in ("batch_size", "epochs", "step_epoch")},
            "seed": self.seed_,
            "device": pick_device(self.device),
            "name": f"{self.method} {self.n_bits} bits",
            "progress": self.progress,
            **settings,
        }

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        device = pick_device(self.device)
        head = self.head_.to(device)
        with torch.inference_mode():
            parts = [
                head(torch.from_numpy(X[start : start + ENCODE_ROWS]).to(device)).cpu().numpy()
                for start in range(0, len(X), ENCODE_ROWS)
            ]
        head.cpu()
        return np.concatenate(parts)

    def _try_out(self) -> None:
        pass  # a head checks its weights as it takes them

    def _get_state(self) -> dict[str, NDArray]:
        return {name: tensor.numpy() for name, tensor in self.head_.state_dict().items()}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        head = self._make_head(self.n_features_in_)
        head.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
        self.head_ = head.eval()


def _shortened(X: NDArray[np.float32], lengths: NDArray[np.float64]) -> NDArray[np.float32]:
    most = LONGEST * np.median(lengths)
    return X if lengths.max() <= most else (X * np.minimum(1, most / lengths)[:, None]).astype(np.float32)


def adam(
    weights: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Adam:
    """Adam with betas (0.9, 0.999) as one fused operation a step; the decay is its L2 penalty."""
    return torch.optim.Adam(weights, lr=float(learning_rate), weight_decay=float(weight_decay), fused=True)


def draw_views(views: Tensor) -> tuple[Tensor, Tensor]:
    """Draw two different views of shape (n_views, n, d) at random, by torch's generator: each of shape (n, d)."""
    first, second = torch.randperm(len(views))[:2].tolist()
    return views[first], views[second]


def straight_through_sign(x: Tensor) -> Tensor:
    """Sign of finite numbers, exactly -1 or +1, with 0 becoming +1; the gradient passes through unchanged.

    Source: Y. Bengio, N. Leonard and A. Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", arXiv 1308.3432, 2013.
    """
    signs = torch.where(x.detach() >= 0, 1.0, -1.0).to(x.dtype)
    return signs + (x - x.detach())  # the bracket is zero and carries the gradient
