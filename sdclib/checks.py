"""Checks of what comes in from outside; every message names the argument, what was expected and what came."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_LENGTH = 1e-12  # below it torch counts a row as zero
Limit: TypeAlias = int | float | tuple[str, ...]
"""The least of whole numbers, the least of numbers, or names."""

__all__ = [
    "Limit",
    "as_array",
    "check_features",
    "check_int",
    "check_labels",
    "check_limits",
    "check_name",
    "check_package",
    "check_real",
    "check_views",
]


def check_features(
    features: ArrayLike, name: str = "X", *, n_features: int | None = None
) -> NDArray[np.float32]:
    """Return a feature matrix, shape (n, d), as contiguous float32.

    ValueError, which begins with `name`, unless there is at least one row and one column, or `n_features` columns where
    that is given; all are finite; and no row is all zeros, or so long or short that its squared length leaves float32.
    """
    array = as_array(features, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected a numeric array, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected a 2D array of shape (n_samples, n_features), got shape {array.shape}"
        )
    for axis, what in enumerate(("row, got 0 sample(s)", "column, got 0 feature(s)")):  # scikit-learn's words
        if array.shape[axis] == 0:
            raise ValueError(f"{name}: expected at least one {what} (shape={array.shape})")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name}: expected {n_features} features a row, got {array.shape[1]}")
    with np.errstate(over="ignore"):
        array = np.require(array, np.float32, ["C", "W", "E"])  # torch warns of what cannot be written
    for bad, what in (
        (~np.isfinite(array).all(axis=1), "finite values, got NaN or infinity in {} row(s), first in row {}"),
        (~array.any(axis=1), "no all-zero row (its cosine is undefined), got {}, first is row {}"),
    ):
        if bad.any():
            raise ValueError(f"{name}: expected {what.format(bad.sum(), bad.argmax())}")
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
    """Return features of views of training images as float32, shape (n_views, n, d); `shape` is (n, d), n_views >= 2.

    ValueError if there are none, for which the message names the `method` and what to do `instead`; or if a view is not
    as `check_features` wants it.
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


def check_int(value: Any, name: str, *, minimum: int, maximum: int | None = None, of: str = "") -> int:
    """Return a whole number from `minimum` to `maximum` as int; ValueError if `value` is another, a bool or a float.

    `of` says in the message what there are `maximum` of.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name}: expected a whole number >= {minimum}, got {value!r}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name}: expected at most {f'the {maximum} {of}' if of else maximum}, got {value}")
    return int(value)


def check_package(name: str, what: str, install: str | None = None) -> None:
    """Raise ImportError that says what needs a package which is not installed, and how to install it."""
    if importlib.util.find_spec(name) is None:
        raise ImportError(f"{what} needs the package {name}: pip install {install or name}")


def check_real(value: Any, name: str, *, minimum: float) -> float:
    """Return a finite number of at least `minimum` as float; ValueError if `value` is another, or a bool."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value < minimum:
        raise ValueError(f"{name}: expected a finite number >= {minimum:g}, got {value!r}")
    return float(value)


def check_name(value: Any, name: str, known: Iterable[str]) -> str:
    """Return one of the `known` names; ValueError that lists them if `value` is another."""
    known = sorted(known)
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    return str(value)


def check_limits(owner: object, limits: Mapping[str, Limit]) -> None:
    """Check the arguments that `owner` was made with, by name; ValueError says which one is out of its limits.

    Numbers must be whole where their limit is. None is left alone where the argument's default or type has it.
    """
    for name, parameter in inspect.signature(type(owner)).parameters.items():
        value, limit = getattr(owner, name), limits.get(name)
        may_be_none = parameter.default is None or "None" in str(parameter.annotation)
        if limit is None or (value is None and may_be_none):
            continue
        if isinstance(limit, tuple):
            check_name(value, name, limit)
        elif isinstance(limit, int):
            check_int(value, name, minimum=limit)
        else:
            check_real(value, name, minimum=limit)


def check_labels(labels: ArrayLike, name: str, *, n: int) -> NDArray[np.integer]:
    """Return whole-number ids, shape (n,), as int64, or 0/1 vectors, shape (n, n_labels), as uint8.

    ValueError where labels are others, or not as many as `n`.
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
