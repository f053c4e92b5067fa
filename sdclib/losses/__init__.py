"""Losses, one a module."""

from sdclib.losses.calibration import calibration_loss, half_pairs
from sdclib.losses.quantization import quantization_loss

__all__ = ["calibration_loss", "half_pairs", "quantization_loss"]
