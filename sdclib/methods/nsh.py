"""NSH: naturally-sorted hashing."""

from __future__ import annotations

from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.checks import check_int, check_real
from sdclib.losses.contrastive import sorted_nce_loss
from sdclib.methods.straight_through import straight_through_sign
from sdclib.methods.trained import TrainedHasher, adam, draw_views
from sdclib.training import gradient_step, train

__all__ = ["NSHHasher"]


class NSHHasher(TrainedHasher):
    r"""Sort a batch by the codes, and train so that the top of each list is near and the rest is far.

    Of two views :math:`x, x'` of the images of a batch, a hash head :math:`f` gives :math:`h = \tanh f(x)` and codes
    :math:`b = \mathrm{sign}(h)`, and a latent head vectors :math:`z`. By the code similarities
    :math:`S_{ij} = b_i \cdot b'_j / 2K + 1/2`, one less the share of differing bits, each image softly sorts the
    others' latent vectors, and `sdclib.losses.contrastive` (with :math:`m` positives) is taken over these lists:

    .. math::

        L = L_{\text{SortedNCE}}(S, z, z') + \lambda \, \frac{1}{2 n K} \sum_{i,k} \left( (h_{ik} - b_{ik})^2
            + (h'_{ik} - b'_{ik})^2 \right)

    The gradient passes the sign unchanged (`sdclib.methods.straight_through`).

    Parameters
    ----------
    n_bits : int
        Code length K.
    n_positives : int
        :math:`m`, ranks that count as positive; less than `batch_size`.
    temperature : float
        Of the contrastive loss, > 0.
    sort_temperature : float, optional
        Of the soft order, in units of S, > 0; 1 / K, which is one bit, if not given.
    quantization_weight : float
        :math:`\lambda`.
    hidden_features : int
        Width of the one hidden layer of both heads.
    latent_features : int
        Width of :math:`z`.
    learning_rate : float
        Of Adam.
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
        The hash head :math:`f`, on the CPU; its outputs are the continuous codes. The latent head is not kept.
    history_ : DataFrame
        See `sdclib.training.train`, with contrastive_loss and quantization_loss; not there after `load`.

    Notes
    -----
    Learning rate, batch, epochs and positives are the authors'. No code of theirs was found; the rest follows two
    independent re-implementations, one of them of the SDC paper's authors. Both have 1,024 latent values and a
    quantization term of weight 1. Where they differ a choice had to be made: temperature 0.1 (0.3 in the SDC authors'
    configuration); a hidden layer of 1,024 units with ReLU in both heads (or none); binary codes with a
    straight-through gradient after tanh (or a sign without gradient, or no sign); the squared distance of h from its
    sign as quantization term; a soft order at the temperature of one bit (or K, which for similarities from 0 to 1
    makes all ranks alike). The contrastive loss takes the softmax once; both re-implementations apply it twice, which
    bounds the loss and flattens its gradient.

    The backbone is frozen and its views are cached, where the authors draw new ones each epoch. A short last batch is
    dropped.

    References
    ----------
    J. Yu, Y. Shen, M. Wang, H. Zhang and P. H. S. Torr, "Learning to hash naturally sorts", IJCAI 2022.
    """

    method = "nsh"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        n_positives: int = 2,
        temperature: float = 0.1,
        sort_temperature: float | None = None,
        quantization_weight: float = 1.0,
        hidden_features: int = 1024,
        latent_features: int = 1024,
        learning_rate: float = 1e-5,
        batch_size: int = 50,
        epochs: int = 200,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.n_positives = n_positives
        self.temperature = temperature
        self.sort_temperature = sort_temperature
        self.quantization_weight = quantization_weight
        self.hidden_features = hidden_features
        self.latent_features = latent_features
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

    def _make_head(self, n_features: int) -> nn.Module:
        return self._two_layers(n_features, self.n_bits)

    def _two_layers(self, n_in: int, n_out: int) -> nn.Module:
        hidden = check_int(self.hidden_features, "hidden_features", minimum=1)
        return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, n_out))

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views = more["views"]
        n_latent = check_int(self.latent_features, "latent_features", minimum=1)
        latent_head = self._two_layers(features.shape[1], n_latent).to(features.device)
        sort_temperature = 1 / self.n_bits if self.sort_temperature is None else self.sort_temperature
        contrastive_loss = partial(
            sorted_nce_loss,
            n_positives=check_int(self.n_positives, "n_positives", minimum=1),
            temperature=check_real(self.temperature, "temperature", minimum=1e-6),
            sort_temperature=check_real(sort_temperature, "sort_temperature", minimum=1e-6),
        )
        weight = check_real(self.quantization_weight, "quantization_weight", minimum=0)
        optimizer = adam(
            [*head.parameters(), *latent_head.parameters()],
            check_real(self.learning_rate, "learning_rate", minimum=0),
        )

        def step(rows: Tensor) -> dict[str, Tensor]:
            both = torch.cat([view[rows] for view in draw_views(views)])
            squashed = head(both).tanh()
            codes = straight_through_sign(squashed)
            first, second = codes.chunk(2)
            similarity = first @ second.T / (2 * self.n_bits) + 0.5
            contrastive = contrastive_loss(similarity, *latent_head(both).chunk(2))
            quantization = (squashed - codes.detach()).square().mean()
            loss = contrastive + weight * quantization
            gradient_step(loss, optimizer)
            return {"loss": loss, "contrastive_loss": contrastive, "quantization_loss": quantization}

        schedule = self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
        )
        return train(step, len(features), [optimizer], **schedule)
