"""Unsupervised hashing with similarity distribution calibration (SDC): model, losses, metrics, records."""

from sdclib.catalogue import load_features
from sdclib.methods import SDCHasher, make_hasher

__version__ = "0.1.0"
__all__ = ["SDCHasher", "load_features", "make_hasher"]
