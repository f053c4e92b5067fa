"""Calibration distributions, and the losses that move code similarities towards them: SDC and its kin.

All losses are means over the pairs of a batch, as tensors of shape () with a gradient. Arguments whose shapes do not
fit each other are a ValueError that names them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from torch import Tensor
from torch.nn.functional import softplus

from sdclib.losses.pairs import check_rows, pair_similarities, pairs_of

__all__ = [
    "Beta",
    "Binomial",
    "CalibrationDistribution",
    "Empirical",
    "TruncatedGaussian",
    "TruncatedLaplace",
    "calibration_loss",
    "matching_loss",
    "parse_calibration",
    "positive_pairs",
    "ranking_loss",
    "target_quantiles",
]


class CalibrationDistribution(Protocol):
    """What a calibration distribution offers."""

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """Inverse distribution function, [0, 1] to [-1, 1], elementwise and non-decreasing."""
        ...


def _check_probabilities(u: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(u, dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError("u: expected probabilities in [0, 1], got values outside or NaN")
    return array


class _Named(ABC):
    """A distribution given by numbers, which prints as `parse_calibration` reads it."""

    name: ClassVar[str]

    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """See `CalibrationDistribution.quantile`."""
        return np.clip(self._quantile(_check_probabilities(u)), -1, 1)

    @abstractmethod
    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of probabilities that were checked."""

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):  # type: ignore[arg-type]
            value = getattr(self, name)
            if not (np.isfinite(value) and (name == "mean" or value > 0)):
                expected = "finite" if name == "mean" else "finite and > 0"
                raise ValueError(f"{type(self).__name__}: expected {name} to be {expected}, got {value!r}")

    def __str__(self) -> str:
        values = (f"{getattr(self, field.name):.10g}" for field in fields(self))  # type: ignore[arg-type]
        return f"{self.name}({', '.join(values)})"


@dataclass(frozen=True)
class Beta(_Named):
    r"""Beta distribution with shape parameters `alpha` and `beta`, both > 0, moved from [0, 1] to [-1, 1].

    .. math:: F^{-1}(u) = 2 I^{-1}_u(\alpha, \beta) - 1

    with :math:`I` the regularised incomplete beta function. Its variance on [-1, 1] is
    :math:`4 \alpha\beta / ((\alpha + \beta)^2 (\alpha + \beta + 1))`; Beta(5, 5), of the paper's section 3, has
    standard deviation 0.3015.
    """

    alpha: float = 5.0
    beta: float = 5.0
    name: ClassVar[str] = "beta"

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(2 * special.betaincinv(self.alpha, self.beta, u) - 1)


@dataclass(frozen=True)
class TruncatedGaussian(_Named):
    """Gaussian cut to [-1, 1]; `mean` and `std` > 0 are those before the cut. The paper's ablation has N(0, 0.3)."""

    mean: float = 0.0
    std: float = 0.3
    name: ClassVar[str] = "truncated_gaussian"

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = (-1 - self.mean) / self.std, (1 - self.mean) / self.std
        return np.asarray(stats.truncnorm.ppf(u, low, high, loc=self.mean, scale=self.std))


@dataclass(frozen=True)
class TruncatedLaplace(_Named):
    """Laplace distribution cut to [-1, 1]; before the cut its standard deviation is `scale` > 0 times the root of 2."""

    mean: float = 0.0
    scale: float = 0.2
    name: ClassVar[str] = "truncated_laplace"

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.mean < 0:  # else F(-1) and F(1) would both round to 1 where the mean is far below -1
            return -TruncatedLaplace(-self.mean, self.scale)._quantile(1 - u)
        whole = stats.laplace(self.mean, self.scale)
        low, high = whole.cdf(-1), whole.cdf(1)
        return np.asarray(whole.ppf(low + u * (high - low)))


@dataclass(frozen=True)
class Binomial(_Named):
    """Similarity of two codes of `n_bits` independent fair bits: 2 B / n_bits - 1 with B ~ B(n_bits, 1/2).

    Its standard deviation is 1 / sqrt(n_bits).
    """

    n_bits: float = 64
    name: ClassVar[str] = "binomial"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_bits != int(self.n_bits):
            raise ValueError(f"Binomial: expected n_bits to be a whole number >= 1, got {self.n_bits!r}")

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(2 * stats.binom.ppf(u, self.n_bits, 0.5) / self.n_bits - 1)  # below -1 for u = 0


class Empirical:
    """Distribution of given similarities, array-like of shape (n,) in [-1, 1]."""

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


def parse_calibration(
    calibration: str | CalibrationDistribution, name: str = "calibration"
) -> CalibrationDistribution:
    """Make a calibration distribution of how it prints, ``"beta(5, 5)"``; a distribution is returned as it is.

    ValueError, which begins with `name`, if the distribution is unknown, or the number or range of its values is wrong.
    """
    if not isinstance(calibration, str):
        if not callable(getattr(calibration, "quantile", None)):
            raise ValueError(f"{name}: expected a name or an object with quantile(u), got {calibration!r}")
        return calibration
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", calibration)
    if match is None or match[1] not in _DISTRIBUTIONS:
        examples = ", ".join(str(kind()) for kind in _DISTRIBUTIONS.values())
        raise ValueError(f"{name}: expected a distribution such as {examples}, got {calibration!r}")
    kind = _DISTRIBUTIONS[match[1]]
    try:
        values = [float(value) for value in match[2].split(",")]
        return kind(*values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected values like {kind()}, got {calibration!r} ({error})") from error


def target_quantiles(calibration: CalibrationDistribution, n_pairs: int) -> NDArray[np.float64]:
    r"""Similarities that `n_pairs` >= 1 pairs are to have, ascending, shape (n_pairs,), float64.

    They are the quantiles at the middles of N = `n_pairs` equal slices (supplement of the paper, algorithm 1):

    .. math:: C_n = F^{-1}\!\left(\frac{2n - 1}{2N}\right), \quad n = 1, \dots, N
    """
    return calibration.quantile((2 * np.arange(1, n_pairs + 1) - 1) / (2 * n_pairs))


def calibration_loss(
    continuous_codes: Tensor,
    features: Tensor,
    targets: Tensor,
    pairs: str = "half",
    positive: Tensor | None = None,
) -> Tensor:
    r"""1-Wasserstein distance between code similarities and the calibration distribution, aligned by features.

    The pairs of the batch are put in ascending order of their feature cosine :math:`t`; equal ones stay in the order
    of the batch. In that order the code similarities :math:`s` (cosines of continuous codes) are compared with the
    quantiles :math:`C_n` of the calibration distribution:

    .. math:: L = \frac{1}{N} \sum_{n=1}^{N} | s_{(n)} - C_n |

    Sorted by :math:`s` itself this would be the 1-Wasserstein distance by inverse distribution functions;
    the features' order makes it an upper bound that also says which pair is to have which similarity.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.
    targets : Tensor, shape (n_pairs,)
        One a pair, in order: of all pairs ascending, see `target_quantiles`; or those of the negative pairs first.
    pairs : {"half", "all"}
        See `sdclib.losses.pairs`; the paper has the first half of a batch against the second.
    positive : Tensor, shape (n_pairs,), bool, optional
        Where labels are known, see `positive_pairs`: every negative pair then comes before every positive pair, and
        :math:`t` orders the pairs of each kind.

    References
    ----------
    Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023; supplement, algorithm 1.
    """
    check_rows(continuous_codes, features)
    similarities = pair_similarities(continuous_codes, pairs)
    _check_pairs(similarities, targets=targets, positive=positive)
    with torch.no_grad():
        order = pair_similarities(features, pairs).argsort(stable=True)
        if positive is not None:
            order = order[positive[order].to(torch.uint8).argsort(stable=True)]
    return (similarities[order] - targets).abs().mean()


def _check_pairs(similarities: Tensor, **values: Tensor | None) -> None:
    for name, value in values.items():
        if value is not None and value.shape != similarities.shape:
            raise ValueError(f"{name}: expected shape {tuple(similarities.shape)}, got {tuple(value.shape)}")


def positive_pairs(labels: Tensor, pairs: str = "half") -> Tensor:
    """Tell which pairs of a batch are positive: of the same class, or with a label in common; shape (n_pairs,), bool.

    Labels have shape (n,), of ids, or (n, n_labels), of 0 and 1; for `pairs` see `sdclib.losses.pairs`.
    """
    first, second = pairs_of(labels, pairs)
    return first == second if labels.ndim == 1 else (first.bool() & second.bool()).any(dim=1)


def matching_loss(continuous_codes: Tensor, targets: Tensor, pairs: str = "half") -> Tensor:
    """Mean absolute difference between the code cosine of each pair of a batch and its target.

    With targets that depend on a pair's own feature cosine alone, this is SDC's calibration loss without the alignment
    of quantiles. Targets have shape (n_pairs,), in the order of the pairs; no gradient flows into them. For the others
    see `calibration_loss`.
    """
    similarities = pair_similarities(continuous_codes, pairs)
    _check_pairs(similarities, targets=targets)
    return (similarities - targets.detach()).abs().mean()


def ranking_loss(
    continuous_codes: Tensor,
    features: Tensor,
    temperature: float = 0.1,
    pairs: str = "half",
    positive: Tensor | None = None,
) -> Tensor:
    r"""Logistic loss on the order of the pairs of a batch: which of two pairs is the more similar one.

    With the feature cosines :math:`t` and the code cosines :math:`s` of the pairs, and
    :math:`P = \{(i, j) : t_i > t_j\}`,

    .. math:: L = \frac{1}{|P|} \sum_{(i, j) \in P} \tau \log \left( 1 + e^{-(s_i - s_j) / \tau} \right) .

    No value of :math:`t` enters, only the order; a pair of pairs that is in order by more than a few :math:`\tau`
    costs next to nothing. The factor :math:`\tau` keeps the slope in :math:`s_i - s_j` below 1, as that of an absolute
    difference is. The loss is 0 where no two pairs differ in :math:`t`, as with a single pair.

    Parameters
    ----------
    continuous_codes, features, pairs, positive
        See `calibration_loss`.
    temperature : float
        :math:`\tau` > 0, in units of the cosine.

    References
    ----------
    C. Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    check_rows(continuous_codes, features)
    s, t = pair_similarities(continuous_codes, pairs), pair_similarities(features.detach(), pairs)
    _check_pairs(s, positive=positive)
    above = t[:, None] > t
    if positive is not None:
        above = torch.where(positive[:, None] == positive, above, positive[:, None])
    ordered = above.to(s.dtype)
    costs = temperature * softplus((s - s[:, None]) / temperature)
    return (ordered * costs).sum() / ordered.sum().clamp_min(1)
