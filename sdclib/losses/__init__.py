"""Losses, one a module."""

from sdclib.losses.calibration import align_targets, aligned_loss, calibration_loss, half_pairs
from sdclib.losses.contrastive import nt_xent_loss
from sdclib.losses.quantization import quantization_loss

__all__ = [
    "align_targets",
    "aligned_loss",
    "calibration_loss",
    "half_pairs",
    "nt_xent_loss",
    "quantization_loss",
]
