"""Rivals that learn from similarities of pairs: GreedyHash, BiHalf, SSDH, TBH."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from sdclib.losses.pairwise import pair_label_loss, pair_similarity_loss
from sdclib.methods.trained import TrainedHasher, gradient_step, straight_through_sign, train, two_layers

__all__ = [
    "BiHalfHasher",
    "GreedyHashHasher",
    "SSDHHasher",
    "TBHHasher",
    "bernoulli_bits",
    "bihalf_codes",
    "code_graph",
    "half_gaussians",
]


@dataclass(eq=False, repr=False, kw_only=True)
class GreedyHashHasher(TrainedHasher):
    r"""Train a linear head so that the cosines of binary codes are those of the features.

    With :math:`h = W x + c`, codes :math:`b = \mathrm{sign}(h)` and a batch of :math:`n`,

    .. math:: L = L_\text{pairs}(b, x) + \lambda \, \frac{1}{n K} \sum_{i,k} \bigl| |h_{ik}| - 1 \bigr|^3

    with :math:`L_\text{pairs}` of `sdclib.losses.pairwise.pair_similarity_loss`. The gradient passes the sign
    unchanged.

    Parameters
    ----------
    penalty_weight : float
        :math:`\lambda`, of the distance of continuous codes from -1 and 1.
    learning_rate, momentum, weight_decay : float
        Of stochastic gradient descent.
    n_bits, batch_size, epochs, step_epoch, optimizer, n_neighbors, n_steps, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has similarity_loss and penalty.

    Notes
    -----
    Defaults are those of the authors' code, which too trains a linear head alone on a frozen network, at a constant
    learning rate for 60 epochs (300 at 16 bits; ask for it here). What differs: there the features come through
    dropout while training; the training set is ten times as large, so an epoch has ten times as many steps; the
    short last batch is kept; sign(0) is 0; and the epoch that is best on the queries is reported.

    Features twice as long move :math:`h` four times as far a step. With features other than the authors', and fewer
    steps, the default can end far from convergence: at 64 bits on the packaged set, 0.01 doubles mAP@R.

    References
    ----------
    S. Su, C. Zhang, K. Han and Y. Tian, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
    NeurIPS 2018.
    """

    method = "greedyhash"
    label = "GreedyHash"
    color = "#009E73"

    penalty_weight: float = 0.1
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 32
    epochs: int = 60
    step_epoch: int | None = None
    optimizer: str | None = None
    n_neighbors: int | None = None
    n_steps: int | None = None

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        optimizer, teacher = self._sgd(head.parameters()), self._teacher(features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            continuous_codes = head(features[rows])
            similarity_loss = pair_similarity_loss(straight_through_sign(continuous_codes), teacher[rows])
            penalty = (continuous_codes.abs() - 1).abs().pow(3).mean()
            loss = similarity_loss + self.penalty_weight * penalty
            gradient_step(loss, optimizer)
            return {"loss": loss, "similarity_loss": similarity_loss, "penalty": penalty}

        return train(step, len(features), [optimizer], **self._schedule())


N_BINS = 200  # of the histogram of distances in [0, 2]
BLOCK_ROWS = 1024  # whose distances are in memory at a time


def half_gaussians(features: Tensor) -> tuple[float, float, float]:
    r"""Where cosine distances are most frequent, and how far they spread to the left and to the right of it.

    The distances :math:`d = 1 - \cos` of all pairs of rows are counted in bins of width 0.01. The lower edge :math:`m`
    of the fullest bin splits them in two, and each part, together with its mirror image in :math:`m`, is taken for a
    Gaussian, which then has mean :math:`m` and variance

    .. math::

        \sigma_l^2 = \frac{1}{|\{d \le m\}|} \sum_{d \le m} (d - m)^2, \qquad
        \sigma_r^2 = \frac{1}{|\{d > m\}|} \sum_{d > m} (d - m)^2 .

    Features of shape (n, d), n >= 2, give :math:`m, \sigma_l, \sigma_r`; a sigma is 0 where no pair lies on its side.
    Time grows with the square of the rows, memory with the rows.
    """
    rows = normalize(features, dim=1)
    counts = torch.zeros(N_BINS, dtype=torch.int64, device=rows.device)
    for block in _distances(rows):
        counts += torch.histc(block, N_BINS, min=0, max=2).long()
    mode = int(counts.argmax()) * 2 / N_BINS
    squares, pairs = torch.zeros(2, dtype=torch.float64), torch.zeros(2)
    for block in _distances(rows):
        for side, part in enumerate((block[block <= mode], block[block > mode])):
            squares[side] += (part.double() - mode).square().sum().cpu()
            pairs[side] += part.numel()
    sigma_left, sigma_right = (squares / pairs.clamp_min(1)).sqrt().tolist()
    return mode, sigma_left, sigma_right


def _distances(rows: Tensor) -> Iterator[Tensor]:
    """Cosine distances of unit rows to all rows, block by block; NaN of a row to itself."""
    for start in range(0, len(rows), BLOCK_ROWS):
        block = (1 - rows[start : start + BLOCK_ROWS] @ rows.T).clamp_min(0)
        block.diagonal(start).fill_(torch.nan)
        yield block


def bihalf_codes(continuous_codes: Tensor) -> Tensor:
    r"""Codes, -1 or +1, in which each bit is +1 for one half of the batch and -1 for the other.

    Bit by bit of the continuous codes, shape (n, n_bits), the :math:`\lfloor n / 2 \rfloor` rows of the largest values
    become +1, the others -1; among equal values the first row comes first. The gradient passes unchanged.
    """
    order = continuous_codes.detach().argsort(dim=0, descending=True, stable=True)
    codes = torch.full_like(continuous_codes, -1).scatter_(0, order[: len(order) // 2], 1)
    return codes + (
        continuous_codes - continuous_codes.detach()
    )  # the bracket is zero and carries the gradient


@dataclass(eq=False, repr=False, kw_only=True)
class BiHalfHasher(TrainedHasher):
    r"""Train a linear head so that binary codes with half-half bits keep the cosines of the features.

    With continuous codes :math:`u = W x + c` of the :math:`n` rows of a batch and their half-half codes :math:`b`, see
    `bihalf_codes`,

    .. math:: L = L_\text{pairs}(b, x) + \frac{\gamma}{2 n K} \sum_{i,k} (u_{ik} - b_{ik})^2

    with :math:`L_\text{pairs}` of `sdclib.losses.pairwise.pair_similarity_loss`, whose gradient passes from :math:`b`
    to :math:`u` unchanged; in the second term, :math:`b` is a constant. Half-half bits depend on who else is in the
    batch, so images are hashed with :math:`\mathrm{sign}(u)`; the second term is what makes :math:`b` and
    :math:`\mathrm{sign}(u)` agree.

    Parameters
    ----------
    gamma : float
        :math:`\gamma`.
    learning_rate, momentum, weight_decay : float
        Of stochastic gradient descent.
    n_bits, batch_size, epochs, step_epoch, optimizer, n_neighbors, n_steps, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has similarity_loss and distance, the mean of
        :math:`(u - b)^2`.

    Notes
    -----
    Defaults are those of the authors' code, which too trains a linear head alone on a frozen network. What differs:
    there the features come through dropout while training; the short last batch is kept; sign(0) is 0. The authors
    write the second term as part of the layer's gradient and not of the loss; the steps are the same.

    Half-half codes have a mean cosine near 0 and features of a common direction do not, so the first term cannot get
    small. On the packaged set it even grows while codes get better; with :math:`\gamma = 0` they get worse than the
    untrained ones. The learning rate is made for longer features: 20 epochs at 0.01 give better codes there than the
    default's 300.

    References
    ----------
    Y. Li and J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.
    """

    method = "bihalf"
    label = "BiHalf"
    color = "#009E73"

    gamma: float = 6.0
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 32
    epochs: int = 300
    step_epoch: int | None = 120
    optimizer: str | None = None
    n_neighbors: int | None = None
    n_steps: int | None = None

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        optimizer, teacher = self._sgd(head.parameters()), self._teacher(features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            continuous_codes = head(features[rows])
            codes = bihalf_codes(continuous_codes)
            similarity_loss = pair_similarity_loss(codes, teacher[rows])
            distance = (continuous_codes - codes.detach()).square().mean()
            loss = similarity_loss + self.gamma / 2 * distance
            gradient_step(loss, optimizer)
            return {"loss": loss, "similarity_loss": similarity_loss, "distance": distance}

        return train(step, len(features), [optimizer], **self._schedule())


MOST_ROWS = 10_000  # of which all pairs are looked at


@dataclass(eq=False, repr=False, kw_only=True)
class SSDHHasher(TrainedHasher):
    r"""Train a linear head on the pairs that are clearly nearer or farther than most.

    The mode :math:`m` of the cosine distances :math:`d_{ij}` of all training pairs, and their spreads
    :math:`\sigma_l, \sigma_r` to its left and right (`half_gaussians`), give the labels

    .. math::

        S_{ij} = \begin{cases}
            1 & d_{ij} \le m - \alpha \sigma_l \\
            -1 & d_{ij} \ge m + \beta \sigma_r \\
            0 & \text{otherwise,}
        \end{cases}

    to which `sdclib.losses.pairwise.pair_label_loss` draws :math:`h = \tanh(W x + c)`.

    Parameters
    ----------
    alpha, beta : float
        How many spreads below and above the mode the labels begin.
    n_bits, learning_rate, weight_decay, batch_size, epochs, step_epoch, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has similar and dissimilar, the shares of a batch's pairs
        with labels 1 and -1.

    Notes
    -----
    The estimates of :math:`m` and :math:`\sigma`, :math:`\alpha = \beta = 2`, the learning rate, the batch size and
    the one linear layer with tanh are those of the authors' code. It trains the whole network (VGG16) for 10 epochs,
    with dropout and with Adam's epsilon at 1; here features are frozen, and the head is trained alone for 60 epochs
    with an epsilon of 1e-8 (with 1, a head alone is far from done by then). Also here: distances above 1 have bins,
    too, as features may be negative; a row's distance to itself does not count for :math:`m` and :math:`\sigma`; of
    more than 10,000 training rows a seeded sample of 10,000 gives them.

    Nothing in the loss asks for bits that differ: where labels 1 outweigh labels -1 (a row with itself counts as a
    pair), many images get the same code.

    References
    ----------
    E. Yang, C. Deng, T. Liu, W. Liu and D. Tao, "Semantic structure-based unsupervised deep hashing", IJCAI 2018.
    """

    method = "ssdh"
    label = "SSDH"
    color = "#D55E00"

    alpha: float = 2.0
    beta: float = 2.0
    learning_rate: float = 1e-3
    batch_size: int = 24
    epochs: int = 60
    weight_decay: float | None = None
    step_epoch: int | None = None

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        optimizer = self._adam(head.parameters())
        nearer, farther = self._thresholds(features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            unit = normalize(batch, dim=1)
            distances = 1 - unit @ unit.T
            similar, dissimilar = (distances <= nearer).float(), (distances >= farther).float()
            loss = pair_label_loss(head(batch).tanh(), similar - dissimilar)
            gradient_step(loss, optimizer)
            return {"loss": loss, "similar": similar.mean(), "dissimilar": dissimilar.mean()}

        return train(step, len(features), [optimizer], **self._schedule())

    def _thresholds(self, features: Tensor) -> tuple[float, float]:
        """Distances up to which pairs are similar, and from which on they are dissimilar."""
        if len(features) > MOST_ROWS:
            features = features[torch.randperm(len(features))[:MOST_ROWS].to(features.device)]
        mode, sigma_left, sigma_right = half_gaussians(features)
        return mode - self.alpha * sigma_left, mode + self.beta * sigma_right


def bernoulli_bits(logits: Tensor, stochastic: bool = True) -> Tensor:
    r"""Bits 0 and 1 with probabilities :math:`p = \sigma(f)` given by logits of any shape.

    :math:`b = [p \ge u]` with :math:`u` uniform in (0, 1), by torch's generator, or 1/2 where it is not `stochastic`.
    The gradient of :math:`b` is passed to :math:`p` unchanged, so that of :math:`f` is
    :math:`p (1 - p) \, \partial L / \partial b`.
    """
    probabilities = logits.sigmoid()
    thresholds = torch.rand_like(probabilities) if stochastic else torch.full_like(probabilities, 0.5)
    return (straight_through_sign(2 * (probabilities - thresholds)) + 1) / 2


def code_graph(bits: Tensor, exponent: float = 1.4) -> Tensor:
    r"""Normalised adjacency, shape (n, n), of the rows of a batch by the Hamming distances of their codes.

    :math:`D^{-1/2} A D^{-1/2}` with :math:`A_{ij} = (1 - d_{ij} / K)^{1.4}` and the degrees
    :math:`D = \mathrm{diag}(A 1)`; each row is its own neighbour. The exponent, at least 1, is that of TBH's code.
    `bits`, 0 and 1 of shape (n, n_bits), have a gradient by
    :math:`d_{ij} = \sum_k b_{ik} (1 - b_{jk}) + (1 - b_{ik}) b_{jk}`.
    """
    distances = bits @ (1 - bits).T + (1 - bits) @ bits.T
    adjacency = (1 - distances / bits.shape[1]).pow(exponent)
    scale = adjacency.sum(dim=1).rsqrt()
    return scale[:, None] * adjacency * scale


@dataclass(eq=False, repr=False, kw_only=True)
class TBHHasher(TrainedHasher):
    r"""Hash by an auto-encoder whose binary bottleneck is the graph on which its continuous one is smoothed.

    From a hidden layer :math:`y = \mathrm{ReLU}(W_1 x + c_1)` come the logits of the bits, :math:`f = W_2 y + c_2`, and
    a continuous code :math:`z = \sigma(W_3 y + c_3)`. A bit is :math:`b = [\sigma(f) \ge u]`. On the graph :math:`G` of
    the codes of a batch, see `code_graph`, a convolution smooths the continuous codes, and a decoder takes the features
    from what it gives:

    .. math::

        z' = \sigma \left( G (Z W_4 + c_4) \right), \qquad
        \hat{x} = W_6 \, \mathrm{ReLU}(W_5 z' + c_5) + c_6 .

    Codes are only good for which images share what they know, so similar images get similar ones. Two critics
    :math:`q` and :math:`r`, each linear with a sigmoid, learn to tell codes :math:`b` from fair coin tosses
    :math:`\beta` and :math:`z'` from uniform numbers :math:`\zeta`, and the encoder learns to fool them:

    .. math::

        L &= \frac{1}{2} \sum_{i=1}^{n} \|\hat{x}_i - x_i\|^2
            - \frac{\lambda}{n} \sum_{i=1}^{n} \log q(b_i) + \log r(z'_i), \\
        L_\text{critics} &= -\frac{1}{n} \sum_{i=1}^{n} \log q(\beta_i) + \log (1 - q(b_i))
            + \log r(\zeta_i) + \log (1 - r(z'_i)) .

    Images are hashed by :math:`f` alone, a bit is 1 where :math:`f \ge 0`; all else is there for training only.

    Parameters
    ----------
    hidden_features, latent_features : int
        Width of the hidden layers of encoder and decoder, and of the continuous code.
    adversarial_weight : float
        :math:`\lambda`.
    stochastic : bool
        Draw the thresholds :math:`u` from (0, 1) in training; otherwise :math:`u = 1/2`.
    n_bits, learning_rate, weight_decay, batch_size, epochs, step_epoch, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has reconstruction, the first term of the loss, and
        critic_loss, :math:`4 \log 2` where the critics cannot tell.

    Notes
    -----
    Layers, loss, batch size and :math:`u = 1/2` are those of the authors' code, which too learns from the features of a
    frozen VGG16. It makes 100,000 steps at a learning rate of 1e-4 (here about ``learning_rate=1e-4, epochs=8000``),
    which takes hours on a processor. The defaults here make about 1,200 (100 epochs of 5,000 rows) at 1e-3, in the
    second half of which the loss falls slowly; at 1e-4 most of them would go into the mean feature.

    Also here: the decoder's output is linear, as features need not be positive (the authors' code has had it both
    ways); weights start as PyTorch starts them; the encoder fools the critics by :math:`-\log q(b)`, as in the
    authors' first code, not by :math:`\log(1 - q(b))`, as in their second; a short last batch is dropped.

    The reconstruction is a sum over batch and features, beside which :math:`\lambda = 1` is next to nothing: bits
    need not become fair coins, and on the packaged set some hundreds of different codes are all there are. Three times
    the steps make them much better there.

    References
    ----------
    Y. Shen, J. Qin, J. Chen, M. Yu, L. Liu, F. Zhu, F. Shen and L. Shao, "Auto-encoding twin-bottleneck hashing",
    CVPR 2020.
    """

    method = "tbh"
    label = "TBH"
    color = "#D55E00"

    hidden_features: int = 1024
    latent_features: int = 512
    adversarial_weight: float = 1.0
    stochastic: bool = False
    learning_rate: float = 1e-3
    batch_size: int = 400
    epochs: int = 100
    weight_decay: float | None = None
    step_epoch: int | None = None

    def _make_head(self, n_features: int) -> nn.Module:
        return two_layers(n_features, self.hidden_features, self.n_bits)

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        n_hidden, n_latent = self.hidden_features, self.latent_features
        first, relu, to_logits = head.children()
        to_latent, convolution = nn.Linear(n_hidden, n_latent), nn.Linear(n_latent, n_latent)
        decoder = nn.Sequential(
            nn.Linear(n_latent, n_hidden), nn.ReLU(), nn.Linear(n_hidden, features.shape[1])
        )
        coder = nn.ModuleList([head, to_latent, convolution, decoder]).to(features.device)
        bit_critic, latent_critic = nn.Linear(self.n_bits, 1), nn.Linear(n_latent, 1)
        critics = nn.ModuleList([bit_critic, latent_critic]).to(features.device)
        coder_optimizer = self._adam(coder.parameters())
        critic_optimizer = self._adam(critics.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            hidden = relu(first(batch))
            bits = bernoulli_bits(to_logits(hidden), self.stochastic)
            latent = (code_graph(bits) @ convolution(to_latent(hidden).sigmoid())).sigmoid()
            reconstruction = (decoder(latent) - batch).square().sum() / 2
            fooling = _surprise(bit_critic(bits)) + _surprise(latent_critic(latent))
            loss = reconstruction + self.adversarial_weight * fooling
            gradient_step(loss, coder_optimizer)
            tosses, uniform = torch.rand_like(bits).round(), torch.rand_like(latent)
            critic_loss = (
                _surprise(bit_critic(tosses))
                + _surprise(-bit_critic(bits.detach()))
                + _surprise(latent_critic(uniform))
                + _surprise(-latent_critic(latent.detach()))
            )
            gradient_step(critic_loss, critic_optimizer)
            return {"loss": loss, "reconstruction": reconstruction, "critic_loss": critic_loss}

        return train(step, len(features), [coder_optimizer, critic_optimizer], **self._schedule())


def _surprise(logits: Tensor) -> Tensor:
    """Mean of -log of the logits' sigmoid."""
    return softplus(-logits).mean()
