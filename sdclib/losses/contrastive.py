"""Losses on two augmented views: contrastive terms, agreement of views, use of bits.

All are means over the batch, as tensors of shape () with a gradient. `first` and `second` belong to the two views, row
by row to the same images. Arguments whose shapes do not fit each other are a ValueError that names them. The papers
are cited in full in `sdclib.methods.contrastive`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize, softplus

__all__ = [
    "bernoulli_kl_loss",
    "code_alignment_loss",
    "coding_rate",
    "image_weights",
    "mutual_attention",
    "nt_xent_loss",
    "soft_sort",
    "sorted_nce_loss",
    "weighted_contrastive_loss",
]


def _check_alike(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float = 0.3) -> Tensor:
    r"""NT-Xent: each code is to find the code of its image's other view among those of all images.

    With the :math:`2n` codes :math:`z` of both views, :math:`s_{ij} = \cos(z_i, z_j) / \tau` and :math:`p(i)` the
    other view of :math:`i`,

    .. math:: L = -\frac{1}{2n} \sum_i \log \frac{\exp s_{i p(i)}}{\sum_{j \ne i} \exp s_{ij}}

    for codes of shape (n, n_bits), n >= 1, and the temperature :math:`\tau` > 0. pytorch-metric-learning's `NTXentLoss`
    gives the same value but took a hundred times longer a step.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020.
    """
    _check_alike(first, second)
    codes = normalize(torch.cat([first, second]), dim=1)
    similarity = (codes @ codes.T / temperature).fill_diagonal_(-torch.inf)
    other_view = torch.arange(len(codes), device=codes.device).roll(len(first))
    return cross_entropy(similarity, other_view)


def soft_sort(scores: Tensor, temperature: float) -> Tensor:
    r"""SoftSort: a matrix with a gradient that sorts scores in descending order, the sharper the lower the temperature.

    With :math:`s_{[1]} \ge s_{[2]} \ge \dots` the sorted scores, row :math:`j` says which item is at rank :math:`j`:

    .. math:: P_{jk} = \frac{\exp(-|s_{[j]} - s_k| / \tau)}{\sum_l \exp(-|s_{[j]} - s_l| / \tau)}

    Scores of shape (..., n) give a matrix of shape (..., n, n), each row a distribution over the items; equal scores
    share their ranks evenly. The temperature :math:`\tau` > 0 is in units of the scores.

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
    as_released: bool = False,
) -> Tensor:
    r"""SortedNCE of NSH: what the codes rank at the top is to be near in the latent space, what follows to be far.

    For each image :math:`i` the latent vectors :math:`z` of the first view are softly sorted by the similarity of
    their codes to that of image :math:`i`: :math:`e_{ij} = \sum_k P^{(i)}_{jk} z_k`, with :math:`P^{(i)}` the
    `soft_sort` of row :math:`i`. They are compared with the latent vector :math:`z'_i` of the image's second view,
    :math:`c_{ij} = \cos(e_{ij}, z'_i) / \tau`. The first :math:`m` ranks are positives, all others negatives:

    .. math::

        L = -\frac{1}{n m} \sum_{i=1}^{n} \sum_{p=1}^{m}
            \log \frac{\exp c_{ip}}{\exp c_{ip} + \sum_{j > m} \exp c_{ij}}

    The gradient reaches the latent vectors and, through the soft order, the similarities.

    Parameters
    ----------
    code_similarity : Tensor, shape (n, n)
        Of image i and the image j that is to be sorted.
    first, second : Tensor, shapes (n, latent_size)
        Latent vectors, taken at length 1.
    n_positives : int
        :math:`m`, from 1 to n - 1.
    temperature, sort_temperature : float
        :math:`\tau` > 0, and that of `soft_sort`, > 0.
    as_released : bool
        As the SDC authors' code has it: :math:`c_{ij} = e_{ij} \cdot z'_i / \tau`, with :math:`e_{ij}` as short as
        averaging makes it; and softmax is applied twice: the shares
        :math:`\exp c_{ip} / (\exp c_{ip} + \sum_{j > m} \exp c_{ij})`, and those of the negatives, take the place of
        the :math:`c` in the loss, which so cannot fall below :math:`\log(1 + (n - m) / e)`.
    """
    n = len(first)
    _check_alike(first, second)
    if code_similarity.shape != (n, n):
        raise ValueError(f"code_similarity: expected shape {(n, n)}, got {tuple(code_similarity.shape)}")
    if not 1 <= n_positives < n:
        raise ValueError(f"n_positives: expected 1 to {n - 1} of {n} images, got {n_positives}")
    first, second = normalize(first, dim=1), normalize(second, dim=1)
    order = soft_sort(code_similarity, sort_temperature)
    products = (order @ (second @ first.T).unsqueeze(-1)).squeeze(-1)
    if as_released:
        logits = products / temperature
        lists = [
            torch.cat([positive, logits[:, n_positives:]], dim=1)
            for positive in logits[:, :n_positives].split(1, dim=1)
        ]
        return -torch.stack(lists).softmax(dim=-1).log_softmax(dim=-1)[..., 0].mean()
    squared_lengths = ((order @ (first @ first.T)) * order).sum(dim=-1)
    logits = products / squared_lengths.clamp_min(1e-12).sqrt() / temperature
    negatives = logits[:, n_positives:].logsumexp(dim=1, keepdim=True)
    return softplus(negatives - logits[:, :n_positives]).mean()


IMAGES = 8  # compared at a time with all others: bounds memory at IMAGES * n * n_tokens^2 values


def mutual_attention(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    r"""Let the tokens of two views of an image attend to each other; a part of WCH.

    With tokens :math:`x_i, y_j` of the views of one image and :math:`s_{ij} = \cos(x_i, y_j)`, each token is replaced
    by what the other view has where they look alike:

    .. math::

        \tilde{x}_j = \sum_i \frac{\exp s_{ij}}{\sum_k \exp s_{kj}} x_i, \qquad
        \tilde{y}_i = \sum_j \frac{\exp s_{ij}}{\sum_k \exp s_{ik}} y_j

    Takes and returns two tensors of shape (n, n_tokens, token_size).
    """
    _check_alike(first, second)
    similarity = normalize(first, dim=-1) @ normalize(second, dim=-1).transpose(1, 2)
    return (
        torch.softmax(similarity.transpose(1, 2), dim=-1) @ first,
        torch.softmax(similarity, dim=-1) @ second,
    )


def image_weights(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    r"""How similar images are by their tokens, in proportion to how similar an image is to itself; a part of WCH.

    Each token of image :math:`n` looks for its best match in image :math:`m`; the mean over the :math:`T` tokens is
    the images' similarity, and

    .. math::

        a_{nm} = \frac{1}{T} \sum_{i=1}^{T} \max_j \cos(\tilde{x}_{ni}, \tilde{y}_{mj}), \qquad
        w_{nm} = \exp\left( (a_{nm} - a_{nn}) / \tau_w \right) ,

    which is a softmax over :math:`m` divided by its value at :math:`m = n`. Tokens have shape
    (n, n_tokens, token_size), see `mutual_attention`, the temperature :math:`\tau_w` is > 0; the weights, of shape
    (n, n), are positive, and 1 on the diagonal.
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
    r"""Cross-entropy between the weights of the images and what the codes of the two views say; a part of WCH.

    With codes :math:`b, b'` in :math:`\{-1, 1\}^K` of the two views, of shape (n, n_bits),

    .. math::

        L = -\frac{1}{N} \sum_{n=1}^{N} \sum_{m=1}^{N} w_{nm}
            \log \frac{\exp(b_n \cdot b'_m / K \tau)}{\sum_l \exp(b_n \cdot b'_l / K \tau)} ,

    with :math:`\tau` > 0 and weights of shape (n, n), see `image_weights`, whose rows need not sum to 1. Weights of 1
    on the diagonal and 0 elsewhere make it the plain contrastive loss from one view to the other.
    """
    n, n_bits = first.shape
    _check_alike(first, second)
    if weights.shape != (n, n):
        raise ValueError(f"weights: expected shape {(n, n)}, got {tuple(weights.shape)}")
    return cross_entropy(first @ second.T / (n_bits * temperature), weights)


def code_alignment_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""Cross-entropy of each view's logits against the other view's binary codes; a part of CroVCA.

    With logits :math:`z, z'` of shape (n, n_bits) of the two views, their bits :math:`b = [z \ge 0]` and
    :math:`b' = [z' \ge 0]`, which are constants, and
    :math:`\ell(z, b) = -b \log \sigma(z) - (1 - b) \log(1 - \sigma(z))`,

    .. math:: L = \frac{1}{2nK} \sum_{i,k} \ell(z_{ik}, b'_{ik}) + \ell(z'_{ik}, b_{ik}) .
    """
    _check_alike(first, second)
    return (_cross_entropy(first, second) + _cross_entropy(second, first)) / 2


def _cross_entropy(logits: Tensor, other: Tensor) -> Tensor:
    """Mean cross-entropy of `logits` against the bits of `other`."""
    return binary_cross_entropy_with_logits(logits, (other.detach() >= 0).to(logits.dtype))


def coding_rate(continuous_codes: Tensor, distortion: float = 0.05) -> Tensor:
    r"""Coding rate of continuous codes, to be maximised: large where directions are many and evenly used.

    With the codes' directions :math:`z_i = f_i / \|f_i\|`, of shape (n, n_bits), n >= 1, as the rows of :math:`Z`, and
    the distortion :math:`\epsilon^2` > 0,

    .. math:: R = \frac{1}{2} \log \det \left( I + \frac{K}{n \epsilon^2} Z^\top Z \right) ,

    in nats: about what it takes to write down the batch with a mean squared error of :math:`\epsilon^2`. It lies
    between :math:`\frac{1}{2} \log(1 + K / \epsilon^2)`, all codes on one line, and
    :math:`\frac{m}{2} \log(1 + \frac{K}{m \epsilon^2})` with :math:`m = \min(n, K)`, all singular values of :math:`Z`
    equal.

    References
    ----------
    Y. Ma, H. Derksen, W. Hong and J. Wright, "Segmentation of multivariate mixed data via lossy data coding and
    compression", IEEE TPAMI 29(9), 2007.
    """
    if not distortion > 0:
        raise ValueError(f"distortion: expected a number > 0, got {distortion!r}")
    n, n_bits = continuous_codes.shape
    directions = normalize(continuous_codes, dim=1)
    gram = directions.T @ directions if n_bits <= n else directions @ directions.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.slogdet(identity + n_bits / (n * distortion) * gram).logabsdet / 2


def bernoulli_kl_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""Symmetric Kullback-Leibler divergence between Bernoulli bits, given by their logits; a part of CIBHash.

    With :math:`p = \sigma(a)` and :math:`q = \sigma(b)` for the logits :math:`a, b`, of shape (n, n_bits), of the two
    views,

    .. math::

        L = \frac{1}{2n} \sum_{i=1}^{n} \left( D(p_i \| \bar q_i) + D(q_i \| \bar p_i) \right), \qquad
        D(p \| q) = \sum_{k=1}^{K} p_k \log \frac{p_k}{q_k} + (1 - p_k) \log \frac{1 - p_k}{1 - q_k} .

    The bar marks a constant: each view is drawn to where the other is.
    """
    _check_alike(first, second)
    return (_divergence(first, second.detach()) + _divergence(second, first.detach())) / 2


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """D of bits with logits a from those with logits b; it stays finite where a bit is all but certain."""
    return (a.sigmoid() * (a - b) - softplus(a) + softplus(b)).sum(dim=1).mean()
