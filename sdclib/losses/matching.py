"""Absolute difference of code similarities from given targets."""

from __future__ import annotations

from torch import Tensor

from sdclib.losses.pairs import pair_similarities

__all__ = ["matching_loss"]


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
