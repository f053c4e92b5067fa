"""Alignment of the codes of two views."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["code_alignment_loss"]


def code_alignment_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""Cross-entropy of each view's logits against the other view's binary codes.

    With logits :math:`z, z'` of the two views, their bits :math:`b = [z \ge 0]` and :math:`b' = [z' \ge 0]`, and
    :math:`\ell(z, b) = -b \log \sigma(z) - (1 - b) \log(1 - \sigma(z))`,

    .. math:: L = \frac{1}{2nK} \sum_{i,k} \ell(z_{ik}, b'_{ik}) + \ell(z'_{ik}, b_{ik}) .

    The bits are constants, so no gradient flows through them.

    Parameters
    ----------
    first, second : Tensor, shapes (n, n_bits), n >= 1
        Logits of the two views, row by row of the same images.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Moummad et al., "Image hashing via cross-view code alignment in the age of foundation models", arXiv 2510.27584,
    2025.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    return (_cross_entropy(first, second) + _cross_entropy(second, first)) / 2


def _cross_entropy(logits: Tensor, other: Tensor) -> Tensor:
    """Mean cross-entropy of `logits` against the bits of `other`."""
    return binary_cross_entropy_with_logits(logits, (other.detach() >= 0).to(logits.dtype))
