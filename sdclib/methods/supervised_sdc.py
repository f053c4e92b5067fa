"""SDC with labels of the training rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.calibration import CalibrationDistribution, parse_calibration, target_quantiles
from sdclib.checks import check_int, check_name, check_real
from sdclib.head import HashHead
from sdclib.losses.calibration import labelled_calibration_loss, positive_pairs
from sdclib.losses.pairs import count_pairs_of
from sdclib.losses.quantization import quantization_loss
from sdclib.methods.supervised import SupervisedHasher
from sdclib.training import gradient_step, train

__all__ = ["LABELS", "SupervisedSDCHasher"]

LABELS = ("order", "target")


class SupervisedSDCHasher(SupervisedHasher):
    r"""Calibrate similarities with labels in the order of pairs, or in their targets too.

    Pairs, head, optimizer and quantization loss are those of SDC's preset ``release``. Each batch's pairs are put in
    order, negative pairs first and positive ones after them, by the feature cosine within each kind
    (`sdclib.losses.calibration`). With `labels`

    - ``"order"``, the targets are the quantiles :math:`F^{-1}((2n - 1) / 2N)` of one calibration distribution, as in
      SDC: labels decide which pairs get the upper ones, and the share of positive pairs decides how many;
    - ``"target"``, the target distribution is a mixture: the :math:`N_-` negative pairs of the batch get the quantiles
      :math:`F_-^{-1}((2n - 1) / 2N_-)` of one distribution, the :math:`N_+` positive ones those of another.

    Parameters
    ----------
    n_bits : int
        Code length K.
    labels : {"order", "target"}
    calibration : str or CalibrationDistribution
        For "order", see `sdclib.calibration.parse_calibration`.
    positive, negative : str or CalibrationDistribution
        For "target". By default the positive pairs' has mean 0.8 and standard deviation 0.13, the negative pairs' mean
        0 and standard deviation 0.16.
    quantization_weight : float
    learning_rate, weight_decay : float
        Of Adam.
    batch_size : int
        At least 2.
    epochs : int
        Passes over the training rows.
    step_epoch : int
        After each `step_epoch` epochs the learning rate is multiplied by 0.1.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with calibration_loss, quantization_loss and positive, the share of positive
        pairs; not there after `load`.

    Notes
    -----
    Made for this study; the paper is about hashing without labels. Batches of 256 with four times the learning rate
    of ``release`` train in a quarter of the time. No setting was tuned.
    """

    method = "supervised-sdc"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        labels: str = "order",
        calibration: str | CalibrationDistribution = "beta(5, 5)",
        positive: str | CalibrationDistribution = "beta(18, 2)",
        negative: str | CalibrationDistribution = "beta(20, 20)",
        quantization_weight: float = 1.0,
        learning_rate: float = 4e-4,
        weight_decay: float = 1e-5,
        batch_size: int = 256,
        epochs: int = 100,
        step_epoch: int = 80,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.labels = labels
        self.calibration = calibration
        self.positive = positive
        self.negative = negative
        self.quantization_weight = quantization_weight
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.step_epoch = step_epoch
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _make_head(self, n_features: int) -> nn.Module:
        return HashHead(n_features, self.n_bits, hidden_features=n_features)

    def _train(self, head: nn.Module, features: Tensor, labels: Tensor) -> pd.DataFrame:
        batch_size = check_int(self.batch_size, "batch_size", minimum=2)
        targets = self._targets(count_pairs_of(batch_size), features)
        weight = check_real(self.quantization_weight, "quantization_weight", minimum=0)
        optimizer = self._adam(head.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            continuous_codes = head(batch)
            positive = positive_pairs(labels[rows])
            terms = {
                "calibration_loss": labelled_calibration_loss(
                    continuous_codes, batch, positive, targets(int(positive.sum()))
                ),
                "quantization_loss": quantization_loss(continuous_codes),
            }
            loss = terms["calibration_loss"] + weight * terms["quantization_loss"]
            gradient_step(loss, optimizer)
            return {"loss": loss, **terms, "positive": positive.float().mean()}

        return train(step, len(features), [optimizer], **self._falling_schedule())

    def _targets(self, n_pairs: int, like: Tensor) -> Callable[[int], Tensor]:
        """Targets of a batch's pairs in order, by how many of them are positive."""
        if check_name(self.labels, "labels", LABELS) == "order":
            calibration = parse_calibration(self.calibration)
            whole = torch.as_tensor(target_quantiles(calibration, n_pairs)).to(like)
            return lambda n_positive: whole
        positive, negative = (_parse(getattr(self, name), name) for name in ("positive", "negative"))
        known: dict[int, Tensor] = {}

        def mixture(n_positive: int) -> Tensor:
            if n_positive not in known:
                parts = [
                    target_quantiles(distribution, n)
                    for distribution, n in ((negative, n_pairs - n_positive), (positive, n_positive))
                    if n
                ]
                known[n_positive] = torch.as_tensor(np.concatenate(parts)).to(like)
            return known[n_positive]

        return mixture


def _parse(distribution: str | CalibrationDistribution, name: str) -> CalibrationDistribution:
    try:
        return parse_calibration(distribution)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
