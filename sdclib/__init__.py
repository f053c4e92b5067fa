"""Unsupervised hashing with similarity distribution calibration (SDC): model, losses, metrics, records."""

from sdclib.extracted import load_extracted
from sdclib.features import load_features
from sdclib.methods import SDCHasher, make_hasher

__version__ = "0.1.0"
__all__ = ["SDCHasher", "load_extracted", "load_features", "make_hasher"]
