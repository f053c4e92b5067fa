"""Bi-half hashing."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.checks import check_int, check_real
from sdclib.losses.pairwise import pair_similarity_loss
from sdclib.methods.descent import sgd
from sdclib.methods.trained import TrainedHasher
from sdclib.training import gradient_step, train

__all__ = ["BiHalfHasher", "bihalf_codes"]


def bihalf_codes(continuous_codes: Tensor) -> Tensor:
    r"""Codes in which each bit is +1 for one half of the batch and -1 for the other.

    Bit by bit, the :math:`\lfloor n / 2 \rfloor` rows of the largest values become +1, the others -1; among equal
    values the first row comes first. The gradient passes unchanged, as through the identity.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)
        Finite.

    Returns
    -------
    Tensor, shape (n, n_bits)
        Exactly -1 or +1.
    """
    order = continuous_codes.detach().argsort(dim=0, descending=True, stable=True)
    codes = torch.full_like(continuous_codes, -1).scatter_(0, order[: len(order) // 2], 1)
    return codes + (
        continuous_codes - continuous_codes.detach()
    )  # the bracket is zero and carries the gradient


class BiHalfHasher(TrainedHasher):
    r"""Train a linear head so that binary codes with half-half bits keep the cosines of the features.

    With continuous codes :math:`u = W x + c` of the :math:`n` rows of a batch, their half-half codes :math:`b` (see
    `bihalf_codes`) and the :math:`N = \lfloor n / 2 \rfloor` pairs of the first half against the second,

    .. math::

        L = \frac{1}{N} \sum_{i=1}^{N} \left( \cos(b_i, b_{N+i}) - \cos(x_i, x_{N+i}) \right)^2
            + \frac{\gamma}{2 n K} \sum_{i,k} (u_{ik} - b_{ik})^2 .

    The first term's gradient passes from :math:`b` to :math:`u` unchanged; in the second, :math:`b` is a constant.
    Together :math:`u` gets :math:`\partial L / \partial b + \gamma (u - b) / (n K)`, which is how the authors write
    the layer. Half-half bits depend on who else is in the batch, so images are hashed with :math:`\mathrm{sign}(u)`,
    as the authors do; the second term is what makes :math:`b` and :math:`\mathrm{sign}(u)` agree.

    Parameters
    ----------
    n_bits : int
        Code length K.
    gamma : float
        :math:`\gamma`.
    learning_rate, momentum, weight_decay : float
        Of stochastic gradient descent.
    batch_size : int
        At least 2.
    epochs : int
        Passes over the training rows.
    step_epoch : int, optional
        After each `step_epoch` epochs the learning rate is multiplied by 0.1; None for never.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : torch.nn.Linear
        From features to :math:`u`, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with similarity_loss and distance, the mean of :math:`(u - b)^2`; not there after
        `load`.

    Notes
    -----
    Defaults are those of the authors' code, which too trains a linear head alone on a frozen network. What differs:
    there the features come through dropout while training; the short last batch is kept; sign(0) is 0. The authors
    write the second term as part of the layer's gradient and not of the loss; the steps are the same.

    Half-half codes have a mean cosine near 0 and features of a common direction do not, so the first term cannot get
    small. On the packaged set it even grows while codes get better; it is the second term that teaches, and with
    :math:`\gamma = 0` they get worse than the untrained ones. The learning rate is made for longer features (see
    `sdclib.methods.greedyhash`): 20 epochs at 0.01 give better codes there than the default's 300.

    References
    ----------
    Y. Li and J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.
    """

    method = "bihalf"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        gamma: float = 6.0,
        learning_rate: float = 1e-4,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        batch_size: int = 32,
        epochs: int = 300,
        step_epoch: int | None = 120,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.gamma = gamma
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.step_epoch = step_epoch
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _make_head(self, n_features: int) -> nn.Module:
        return nn.Linear(n_features, self.n_bits)

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        gamma = check_real(self.gamma, "gamma", minimum=0)
        optimizer = sgd(head, self.learning_rate, self.momentum, self.weight_decay)

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            continuous_codes = head(batch)
            codes = bihalf_codes(continuous_codes)
            similarity_loss = pair_similarity_loss(codes, batch)
            distance = (continuous_codes - codes.detach()).square().mean()
            loss = similarity_loss + gamma / 2 * distance
            gradient_step(loss, optimizer)
            return {"loss": loss, "similarity_loss": similarity_loss, "distance": distance}

        schedule = self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
            step_epoch=None
            if self.step_epoch is None
            else check_int(self.step_epoch, "step_epoch", minimum=1),
        )
        return train(step, len(features), [optimizer], **schedule)
