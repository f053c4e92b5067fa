"""Losses, one a module."""

from sdclib.losses.calibration import align_targets, aligned_loss, calibration_loss, half_pairs
from sdclib.losses.quantization import quantization_loss

__all__ = ["align_targets", "aligned_loss", "calibration_loss", "half_pairs", "quantization_loss"]
