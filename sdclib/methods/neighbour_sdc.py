"""SDC whose pairs are put in order by features averaged over nearest neighbours."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.calibration import CalibrationDistribution, parse_calibration, target_quantiles
from sdclib.checks import check_int, check_real
from sdclib.head import HashHead
from sdclib.losses.calibration import calibration_loss
from sdclib.losses.pairs import count_pairs_of
from sdclib.losses.quantization import quantization_loss
from sdclib.methods.sdc import _absorb_mean
from sdclib.methods.trained import TrainedHasher, adam
from sdclib.neighbours import smooth_over_neighbours
from sdclib.training import gradient_step, train

__all__ = ["NeighbourSDCHasher"]

UPDATES = 500  # of the weights, where the number of epochs is not given


class NeighbourSDCHasher(TrainedHasher):
    r"""Calibrate code similarities in the order that features averaged over their nearest neighbours give.

    1. The mean of the training features is subtracted from them.
    2. Each training row is linked to its `n_neighbors` most similar ones (cosine).
    3. Unit features are averaged over the links, `n_steps` times: the teacher, see `sdclib.neighbours`.
    4. SDC's calibration loss and quantization loss train the hash head on the features as in step 1; the teacher's
       cosines, not the features', put a batch's pairs in order.
    5. The mean becomes part of the head's first layer, so that `transform` takes features as they are.

    Neighbours are needed in training alone; a query is encoded by the head like in SDC.

    Parameters
    ----------
    n_bits : int
        Code length K.
    n_neighbors : int
        Less than the number of training rows.
    n_steps : int
        0 leaves the teacher the centred features: SDC with ``center=True``.
    calibration : str or CalibrationDistribution
        See `sdclib.calibration.parse_calibration`.
    quantization_weight : float
    learning_rate, weight_decay : float
        Of Adam.
    batch_size : int
        At least 2.
    epochs : int, optional
        Passes over the training rows. By default as many as make 500 batches, so that training takes as long on few
        rows as on many.
    step_epoch : int, optional
        After each `step_epoch` epochs the learning rate is multiplied by 0.1. By default after four fifths of them.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head for features as they are, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with calibration_loss and quantization_loss; not there after `load`.

    Notes
    -----
    Made for this study. Neighbours, steps, learning rate and length of training were chosen on training rows alone: see
    the chapters on the method and on tuning in the book.
    """

    method = "neighbour-sdc"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        n_neighbors: int = 10,
        n_steps: int = 4,
        calibration: str | CalibrationDistribution = "beta(5, 5)",
        quantization_weight: float = 1.0,
        learning_rate: float = 8e-4,
        weight_decay: float = 1e-5,
        batch_size: int = 256,
        epochs: int | None = None,
        step_epoch: int | None = None,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.n_neighbors = n_neighbors
        self.n_steps = n_steps
        self.calibration = calibration
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

    def _length(self, n_batches: int) -> dict[str, Any]:
        """Epochs, and after how many the rate falls, where an epoch has so many batches."""
        epochs = math.ceil(UPDATES / max(1, n_batches)) if self.epochs is None else self.epochs
        epochs = check_int(epochs, "epochs", minimum=1)
        step_epoch = max(1, round(0.8 * epochs)) if self.step_epoch is None else self.step_epoch
        return {"epochs": epochs, "step_epoch": check_int(step_epoch, "step_epoch", minimum=1)}

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        batch_size = check_int(self.batch_size, "batch_size", minimum=2)
        targets = torch.as_tensor(
            target_quantiles(parse_calibration(self.calibration), count_pairs_of(batch_size))
        ).to(features)
        weight = check_real(self.quantization_weight, "quantization_weight", minimum=0)
        optimizer = adam(
            head.parameters(),
            check_real(self.learning_rate, "learning_rate", minimum=0),
            check_real(self.weight_decay, "weight_decay", minimum=0),
        )
        schedule = self._schedule(batch_size=batch_size, **self._length(len(features) // batch_size))
        mean = features.mean(dim=0)
        features = features - mean
        teacher = torch.as_tensor(
            smooth_over_neighbours(features.cpu().numpy(), self.n_neighbors, self.n_steps)
        ).to(features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            continuous_codes = head(features[rows])
            terms = {
                "calibration_loss": calibration_loss(continuous_codes, teacher[rows], targets),
                "quantization_loss": quantization_loss(continuous_codes),
            }
            loss = terms["calibration_loss"] + weight * terms["quantization_loss"]
            gradient_step(loss, optimizer)
            return {"loss": loss, **terms}

        history = train(step, len(features), [optimizer], **schedule)
        _absorb_mean(head, mean)
        return history
