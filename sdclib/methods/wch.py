"""WCH: weighted contrastive hashing."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.checks import check_int, check_real
from sdclib.losses.contrastive import image_weights, mutual_attention, weighted_contrastive_loss
from sdclib.methods.straight_through import straight_through_sign
from sdclib.methods.trained import TrainedHasher, adam, draw_views
from sdclib.training import gradient_step, train

__all__ = ["WCHHasher"]


class WCHHasher(TrainedHasher):
    r"""Contrastive codes of two views, where images with similar patches count as positive in part.

    The patch tokens of an image's two views attend to each other; token by token they then give each pair of images
    in the batch a weight :math:`w_{nm}`, 1 for the image itself (`sdclib.losses.contrastive`). With
    :math:`b, b'` the codes :math:`\mathrm{sign}(\tanh f(x))` of the two views' features,

    .. math::

        L = -\frac{1}{N} \sum_{n,m} w_{nm}
            \log \frac{\exp(b_n \cdot b'_m / K \tau)}{\sum_l \exp(b_n \cdot b'_l / K \tau)}
            - \frac{1}{K} \sum_k \mathrm{Var}_n \, b_{nk} .

    The second term wants each bit set in half of the batch. The gradient passes the sign unchanged
    (`sdclib.methods.straight_through`).

    Parameters
    ----------
    n_bits : int
        Code length K.
    temperature : float
        :math:`\tau` > 0.
    weight_temperature : float
        :math:`\tau_w` > 0 of the weights: the lower, the fewer images count as positive.
    hidden_features : int
        Width of the head's hidden layer.
    learning_rate : float
        Of Adam at the start; it falls to 0 along half a cosine.
    batch_size, epochs : int
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : torch.nn.Sequential
        LayerNorm and two linear layers, :math:`f`, on the CPU; its outputs are the continuous codes.
    history_ : DataFrame
        See `sdclib.training.train`, with contrastive_loss, balance_loss and mean_weight (of an image for another);
        not there after `load`.

    Notes
    -----
    Defaults and the head's initial weights are those of the authors' code. The authors train the vision transformer
    along, from the mean of the tokens after their attention; here the network is frozen, the head sees the features
    (which `fit` gets of views and of images alike), and the tokens give the weights alone, through which no gradient
    flows. Views are cached rather than drawn anew, the learning rate falls with each step rather than each epoch, and
    a short last batch is dropped.

    References
    ----------
    J. Yu, H. Qiu, D. Chen and H. Zhang, "Weighted contrastive hashing", ACCV 2022.
    """

    method = "wch"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        temperature: float = 0.3,
        weight_temperature: float = 0.2,
        hidden_features: int = 1024,
        learning_rate: float = 1e-5,
        batch_size: int = 32,
        epochs: int = 50,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.temperature = temperature
        self.weight_temperature = weight_temperature
        self.hidden_features = hidden_features
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state
        self.device = device
        self.progress = progress

    @property
    def needs_views(self) -> bool:
        """Always."""
        return True

    @property
    def needs_tokens(self) -> bool:
        """Always."""
        return True

    def _make_head(self, n_features: int) -> nn.Module:
        hidden = check_int(self.hidden_features, "hidden_features", minimum=1)
        layers = nn.Linear(n_features, hidden), nn.Linear(hidden, self.n_bits)
        for layer in layers:
            nn.init.kaiming_uniform_(layer.weight, mode="fan_out")
            nn.init.normal_(layer.bias)
        return nn.Sequential(nn.LayerNorm(n_features, eps=1e-6), layers[0], nn.ReLU(), layers[1])

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views, tokens = more["views"], more["tokens"]
        temperature = check_real(self.temperature, "temperature", minimum=1e-6)
        weight_temperature = check_real(self.weight_temperature, "weight_temperature", minimum=1e-6)
        batch_size = check_int(self.batch_size, "batch_size", minimum=2)
        epochs = check_int(self.epochs, "epochs", minimum=1)
        optimizer = adam(head.parameters(), check_real(self.learning_rate, "learning_rate", minimum=0))
        n_steps = epochs * (len(features) // batch_size)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(n_steps, 1))

        def step(rows: Tensor) -> dict[str, Tensor]:
            pair = [int(view) for view in draw_views(torch.arange(len(tokens)))]
            with torch.no_grad():
                attended = mutual_attention(*(tokens[view][rows] for view in pair))
                weights = image_weights(*attended, weight_temperature)
            first, second = (straight_through_sign(head(views[view][rows]).tanh()) for view in pair)
            contrastive = weighted_contrastive_loss(first, second, weights, temperature)
            balance = -first.var(dim=0, correction=0).mean()
            loss = contrastive + balance
            gradient_step(loss, optimizer)
            falling.step()
            others = (weights.sum() - len(rows)) / (len(rows) * (len(rows) - 1))
            return {
                "loss": loss,
                "contrastive_loss": contrastive,
                "balance_loss": balance,
                "mean_weight": others,
            }

        schedule = self._schedule(batch_size=batch_size, epochs=epochs)
        return train(step, len(features), [optimizer], **schedule)
