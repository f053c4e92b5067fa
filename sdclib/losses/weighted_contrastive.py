"""Contrastive loss weighted by the similarity of images, which comes from their patch tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

__all__ = ["image_weights", "mutual_attention", "weighted_contrastive_loss"]

IMAGES = 8  # compared at a time with all others: bounds memory at IMAGES * n * n_tokens^2 values


def mutual_attention(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    r"""Let the tokens of two views of an image attend to each other.

    With tokens :math:`x_i, y_j` of the views of one image and :math:`s_{ij} = \cos(x_i, y_j)`, each token is replaced
    by what the other view has where they look alike:

    .. math::

        \tilde{x}_j = \sum_i \frac{\exp s_{ij}}{\sum_k \exp s_{kj}} x_i, \qquad
        \tilde{y}_i = \sum_j \frac{\exp s_{ij}}{\sum_k \exp s_{ik}} y_j

    Parameters
    ----------
    first, second : Tensor, shapes (n, n_tokens, token_size)
        Patch tokens of the two views, row by row of the same images.

    Returns
    -------
    first, second : Tensor, shapes (n, n_tokens, token_size)
        The first view's tokens seen from the second view, and the reverse.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    J. Yu et al., "Weighted contrastive hashing", ACCV 2022.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    similarity = normalize(first, dim=-1) @ normalize(second, dim=-1).transpose(1, 2)
    return (
        torch.softmax(similarity.transpose(1, 2), dim=-1) @ first,
        torch.softmax(similarity, dim=-1) @ second,
    )


def image_weights(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    r"""How similar images are by their tokens, in proportion to how similar an image is to itself.

    Each token of image :math:`n` looks for its best match in image :math:`m`; the mean over the :math:`T` tokens is
    the images' similarity, and

    .. math::

        a_{nm} = \frac{1}{T} \sum_{i=1}^{T} \max_j \cos(\tilde{x}_{ni}, \tilde{y}_{mj}), \qquad
        w_{nm} = \exp\left( (a_{nm} - a_{nn}) / \tau_w \right) ,

    which is a softmax over :math:`m` divided by its value at :math:`m = n`.

    Parameters
    ----------
    first, second : Tensor, shapes (n, n_tokens, token_size)
        Tokens, see `mutual_attention`.
    temperature : float
        :math:`\tau_w` > 0.

    Returns
    -------
    Tensor, shape (n, n)
        Positive, 1 on the diagonal.

    References
    ----------
    J. Yu et al., "Weighted contrastive hashing", ACCV 2022.
    """
    n, n_tokens, size = second.shape
    candidates = normalize(second, dim=-1).reshape(n * n_tokens, size).T
    similarity = torch.cat(
        [
            (tokens @ candidates).unflatten(-1, (n, n_tokens)).amax(dim=-1).mean(dim=1)
            for tokens in normalize(first, dim=-1).split(IMAGES)
        ]
    )
    return torch.exp((similarity - similarity.diagonal().unsqueeze(1)) / temperature)


def weighted_contrastive_loss(
    first: Tensor, second: Tensor, weights: Tensor, temperature: float = 0.3
) -> Tensor:
    r"""Cross-entropy between the weights of the images and what the codes of the two views say.

    With codes :math:`b, b'` in :math:`\{-1, 1\}^K` of the two views,

    .. math::

        L = -\frac{1}{N} \sum_{n=1}^{N} \sum_{m=1}^{N} w_{nm}
            \log \frac{\exp(b_n \cdot b'_m / K \tau)}{\sum_l \exp(b_n \cdot b'_l / K \tau)}

    Weights of 1 on the diagonal and 0 elsewhere make it the plain contrastive loss from one view to the other.

    Parameters
    ----------
    first, second : Tensor, shapes (n, n_bits)
        Codes of the two views, row by row of the same images.
    weights : Tensor, shape (n, n)
        See `image_weights`. Rows need not sum to 1, and are not made to.
    temperature : float
        :math:`\tau` > 0.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes do not fit each other.

    References
    ----------
    J. Yu et al., "Weighted contrastive hashing", ACCV 2022.
    """
    n, n_bits = first.shape
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    if weights.shape != (n, n):
        raise ValueError(f"weights: expected shape {(n, n)}, got {tuple(weights.shape)}")
    return cross_entropy(first @ second.T / (n_bits * temperature), weights)
