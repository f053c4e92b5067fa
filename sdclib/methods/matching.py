"""Codes trained towards pair similarities that are set without SDC's alignment of quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdclib.calibration import CalibrationDistribution, parse_calibration, target_quantiles
from sdclib.checks import check_int, check_name, check_real
from sdclib.head import HashHead
from sdclib.losses.calibration import calibration_loss, matching_loss, ranking_loss
from sdclib.losses.pairs import count_pairs_of, pair_similarities
from sdclib.losses.quantization import quantization_loss
from sdclib.methods.falling_rate import FallingRateHasher
from sdclib.training import gradient_step, train

__all__ = [
    "FEATURES",
    "TARGETS",
    "MatchingHasher",
    "linear_map",
    "quantile_map",
    "similarity_moments",
    "whitening",
]

TARGETS = ("cosine", "standardised", "mapped", "rank", "calibrated")
FEATURES = ("raw", "centred", "whitened")
MAPPED_ROWS = 2000  # training rows at most whose pairs the map of "mapped" is made of
MAPPED_QUANTILES = 1000  # points of that map
MOMENT_QUANTILES = 100_000  # of the calibration distribution, for its mean and spread


class MatchingHasher(FallingRateHasher):
    r"""Train SDC's head towards similarities that are made from the feature cosines pair by pair.

    The loss of a batch is the mean absolute difference between the code cosine :math:`s` of each pair and a target,
    plus the quantization loss, with the pairs, head and optimizer of SDC's preset ``release``. The target of a pair
    with feature cosine :math:`t` is, for each value of `target`,

    - ``"cosine"``: :math:`t`, the similarity-preserving target;
    - ``"standardised"``: :math:`a t + b` cut to [-1, 1], with :math:`a > 0` and :math:`b` such that over all pairs of
      training rows :math:`a t + b` has the mean and the standard deviation of the calibration distribution;
    - ``"mapped"``: :math:`F^{-1}(G(t))` with the calibration distribution's quantile function :math:`F^{-1}` and the
      distribution function :math:`G` of the cosine over training pairs: mean, spread and shape are the calibration
      distribution's, but the same cosine has the same target in every batch;
    - ``"rank"``: none; the loss is that of `sdclib.losses.calibration`, which knows the order of the pairs alone;
    - ``"calibrated"``: SDC's own, the quantile of :math:`F` at the pair's rank in its batch.

    Parameters
    ----------
    n_bits : int
        Code length K.
    target : {"cosine", "standardised", "mapped", "rank", "calibrated"}
    features : {"raw", "centred", "whitened"}
        What head and cosines see: the features as they are; less their training mean; or centred and whitened, see
        `whitening`. After training the transformation becomes part of the first layer, so that `transform` takes
        features as they are.
    calibration : str or CalibrationDistribution
        Where the targets take their mean, spread or shape from, see `sdclib.calibration.parse_calibration`.
    shrinkage : float
        Of the whitening, in (0, 1]: from almost equal variances to a mere rotation.
    temperature : float
        Of the ranking loss.
    quantization_weight : float
    learning_rate, weight_decay : float
        Of Adam.
    batch_size : int
        At least 2.
    epochs : int
        Passes over the training rows.
    step_epoch : int
        After each `step_epoch` epochs the learning rate is multiplied by 0.1.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head for features as they are, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with matching_loss and quantization_loss; not there after `load`.

    Notes
    -----
    Made for this study, to tell apart what the targets of SDC do: their mean and spread, their shape, and the
    alignment within a batch. Batches of 256 with four times the learning rate of ``release`` train in a quarter of
    the time. No setting was tuned.
    """

    method = "matching"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        target: str = "cosine",
        features: str = "raw",
        calibration: str | CalibrationDistribution = "beta(5, 5)",
        shrinkage: float = 0.5,
        temperature: float = 0.1,
        quantization_weight: float = 1.0,
        learning_rate: float = 4e-4,
        weight_decay: float = 1e-5,
        batch_size: int = 256,
        epochs: int = 100,
        step_epoch: int = 80,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.target = target
        self.features = features
        self.calibration = calibration
        self.shrinkage = shrinkage
        self.temperature = temperature
        self.quantization_weight = quantization_weight
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.step_epoch = step_epoch
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _make_head(self, n_features: int) -> nn.Module:
        return HashHead(n_features, self.n_bits, hidden_features=n_features)

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        mean, matrix = self._transformation(features)
        if mean is not None:
            features = features - mean
        if matrix is not None:
            features = features @ matrix.T
        batch_size = check_int(self.batch_size, "batch_size", minimum=2)
        pair_loss = self._pair_loss(features, batch_size)
        weight = check_real(self.quantization_weight, "quantization_weight", minimum=0)
        optimizer = self._adam(head.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            continuous_codes = head(batch)
            terms = {
                "matching_loss": pair_loss(continuous_codes, batch),
                "quantization_loss": quantization_loss(continuous_codes),
            }
            loss = terms["matching_loss"] + weight * terms["quantization_loss"]
            gradient_step(loss, optimizer)
            return {"loss": loss, **terms}

        history = train(step, len(features), [optimizer], **self._falling_schedule())
        _absorb(head, mean, matrix)
        return history

    def _transformation(self, features: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Give what is subtracted from the features and what they are multiplied with; None for nothing."""
        if check_name(self.features, "features", FEATURES) == "raw":
            return None, None
        if self.features == "centred":
            return features.mean(dim=0), None
        return features.mean(dim=0), whitening(features, self.shrinkage)

    def _pair_loss(self, features: Tensor, batch_size: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Loss of a batch by its continuous codes and its features."""
        target = check_name(self.target, "target", TARGETS)
        calibration = parse_calibration(self.calibration)
        if not (temperature := check_real(self.temperature, "temperature", minimum=0)) > 0:
            raise ValueError(f"temperature: expected a number above 0, got {self.temperature!r}")
        if target == "rank":
            return lambda codes, batch: ranking_loss(codes, batch, temperature)
        if target == "calibrated":
            quantiles = torch.as_tensor(target_quantiles(calibration, count_pairs_of(batch_size))).to(
                features
            )
            return lambda codes, batch: calibration_loss(codes, batch, quantiles)
        if target == "cosine":
            return lambda codes, batch: matching_loss(codes, pair_similarities(batch))
        make_map = {"standardised": linear_map, "mapped": quantile_map}[target]
        to_target = make_map(features, calibration)
        return lambda codes, batch: matching_loss(codes, to_target(pair_similarities(batch)))


def similarity_moments(features: Tensor) -> tuple[float, float]:
    r"""Mean and standard deviation of the cosine over all pairs of different rows, exactly and without listing them.

    With the unit rows :math:`u_i`, the sum of cosines is :math:`\|\sum_i u_i\|^2` and that of their squares
    :math:`\|U^\top U\|_F^2`, each less the n ones of rows with themselves.

    Parameters
    ----------
    features : Tensor, shape (n, d), n >= 2

    Raises
    ------
    ValueError
        If there are fewer than two rows.
    """
    n = len(features)
    if n < 2:
        raise ValueError(f"X: expected at least two rows to make a pair, got {n} sample(s)")
    unit = normalize(features.double(), dim=1)
    n_pairs = n * (n - 1)
    mean = (unit.sum(dim=0).square().sum().item() - n) / n_pairs
    square = ((unit.T @ unit).square().sum().item() - n) / n_pairs
    return mean, math.sqrt(max(square - mean**2, 0.0))


def whitening(features: Tensor, shrinkage: float) -> Tensor:
    r"""Matrix that whitens centred features, with the variances shrunk towards their mean.

    With the covariance :math:`V \Lambda V^\top` and the mean variance :math:`\bar\lambda`,

    .. math:: M = c \left( (1 - \gamma) \Lambda + \gamma \bar\lambda I \right)^{-1/2} V^\top ,

    where :math:`c` keeps the mean squared length of the centred rows as it was, so that only directions change.

    Parameters
    ----------
    features : Tensor, shape (n, d)
    shrinkage : float
        :math:`\gamma` in (0, 1]; 1 rotates only.

    Returns
    -------
    Tensor, shape (d, d)

    Raises
    ------
    ValueError
        If `shrinkage` is out of range, or all rows are the same.
    """
    if not 0 < check_real(shrinkage, "shrinkage", minimum=0) <= 1:
        raise ValueError(f"shrinkage: expected a number above 0 and at most 1, got {shrinkage!r}")
    centred = features.double() - features.double().mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    variances = variances.clamp_min(0)
    if not variances.sum() > 0:
        raise ValueError("X: expected rows that differ, as they are to be whitened, got all the same")
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    scale = (variances.sum() / (variances / shrunk).sum()).sqrt()
    return (scale * shrunk.rsqrt()[:, None] * axes.T).to(features.dtype)


def linear_map(features: Tensor, calibration: CalibrationDistribution) -> Callable[[Tensor], Tensor]:
    """Make the linear map of the cosine that gives it the calibration distribution's mean and spread, cut to [-1, 1].

    Parameters
    ----------
    features : Tensor, shape (n, d), n >= 2
        Training features, over all of whose pairs the map is made.
    calibration : CalibrationDistribution

    Returns
    -------
    callable
        From cosines, a tensor of any shape, to targets.

    Raises
    ------
    ValueError
        If all pairs have the same cosine.
    """
    mean, std = similarity_moments(features)
    if not std > 0:
        raise ValueError("X: expected pairs of different cosines, got all the same")
    wanted = target_quantiles(calibration, MOMENT_QUANTILES)
    slope = float(wanted.std()) / std
    offset = float(wanted.mean()) - slope * mean
    return lambda t: (slope * t + offset).clamp(-1, 1)


def quantile_map(features: Tensor, calibration: CalibrationDistribution) -> Callable[[Tensor], Tensor]:
    """Make the increasing map of the cosine that gives it the calibration distribution, linear between quantiles.

    Of more than 2,000 rows, 2,000 that torch's generator draws make the map.

    Parameters
    ----------
    features : Tensor, shape (n, d), n >= 2
    calibration : CalibrationDistribution

    Returns
    -------
    callable
        From cosines, a tensor of any shape, to targets.
    """
    rows = torch.randperm(len(features))[:MAPPED_ROWS].to(features.device)
    cosines = pair_similarities(features[rows], "all").double().cpu().numpy()
    levels = (2 * np.arange(1, MAPPED_QUANTILES + 1) - 1) / (2 * MAPPED_QUANTILES)
    x = torch.as_tensor(np.quantile(cosines, levels)).to(features)
    y = torch.as_tensor(target_quantiles(calibration, MAPPED_QUANTILES)).to(features)

    def interpolate(t: Tensor) -> Tensor:
        right = torch.searchsorted(x, t).clamp(1, MAPPED_QUANTILES - 1)
        low, high = x[right - 1], x[right]
        share = ((t - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        return y[right - 1] + share * (y[right] - y[right - 1])

    return interpolate


def _absorb(head: nn.Module, mean: Tensor | None, matrix: Tensor | None) -> None:
    """Let the trained head take features as they are: W M (x - m) + b = (W M) x + (b - W M m)."""
    first = next(layer for layer in head.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        if matrix is not None:
            first.weight.copy_(first.weight @ matrix)
        if mean is not None:
            first.bias.sub_(first.weight @ mean)
