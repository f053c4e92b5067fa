"""Unsupervised hashing with similarity distribution calibration (SDC): model, losses, metrics, records."""

__version__ = "0.1.0"
