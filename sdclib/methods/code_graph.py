"""Bits with a gradient, and the graph that codes span over a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from sdclib.methods.straight_through import straight_through_sign

__all__ = ["bernoulli_bits", "code_graph"]


def bernoulli_bits(logits: Tensor, stochastic: bool = True) -> Tensor:
    r"""Bits 0 and 1 with probabilities :math:`p = \sigma(f)` given by logits.

    :math:`b = [p \ge u]` with :math:`u` uniform in (0, 1), or 1/2; the gradient of :math:`b` is passed to :math:`p`
    unchanged, so that of :math:`f` is :math:`p (1 - p) \, \partial L / \partial b`.

    Parameters
    ----------
    logits : Tensor
        Of any shape.
    stochastic : bool
        Draw :math:`u` by torch's generator; otherwise :math:`u = 1/2`.

    Returns
    -------
    Tensor
        Of the shape of `logits`; exactly 0 or 1.
    """
    probabilities = logits.sigmoid()
    thresholds = torch.rand_like(probabilities) if stochastic else torch.full_like(probabilities, 0.5)
    return (straight_through_sign(2 * (probabilities - thresholds)) + 1) / 2


def code_graph(bits: Tensor, exponent: float = 1.4) -> Tensor:
    r"""Normalised adjacency of the rows of a batch by the Hamming distances of their codes.

    :math:`D^{-1/2} A D^{-1/2}` with :math:`A_{ij} = (1 - d_{ij} / K)^{1.4}` and the degrees
    :math:`D = \mathrm{diag}(A 1)`; each row is its own neighbour.

    Parameters
    ----------
    bits : Tensor, shape (n, n_bits), values 0 and 1
        With gradient, by :math:`d_{ij} = \sum_k b_{ik} (1 - b_{jk}) + (1 - b_{ik}) b_{jk}`.
    exponent : float
        At least 1.

    Returns
    -------
    Tensor, shape (n, n)
        Symmetric.

    References
    ----------
    Shen et al., "Auto-encoding twin-bottleneck hashing", CVPR 2020. The exponent is from their code.
    """
    distances = bits @ (1 - bits).T + (1 - bits) @ bits.T
    adjacency = (1 - distances / bits.shape[1]).pow(exponent)
    scale = adjacency.sum(dim=1).rsqrt()
    return scale[:, None] * adjacency * scale
