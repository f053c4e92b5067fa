"""Checks of what comes in from outside; every message names the argument, what was expected and what came."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_LENGTH = 1e-12  # below it torch counts a row as zero

__all__ = [
    "as_array",
    "check_features",
    "check_int",
    "check_labels",
    "check_name",
    "check_real",
    "check_views",
]


def check_features(
    features: ArrayLike, name: str = "X", *, n_features: int | None = None
) -> NDArray[np.float32]:
    """Check a feature matrix and return it as contiguous float32.

    Parameters
    ----------
    features : array-like, shape (n, d)
        One row an image (or any item). At least one row and one column, all finite, no row all zeros (the
        cosine of a zero row is not defined), none so long or short that its squared length leaves float32.
    name : str
        How error messages name the argument.
    n_features : int, optional
        The number of columns that is expected.

    Returns
    -------
    ndarray, shape (n, d), float32

    Raises
    ------
    ValueError
        If shape or values are not as above.
    """
    array = as_array(features, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected a numeric array, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected a 2D array of shape (n_samples, n_features), got shape {array.shape}"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row, got 0 sample(s) (shape={array.shape})")
    if array.shape[1] == 0:
        raise ValueError(f"{name}: expected at least one column, got 0 feature(s) (shape={array.shape})")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name}: expected {n_features} features a row, got {array.shape[1]}")
    with np.errstate(over="ignore"):
        array = np.require(array, np.float32, ["C", "W", "E"])  # torch warns of what cannot be written
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise ValueError(
            f"{name}: expected finite values, got NaN or infinity in {rows.size} row(s), first in row {rows[0]}"
        )
    zero = ~array.any(axis=1)
    if zero.any():
        rows = np.flatnonzero(zero)
        raise ValueError(
            f"{name}: expected no all-zero row (its cosine is undefined), got {rows.size}, first is row {rows[0]}"
        )
    with np.errstate(over="ignore", under="ignore"):
        length = np.linalg.norm(array, axis=1)
    if not np.isfinite(length).all() or (length < MIN_LENGTH).any():
        raise ValueError(
            f"{name}: expected rows of a length between {MIN_LENGTH:g} and 1e19 (else cosines overflow or vanish in "
            f"float32), got {length.min():g} to {length.max():g}; scale the features"
        )
    return array


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Make an array of what people hold features in: also tensors, and data frames with nullable columns."""
    if hasattr(values, "detach"):  # of torch: NumPy takes neither gradients nor bfloat16
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    if hasattr(values, "toarray"):
        raise ValueError(f"{name}: expected a dense array, got a sparse one; {name}.toarray() makes it dense")
    array: NDArray[Any] = np.asanyarray(values)  # a memory map stays one
    if array.dtype == object and hasattr(values, "to_numpy"):  # a frame of nullable or Arrow-backed columns
        with contextlib.suppress(TypeError, ValueError):  # of texts
            array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def check_views(
    views: ArrayLike | None, shape: tuple[int, int], method: str, instead: str = ""
) -> NDArray[np.float32]:
    """Check the features of augmented views of training images and return them as float32.

    Parameters
    ----------
    views : array-like, shape (n_views, n, d), n_views >= 2
        Each view as in `check_features`.
    shape : tuple
        (n, d) of the training features.
    method : str
        What needs them, for the message.
    instead : str
        What to do without them, for the message.

    Returns
    -------
    ndarray, shape (n_views, n, d), float32

    Raises
    ------
    ValueError
        If there are none, or shape or values are not as above.
    """
    expected = f"features of shape (n_views, {shape[0]}, {shape[1]}), n_views >= 2"
    if views is None:
        raise ValueError(
            f"views: {method} learns from augmented views of the training images, expected {expected}, "
            f"got none{instead}"
        )
    array = np.asarray(views)
    if array.ndim != 3 or array.shape[0] < 2 or array.shape[1:] != tuple(shape):
        raise ValueError(f"views: expected {expected}, got shape {array.shape}")
    return np.stack([check_features(view, f"views[{i}]") for i, view in enumerate(array)])


def check_int(value: Any, name: str, *, minimum: int) -> int:
    """Check that `value` is a whole number of at least `minimum` and return it as int.

    Raises
    ------
    ValueError
        Otherwise; bools and floats are refused.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name}: expected a whole number >= {minimum}, got {value!r}")
    return int(value)


def check_real(value: Any, name: str, *, minimum: float) -> float:
    """Check that `value` is a finite number of at least `minimum` and return it as float.

    Raises
    ------
    ValueError
        Otherwise; bools are refused.
    """
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value < minimum:
        raise ValueError(f"{name}: expected a finite number >= {minimum}, got {value!r}")
    return float(value)


def check_name(value: Any, name: str, known: Iterable[str]) -> str:
    """Check that `value` is one of the `known` names and return it.

    Raises
    ------
    ValueError
        Otherwise; the message lists the known names.
    """
    known = sorted(known)
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    return str(value)


def check_labels(labels: ArrayLike, name: str, *, n: int) -> NDArray[np.integer]:
    """Check labels: ids of shape (n,) or 0/1 vectors of shape (n, n_labels).

    Returns
    -------
    ndarray, shape (n,) int64 or (n, n_labels) uint8

    Raises
    ------
    ValueError
        If the number of rows is not `n`, ids are not whole numbers, or vectors hold anything but 0 and 1.
    """
    array = np.asarray(labels)
    if array.ndim not in (1, 2) or array.shape[0] != n:
        raise ValueError(f"{name}: expected labels of shape ({n},) or ({n}, n_labels), got {array.shape}")
    if array.ndim == 1:
        if array.dtype.kind not in "iub":
            raise ValueError(f"{name}: expected whole-number ids, got dtype {array.dtype}")
        return array.astype(np.int64)
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name}: expected 0/1 label vectors, got other values")
    return array.astype(np.uint8)
