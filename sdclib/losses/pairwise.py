"""Losses by pairs or classes: similarities of features, labels of pairs, class codes.

All are means over the batch, as tensors of shape () with a gradient. Arguments whose shapes do not fit each other are
a ValueError that names them. The papers are cited in full where the methods are.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss, normalize, one_hot

from sdclib.losses.pairs import check_rows, pair_similarities

__all__ = ["cosine_classification_loss", "pair_label_loss", "pair_similarity_loss"]


def pair_similarity_loss(codes: Tensor, features: Tensor) -> Tensor:
    r"""Mean squared difference between the cosines of codes and of features, over the pairs of a batch (GreedyHash).

    With the :math:`N` pairs that `sdclib.losses.pairs.half_pairs` makes,

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} \left( \cos(b_i, b_{N+i}) - \cos(x_i, x_{N+i}) \right)^2

    For codes in :math:`\{-1, 1\}` the first cosine is :math:`1 - 2 d / K`, with their Hamming distance :math:`d`.
    Codes have shape (n, n_bits), n >= 2, features of the same rows (n, d); no gradient flows into the features.
    """
    check_rows(codes, features)
    return mse_loss(pair_similarities(codes), pair_similarities(features.detach()))


def pair_label_loss(continuous_codes: Tensor, labels: Tensor) -> Tensor:
    r"""Squared difference between inner products of codes and labels of pairs, over all that have one (SSDH).

    With codes :math:`h` in :math:`[-1, 1]^K` and labels :math:`S_{ij}`, 1 for similar, -1 for dissimilar and 0 for
    undecided,

    .. math:: L = \frac{1}{n^2} \sum_{i,j=1}^{n} |S_{ij}| \left( \frac{h_i^\top h_j}{K} - S_{ij} \right)^2 .

    A row with itself counts as a pair: labelled 1 it draws :math:`h_i` to a corner of the cube. Codes have shape
    (n, n_bits), n >= 1, labels (n, n).
    """
    n, n_bits = continuous_codes.shape
    if labels.shape != (n, n):
        raise ValueError(f"labels: expected shape {(n, n)}, got {tuple(labels.shape)}")
    similarities = continuous_codes @ continuous_codes.T / n_bits
    return (labels.abs() * (similarities - labels).square()).mean()


def cosine_classification_loss(
    continuous_codes: Tensor, labels: Tensor, class_targets: Tensor, scale: float = 8.0, margin: float = 0.2
) -> Tensor:
    r"""Cross-entropy of the softmax over cosines with class targets, with a margin on the right classes (OrthoHash).

    With :math:`y_{ic} = 1` where row :math:`i` has class :math:`c` and 0 elsewhere, class targets
    :math:`o_c \in \{-1, 1\}^K` and :math:`z_{ic} = \sigma (\cos(f_i, o_c) - m \, y_{ic})`,

    .. math::

        L = -\frac{1}{n} \sum_{i=1}^{n} \sum_c
            \frac{y_{ic}}{\sum_k y_{ik}} \log \frac{e^{z_{ic}}}{\sum_k e^{z_{ik}}} .

    A row with several labels shares its weight evenly among them; a row with none adds nothing.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)
    labels : Tensor, shape (n,), int64, or (n, n_classes) of 0 and 1
        Numbers of the classes from 0, or 0/1 vectors.
    class_targets : Tensor, shape (n_classes, n_bits)
        Of -1 and 1.
    scale, margin : float
        :math:`\sigma`, the inverse of a temperature, and :math:`m`.
    """
    (n, n_bits), n_classes = continuous_codes.shape, len(class_targets)
    if class_targets.shape[1] != n_bits:
        raise ValueError(f"class_targets: expected {n_bits} bits a class, got {class_targets.shape[1]}")
    if labels.shape not in ((n,), (n, n_classes)):
        raise ValueError(f"labels: expected shape {(n,)} or {(n, n_classes)}, got {tuple(labels.shape)}")
    dtype = continuous_codes.dtype
    y = (one_hot(labels, n_classes) if labels.ndim == 1 else labels).to(dtype)
    cosines = normalize(continuous_codes, dim=1) @ normalize(class_targets.to(dtype), dim=1).T
    log_shares = (scale * (cosines - margin * y)).log_softmax(dim=1)
    weights = y / y.sum(dim=1, keepdim=True).clamp_min(1)
    return -(weights * log_shares).sum(dim=1).mean()
