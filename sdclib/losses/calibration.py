"""Similarity distribution calibration loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

__all__ = ["align_targets", "aligned_loss", "calibration_loss", "half_pairs"]


def half_pairs(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Split a batch into its pairs: row i of the first half with row i of the second half.

    Parameters
    ----------
    batch : Tensor, shape (n, d), n >= 2
        Of an odd batch the last row is left out.

    Returns
    -------
    first, second : Tensor, shape (n // 2, d)

    Raises
    ------
    ValueError
        If the batch has fewer than two rows.
    """
    n_pairs = batch.shape[0] // 2
    if n_pairs < 1:
        raise ValueError(f"batch: expected at least two rows to make a pair, got {batch.shape[0]}")
    return batch[:n_pairs], batch[n_pairs : 2 * n_pairs]


def calibration_loss(continuous_codes: Tensor, features: Tensor, targets: Tensor) -> Tensor:
    r"""1-Wasserstein distance between code similarities and the calibration distribution, aligned by features.

    The pairs of the batch, see `half_pairs`, are put in ascending order of their feature cosine :math:`t`. In that
    order the code similarities :math:`s = \cos(f_i, f_{N+i})` are compared with the quantiles :math:`C_n` of the
    calibration distribution:

    .. math:: L = \frac{1}{N} \sum_{n=1}^{N} | s_{(n)} - C_n |

    Sorted by :math:`s` itself this would be the 1-Wasserstein distance by inverse distribution functions;
    the features' order makes it an upper bound that also says which pair is to have which similarity.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.
    targets : Tensor, shape (n // 2,)
        Ascending quantiles, see `sdclib.calibration.target_quantiles`.

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
    return aligned_loss(continuous_codes, align_targets(features, targets))


def align_targets(features: Tensor, targets: Tensor) -> Tensor:
    """Give each pair of a batch the target that belongs to its rank by feature cosine.

    Parameters
    ----------
    features : Tensor, shape (n, d) or (n_batches, n, d)
        One batch or several.
    targets : Tensor, shape (n // 2,)
        Ascending quantiles.

    Returns
    -------
    Tensor, shape (n // 2,) or (n_batches, n // 2)
        Without gradient; pairs of equal cosine are ranked in the order of the batch.
    """
    n_pairs = features.shape[-2] // 2
    if targets.shape != (n_pairs,):
        raise ValueError(f"targets: expected shape {(n_pairs,)}, got {tuple(targets.shape)}")
    with torch.no_grad():
        first, second = features[..., :n_pairs, :], features[..., n_pairs : 2 * n_pairs, :]
        order = cosine_similarity(first, second, dim=-1).argsort(dim=-1, stable=True)
        return torch.empty(order.shape, dtype=targets.dtype, device=targets.device).scatter_(
            -1, order, targets.expand(order.shape)
        )


def aligned_loss(continuous_codes: Tensor, aligned_targets: Tensor) -> Tensor:
    """Mean absolute difference of code similarities and targets that `align_targets` gave; see `calibration_loss`."""
    return (cosine_similarity(*half_pairs(continuous_codes)) - aligned_targets).abs().mean()
