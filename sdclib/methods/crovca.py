"""CroVCA, cross-view code alignment."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.checks import check_int, check_real
from sdclib.losses.contrastive import code_alignment_loss, coding_rate
from sdclib.methods.trained import TrainedHasher, draw_views
from sdclib.training import gradient_step, train

__all__ = ["CroVCAHasher"]

LAST_LEARNING_RATE = 1e-6  # where the cosine ends, unless it starts below


class CroVCAHasher(TrainedHasher):
    r"""Align the codes of two views while keeping codes diverse.

    A head :math:`z(x) = \mathrm{BatchNorm}(W_2 \, \mathrm{ReLU}(W_1 x + c_1) + c_2)` is trained on two augmented
    views of each image, with logits :math:`z, z'`, by

    .. math::

        L = \frac{1}{2nK} \sum_{i,k} \left( \ell(z_{ik}, [z'_{ik} \ge 0]) + \ell(z'_{ik}, [z_{ik} \ge 0]) \right)
            - \lambda \, \frac{n + K}{n K} \cdot \frac{R(z) + R(z')}{2},

    where :math:`\ell` is the binary cross-entropy, through whose target no gradient flows
    (`sdclib.losses.contrastive`), and :math:`R` the coding rate of a batch of :math:`n`
    (`sdclib.losses.contrastive`), without which all images could get one code.

    Parameters
    ----------
    n_bits : int
        Code length K.
    hidden_features : int, optional
        Width of the hidden layer; None for the features' own.
    rate_weight : float
        :math:`\lambda`.
    distortion : float
        :math:`\epsilon^2` > 0 of the coding rate.
    learning_rate : float
        Of AdamW at the start; it falls along half a cosine, step by step, to 1e-6.
    weight_decay : float
        Of AdamW.
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
        See `sdclib.training.train`, with alignment_loss and coding_rate (the mean of both views'); learning_rate is
        that of an epoch's first step. Not there after `load`.

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

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden_features: int | None = None,
        rate_weight: float = 0.1,
        distortion: float = 0.05,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int = 256,
        epochs: int = 5,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.hidden_features = hidden_features
        self.rate_weight = rate_weight
        self.distortion = distortion
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
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
        hidden = n_features
        if self.hidden_features is not None:
            hidden = check_int(self.hidden_features, "hidden_features", minimum=1)
        layers = [nn.Linear(n_features, hidden), nn.Linear(hidden, self.n_bits)]
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.BatchNorm1d(self.n_bits))

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        views = more["views"]
        n, n_bits = check_int(self.batch_size, "batch_size", minimum=2), self.n_bits
        epochs = check_int(self.epochs, "epochs", minimum=1)
        distortion = check_real(self.distortion, "distortion", minimum=0)
        rate_weight = check_real(self.rate_weight, "rate_weight", minimum=0) * (n + n_bits) / (n * n_bits)
        learning_rate = check_real(self.learning_rate, "learning_rate", minimum=0)
        weight_decay = check_real(self.weight_decay, "weight_decay", minimum=0)
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer,
            T_max=max(1, epochs * (len(features) // n)),
            eta_min=min(LAST_LEARNING_RATE, learning_rate),
        )

        def step(rows: Tensor) -> dict[str, Tensor]:
            first, second = (head(view[rows]) for view in draw_views(views))
            alignment_loss = code_alignment_loss(first, second)
            rate = (coding_rate(first, distortion) + coding_rate(second, distortion)) / 2
            loss = alignment_loss - rate_weight * rate
            gradient_step(loss, optimizer)
            cosine.step()
            return {"loss": loss, "alignment_loss": alignment_loss, "coding_rate": rate}

        return train(step, len(features), [optimizer], **self._schedule(batch_size=n, epochs=epochs))
