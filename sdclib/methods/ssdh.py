"""Semantic structure-based unsupervised deep hashing."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdclib.checks import check_int, check_real
from sdclib.losses.pairwise import pair_label_loss
from sdclib.methods.half_gaussians import half_gaussians
from sdclib.methods.trained import TrainedHasher, adam
from sdclib.training import gradient_step, train

__all__ = ["SSDHHasher"]

MOST_ROWS = 10_000  # of which all pairs are looked at


class SSDHHasher(TrainedHasher):
    r"""Train a linear head on the pairs that are clearly nearer or farther than most.

    The mode :math:`m` of the cosine distances :math:`d_{ij}` of all training pairs, and their spreads
    :math:`\sigma_l, \sigma_r` to its left and right (`sdclib.methods.half_gaussians`), give the labels

    .. math::

        S_{ij} = \begin{cases}
            1 & d_{ij} \le m - \alpha \sigma_l \\
            -1 & d_{ij} \ge m + \beta \sigma_r \\
            0 & \text{otherwise,}
        \end{cases}

    and with :math:`h = \tanh(W x + c)` the loss of a batch of :math:`n` rows is (`sdclib.losses.pairwise`)

    .. math:: L = \frac{1}{n^2} \sum_{i,j=1}^{n} |S_{ij}| \left( \frac{h_i^\top h_j}{K} - S_{ij} \right)^2 .

    Parameters
    ----------
    n_bits : int
        Code length K.
    alpha, beta : float
        How many spreads below and above the mode the labels begin.
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
    head_ : torch.nn.Linear
        From features to :math:`W x + c`, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with similar and dissimilar, the shares of a batch's pairs with labels 1 and -1;
        not there after `load`.

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

    def __init__(
        self,
        n_bits: int = 64,
        *,
        alpha: float = 2.0,
        beta: float = 2.0,
        learning_rate: float = 1e-3,
        batch_size: int = 24,
        epochs: int = 60,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.alpha = alpha
        self.beta = beta
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _make_head(self, n_features: int) -> nn.Module:
        return nn.Linear(n_features, self.n_bits)

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        optimizer = adam(head.parameters(), check_real(self.learning_rate, "learning_rate", minimum=0))
        nearer, farther = self._thresholds(features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            unit = normalize(batch, dim=1)
            distances = 1 - unit @ unit.T
            similar, dissimilar = (distances <= nearer).float(), (distances >= farther).float()
            loss = pair_label_loss(head(batch).tanh(), similar - dissimilar)
            gradient_step(loss, optimizer)
            return {"loss": loss, "similar": similar.mean(), "dissimilar": dissimilar.mean()}

        schedule = self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
        )
        return train(step, len(features), [optimizer], **schedule)

    def _thresholds(self, features: Tensor) -> tuple[float, float]:
        """Distances up to which pairs are similar, and from which on they are dissimilar."""
        alpha, beta = (check_real(getattr(self, name), name, minimum=0) for name in ("alpha", "beta"))
        if len(features) > MOST_ROWS:
            features = features[torch.randperm(len(features))[:MOST_ROWS].to(features.device)]
        mode, sigma_left, sigma_right = half_gaussians(features)
        return mode - alpha * sigma_left, mode + beta * sigma_right
