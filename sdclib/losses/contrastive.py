"""Contrastive loss between two views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

__all__ = ["nt_xent_loss"]


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float = 0.3) -> Tensor:
    r"""NT-Xent: each code is to find the code of its image's other view among those of all images.

    With the :math:`2n` codes :math:`z` of both views, :math:`s_{ij} = \cos(z_i, z_j) / \tau` and :math:`p(i)` the
    other view of :math:`i`,

    .. math:: L = -\frac{1}{2n} \sum_i \log \frac{\exp s_{i p(i)}}{\sum_{j \ne i} \exp s_{ij}}

    pytorch-metric-learning's `NTXentLoss` gives the same value (a test of this function compares them), but took a
    hundred times longer a step at the batch sizes of this study.

    Parameters
    ----------
    first, second : Tensor, shapes (n, n_bits)
        Codes of the two views, row by row of the same images; n >= 1.
    temperature : float
        :math:`\tau` > 0.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    codes = normalize(torch.cat([first, second]), dim=1)
    similarity = (codes @ codes.T / temperature).fill_diagonal_(-torch.inf)
    other_view = torch.arange(len(codes), device=codes.device).roll(len(first))
    return cross_entropy(similarity, other_view)
