"""Similarity distribution calibration loss."""

from __future__ import annotations

import torch
from torch import Tensor

from sdclib.losses.pairs import pair_similarities

__all__ = ["calibration_loss"]


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
