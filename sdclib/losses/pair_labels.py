"""Squared error of code similarities against pair labels."""

from __future__ import annotations

from torch import Tensor

__all__ = ["pair_label_loss"]


def pair_label_loss(continuous_codes: Tensor, labels: Tensor) -> Tensor:
    r"""Squared difference between the inner products of codes and the labels of pairs, over all that have a label.

    With codes :math:`h` in :math:`[-1, 1]^K` and labels :math:`S_{ij}`, 1 for similar, -1 for dissimilar and 0 for
    undecided,

    .. math:: L = \frac{1}{n^2} \sum_{i,j=1}^{n} |S_{ij}| \left( \frac{h_i^\top h_j}{K} - S_{ij} \right)^2 .

    A row with itself counts as a pair: labelled 1 it draws :math:`h_i` to a corner of the cube.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits), n >= 1
        With gradient.
    labels : Tensor, shape (n, n), values -1, 0 and 1

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    References
    ----------
    E. Yang, C. Deng, T. Liu, W. Liu and D. Tao, "Semantic structure-based unsupervised deep hashing", IJCAI 2018.
    """
    n, n_bits = continuous_codes.shape
    if labels.shape != (n, n):
        raise ValueError(f"labels: expected shape {(n, n)}, got {tuple(labels.shape)}")
    similarities = continuous_codes @ continuous_codes.T / n_bits
    return (labels.abs() * (similarities - labels).square()).mean()
