"""Making features small: fewer components, one byte each."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_int

__all__ = ["dequantise", "energy_preserving_map", "quantisation_scale", "quantise"]


def quantisation_scale(values: ArrayLike) -> NDArray[np.float32]:
    """Step of each component so that the largest magnitude becomes 127.

    Parameters
    ----------
    values : array-like, shape (n, d)

    Returns
    -------
    ndarray, shape (d,), float32
        Positive; 1 for a component that is all zeros.

    Raises
    ------
    ValueError
        If `values` is not a finite feature matrix.
    """
    largest = np.abs(check_features(values, "values")).max(axis=0)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)


def quantise(values: ArrayLike, scale: ArrayLike) -> NDArray[np.int8]:
    """Round each component to a whole number of steps from -127 to 127; what lies beyond is clipped.

    Parameters
    ----------
    values : array-like, shape (n, d)
    scale : array-like, shape (d,)
        Steps, see `quantisation_scale`.

    Returns
    -------
    ndarray, shape (n, d), int8
        Within half a step of ``values / scale`` where nothing is clipped; halves go to the even number.

    Raises
    ------
    ValueError
        If `values` is not a finite feature matrix or `scale` does not fit it.
    """
    array = check_features(values, "values")
    steps = _check_scale(scale, array.shape[1])
    return np.clip(np.rint(array / steps), -127, 127).astype(np.int8)


def dequantise(codes: ArrayLike, scale: ArrayLike) -> NDArray[np.float32]:
    """Inverse of `quantise` up to half a step: codes times scale.

    Parameters
    ----------
    codes : array-like, shape (n, d), int8
    scale : array-like, shape (d,)

    Returns
    -------
    ndarray, shape (n, d), float32

    Raises
    ------
    ValueError
        If `codes` is not a 2-D int8 array or `scale` does not fit it.
    """
    array = np.asarray(codes)
    if array.ndim != 2 or array.dtype != np.int8:
        raise ValueError(f"codes: expected int8 of shape (n, d), got {array.dtype} of shape {array.shape}")
    steps = _check_scale(scale, array.shape[1])
    return np.asarray(array * steps, dtype=np.float32)


def energy_preserving_map(
    database: ArrayLike, n_components: int, *, n_folds: int = 10
) -> NDArray[np.float64]:
    """Linear map to the first singular directions, uncentred, that keeps the mean squared norm.

    Projecting x on the first k right singular vectors v_j of the database shortens it, so all cosines grow: for
    the features here the mean cosine would rise from 0.41 to 0.46. The lost share t of the squared norm is
    therefore given back in equal parts, delta = t * sum(l) / k with l_j the squared singular values:
    z_j = sqrt(1 + delta / l_j) * <v_j, x>. Among all maps of rank k that keep the trace this is the closest to
    the Gram matrix (its k largest eigenvalues, each raised by the same amount), and the order of the directions
    stays. As the directions fit the rows they were computed from better than new ones, t is measured on rows
    left out, by `n_folds`-fold cross-validation; queries play no part.

    Parameters
    ----------
    database : array-like, shape (n, d)
        Rows in random order: fold of row i is i modulo `n_folds`.
    n_components : int
        k, at most the rank of the rows outside a fold.
    n_folds : int
        At least 2, at most n.

    Returns
    -------
    ndarray, shape (d, k), float64
        Use as ``features @ map``. The entry of largest magnitude of each column is positive.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    rows = check_features(database, "database").astype(np.float64)
    k = check_int(n_components, "n_components", minimum=1)
    n_folds = check_int(n_folds, "n_folds", minimum=2)
    if n_folds > len(rows):
        raise ValueError(f"n_folds: expected at most the {len(rows)} rows of the database, got {n_folds}")
    gram = rows.T @ rows
    values, vectors = _largest(gram, k)
    lost = 0.0
    for fold in range(n_folds):
        held_out = rows[fold::n_folds]
        _, directions = _largest(gram - held_out.T @ held_out, k)
        lost += float(np.sum(held_out**2) - np.sum((held_out @ directions) ** 2))
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(k)]
    weights = np.sqrt(1 + max(lost, 0.0) / k / values)
    return np.asarray(vectors * np.sign(peaks) * weights, dtype=np.float64)


def _largest(gram: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the k largest eigenvalues, descending, and their eigenvectors as columns."""
    values, vectors = np.linalg.eigh(gram)
    rank = int(np.count_nonzero(values > values[-1] * len(gram) * np.finfo(np.float64).eps))
    if k > rank:
        raise ValueError(
            f"n_components: expected at most the rank {rank} of the rows outside a fold, got {k}"
        )
    return values[::-1][:k], vectors[:, ::-1][:, :k]


def _check_scale(scale: ArrayLike, d: int) -> NDArray[np.float32]:
    """Check steps and return them as float32."""
    steps = np.asarray(scale)
    if steps.shape != (d,) or steps.dtype.kind not in "fiu" or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(
            f"scale: expected {d} positive finite numbers, got {steps.dtype} of shape {steps.shape}"
        )
    return steps.astype(np.float32)
