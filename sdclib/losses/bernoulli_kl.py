"""Divergence between the bits of two views."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["bernoulli_kl_loss"]


def bernoulli_kl_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""Symmetric Kullback-Leibler divergence between independent Bernoulli bits, given by their logits.

    With :math:`p = \sigma(a)` and :math:`q = \sigma(b)` for the logits :math:`a, b` of the two views,

    .. math::

        L = \frac{1}{2n} \sum_{i=1}^{n} \left( D(p_i \| \bar q_i) + D(q_i \| \bar p_i) \right), \qquad
        D(p \| q) = \sum_{k=1}^{K} p_k \log \frac{p_k}{q_k} + (1 - p_k) \log \frac{1 - p_k}{1 - q_k} .

    The bar marks a constant: the second argument of a divergence gets no gradient, each view is drawn to where the
    other is. The sum is computed from the logits as
    :math:`p (a - b) - \log(1 + e^a) + \log(1 + e^b)`, which stays finite where a bit is all but certain.

    Parameters
    ----------
    first, second : Tensor, shapes (n, n_bits), n >= 1
        Logits of the two views, row by row of the same images.

    Returns
    -------
    Tensor, shape ()
        At least 0 but for rounding; 0 where both views agree in every probability.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Qiu et al., "Unsupervised hashing with contrastive information bottleneck", IJCAI 2021.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    return (_divergence(first, second.detach()) + _divergence(second, first.detach())) / 2


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """D of the bits with logits a from those with logits b: summed over bits, mean over rows."""
    return (a.sigmoid() * (a - b) - softplus(a) + softplus(b)).sum(dim=1).mean()
