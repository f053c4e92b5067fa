"""Similarity distribution calibration with labels in the order of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from sdclib.losses.pairs import half_pairs, pair_similarities

__all__ = ["labelled_calibration_loss", "positive_pairs"]


def positive_pairs(labels: Tensor) -> Tensor:
    """Tell which pairs of a batch are positive: of the same class, or with a label in common.

    Parameters
    ----------
    labels : Tensor, shape (n,) of ids, or (n, n_labels) of 0 and 1
        The pairs are those of `sdclib.losses.pairs.half_pairs`.

    Returns
    -------
    Tensor, shape (n // 2,), bool
    """
    first, second = half_pairs(labels)
    return first == second if labels.ndim == 1 else (first.bool() & second.bool()).any(dim=1)


def labelled_calibration_loss(
    continuous_codes: Tensor, features: Tensor, positive: Tensor, targets: Tensor
) -> Tensor:
    r"""Calibration loss with the negative pairs of a batch before the positive ones.

    As in `sdclib.losses.calibration`, the pairs' code similarities :math:`s` are compared with targets in order,

    .. math:: L = \frac{1}{N} \sum_{n=1}^{N} | s_{(n)} - C_n | ,

    but the order is that of :math:`(p, t)` rather than of the feature cosine :math:`t` alone, where :math:`p` is 1 for
    a positive pair and 0 for a negative one: every negative pair comes before every positive pair, and :math:`t`
    orders the pairs of each kind. Equal ones stay in the order of the batch.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits), n >= 2
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.
    positive : Tensor, shape (n // 2,), bool
        See `positive_pairs`.
    targets : Tensor, shape (n // 2,)
        Those of the negative pairs in order, then those of the positive ones.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes do not fit each other.
    """
    if continuous_codes.shape[0] != features.shape[0]:
        raise ValueError(
            f"features: expected as many rows as continuous_codes ({continuous_codes.shape[0]}), "
            f"got {features.shape[0]}"
        )
    similarities = pair_similarities(continuous_codes)
    for name, value in (("positive", positive), ("targets", targets)):
        if value.shape != similarities.shape:
            raise ValueError(f"{name}: expected shape {tuple(similarities.shape)}, got {tuple(value.shape)}")
    with torch.no_grad():
        order = pair_similarities(features).argsort(stable=True)
        order = order[positive[order].to(torch.uint8).argsort(stable=True)]
    return (similarities[order] - targets).abs().mean()
