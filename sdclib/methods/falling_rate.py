"""Adam at a rate that falls once: what the methods of this study that are not the paper's train by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sdclib.checks import check_int, check_real
from sdclib.methods.trained import TrainedHasher, adam

__all__ = ["FallingRateHasher"]


class FallingRateHasher(TrainedHasher):
    """Base of the methods with Adam's learning_rate and weight_decay, and batch_size, epochs and step_epoch."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    step_epoch: int

    def _adam(self, weights: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """Make the optimizer of `weights`; ValueError for a setting out of range."""
        return adam(
            weights,
            check_real(self.learning_rate, "learning_rate", minimum=0),
            check_real(self.weight_decay, "weight_decay", minimum=0),
        )

    def _falling_schedule(self) -> dict[str, Any]:
        """Arguments of `sdclib.training.train`; ValueError for a setting out of range."""
        return self._schedule(
            batch_size=check_int(self.batch_size, "batch_size", minimum=2),
            epochs=check_int(self.epochs, "epochs", minimum=1),
            step_epoch=check_int(self.step_epoch, "step_epoch", minimum=1),
        )
