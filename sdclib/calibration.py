"""Calibration distributions: which similarities a batch of codes is to have.

A calibration distribution lives on [-1, 1], the range of a cosine, and is known to the rest of the library by
one method, `quantile(u)`. It is written in tables and notebook parameters as it prints: ``beta(5, 5)``,
``truncated_gaussian(0, 0.3)``.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

__all__ = ["Beta", "CalibrationDistribution", "TruncatedGaussian", "parse_calibration", "target_quantiles"]


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
        low, high = (-1 - self.mean) / self.std, (1 - self.mean) / self.std
        values = stats.truncnorm.ppf(_check_probabilities(u), low, high, loc=self.mean, scale=self.std)
        return np.clip(values, -1, 1)

    def __str__(self) -> str:
        return _spelled(self.name, astuple(self))


_DISTRIBUTIONS = {kind.name: kind for kind in (Beta, TruncatedGaussian)}


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
