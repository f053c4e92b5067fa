"""Methods that train for a moment on a few rows, with all that any of them learns from."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sdclib.methods import METHODS, BaseHasher, make_hasher

SHORT: dict[str, Any] = {"preset": "release", "epochs": 2, "batch_size": 50, "hidden_features": 16}


def quick(method: str, n_bits: int = 12, **parameters: Any) -> BaseHasher:
    """Make a method with the settings of `SHORT` that it has; `parameters`, and ``seed``, go before them."""
    known = inspect.signature(METHODS[method]).parameters
    short = {name: value for name, value in SHORT.items() if name in known}
    return make_hasher(method, n_bits, **(short | parameters))


def extras(hasher: BaseHasher, X: ArrayLike) -> dict[str, Any]:
    """Labels, views and tokens for the rows, as far as `fit` needs them."""
    rows, rng = np.asarray(X, dtype=np.float64), np.random.default_rng(1)
    more: dict[str, Any] = {}
    if hasher.needs_labels:
        more["y"] = np.arange(len(rows)) % 5
    if hasher.needs_views:
        more["views"] = rows + 0.1 * rng.standard_normal((3, *rows.shape))
    if hasher.needs_tokens:
        more["tokens"] = rng.standard_normal((3, len(rows), 4, 6))
    return more


def fit(hasher: BaseHasher, X: ArrayLike) -> BaseHasher:
    """Fit a method with its `extras`."""
    return hasher.fit(X, **extras(hasher, X))
