"""Calibration distributions: which similarities a batch of codes is to have.

A calibration distribution lives on [-1, 1], the range of a cosine, and is known to the rest of the library by
one method, `quantile(u)`. It is written in tables and notebook parameters as it prints: ``beta(5, 5)``,
``truncated_gaussian(0, 0.3)``. The uniform distribution is ``beta(1, 1)``, the arcsine distribution
``beta(0.5, 0.5)``; the Beta with the spread of K fair bits is Beta((K - 1) / 2, (K - 1) / 2).
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Beta",
    "Binomial",
    "CalibrationDistribution",
    "Empirical",
    "TruncatedGaussian",
    "TruncatedLaplace",
    "parse_calibration",
    "target_quantiles",
]


class CalibrationDistribution(Protocol):
    """What a calibration distribution offers."""

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """Inverse distribution function, [0, 1] to [-1, 1], elementwise and non-decreasing."""
        ...


def _check_positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{type(owner).__name__}: expected {name} to be finite and > 0, got {value!r}")


def _check_probabilities(u: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(u, dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError("u: expected probabilities in [0, 1], got values outside or NaN")
    return array


def _spelled(name: str, values: tuple[float, ...]) -> str:
    return f"{name}({', '.join(f'{value:.10g}' for value in values)})"


@dataclass(frozen=True)
class Beta:
    r"""Beta distribution, moved from [0, 1] to [-1, 1].

    .. math:: F^{-1}(u) = 2 I^{-1}_u(\alpha, \beta) - 1

    with :math:`I` the regularised incomplete beta function. Its variance on [-1, 1] is
    :math:`4 \alpha\beta / ((\alpha + \beta)^2 (\alpha + \beta + 1))`; Beta(5, 5) has standard deviation 0.3015.

    Parameters
    ----------
    alpha, beta : float
        Shape parameters, both > 0.

    References
    ----------
    Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023, section 3.
    """

    alpha: float = 5.0
    beta: float = 5.0
    name: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        _check_positive(self, alpha=self.alpha, beta=self.beta)

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """See `CalibrationDistribution.quantile`."""
        from scipy import special

        return 2 * special.betaincinv(self.alpha, self.beta, _check_probabilities(u)) - 1

    def __str__(self) -> str:
        return _spelled(self.name, astuple(self))


@dataclass(frozen=True)
class TruncatedGaussian:
    """Gaussian cut to [-1, 1] and normalised again.

    Parameters
    ----------
    mean : float
        Mean before the cut, finite.
    std : float
        Standard deviation before the cut, > 0. The paper's ablation has N(0, 0.3).
    """

    mean: float = 0.0
    std: float = 0.3
    name: ClassVar[str] = "truncated_gaussian"

    def __post_init__(self) -> None:
        _check_positive(self, std=self.std)
        if not np.isfinite(self.mean):
            raise ValueError(f"TruncatedGaussian: expected mean to be finite, got {self.mean!r}")

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """See `CalibrationDistribution.quantile`."""
        from scipy import stats

        low, high = (-1 - self.mean) / self.std, (1 - self.mean) / self.std
        values = stats.truncnorm.ppf(_check_probabilities(u), low, high, loc=self.mean, scale=self.std)
        return np.clip(values, -1, 1)

    def __str__(self) -> str:
        return _spelled(self.name, astuple(self))


@dataclass(frozen=True)
class TruncatedLaplace:
    """Laplace distribution cut to [-1, 1] and normalised again.

    Parameters
    ----------
    mean : float
        Mean before the cut, finite.
    scale : float
        Before the cut, > 0; the standard deviation is the square root of 2 times as large.
    """

    mean: float = 0.0
    scale: float = 0.2
    name: ClassVar[str] = "truncated_laplace"

    def __post_init__(self) -> None:
        _check_positive(self, scale=self.scale)
        if not np.isfinite(self.mean):
            raise ValueError(f"TruncatedLaplace: expected mean to be finite, got {self.mean!r}")

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """See `CalibrationDistribution.quantile`."""
        from scipy import stats

        whole = stats.laplace(self.mean, self.scale)
        low, high = whole.cdf(-1), whole.cdf(1)
        return np.clip(whole.ppf(low + _check_probabilities(u) * (high - low)), -1, 1)

    def __str__(self) -> str:
        return _spelled(self.name, astuple(self))


@dataclass(frozen=True)
class Binomial:
    """Similarity of two codes of `n_bits` independent fair bits: 2 B / n_bits - 1 with B ~ B(n_bits, 1/2).

    Its standard deviation is 1 / sqrt(n_bits).

    Parameters
    ----------
    n_bits : int
        At least 1.
    """

    n_bits: float = 64
    name: ClassVar[str] = "binomial"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.n_bits) and self.n_bits >= 1 and self.n_bits == int(self.n_bits)):
            raise ValueError(f"Binomial: expected n_bits to be a whole number >= 1, got {self.n_bits!r}")

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """See `CalibrationDistribution.quantile`."""
        from scipy import stats

        agreeing = stats.binom.ppf(_check_probabilities(u), self.n_bits, 0.5)
        return 2 * np.maximum(agreeing, 0) / self.n_bits - 1  # SciPy's quantile of 0 is -1

    def __str__(self) -> str:
        return _spelled(self.name, astuple(self))


class Empirical:
    """Distribution of given similarities.

    Parameters
    ----------
    similarities : array-like, shape (n,)
        In [-1, 1].
    """

    name: ClassVar[str] = "empirical"

    def __init__(self, similarities: ArrayLike):
        values = np.asarray(similarities, dtype=np.float64)
        if values.ndim != 1 or not values.size or not (np.abs(values) <= 1 + 1e-6).all():
            raise ValueError(
                f"similarities: expected numbers in [-1, 1] of shape (n,), n >= 1, got shape {values.shape}"
            )
        self.similarities = np.sort(values.clip(-1, 1))

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """See `CalibrationDistribution.quantile`."""
        return np.quantile(self.similarities, _check_probabilities(u))

    def __str__(self) -> str:
        return self.name


_DISTRIBUTIONS = {kind.name: kind for kind in (Beta, TruncatedGaussian, TruncatedLaplace, Binomial)}


def parse_calibration(calibration: str | CalibrationDistribution) -> CalibrationDistribution:
    """Make a calibration distribution from how it prints.

    Parameters
    ----------
    calibration : str or CalibrationDistribution
        Such as ``"beta(5, 5)"`` or ``"truncated_gaussian(0, 0.3)"``; a distribution is returned as it is.

    Raises
    ------
    ValueError
        If the name is unknown, or the number or range of the values is wrong.
    """
    if not isinstance(calibration, str):
        if not callable(getattr(calibration, "quantile", None)):
            raise ValueError(
                f"calibration: expected a name or an object with quantile(u), got {calibration!r}"
            )
        return calibration
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", calibration)
    if match is None or match[1] not in _DISTRIBUTIONS:
        examples = ", ".join(str(kind()) for kind in _DISTRIBUTIONS.values())
        raise ValueError(f"calibration: expected a distribution such as {examples}, got {calibration!r}")
    kind = _DISTRIBUTIONS[match[1]]
    try:
        values = [float(value) for value in match[2].split(",")]
        return kind(*values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"calibration: expected values like {kind()}, got {calibration!r} ({error})"
        ) from error


def target_quantiles(calibration: CalibrationDistribution, n_pairs: int) -> NDArray[np.float64]:
    r"""Similarities that `n_pairs` pairs are to have: quantiles at the middles of `n_pairs` equal slices.

    .. math:: C_n = F^{-1}\!\left(\frac{2n - 1}{2N}\right), \quad n = 1, \dots, N

    Parameters
    ----------
    calibration : CalibrationDistribution
    n_pairs : int
        N, at least 1.

    Returns
    -------
    ndarray, shape (n_pairs,), float64
        Ascending, in [-1, 1].

    References
    ----------
    Supplement of the paper, algorithm 1.
    """
    return calibration.quantile((2 * np.arange(1, n_pairs + 1) - 1) / (2 * n_pairs))
