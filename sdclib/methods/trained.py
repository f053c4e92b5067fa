"""What the methods that learn a hash head by gradient steps share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdclib.checks import check_int, check_real
from sdclib.methods.base import BaseHasher
from sdclib.training import pick_device

__all__ = ["FallingRateHasher", "TrainedHasher", "adam", "draw_views", "sgd", "straight_through_sign"]

ENCODE_ROWS = 4096  # rows through the head at a time: bounds memory, and keeps matrix products large


class TrainedHasher(BaseHasher):
    """Base of the methods that learn a hash head by gradient steps.

    A method makes its head in `_make_head` and trains it in `_train`. Both draw from torch's generator, which is
    seeded by `random_state` and put back afterwards, so the same seed on the same machine with the same number of
    threads gives bit-identical weights.

    Attributes
    ----------
    head_ : torch.nn.Module
        From features of shape (n, d) to continuous codes of shape (n, n_bits); on the CPU, in evaluation mode.
    history_ : DataFrame
        See `sdclib.training.train`; not there after `load`.
    """

    random_state: int
    device: str
    progress: bool

    def _make_head(self, n_features: int) -> nn.Module:
        raise NotImplementedError

    def _train(self, head: nn.Module, features: Tensor, *args: Any, **more: Any) -> pd.DataFrame:
        """Train `head` in place; all tensors lie on the device. Returns the history."""
        raise NotImplementedError

    def _fit(self, X: NDArray[np.float32], *args: Any, **more: Any) -> None:
        seed = check_int(self.random_state, "random_state", minimum=0)
        where = pick_device(self.device)
        tensors = {name: torch.from_numpy(array).to(where) for name, array in more.items()}
        devices = [where] if where.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            head = self._make_head(X.shape[1]).to(where).train()
            self.history_ = self._train(head, torch.from_numpy(X).to(where), **tensors)
        self.head_ = head.cpu().eval()

    def _schedule(self, **settings: Any) -> dict[str, Any]:
        """Arguments of `sdclib.training.train` that follow from the method's parameters, and more."""
        return {
            "seed": self.random_state,
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

    def _get_state(self) -> dict[str, NDArray]:
        return {name: tensor.numpy() for name, tensor in self.head_.state_dict().items()}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        head = self._make_head(self.n_features_in_)
        head.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
        self.head_ = head.eval()


def adam(
    weights: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Adam:
    """Adam with betas (0.9, 0.999) as one fused operation a step; the decay is its L2 penalty."""
    return torch.optim.Adam(weights, lr=learning_rate, weight_decay=weight_decay, fused=True)


def draw_views(views: Tensor) -> tuple[Tensor, Tensor]:
    """Draw two different views of shape (n_views, n, d) at random, by torch's generator: each of shape (n, d)."""
    first, second = torch.randperm(len(views))[:2].tolist()
    return views[first], views[second]


def sgd(head: nn.Module, learning_rate: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Make the optimizer of a head's weights as one fused operation a step; the decay is an L2 penalty.

    Raises
    ------
    ValueError
        If a setting is negative or not finite; the message names it.
    """
    return torch.optim.SGD(
        head.parameters(),
        lr=check_real(learning_rate, "learning_rate", minimum=0),
        momentum=check_real(momentum, "momentum", minimum=0),
        weight_decay=check_real(weight_decay, "weight_decay", minimum=0),
        fused=True,
    )


class FallingRateHasher(TrainedHasher):
    """Base of the methods with Adam's learning_rate and weight_decay, and batch_size, epochs and step_epoch."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    step_epoch: int

    def _adam(self, weights: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """Make the optimizer of `weights`; ValueError for a setting out of range."""
        return adam(
            weights,
            check_real(self.learning_rate, "learning_rate", minimum=0),
            check_real(self.weight_decay, "weight_decay", minimum=0),
        )

    def _falling_schedule(self) -> dict[str, Any]:
        """Arguments of `sdclib.training.train`; ValueError for a setting out of range."""
        return self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
            step_epoch=check_int(self.step_epoch, "step_epoch", minimum=1),
        )


def straight_through_sign(x: Tensor) -> Tensor:
    r"""Sign, with :math:`\mathrm{sign}(0) = +1`, through which the gradient passes unchanged.

    Forward :math:`b = \mathrm{sign}(x)`, backward :math:`\partial L / \partial x = \partial L / \partial b`: the
    sign's own derivative, zero almost everywhere, is replaced by that of the identity.

    Parameters
    ----------
    x : Tensor
        Of any shape, finite.

    Returns
    -------
    Tensor
        Of the shape and type of `x`; exactly -1 or +1.

    References
    ----------
    Y. Bengio, N. Leonard and A. Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", arXiv 1308.3432, 2013.
    """
    signs = torch.where(x.detach() >= 0, 1.0, -1.0).to(x.dtype)
    return signs + (x - x.detach())  # the bracket is zero and carries the gradient
