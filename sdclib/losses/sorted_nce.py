"""Contrastive loss over softly sorted lists."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

__all__ = ["soft_sort", "sorted_nce_loss"]


def soft_sort(scores: Tensor, temperature: float) -> Tensor:
    r"""SoftSort: a matrix with a gradient that sorts scores in descending order, the sharper the lower the temperature.

    With :math:`s_{[1]} \ge s_{[2]} \ge \dots` the sorted scores, row :math:`j` says which item is at rank :math:`j`:

    .. math:: P_{jk} = \frac{\exp(-|s_{[j]} - s_k| / \tau)}{\sum_l \exp(-|s_{[j]} - s_l| / \tau)}

    Equal scores share their ranks evenly.

    Parameters
    ----------
    scores : Tensor, shape (..., n)
    temperature : float
        :math:`\tau` > 0, in units of the scores.

    Returns
    -------
    Tensor, shape (..., n, n)
        Each row is a distribution over the items.

    References
    ----------
    S. Prillo and J. Eisenschlos, "SoftSort: a continuous relaxation for the argsort operator", ICML 2020.
    """
    in_order = scores.sort(dim=-1, descending=True).values
    distance = (in_order.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
    return torch.softmax(-distance / temperature, dim=-1)


def sorted_nce_loss(
    code_similarity: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    n_positives: int = 2,
    temperature: float = 0.1,
    sort_temperature: float = 1 / 64,
) -> Tensor:
    r"""SortedNCE: what the codes rank at the top is to be near in the latent space, what follows to be far.

    For each image :math:`i` the latent vectors :math:`z` of the first view are softly sorted by the similarity of
    their codes to that of image :math:`i`: :math:`e_{ij} = \sum_k P^{(i)}_{jk} z_k`, with :math:`P^{(i)}` the
    `soft_sort` of row :math:`i`. They are compared with the latent vector :math:`z'_i` of the image's second view,
    :math:`c_{ij} = \cos(e_{ij}, z'_i) / \tau`. The first :math:`m` ranks are positives, all others negatives:

    .. math::

        L = -\frac{1}{n m} \sum_{i=1}^{n} \sum_{p=1}^{m}
            \log \frac{\exp c_{ip}}{\exp c_{ip} + \sum_{j > m} \exp c_{ij}}

    The gradient reaches the latent vectors and, through the soft order, the similarities. The vectors
    :math:`e_{ij}` themselves are not built: their cosines follow from the products of latent vectors.

    Parameters
    ----------
    code_similarity : Tensor, shape (n, n)
        Of image i and the image j that is to be sorted.
    first, second : Tensor, shapes (n, latent_size)
        Latent vectors of the two views, row by row of the same images; taken at length 1.
    n_positives : int
        :math:`m`, from 1 to n - 1.
    temperature : float
        :math:`\tau` > 0.
    sort_temperature : float
        Of `soft_sort`, > 0.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes do not fit each other, or there are no negatives.

    References
    ----------
    J. Yu et al., "Learning to hash naturally sorts", IJCAI 2022.
    """
    n = len(first)
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    if code_similarity.shape != (n, n):
        raise ValueError(f"code_similarity: expected shape {(n, n)}, got {tuple(code_similarity.shape)}")
    if not 1 <= n_positives < n:
        raise ValueError(f"n_positives: expected 1 to {n - 1} of {n} images, got {n_positives}")
    first, second = normalize(first, dim=1), normalize(second, dim=1)
    order = soft_sort(code_similarity, sort_temperature)
    products = (order @ (second @ first.T).unsqueeze(-1)).squeeze(-1)
    squared_lengths = ((order @ (first @ first.T)) * order).sum(dim=-1)
    logits = products / squared_lengths.clamp_min(1e-12).sqrt() / temperature
    negatives = logits[:, n_positives:].logsumexp(dim=1, keepdim=True)
    return softplus(negatives - logits[:, :n_positives]).mean()
