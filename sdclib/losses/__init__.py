"""Losses, a family a module."""

from sdclib.losses.calibration import calibration_loss
from sdclib.losses.contrastive import nt_xent_loss
from sdclib.losses.pairs import half_pairs, pair_similarities
from sdclib.losses.quantization import quantization_loss

__all__ = ["calibration_loss", "half_pairs", "nt_xent_loss", "pair_similarities", "quantization_loss"]
