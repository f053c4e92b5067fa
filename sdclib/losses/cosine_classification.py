"""Classification by the cosine of continuous codes with fixed binary class targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize, one_hot

__all__ = ["cosine_classification_loss"]


def cosine_classification_loss(
    continuous_codes: Tensor, labels: Tensor, class_targets: Tensor, scale: float = 8.0, margin: float = 0.2
) -> Tensor:
    r"""Cross-entropy of the softmax over cosines with class targets, with a margin on the right classes.

    With :math:`y_{ic} = 1` where row :math:`i` has class :math:`c` and 0 elsewhere, class targets
    :math:`o_c \in \{-1, 1\}^K` and :math:`z_{ic} = \sigma (\cos(f_i, o_c) - m \, y_{ic})`,

    .. math::

        L = -\frac{1}{n} \sum_{i=1}^{n} \sum_c
            \frac{y_{ic}}{\sum_k y_{ik}} \log \frac{e^{z_{ic}}}{\sum_k e^{z_{ik}}} .

    A row with several labels shares its weight evenly among them; a row with none adds nothing.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)
        With gradient.
    labels : Tensor, shape (n,), int64, or (n, n_classes) of 0 and 1
        Numbers of the classes from 0, or 0/1 vectors.
    class_targets : Tensor, shape (n_classes, n_bits)
        Of -1 and 1.
    scale : float
        :math:`\sigma`, the inverse of a temperature.
    margin : float
        :math:`m`.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes do not fit each other.

    References
    ----------
    J. T. Hoe et al., "One loss for all: deep hashing with a single cosine similarity based learning objective",
    NeurIPS 2021.
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
