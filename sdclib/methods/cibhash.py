"""CIBHash."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.checks import check_int, check_real
from sdclib.losses.contrastive import bernoulli_kl_loss, nt_xent_loss
from sdclib.methods.straight_through import straight_through_sign
from sdclib.methods.trained import TrainedHasher, adam, draw_views
from sdclib.training import gradient_step, train

__all__ = ["CIBHashHasher"]


class CIBHashHasher(TrainedHasher):
    r"""Hash by contrastive learning with an information bottleneck.

    A head :math:`f(x) = W_2 \, \mathrm{ReLU}(W_1 x + c_1) + c_2` gives each bit the probability
    :math:`p = \sigma(f)`. In training a bit is drawn, :math:`b = \mathrm{sign}(p - u)` with :math:`u` uniform in
    (0, 1), and the gradient of :math:`b` is passed to :math:`p` unchanged (`sdclib.methods.straight_through`). From
    two augmented views of each image,

    .. math::

        L = \mathrm{NT\text{-}Xent}_\tau(b, b')
            + \frac{\beta}{2n} \sum_i \left( D(p_i \| p'_i) + D(p'_i \| p_i) \right),

    where :math:`D` is the Kullback-Leibler divergence, summed over the bits (`sdclib.losses.contrastive`). When
    images are hashed nothing is drawn: continuous codes are the logits :math:`f`, and a bit is 1 where
    :math:`p \ge 1/2`.

    Parameters
    ----------
    n_bits : int
        Code length K.
    hidden_features : int
        Width of the hidden layer.
    temperature : float
        :math:`\tau` > 0.
    kl_weight : float
        :math:`\beta`.
    stochastic : bool
        Draw bits in training; otherwise :math:`u = 1/2`.
    learning_rate : float
        Of Adam.
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
        From features to logits, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with contrastive_loss and kl_loss; not there after `load`.

    Notes
    -----
    Defaults are the authors'. Their head, too, stands on a frozen network (VGG16), but every epoch augments anew;
    here two of a fixed number of views are drawn in each step. Bits are drawn as in the paper, while the authors' code
    has :math:`u = 1/2`, which ``stochastic=False`` gives. As in that code, the second argument of a divergence gets
    no gradient. The code trains 16-bit codes for at least 80 epochs, which must be asked for here; it looks every
    20 epochs at a labelled validation set and keeps the best, here the last is kept; it trains on a short last batch,
    here it is dropped; its sign(0) is 0, here +1.

    References
    ----------
    Z. Qiu, Q. Su, Z. Ou, J. Yu and C. Chen, "Unsupervised hashing with contrastive information bottleneck",
    IJCAI 2021.
    """

    method = "cibhash"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden_features: int = 1024,
        temperature: float = 0.3,
        kl_weight: float = 0.001,
        stochastic: bool = True,
        learning_rate: float = 1e-3,
        batch_size: int = 64,
        epochs: int = 60,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.hidden_features = hidden_features
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.stochastic = stochastic
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state
        self.device = device
        self.progress = progress

    @property
    def needs_views(self) -> bool:
        """True."""
        return True

    def _make_head(self, n_features: int) -> nn.Module:
        hidden = check_int(self.hidden_features, "hidden_features", minimum=1)
        return nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, self.n_bits))

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views = more["views"]
        temperature = check_real(self.temperature, "temperature", minimum=0)
        if temperature == 0:
            raise ValueError(f"temperature: expected a number > 0, got {self.temperature!r}")
        kl_weight = check_real(self.kl_weight, "kl_weight", minimum=0)
        optimizer = adam(head.parameters(), check_real(self.learning_rate, "learning_rate", minimum=0))

        def bits(logits: Tensor) -> Tensor:
            probabilities = logits.sigmoid()
            threshold = torch.rand_like(probabilities) if self.stochastic else 0.5
            return straight_through_sign(probabilities - threshold)

        def step(rows: Tensor) -> dict[str, Tensor]:
            first, second = (head(view[rows]) for view in draw_views(views))
            contrastive_loss = nt_xent_loss(bits(first), bits(second), temperature)
            kl_loss = bernoulli_kl_loss(first, second)
            loss = contrastive_loss + kl_weight * kl_loss
            gradient_step(loss, optimizer)
            return {"loss": loss, "contrastive_loss": contrastive_loss, "kl_loss": kl_loss}

        schedule = self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
        )
        return train(step, len(features), [optimizer], **schedule)
