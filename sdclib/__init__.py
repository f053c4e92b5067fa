"""Unsupervised hashing with similarity distribution calibration (SDC): model, losses, metrics, search."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdclib.catalogue import load_features
    from sdclib.methods import SDCHasher, make_hasher

__version__ = "0.1.0"
__all__ = ["SDCHasher", "load_features", "make_hasher"]

_HOME = {"load_features": "sdclib.catalogue", "SDCHasher": "sdclib.methods", "make_hasher": "sdclib.methods"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and with it torch, at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
