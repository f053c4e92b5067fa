"""SDC as it is after each epoch, and what is measured of codes beside their ranking."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from sdclib.checks import check_features, check_int
from sdclib.codes import check_codes
from sdclib.data.features import FeatureSet
from sdclib.evaluation import evaluate_codes
from sdclib.methods.sdc import SDCHasher, absorb, seen, view_of
from sdclib.methods.trained import scale_input

__all__ = ["EpochsHasher", "bit_use", "measure"]


@dataclass(eq=False, repr=False, kw_only=True)
class EpochsHasher(SDCHasher):
    """SDC that keeps its head as it is after each of the later epochs.

    Parameters
    ----------
    keep_from : int, optional
        First epoch after which it is kept.

    Attributes
    ----------
    kept_ : dict of int to dict
        State of the head by epoch.
    """

    keep_from: int | None = field(default=None)

    def _train(self, head: nn.Module, features: Tensor, *args: Any, **more: Any) -> Any:
        self.kept_: dict[int, dict[str, Tensor]] = {}

        def keep(epoch: int) -> None:
            if self.keep_from is not None and epoch >= self.keep_from:
                self.kept_[epoch] = copy.deepcopy(head.state_dict())

        self._after_epoch = keep
        return super()._train(head, features, *args, **more)

    def _schedule(self, **settings: Any) -> dict[str, Any]:
        return super()._schedule(**settings) | {"after_epoch": self._after_epoch}

    def after(self, epoch: int, X: ArrayLike, averaged: int = 1) -> EpochsHasher:
        """Give the method as it was after an epoch, or with the mean of the weights after several.

        Parameters
        ----------
        epoch : int
            The last one.
        X : array-like, shape (n, d)
            Training features.
        averaged : int
            Epochs over which weights are averaged; with more than one, BatchNorm's means and variances are computed
            anew.

        Raises
        ------
        ValueError
            If an epoch was not kept.
        """
        wanted = range(epoch - check_int(averaged, "averaged", minimum=1) + 1, epoch + 1)
        if missing := [number for number in wanted if number not in self.kept_]:
            raise ValueError(f"epoch: expected epochs that were kept, {missing} were not; see keep_from")
        states = [self.kept_[number] for number in wanted]
        state = {
            name: torch.stack([one[name] for one in states]).mean(dim=0) if last.is_floating_point() else last
            for name, last in states[-1].items()
        }
        found = copy.copy(self)
        found.head_ = copy.deepcopy(self.head_)
        found.head_.load_state_dict(state)
        rows = torch.from_numpy(check_features(X)) * self.scale_
        view = view_of(rows, self.settings.head_features, self.settings.shrinkage)
        if averaged > 1:
            update_bn([seen(rows, *view)], found.head_)
        absorb(found.head_, *view)
        scale_input(found.head_, self.scale_)
        found.head_.eval()
        return found


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
