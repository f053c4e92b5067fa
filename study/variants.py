"""SDC with one part of it changed: variants that tell what each part does, and what is measured of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from sdclib.checks import check_features, check_int, check_name
from sdclib.codes import check_codes
from sdclib.data.features import FeatureSet
from sdclib.evaluation import evaluate_codes
from sdclib.methods.sdc import SDCHasher, whitening

__all__ = [
    "NORMS",
    "SIGHTS",
    "FixedStandardisation",
    "VariantHasher",
    "bit_use",
    "coarsened",
    "measure",
    "sight",
    "trained_by",
]

NORMS = ("batch", "plain", "fixed", "none")
SIGHTS = ("raw", "centred", "whitened")
SHRINKAGE = 0.5  # of the whitening, as in `sdclib.methods.sdc`


class FixedStandardisation(nn.Module):
    """Standardise each column by a mean and a deviation that are measured once, then scale and shift it as learned.

    Parameters
    ----------
    n_bits : int
        Columns.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_bits: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_bits))
        self.register_buffer("deviation", torch.ones(n_bits))
        self.weight = nn.Parameter(torch.ones(n_bits))
        self.bias = nn.Parameter(torch.zeros(n_bits))

    def measure(self, values: Tensor) -> None:
        """Take mean and deviation from values of shape (n, n_bits)."""
        self.mean.copy_(values.mean(dim=0))
        self.deviation.copy_(values.std(dim=0).clamp_min(1e-5))

    def forward(self, values: Tensor) -> Tensor:
        """Map values of shape (n, n_bits) to such of the same shape."""
        return (values - self.mean) / self.deviation * self.weight + self.bias


class _Fixed(nn.Module):
    """x A + b with a matrix and a shift that are not learned."""

    matrix: Tensor
    shift: Tensor

    def __init__(self, matrix: Tensor, shift: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.register_buffer("shift", shift)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.matrix + self.shift


class VariantHasher(SDCHasher):
    """SDC with another end of the head, coarser targets, or a head that sees other features than the teacher.

    With the defaults it is `sdclib.SDCHasher` to the last bit.

    Parameters
    ----------
    n_bits : int
    preset : str
    norm : {"batch", "plain", "fixed", "none"}
        What stands at the end of the head: BatchNorm; BatchNorm without learned scale and shift; a standardisation by
        all training rows before the first step, see `FixedStandardisation`; nothing.
    n_quantiles : int, optional
        Different targets a batch, see `coarsened`; one a pair by default.
    keep_from : int, optional
        Keep the head as it is after this epoch and after each later one, for `after`.
    before_head : tuple of two Tensors, optional
        Matrix A of shape (d, d) and shift b of shape (d,): the head sees x A + b, the teacher x.
    **settings
        Of `sdclib.SDCHasher`, but for `center`: give centred features, as `trained_by` does.

    Attributes
    ----------
    kept_ : dict of int to dict
        State of the head by epoch.
    """

    def __init__(
        self,
        n_bits: int = 64,
        preset: str = "release",
        *,
        norm: str = "batch",
        n_quantiles: int | None = None,
        keep_from: int | None = None,
        before_head: tuple[Tensor, Tensor] | None = None,
        **settings: Any,
    ):
        super().__init__(n_bits, preset, **settings)
        self.norm = norm
        self.n_quantiles = n_quantiles
        self.keep_from = keep_from
        self.before_head = before_head

    def _make_head(self, n_features: int) -> nn.Module:
        head = super()._make_head(n_features)
        layers: Any = head.layers
        if check_name(self.norm, "norm", NORMS) != "batch":
            layers[-1] = {
                "plain": lambda: nn.BatchNorm1d(self.n_bits, affine=False),
                "fixed": lambda: FixedStandardisation(self.n_bits),
                "none": nn.Identity,
            }[self.norm]()
        if self.before_head is not None:
            layers.insert(0, _Fixed(*self.before_head))
        return head

    def _train(self, head: nn.Module, features: Tensor, views: Tensor | None = None) -> pd.DataFrame:
        if self.settings.center:
            raise ValueError(
                "center: expected centred features in its place, see trained_by; got center=True"
            )
        layers: Any = head.layers
        if isinstance(layers[-1], FixedStandardisation):
            with torch.no_grad():
                layers[-1].measure(layers[:-1](features))
        self.kept_: dict[int, dict[str, Tensor]] = {}
        hook = head.register_forward_pre_hook(self._keeper(len(features) // self.settings.batch_size))
        history = super()._train(head, features, views)
        hook.remove()
        if self.keep_from is not None:
            self.kept_[self.settings.epochs] = _copied(head)
        return history

    def _keeper(self, n_batches: int) -> Callable[[nn.Module, Any], None]:
        """Make a hook that copies the head's state before the first step of an epoch, by the epochs that are over."""
        steps = iter(range(n_batches * self.settings.epochs))

        def keep(head: nn.Module, _: Any) -> None:
            epoch, others = divmod(next(steps), n_batches)
            if self.keep_from is not None and not others and epoch >= max(self.keep_from, 1):
                self.kept_[epoch] = _copied(head)

        return keep

    def _targets(self, features: Tensor) -> Tensor:
        targets = super()._targets(features)
        return targets if self.n_quantiles is None else coarsened(targets, self.n_quantiles)

    def after(self, epoch: int, averaged: int = 1, X: ArrayLike | None = None) -> VariantHasher:
        """Give the method as it was after an epoch, or with the mean of the weights after several.

        Parameters
        ----------
        epoch : int
            The last one.
        averaged : int
            Epochs over which weights are averaged; with more than one, BatchNorm's means and variances are computed
            anew.
        X : array-like, shape (n, d)
            Training features, for BatchNorm.

        Raises
        ------
        ValueError
            If an epoch was not kept, or `X` is needed and missing.
        """
        wanted = range(epoch - check_int(averaged, "averaged", minimum=1) + 1, epoch + 1)
        if missing := [number for number in wanted if number not in self.kept_]:
            raise ValueError(f"epoch: expected epochs that were kept, {missing} were not; see keep_from")
        states = [self.kept_[number] for number in wanted]
        found = copy.copy(self)
        found.head_ = copy.deepcopy(self.head_)
        state = {
            name: torch.stack([one[name] for one in states]).mean(dim=0) if last.is_floating_point() else last
            for name, last in states[-1].items()
        }
        found.head_.load_state_dict(state)
        if averaged > 1:
            if X is None:
                raise ValueError("X: expected training features to average weights, got none")
            update_bn([torch.from_numpy(check_features(X))], found.head_)
        found.head_.eval()
        return found


def _copied(head: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in head.state_dict().items()}


def coarsened(targets: Tensor, n_quantiles: int) -> Tensor:
    """Put the mean of each of `n_quantiles` equal groups of neighbouring targets in place of the targets.

    Parameters
    ----------
    targets : Tensor, shape (n_pairs,)
        Ascending.
    n_quantiles : int
        A divisor of n_pairs.

    Returns
    -------
    Tensor, shape (n_pairs,)
        With at most `n_quantiles` values, and the mean of the targets.

    Raises
    ------
    ValueError
        If the groups would not be equal.
    """
    n_quantiles = check_int(n_quantiles, "n_quantiles", minimum=1)
    if len(targets) % n_quantiles:
        raise ValueError(f"n_quantiles: expected a divisor of {len(targets)} targets, got {n_quantiles}")
    means = targets.view(n_quantiles, -1).mean(dim=1)
    return means.repeat_interleave(len(targets) // n_quantiles)


def sight(features: NDArray[np.float32], kind: str) -> tuple[Tensor, Tensor]:
    """Say what a viewer makes of features x: x A + b, as they are, centred or also whitened.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        Training rows, which mean and whitening are taken from; see `sdclib.methods.sdc.whitening`.
    kind : {"raw", "centred", "whitened"}

    Returns
    -------
    matrix : Tensor, shape (d, d)
        A.
    shift : Tensor, shape (d,)
        b.
    """
    rows = torch.from_numpy(features)
    matrix, mean = torch.eye(rows.shape[1]), torch.zeros(rows.shape[1])
    if check_name(kind, "kind", SIGHTS) != "raw":
        mean = rows.mean(dim=0)
    if kind == "whitened":
        matrix = whitening(rows, SHRINKAGE).T
    return matrix, -mean @ matrix


def trained_by(
    data: FeatureSet, teacher: str, head: str, **options: Any
) -> tuple[VariantHasher, Callable[[NDArray[np.float32]], NDArray[np.float32]]]:
    """Train a head that sees features in one way by a teacher that sees them in another, see `sight`.

    Parameters
    ----------
    data : FeatureSet
    teacher, head : {"raw", "centred", "whitened"}
    **options
        Of `VariantHasher`.

    Returns
    -------
    hasher : VariantHasher
        Fitted on what the teacher sees.
    transform : callable
        From features to what it is to be given.
    """
    matrix, shift = (part.double() for part in sight(data.train, teacher))
    own_matrix, own_shift = (part.double() for part in sight(data.train, head))
    back = torch.linalg.solve(matrix, own_matrix)  # teacher's view to head's: (y - b) A^-1 A' + b'
    fixed = None if teacher == head else (back.float(), (own_shift - shift @ back).float())

    def transform(features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (torch.from_numpy(features).double() @ matrix + shift).float().numpy()

    return VariantHasher(before_head=fixed, **options).fit(transform(data.train)), transform


def bit_use(codes: ArrayLike) -> dict[str, float]:
    """Measure how codes use their bits.

    Parameters
    ----------
    codes : array-like, shape (n, n_bits), values 0 and 1

    Returns
    -------
    dict
        bit_mean: share of ones. balanced_bits, constant_bits: shares of the bits with 40 to 60 % ones, and with less
        than 1 % or more than 99 %. bit_correlation: mean absolute correlation between different bits, those that never
        change left out; NaN where fewer than two are left.
    """
    bits = check_codes(codes)
    share = bits.mean(axis=0)
    varying = bits[:, (share > 0) & (share < 1)]
    correlation = float("nan")
    if varying.shape[1] > 1:
        pairs = np.atleast_2d(np.corrcoef(varying, rowvar=False))[np.triu_indices(varying.shape[1], 1)]
        correlation = float(np.abs(pairs).mean())
    return {
        "bit_mean": float(share.mean()),
        "balanced_bits": float(((share >= 0.4) & (share <= 0.6)).mean()),
        "constant_bits": float(((share < 0.01) | (share > 0.99)).mean()),
        "bit_correlation": correlation,
    }


def measure(query_codes: ArrayLike, database_codes: ArrayLike, data: FeatureSet) -> dict[str, float]:
    """Measure codes of queries and database, see `sdclib.evaluation.evaluate_codes` and `bit_use`."""
    metrics, _ = evaluate_codes(
        query_codes, database_codes, data.relevant, data.top_k, denominator=data.denominator, empty=data.empty
    )
    return metrics | bit_use(database_codes)
