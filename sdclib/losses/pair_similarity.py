"""Squared error of code similarities against feature similarities."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from sdclib.losses.pairs import pair_similarities

__all__ = ["pair_similarity_loss"]


def pair_similarity_loss(codes: Tensor, features: Tensor) -> Tensor:
    r"""Mean squared difference between the cosines of codes and of features, over the pairs of a batch.

    With the :math:`N` pairs that `sdclib.losses.pairs.half_pairs` makes,

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} \left( \cos(b_i, b_{N+i}) - \cos(x_i, x_{N+i}) \right)^2

    For codes in :math:`\{-1, 1\}` the first cosine is :math:`1 - 2 d / K`, with their Hamming distance :math:`d`.

    Parameters
    ----------
    codes : Tensor, shape (n, n_bits), n >= 2
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If the numbers of rows differ or there are fewer than two.

    References
    ----------
    S. Su, C. Zhang, K. Han and Y. Tian, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
    NeurIPS 2018.
    """
    if codes.shape[0] != features.shape[0]:
        raise ValueError(
            f"features: expected as many rows as codes ({codes.shape[0]}), got {features.shape[0]}"
        )
    return mse_loss(pair_similarities(codes), pair_similarities(features.detach()))
