"""Statistics of few values: contrasts, rank correlations, corrections for many tests, power."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import brentq

__all__ = [
    "contrast",
    "detectable",
    "deviation_factors",
    "holm",
    "left_out_r2",
    "rank_relation",
    "seeds_needed",
]


def contrast(groups: Sequence[ArrayLike], weights: Sequence[float]) -> tuple[float, float, float]:
    """Weighted sum of group means with a 95 % interval by Welch and Satterthwaite.

    Two groups with weights 1 and -1 are Welch's test; four with 1, -1, -1 and 1 are a difference of differences.

    Parameters
    ----------
    groups : sequence of array-like, shapes (n_seeds,), n_seeds >= 2
    weights : sequence of float

    Returns
    -------
    mean, low, high : float
        In the unit of the values.

    Raises
    ------
    ValueError
        If a group has fewer than two values, or there are not as many weights as groups.
    """
    if len(groups) != len(weights):
        raise ValueError(f"weights: expected one a group, {len(groups)}, got {len(weights)}")
    arrays = [np.asarray(group, dtype=float) for group in groups]
    for i, array in enumerate(arrays):
        if array.ndim != 1 or array.size < 2:
            raise ValueError(f"groups[{i}]: expected at least two values, got shape {array.shape}")
    mean = float(sum(w * array.mean() for w, array in zip(weights, arrays, strict=True)))
    parts = np.array(
        [w**2 * array.var(ddof=1) / array.size for w, array in zip(weights, arrays, strict=True)]
    )
    if not parts.sum():
        return mean, mean, mean
    freedom = parts.sum() ** 2 / sum(
        part**2 / (array.size - 1) for part, array in zip(parts, arrays, strict=True)
    )
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
    return mean, mean - half, mean + half


def rank_relation(
    x: ArrayLike, y: ArrayLike, n_samples: int = 10_000, seed: int = 0
) -> tuple[float, float, float, float]:
    """Spearman's rank correlation with a bootstrap interval and a permutation test.

    Parameters
    ----------
    x, y : array-like, shapes (n,), n >= 4
        One pair of values a target.
    n_samples : int
        Bootstrap samples (targets drawn with replacement), and permutations of `y`.
    seed : int

    Returns
    -------
    rho, low, high, p : float
        Correlation, ends of the 95 % percentile interval, and the two-sided p-value; NaN where `x` or `y` is constant.

    Raises
    ------
    ValueError
        If the shapes differ or hold fewer than four values.
    """
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 4:
        raise ValueError(
            f"x, y: expected shapes (n,) alike with n >= 4, got {first.shape} and {second.shape}"
        )
    rho = float(_rank_correlation(first[None], second[None])[0])
    if np.isnan(rho):
        return (np.nan,) * 4
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(first), size=(n_samples, len(first)))
    low, high = np.nanquantile(_rank_correlation(first[rows], second[rows]), [0.025, 0.975])
    shuffled = rng.permuted(np.tile(second, (n_samples, 1)), axis=1)
    extreme = np.abs(_rank_correlation(np.tile(first, (n_samples, 1)), shuffled)) >= abs(rho) - 1e-12
    return rho, float(low), float(high), float((1 + extreme.sum()) / (1 + n_samples))


def _rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation row by row; NaN where a row is constant."""
    a, b = (stats.rankdata(values, axis=1) for values in (x, y))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return (a * b).sum(axis=1) / np.where(scale > 0, scale, np.nan)


def left_out_r2(properties: ArrayLike, values: ArrayLike) -> float:
    r"""Tell how well properties predict the value of a target that was left out of the fit.

    A curve of second degree in every property is fitted by least squares to all targets but one, for each in turn:

    .. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat y_{-i})^2}{\sum_i (y_i - \bar y_{-i})^2}

    Parameters
    ----------
    properties : array-like, shape (n, n_properties)
    values : array-like, shape (n,)

    Returns
    -------
    float
        1 for perfect prediction; 0 and less where the mean of the others does as well or better.

    Raises
    ------
    ValueError
        If there are not at least two more targets than coefficients.
    """
    x, y = np.asarray(properties, dtype=float), np.asarray(values, dtype=float)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(y) < 2 * x.shape[1] + 3:
        raise ValueError(
            f"properties, values: expected shapes (n, n_properties) and (n,) with n >= 2 n_properties + 3, "
            f"got {x.shape} and {y.shape}"
        )
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    design = np.column_stack([np.ones(len(y)), scaled, scaled**2])
    # Left-out residuals of least squares: residual / (1 - leverage).
    hat = design @ np.linalg.pinv(design)
    left_out = (y - hat @ y) / (1 - np.diag(hat))
    by_mean = (y - y.mean()) * len(y) / (len(y) - 1)
    return float(1 - (left_out**2).sum() / (by_mean**2).sum())


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p values by Holm's step-down rule: those below 0.05 hold together with a chance of error of 5 % in all.

    Parameters
    ----------
    p : array-like, shape (n_tests,)

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    values = np.asarray(p, dtype=float)
    order = values.argsort()
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return adjusted


def deviation_factors(n_seeds: int) -> tuple[float, float]:
    """Least and largest ratio of the true to the estimated standard deviation, with 95 % confidence.

    Parameters
    ----------
    n_seeds : int
        At least 2 values, from a normal distribution.
    """
    freedom = n_seeds - 1
    low, high = np.sqrt(freedom / stats.chi2.ppf((0.975, 0.025), freedom))
    return float(low), float(high)


def _power(effect: float, n_seeds: int, level: float) -> float:
    """Chance that a t-test of two settings with `n_seeds` each finds a difference of `effect` deviations."""
    freedom = 2 * n_seeds - 2
    critical = stats.t.ppf(1 - level / 2, freedom)
    shifted = stats.nct(freedom, effect * np.sqrt(n_seeds / 2))
    return float(shifted.sf(critical) + shifted.cdf(-critical))


def detectable(deviation: float, n_seeds: int, level: float = 0.05, power: float = 0.8) -> float:
    """Difference between two settings that a t-test finds with chance `power`, in the unit of `deviation`.

    Parameters
    ----------
    deviation : float
        Standard deviation over seeds, the same in both settings.
    n_seeds : int
        Of each setting, at least 2.
    level : float
        Chance to find a difference where there is none.
    power : float
        Above `level`, below 1.

    Raises
    ------
    ValueError
        If there are fewer than two seeds.
    """
    if n_seeds < 2:
        raise ValueError(f"n_seeds: expected at least 2, got {n_seeds}")
    most = 1.0
    while _power(most, n_seeds, level) < power:
        most *= 1.5
    return deviation * float(brentq(lambda effect: _power(effect, n_seeds, level) - power, 1e-6, most))


def seeds_needed(points: float, deviation: float, level: float = 0.05, power: float = 0.8) -> int:
    """Seeds of each of two settings with which a t-test finds a difference of `points` with chance `power`.

    See `detectable`.

    Raises
    ------
    ValueError
        If `points` or `deviation` is not above zero.
    """
    if not (points > 0 and deviation > 0):
        raise ValueError(f"points, deviation: expected numbers above 0, got {points!r}, {deviation!r}")
    n_seeds = 2
    while _power(points / deviation, n_seeds, level) < power:
        n_seeds += 1
    return n_seeds
