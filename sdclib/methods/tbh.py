"""Auto-encoding twin-bottleneck hashing."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sdclib.checks import check_int, check_real
from sdclib.methods.code_graph import bernoulli_bits, code_graph
from sdclib.methods.trained import TrainedHasher, adam
from sdclib.training import gradient_step, train

__all__ = ["TBHHasher"]


class TBHHasher(TrainedHasher):
    r"""Hash by an auto-encoder whose binary bottleneck is the graph on which its continuous one is smoothed.

    From a hidden layer :math:`y = \mathrm{ReLU}(W_1 x + c_1)` come the logits of the bits, :math:`f = W_2 y + c_2`,
    and a continuous code :math:`z = \sigma(W_3 y + c_3)`. A bit is :math:`b = [\sigma(f) \ge u]`. With the
    Hamming distances :math:`d_{ij}` of the codes of a batch, :math:`A_{ij} = (1 - d_{ij} / K)^{1.4}` and its degrees
    :math:`D`, a graph convolution smooths the continuous codes, and a decoder takes the features from what it gives:

    .. math::

        z' = \sigma \left( D^{-1/2} A D^{-1/2} (Z W_4 + c_4) \right), \qquad
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
    n_bits : int
        Code length K.
    hidden_features : int
        Width of the hidden layers of encoder and decoder.
    latent_features : int
        Width of the continuous code.
    adversarial_weight : float
        :math:`\lambda`.
    stochastic : bool
        Draw the thresholds :math:`u` from (0, 1) in training; otherwise :math:`u = 1/2`.
    learning_rate : float
        Of Adam, for the auto-encoder and for the critics.
    batch_size : int
        At least 2.
    epochs : int
        Passes over the training rows.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : torch.nn.Sequential
        From features to :math:`f`, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with reconstruction (the first term of the loss) and critic_loss
        (:math:`4 \log 2` where the critics cannot tell); not there after `load`.

    Notes
    -----
    Layers, loss, batch size and :math:`u = 1/2` are those of the authors' code, which too learns from the features of
    a frozen VGG16. It makes 100,000 steps at a learning rate of 1e-4, which takes hours on a processor. The defaults
    here make about 1,200 (100 epochs of 5,000 rows) at 1e-3, in the second half of which the loss falls slowly; at
    1e-4 most of them would go into the mean feature, which the decoder learns first. The authors' schedule is
    about ``learning_rate=1e-4, epochs=8000``.

    Also here: the decoder's output is linear, as features need not be positive (the authors' code has had it both
    ways); weights start as PyTorch starts them; the encoder fools the critics by :math:`-\log q(b)`, as in the
    authors' first code, not by :math:`\log(1 - q(b))`, as in their second; a short last batch is dropped.

    The reconstruction is a sum over batch and features, beside which :math:`\lambda = 1` is next to nothing: bits
    need not become fair coins, and on the packaged set some hundreds of different codes are all there are.

    References
    ----------
    Y. Shen, J. Qin, J. Chen, M. Yu, L. Liu, F. Zhu, F. Shen and L. Shao, "Auto-encoding twin-bottleneck hashing",
    CVPR 2020.
    """

    method = "tbh"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden_features: int = 1024,
        latent_features: int = 512,
        adversarial_weight: float = 1.0,
        stochastic: bool = False,
        learning_rate: float = 1e-3,
        batch_size: int = 400,
        epochs: int = 100,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.hidden_features = hidden_features
        self.latent_features = latent_features
        self.adversarial_weight = adversarial_weight
        self.stochastic = stochastic
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _make_head(self, n_features: int) -> nn.Module:
        hidden = check_int(self.hidden_features, "hidden_features", minimum=1)
        return nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, self.n_bits))

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        n_hidden, n_latent = (
            self.hidden_features,
            check_int(self.latent_features, "latent_features", minimum=1),
        )
        weight = check_real(self.adversarial_weight, "adversarial_weight", minimum=0)
        learning_rate = check_real(self.learning_rate, "learning_rate", minimum=0)
        first, relu, to_logits = head.children()
        to_latent, convolution = nn.Linear(n_hidden, n_latent), nn.Linear(n_latent, n_latent)
        decoder = nn.Sequential(
            nn.Linear(n_latent, n_hidden), nn.ReLU(), nn.Linear(n_hidden, features.shape[1])
        )
        coder = nn.ModuleList([head, to_latent, convolution, decoder]).to(features.device)
        bit_critic, latent_critic = nn.Linear(self.n_bits, 1), nn.Linear(n_latent, 1)
        critics = nn.ModuleList([bit_critic, latent_critic]).to(features.device)
        coder_optimizer = adam(coder.parameters(), learning_rate)
        critic_optimizer = adam(critics.parameters(), learning_rate)

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            hidden = relu(first(batch))
            bits = bernoulli_bits(to_logits(hidden), self.stochastic)
            latent = (code_graph(bits) @ convolution(to_latent(hidden).sigmoid())).sigmoid()
            reconstruction = (decoder(latent) - batch).square().sum() / 2
            fooling = _surprise(bit_critic(bits)) + _surprise(latent_critic(latent))
            loss = reconstruction + weight * fooling
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

        schedule = self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
        )
        return train(step, len(features), [coder_optimizer, critic_optimizer], **schedule)


def _surprise(logits: Tensor) -> Tensor:
    """Mean of -log of the logits' sigmoid."""
    return softplus(-logits).mean()
