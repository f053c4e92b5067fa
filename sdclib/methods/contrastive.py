"""Rivals that learn from two augmented views: CIBHash, NSH, WCH, CroVCA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.losses.contrastive import (
    bernoulli_kl_loss,
    code_alignment_loss,
    coding_rate,
    image_weights,
    mutual_attention,
    nt_xent_loss,
    sorted_nce_loss,
    weighted_contrastive_loss,
)
from sdclib.methods.presets import LIMITS
from sdclib.methods.trained import (
    ScaledLayerNorm,
    TrainedHasher,
    draw_views,
    gradient_step,
    straight_through_sign,
    train,
    two_layers,
)

__all__ = ["CIBHashHasher", "CroVCAHasher", "NSHHasher", "WCHHasher"]


@dataclass(eq=False, repr=False, kw_only=True)
class CIBHashHasher(TrainedHasher):
    r"""Hash by contrastive learning with an information bottleneck.

    A head :math:`f(x) = W_2 \, \mathrm{ReLU}(W_1 x + c_1) + c_2` gives each bit the probability
    :math:`p = \sigma(f)`. In training a bit is drawn, :math:`b = \mathrm{sign}(p - u)` with :math:`u` uniform in
    (0, 1), and the gradient of :math:`b` is passed to :math:`p` unchanged. From two augmented views of each image,

    .. math:: L = \mathrm{NT\text{-}Xent}_\tau(b, b') + \beta \, \mathrm{KL}(f, f')

    with `sdclib.losses.contrastive.nt_xent_loss` and `sdclib.losses.contrastive.bernoulli_kl_loss`. When images are
    hashed nothing is drawn: continuous codes are the logits :math:`f`, and a bit is 1 where :math:`p \ge 1/2`.

    Parameters
    ----------
    hidden_features : int
        Width of the hidden layer.
    temperature : float
        :math:`\tau` > 0.
    kl_weight : float
        :math:`\beta`.
    stochastic : bool
        Draw bits in training; otherwise :math:`u = 1/2`.
    n_neighbors, n_steps : int, optional
        Where given, the second view shows not the image itself but one drawn from it and its so many nearest by the
        teacher of `TrainedHasher`.
    n_bits, learning_rate, weight_decay, batch_size, epochs, step_epoch, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has contrastive_loss and kl_loss.

    Notes
    -----
    Defaults are the authors'. Their head, too, stands on a frozen network (VGG16), but every epoch augments anew; here
    two of a fixed number of views are drawn in each step. Bits are drawn as in the paper, while the authors' code has
    :math:`u = 1/2`, which ``stochastic=False`` gives. The code trains 16-bit codes for at least 80 epochs, which must
    be asked for here; it looks every 20 epochs at a labelled validation set and keeps the best, here the last is kept;
    it trains on a short last batch, here it is dropped; its sign(0) is 0, here +1.

    References
    ----------
    Z. Qiu, Q. Su, Z. Ou, J. Yu and C. Chen, "Unsupervised hashing with contrastive information bottleneck",
    IJCAI 2021.

    Neighbours as positive pairs: D. Dwibedi et al., "With a little help from my friends: nearest-neighbor contrastive
    learning of visual representations", ICCV 2021.
    """

    method = "cibhash"
    label = "CIBHash"
    color = "#56B4E9"

    hidden_features: int = 1024
    temperature: float = 0.3
    kl_weight: float = 0.001
    stochastic: bool = True
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 60
    weight_decay: float | None = None
    step_epoch: int | None = None
    n_neighbors: int | None = None
    n_steps: int | None = None

    needs_views = True

    def _make_head(self, n_features: int) -> nn.Module:
        return two_layers(n_features, self.hidden_features, self.n_bits)

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views = more["views"]
        nearest = self._nearest_by_teacher(features)
        optimizer = self._adam(head.parameters())

        def bits(logits: Tensor) -> Tensor:
            probabilities = logits.sigmoid()
            threshold = torch.rand_like(probabilities) if self.stochastic else 0.5
            return straight_through_sign(probabilities - threshold)

        def step(rows: Tensor) -> dict[str, Tensor]:
            view, other = draw_views(views)
            partners = rows
            if nearest is not None:
                partners = nearest[rows, torch.randint(nearest.shape[1], rows.shape).to(rows)]
            first, second = head(view[rows]), head(other[partners])
            contrastive_loss = nt_xent_loss(bits(first), bits(second), self.temperature)
            kl_loss = bernoulli_kl_loss(first, second)
            loss = contrastive_loss + self.kl_weight * kl_loss
            gradient_step(loss, optimizer)
            return {"loss": loss, "contrastive_loss": contrastive_loss, "kl_loss": kl_loss}

        return train(step, len(features), [optimizer], **self._schedule())


@dataclass(eq=False, repr=False, kw_only=True)
class NSHHasher(TrainedHasher):
    r"""Sort a batch by the codes, and train so that the top of each list is near and the rest is far.

    Of two views :math:`x, x'` of the images of a batch, a hash head :math:`f` gives :math:`h = \tanh f(x)` and codes
    :math:`b = \mathrm{sign}(h)`, whose gradient passes the sign unchanged, and a latent head vectors :math:`z`. By the
    code similarities :math:`S_{ij} = b_i \cdot b'_j / 2K + 1/2`, one less the share of differing bits, each image
    softly sorts the others' latent vectors, for `sdclib.losses.contrastive.sorted_nce_loss`:

    .. math::

        L = L_{\text{SortedNCE}}(S, z, z') + \lambda \, \frac{1}{2 n K} \sum_{i,k} \left( (h_{ik} - b_{ik})^2
            + (h'_{ik} - b'_{ik})^2 \right)

    Parameters
    ----------
    n_positives : int
        Ranks that count as positive; less than `batch_size`.
    temperature, sort_temperature : float
        Of the contrastive loss, and of the soft order, in units of S, > 0; by default 1 / K, which is one bit.
    quantization_weight : float
        :math:`\lambda`.
    hidden_features : int
        Width of the one hidden layer of both heads; 0 for linear heads.
    latent_features : int
        Width of :math:`z`.
    form : {"sdc"}, optional
        ``"sdc"`` is the loss of the SDC authors' code: :math:`S` is made of :math:`h` in place of its signs, and the
        contrastive loss is taken ``as_released``.
    n_bits, learning_rate, weight_decay, batch_size, epochs, step_epoch, random_state, device, progress
        See `TrainedHasher`, as for the attributes; the latent head is not kept, and `history_` has contrastive_loss and
        quantization_loss.

    Notes
    -----
    Learning rate, batch, epochs and positives are the authors'. No code of theirs was found; the rest follows two
    independent re-implementations, one of them of the SDC paper's authors. Both have 1,024 latent values and a
    quantization term of weight 1. Where they differ a choice had to be made: temperature 0.1 (0.3 in the SDC authors'
    configuration); a hidden layer of 1,024 units with ReLU in both heads (or none); binary codes with a
    straight-through gradient after tanh (or a sign without gradient, or no sign); the squared distance of h from its
    sign as quantization term; a soft order at the temperature of one bit (or K, which for similarities from 0 to 1
    makes all ranks alike). The contrastive loss takes the softmax once; both re-implementations apply it twice, which
    bounds the loss and flattens its gradient. The SDC authors' configuration is
    ``NSHHasher(n_bits, form="sdc", hidden_features=0, temperature=0.3, weight_decay=1e-5)``; there the two views have
    augmentations of different kinds, where here both are drawn alike. Views are cached, where the authors draw new ones
    each epoch.

    Where features share a direction, bits lean to one side from the start, and the quantization term draws them over
    to it. With ``quantization_weight=0`` and a rate of 1e-3 the SDC authors' configuration learns.

    References
    ----------
    J. Yu, Y. Shen, M. Wang, H. Zhang and P. H. S. Torr, "Learning to hash naturally sorts", IJCAI 2022.
    """

    method = "nsh"
    label = "NSH"
    color = "#56B4E9"

    limits = LIMITS | {"hidden_features": 0}

    n_positives: int = 2
    temperature: float = 0.1
    sort_temperature: float | None = None
    quantization_weight: float = 1.0
    hidden_features: int = 1024
    latent_features: int = 1024
    learning_rate: float = 1e-5
    batch_size: int = 50
    epochs: int = 200
    weight_decay: float | None = None
    step_epoch: int | None = None
    form: str | None = None

    needs_views = True

    def _make_head(self, n_features: int) -> nn.Module:
        return self._layers(n_features, self.n_bits)

    def _layers(self, n_in: int, n_out: int) -> nn.Sequential:
        if self.hidden_features:
            return two_layers(n_in, self.hidden_features, n_out)
        return nn.Sequential(nn.Linear(n_in, n_out))

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views = more["views"]
        latent_head = self._layers(features.shape[1], self.latent_features).to(features.device)
        as_released = self.form == "sdc"
        sort_temperature = 1 / self.n_bits if self.sort_temperature is None else self.sort_temperature
        contrastive_loss = partial(
            sorted_nce_loss,
            n_positives=self.n_positives,
            temperature=self.temperature,
            sort_temperature=sort_temperature,
            as_released=as_released,
        )
        optimizer = self._adam([*head.parameters(), *latent_head.parameters()])

        def step(rows: Tensor) -> dict[str, Tensor]:
            both = torch.cat([view[rows] for view in draw_views(views)])
            squashed = head(both).tanh()
            codes = straight_through_sign(squashed)
            first, second = (squashed if as_released else codes).chunk(2)
            similarity = first @ second.T / (2 * self.n_bits) + 0.5
            contrastive = contrastive_loss(similarity, *latent_head(both).chunk(2))
            quantization = (squashed - codes.detach()).square().mean()
            loss = contrastive + self.quantization_weight * quantization
            gradient_step(loss, optimizer)
            return {"loss": loss, "contrastive_loss": contrastive, "quantization_loss": quantization}

        return train(step, len(features), [optimizer], **self._schedule())


@dataclass(eq=False, repr=False, kw_only=True)
class WCHHasher(TrainedHasher):
    r"""Contrastive codes of two views, where images with similar patches count as positive in part.

    The patch tokens of an image's two views attend to each other, see `sdclib.losses.contrastive.mutual_attention`;
    token by token they then give each pair of images in the batch a weight :math:`w_{nm}`, 1 for the image itself, see
    `sdclib.losses.contrastive.image_weights`. With :math:`b, b'` the codes :math:`\mathrm{sign}(\tanh f(x))` of the two
    views' features, whose gradient passes the sign unchanged, and
    `sdclib.losses.contrastive.weighted_contrastive_loss`,

    .. math:: L = L_\text{weighted}(b, b', w) - \frac{1}{K} \sum_k \mathrm{Var}_n \, b_{nk} .

    The second term wants each bit set in half of the batch.

    Parameters
    ----------
    temperature : float
        > 0.
    weight_temperature : float
        > 0, of the weights: the lower, the fewer images count as positive.
    hidden_features : int
        Width of the head's hidden layer.
    learning_rate : float
        Of Adam at the start; it falls to 0 along half a cosine.
    n_bits, weight_decay, batch_size, epochs, step_epoch, optimizer, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has contrastive_loss, balance_loss and mean_weight (of an
        image for another).

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
    label = "WCH"
    color = "#56B4E9"

    temperature: float = 0.3
    weight_temperature: float = 0.2
    hidden_features: int = 1024
    learning_rate: float = 1e-5
    batch_size: int = 32
    epochs: int = 50
    weight_decay: float | None = None
    step_epoch: int | None = None
    optimizer: str | None = None

    needs_views = True
    needs_tokens = True

    def _make_head(self, n_features: int) -> nn.Module:
        hidden = self.hidden_features
        layers = nn.Linear(n_features, hidden), nn.Linear(hidden, self.n_bits)
        for layer in layers:
            nn.init.kaiming_uniform_(layer.weight, mode="fan_out")
            nn.init.normal_(layer.bias)
        return nn.Sequential(ScaledLayerNorm(n_features, eps=1e-6), layers[0], nn.ReLU(), layers[1])

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views, tokens = more["views"], more["tokens"]
        optimizer = self._adam(head.parameters())
        fall = _falling(self, optimizer, len(features))

        def step(rows: Tensor) -> dict[str, Tensor]:
            pair = [int(view) for view in draw_views(torch.arange(len(tokens)))]
            with torch.no_grad():
                attended = mutual_attention(*(tokens[view][rows] for view in pair))
                weights = image_weights(*attended, self.weight_temperature)
            first, second = (straight_through_sign(head(views[view][rows]).tanh()) for view in pair)
            contrastive = weighted_contrastive_loss(first, second, weights, self.temperature)
            balance = -first.var(dim=0, correction=0).mean()
            loss = contrastive + balance
            gradient_step(loss, optimizer)
            fall()
            others = (weights.sum() - len(rows)) / (len(rows) * (len(rows) - 1))
            return {
                "loss": loss,
                "contrastive_loss": contrastive,
                "balance_loss": balance,
                "mean_weight": others,
            }

        return train(step, len(features), [optimizer], **self._schedule())


def _falling(
    hasher: TrainedHasher, optimizer: torch.optim.Optimizer, n: int, last: float = 0.0
) -> Callable[[], None]:
    """Return what to call after each step: the learning rate falls along half a cosine, except with plain Adam."""
    if hasher._plain_adam:
        return lambda: None
    n_steps = hasher.epochs * (n // hasher.batch_size)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, n_steps), eta_min=last).step


LAST_LEARNING_RATE = 1e-6  # where CroVCA's cosine ends, unless it starts below


@dataclass(eq=False, repr=False, kw_only=True)
class CroVCAHasher(TrainedHasher):
    r"""Align the codes of two views while keeping codes diverse.

    A head :math:`z(x) = \mathrm{BatchNorm}(W_2 \, \mathrm{ReLU}(W_1 x + c_1) + c_2)` is trained on two augmented
    views of each image, with logits :math:`z, z'`, by

    .. math:: L = L_\text{alignment}(z, z') - \lambda \, \frac{n + K}{n K} \cdot \frac{R(z) + R(z')}{2}

    with `sdclib.losses.contrastive.code_alignment_loss` and the coding rate :math:`R` of a batch of :math:`n`,
    `sdclib.losses.contrastive.coding_rate`, without which all images could get one code.

    Parameters
    ----------
    hidden_features : int, optional
        Width of the hidden layer; None for the features' own.
    rate_weight : float
        :math:`\lambda`.
    distortion : float
        > 0, of the coding rate.
    learning_rate, weight_decay : float
        Of AdamW; the learning rate falls along half a cosine, step by step, to 1e-6.
    n_bits, batch_size, epochs, step_epoch, optimizer, random_state, device, progress
        See `TrainedHasher`, as for the attributes; `history_` has alignment_loss and coding_rate (the mean of both
        views'), and the learning rate of an epoch's first step.

    Notes
    -----
    Defaults are those of the authors' code: the smaller of its two heads ("HashCoder"; first weights normal with
    standard deviation 0.02, biases 0), weights, optimizer and schedule. The factor (n + K) / (n K) is in that code,
    as is the constant of the coding rate, there called eps and not squared: it is `distortion` here. Differences: the
    backbone stays frozen throughout, while the code freezes it for the first epoch, unless asked for more, and then
    trains it on, whole or by LoRA; two of a fixed number of views are drawn in each step, while the code augments
    anew every epoch; all is float32, there half precision. The authors rank by the L1 distance between probabilities
    of the query and binary codes; this library by Hamming distance. Chosen here is only that a logit of 0 is a 1.

    Five epochs are few steps on a small set: 95 with 5,000 rows in batches of 256.

    References
    ----------
    I. Moummad, K. Zaher, H. Goëau and A. Joly, "Image hashing via cross-view code alignment in the age of foundation
    models", arXiv 2510.27584, 2025.
    """

    method = "crovca"
    label = "CroVCA"
    color = "#882255"

    hidden_features: int | None = None
    rate_weight: float = 0.1
    distortion: float = 0.05
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 256
    epochs: int = 5
    step_epoch: int | None = None
    optimizer: str | None = None

    needs_views = True

    def _make_head(self, n_features: int) -> nn.Module:
        hidden = n_features if self.hidden_features is None else self.hidden_features
        layers = [nn.Linear(n_features, hidden), nn.Linear(hidden, self.n_bits)]
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.BatchNorm1d(self.n_bits))

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views = more["views"]
        n, n_bits = self.batch_size, self.n_bits
        rate_weight = self.rate_weight * (n + n_bits) / (n * n_bits)
        if self._plain_adam:
            optimizer: torch.optim.Optimizer = self._adam(head.parameters())
        else:
            rate, decay = float(self.learning_rate), float(self.weight_decay)
            optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=decay, fused=True)
        fall = _falling(self, optimizer, len(features), min(LAST_LEARNING_RATE, self.learning_rate))

        def step(rows: Tensor) -> dict[str, Tensor]:
            first, second = (head(view[rows]) for view in draw_views(views))
            alignment_loss = code_alignment_loss(first, second)
            rate = (coding_rate(first, self.distortion) + coding_rate(second, self.distortion)) / 2
            loss = alignment_loss - rate_weight * rate
            gradient_step(loss, optimizer)
            fall()
            return {"loss": loss, "alignment_loss": alignment_loss, "coding_rate": rate}

        return train(step, len(features), [optimizer], **self._schedule())
