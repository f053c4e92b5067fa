"""Losses that move code similarities towards targets: SDC and its kin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sdclib.losses.pairs import half_pairs, pair_similarities

__all__ = ["calibration_loss", "labelled_calibration_loss", "matching_loss", "positive_pairs", "ranking_loss"]


def calibration_loss(
    continuous_codes: Tensor, features: Tensor, targets: Tensor, pairs: str = "half"
) -> Tensor:
    r"""1-Wasserstein distance between code similarities and the calibration distribution, aligned by features.

    The pairs of the batch are put in ascending order of their feature cosine :math:`t`; equal ones stay in the order
    of the batch. In that order the code similarities :math:`s` (cosines of continuous codes) are compared with the
    quantiles :math:`C_n` of the calibration distribution:

    .. math:: L = \frac{1}{N} \sum_{n=1}^{N} | s_{(n)} - C_n |

    Sorted by :math:`s` itself this would be the 1-Wasserstein distance by inverse distribution functions;
    the features' order makes it an upper bound that also says which pair is to have which similarity.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.
    targets : Tensor, shape (n_pairs,)
        Ascending quantiles, one a pair, see `sdclib.calibration.target_quantiles`.
    pairs : {"half", "all"}
        See `sdclib.losses.pairs`; the paper has the first half of a batch against the second.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes do not fit each other.

    References
    ----------
    Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023; supplement, algorithm 1.
    """
    if continuous_codes.shape[0] != features.shape[0]:
        raise ValueError(
            f"features: expected as many rows as continuous_codes ({continuous_codes.shape[0]}), "
            f"got {features.shape[0]}"
        )
    code_similarities = pair_similarities(continuous_codes, pairs)
    if targets.shape != code_similarities.shape:
        raise ValueError(
            f"targets: expected shape {tuple(code_similarities.shape)}, got {tuple(targets.shape)}"
        )
    with torch.no_grad():
        order = pair_similarities(features, pairs).argsort(stable=True)
    return (code_similarities[order] - targets).abs().mean()


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


def matching_loss(continuous_codes: Tensor, targets: Tensor) -> Tensor:
    r"""Mean absolute difference between the code cosine of each pair of a batch and its target.

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} | s_i - c_i |

    The pairs are the first half of the batch against the second, see `sdclib.losses.pairs.half_pairs`. With targets
    that depend on a pair's own feature cosine alone, this is SDC's calibration loss without the alignment of quantiles.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits), n >= 2
        With gradient.
    targets : Tensor, shape (n // 2,)
        In the order of the pairs; no gradient flows into them.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If there are fewer than two rows, or not one target a pair.
    """
    similarities = pair_similarities(continuous_codes)
    if targets.shape != similarities.shape:
        raise ValueError(f"targets: expected shape {tuple(similarities.shape)}, got {tuple(targets.shape)}")
    return (similarities - targets.detach()).abs().mean()


def ranking_loss(continuous_codes: Tensor, features: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Logistic loss on the order of the pairs of a batch: which of two pairs is the more similar one.

    With the feature cosines :math:`t` and the code cosines :math:`s` of the pairs that
    `sdclib.losses.pairs.half_pairs` makes, and :math:`P = \{(i, j) : t_i > t_j\}`,

    .. math:: L = \frac{1}{|P|} \sum_{(i, j) \in P} \tau \log \left( 1 + e^{-(s_i - s_j) / \tau} \right) .

    No value of :math:`t` enters, only the order; a pair of pairs that is in order by more than a few :math:`\tau`
    costs next to nothing. The factor :math:`\tau` keeps the slope in :math:`s_i - s_j` below 1, as that of an absolute
    difference is; for :math:`\tau \to 0` the loss is the hinge :math:`\max(0, s_j - s_i)`.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits), n >= 2
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.
    temperature : float
        :math:`\tau` > 0, in units of the cosine.

    Returns
    -------
    Tensor, shape ()
        0 where no two pairs differ in t, as with a single pair.

    Raises
    ------
    ValueError
        If the numbers of rows differ or there are fewer than two.

    References
    ----------
    C. Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    if continuous_codes.shape[0] != features.shape[0]:
        raise ValueError(
            f"features: expected as many rows as continuous_codes ({continuous_codes.shape[0]}), "
            f"got {features.shape[0]}"
        )
    s, t = pair_similarities(continuous_codes), pair_similarities(features.detach())
    ordered = (t[:, None] > t).to(s.dtype)
    costs = temperature * softplus((s - s[:, None]) / temperature)
    return (ordered * costs).sum() / ordered.sum().clamp_min(1)
