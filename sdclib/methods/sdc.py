"""SDC and its kin: by features, by neighbours, by labels, and other targets for the same pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdclib.checks import check_int, check_name, check_real
from sdclib.losses.calibration import (
    CalibrationDistribution,
    Empirical,
    calibration_loss,
    labelled_calibration_loss,
    matching_loss,
    parse_calibration,
    positive_pairs,
    ranking_loss,
    target_quantiles,
)
from sdclib.losses.contrastive import nt_xent_loss
from sdclib.losses.pairs import count_pairs_of, pair_similarities
from sdclib.losses.quantization import quantization_loss
from sdclib.methods.neighbours import smooth_over_neighbours
from sdclib.methods.presets import EMPIRICAL, SDCSettings, settings_from_preset
from sdclib.methods.supervised import SupervisedHasher
from sdclib.methods.trained import (
    HashHead,
    TrainedHasher,
    adam,
    draw_views,
    gradient_step,
    train,
)

__all__ = [
    "FEATURES",
    "LABELS",
    "TARGETS",
    "MatchingHasher",
    "NeighbourSDCHasher",
    "SDCHasher",
    "SupervisedSDCHasher",
    "linear_map",
    "quantile_map",
    "similarity_moments",
    "whitening",
]


@dataclass(eq=False, repr=False, kw_only=True)
class SDCHasher(TrainedHasher):
    """Hash by similarity distribution calibration.

    Parameters
    ----------
    n_bits : int
        Code length K.
    preset : str
        ``"paper"``, ``"paper-instance"``, ``"release"``, ``"paper-contrastive"`` or ``"release-contrastive"``, see
        `sdclib.methods.presets.preset_table`.
    calibration : str or CalibrationDistribution, optional
        Such as ``"beta(5, 5)"``; this and the following parameters, where not None, replace the preset's value.
    pairs, center, hidden_features, n_hidden_layers, quantization_weight, learning_rate, weight_decay, batch_size, \
epochs, step_epoch, contrastive_weight, temperature, clip_targets, view_pairs : optional
        See `sdclib.methods.presets.SDCSettings`.
    random_state, device, progress : optional
        See `sdclib.methods.trained.TrainedHasher`.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head, on the CPU.
    history_ : DataFrame
        See `sdclib.methods.trained.train`, with calibration_loss and quantization_loss; not there after `load`.

    Examples
    --------
    >>> from sdclib import SDCHasher, load_features
    >>> data = load_features("cifar10-embedded")
    >>> hasher = SDCHasher(n_bits=64, preset="release", epochs=1).fit(data.train)
    >>> hasher.transform(data.query).shape
    (1000, 64)

    References
    ----------
    Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023.
    """

    method = "sdc"

    preset: str = field(default="paper", kw_only=False)
    calibration: str | CalibrationDistribution | None = None
    pairs: str | None = None
    center: bool | None = None
    hidden_features: int | None = None
    n_hidden_layers: int | None = None
    quantization_weight: float | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    step_epoch: int | None = None
    contrastive_weight: float | None = None
    temperature: float | None = None
    clip_targets: bool | None = None
    view_pairs: bool | None = None

    @property
    def settings(self) -> SDCSettings:
        """The preset with what the parameters replace."""
        overrides = {name: getattr(self, name) for name in SDCSettings.__dataclass_fields__}
        return settings_from_preset(self.preset, **overrides)

    def resolved_parameters(self) -> dict[str, Any]:
        """All settings, whatever the preset was called."""
        settings = self.settings
        resolved = {**asdict(settings), "calibration": str(settings.calibration)}
        return {name: value for name, value in resolved.items() if value is not None}

    @property
    def needs_views(self) -> bool:
        """Whether there is a contrastive term."""
        return self.settings.contrastive_weight > 0

    def _make_head(self, n_features: int) -> nn.Module:
        settings = self.settings
        return HashHead(
            n_features, self.n_bits, settings.hidden_features or n_features, settings.n_hidden_layers
        )

    def _train(self, head: nn.Module, features: Tensor, views: Tensor | None = None) -> pd.DataFrame:
        settings = self.settings
        mean = features.mean(dim=0)
        if settings.center:
            features = features - mean
            views = None if views is None else views - mean
        target = self._targets(features)
        optimizer = adam(head.parameters(), settings.learning_rate, settings.weight_decay)

        def step(rows: Tensor) -> dict[str, Tensor]:
            pair = [] if views is None else [view[rows] for view in draw_views(views)]
            view_codes = [head(view) for view in pair]
            if settings.view_pairs:
                calibrated = list(zip(view_codes, pair, strict=True))
            else:
                batch = features[rows]
                calibrated = [(head(batch), batch)]
            terms = {
                "calibration_loss": torch.stack(
                    [calibration_loss(codes, batch, target, settings.pairs) for codes, batch in calibrated]
                ).mean(),
                "quantization_loss": torch.stack(
                    [quantization_loss(codes) for codes, _ in calibrated]
                ).mean(),
            }
            loss = terms["calibration_loss"] + settings.quantization_weight * terms["quantization_loss"]
            if view_codes:
                terms["contrastive_loss"] = nt_xent_loss(view_codes[0], view_codes[1], settings.temperature)
                loss = loss + settings.contrastive_weight * terms["contrastive_loss"]
            gradient_step(loss, optimizer)
            return {"loss": loss, **terms}

        schedule = self._schedule(
            batch_size=settings.batch_size, epochs=settings.epochs, step_epoch=settings.step_epoch
        )
        history = train(step, len(features), [optimizer], **schedule)
        if settings.center:
            _absorb_mean(head, mean)
        return history

    def _targets(self, features: Tensor) -> Tensor:
        """Quantiles that the pairs of a batch are to have, on the features' device."""
        settings = self.settings
        if settings.calibration == EMPIRICAL:
            order = torch.randperm(len(features), device=features.device)
            calibration: CalibrationDistribution = Empirical(pair_similarities(features[order]).cpu().numpy())
        else:
            calibration = parse_calibration(settings.calibration)
        targets = target_quantiles(calibration, count_pairs_of(settings.batch_size, settings.pairs))
        if settings.clip_targets:
            targets = targets.clip(min=0)
        return torch.as_tensor(targets, dtype=torch.float32, device=features.device)


def _absorb_mean(head: nn.Module, mean: Tensor) -> None:
    """Let a head that was trained on centred features take features as they are: W (x - m) + b = W x + (b - W m)."""
    first = next(layer for layer in head.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.bias.sub_(first.weight @ mean)


UPDATES = 500  # of the weights, where the number of epochs is not given


@dataclass(eq=False, repr=False, kw_only=True)
class NeighbourSDCHasher(TrainedHasher):
    r"""Calibrate code similarities in the order that features averaged over their nearest neighbours give.

    1. The mean of the training features is subtracted from them.
    2. Each training row is linked to its `n_neighbors` most similar ones (cosine).
    3. Unit features are averaged over the links, `n_steps` times: the teacher, see `sdclib.methods.neighbours`.
    4. SDC's calibration loss and quantization loss train the hash head on the features as in step 1; the teacher's
       cosines, not the features', put a batch's pairs in order.
    5. The mean becomes part of the head's first layer, so that `transform` takes features as they are.

    Neighbours are needed in training alone; a query is encoded by the head like in SDC.

    Parameters
    ----------
    n_bits : int
        Code length K.
    n_neighbors : int
        Less than the number of training rows.
    n_steps : int
        0 leaves the teacher the centred features: SDC with ``center=True``.
    calibration : str or CalibrationDistribution
        See `sdclib.losses.calibration.parse_calibration`.
    quantization_weight : float
    learning_rate, weight_decay : float
        Of Adam.
    epochs : int, optional
        Passes over the training rows. By default as many as make 500 batches, so that training takes as long on few
        rows as on many.
    step_epoch : int, optional
        After each `step_epoch` epochs the learning rate is multiplied by 0.1. By default after four fifths of them.
    batch_size, random_state, device, progress : optional
        See `sdclib.methods.trained.TrainedHasher`.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head for features as they are, on the CPU.
    history_ : DataFrame
        See `sdclib.methods.trained.train`, with calibration_loss and quantization_loss; not there after `load`.

    Notes
    -----
    Made for this study. Neighbours, steps, learning rate and length of training were chosen on training rows alone: see
    the chapters on the method and on tuning in the book.
    """

    method = "neighbour-sdc"

    n_neighbors: int = 10
    n_steps: int = 4
    calibration: str | CalibrationDistribution = "beta(5, 5)"
    quantization_weight: float = 1.0
    learning_rate: float = 8e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int | None = None
    step_epoch: int | None = None

    def _make_head(self, n_features: int) -> nn.Module:
        return HashHead(n_features, self.n_bits, hidden_features=n_features)

    def _length(self, n_batches: int) -> dict[str, Any]:
        """Epochs, and after how many the rate falls, where an epoch has so many batches."""
        epochs = math.ceil(UPDATES / max(1, n_batches)) if self.epochs is None else self.epochs
        epochs = check_int(epochs, "epochs", minimum=1)
        step_epoch = max(1, round(0.8 * epochs)) if self.step_epoch is None else self.step_epoch
        return {"epochs": epochs, "step_epoch": step_epoch}

    def _train(self, head: nn.Module, features: Tensor, **more: Tensor) -> pd.DataFrame:
        batch_size = check_int(self.batch_size, "batch_size", minimum=2)
        targets = torch.as_tensor(
            target_quantiles(parse_calibration(self.calibration), count_pairs_of(batch_size))
        ).to(features)
        weight = check_real(self.quantization_weight, "quantization_weight", minimum=0)
        optimizer = self._adam(head.parameters())
        schedule = self._schedule(**self._length(len(features) // batch_size))
        mean = features.mean(dim=0)
        features = features - mean
        teacher = torch.as_tensor(
            smooth_over_neighbours(features.cpu().numpy(), self.n_neighbors, self.n_steps)
        ).to(features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            continuous_codes = head(features[rows])
            terms = {
                "calibration_loss": calibration_loss(continuous_codes, teacher[rows], targets),
                "quantization_loss": quantization_loss(continuous_codes),
            }
            loss = terms["calibration_loss"] + weight * terms["quantization_loss"]
            gradient_step(loss, optimizer)
            return {"loss": loss, **terms}

        history = train(step, len(features), [optimizer], **schedule)
        _absorb_mean(head, mean)
        return history


TARGETS = ("cosine", "standardised", "mapped", "rank", "calibrated")
FEATURES = ("raw", "centred", "whitened")
MAPPED_ROWS = 2000  # training rows at most whose pairs the map of "mapped" is made of
MAPPED_QUANTILES = 1000  # points of that map
MOMENT_QUANTILES = 100_000  # of the calibration distribution, for its mean and spread


@dataclass(eq=False, repr=False, kw_only=True)
class MatchingHasher(TrainedHasher):
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
        Where the targets take their mean, spread or shape from, see `sdclib.losses.calibration.parse_calibration`.
    shrinkage : float
        Of the whitening, in (0, 1]: from almost equal variances to a mere rotation.
    temperature : float
        Of the ranking loss.
    quantization_weight : float
    learning_rate, weight_decay : float
        Of Adam.
    batch_size, epochs, step_epoch, random_state, device, progress : optional
        See `sdclib.methods.trained.TrainedHasher`.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head for features as they are, on the CPU.
    history_ : DataFrame
        See `sdclib.methods.trained.train`, with matching_loss and quantization_loss; not there after `load`.

    Notes
    -----
    Made for this study, to tell apart what the targets of SDC do: their mean and spread, their shape, and the
    alignment within a batch. Batches of 256 with four times the learning rate of ``release`` take a quarter of
    the steps. No setting was tuned.
    """

    method = "matching"

    target: str = "cosine"
    features: str = "raw"
    calibration: str | CalibrationDistribution = "beta(5, 5)"
    shrinkage: float = 0.5
    temperature: float = 0.1
    quantization_weight: float = 1.0
    learning_rate: float = 4e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int = 100
    step_epoch: int = 80

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

        history = train(step, len(features), [optimizer], **self._schedule())
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


LABELS = ("order", "target")


@dataclass(eq=False, repr=False, kw_only=True)
class SupervisedSDCHasher(SupervisedHasher):
    r"""Calibrate similarities with labels in the order of pairs, or in their targets too.

    Pairs, head, optimizer and quantization loss are those of SDC's preset ``release``. Each batch's pairs are put in
    order, negative pairs first and positive ones after them, by the feature cosine within each kind
    (`sdclib.losses.calibration`). With `labels`

    - ``"order"``, the targets are the quantiles :math:`F^{-1}((2n - 1) / 2N)` of one calibration distribution, as in
      SDC: labels decide which pairs get the upper ones, and the share of positive pairs decides how many;
    - ``"target"``, the target distribution is a mixture: the :math:`N_-` negative pairs of the batch get the quantiles
      :math:`F_-^{-1}((2n - 1) / 2N_-)` of one distribution, the :math:`N_+` positive ones those of another.

    Parameters
    ----------
    n_bits : int
        Code length K.
    labels : {"order", "target"}
    calibration : str or CalibrationDistribution
        For "order", see `sdclib.losses.calibration.parse_calibration`.
    positive, negative : str or CalibrationDistribution
        For "target". By default the positive pairs' has mean 0.8 and standard deviation 0.13, the negative pairs' mean
        0 and standard deviation 0.16.
    quantization_weight : float
    learning_rate, weight_decay : float
        Of Adam.
    batch_size, epochs, step_epoch, random_state, device, progress : optional
        See `sdclib.methods.trained.TrainedHasher`.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head, on the CPU.
    history_ : DataFrame
        See `sdclib.methods.trained.train`, with calibration_loss, quantization_loss and positive, the share of positive
        pairs; not there after `load`.

    Notes
    -----
    Made for this study; the paper is about hashing without labels. Batches of 256 with four times the learning rate
    of ``release`` take a quarter of the steps. No setting was tuned.
    """

    method = "supervised-sdc"

    labels: str = "order"
    calibration: str | CalibrationDistribution = "beta(5, 5)"
    positive: str | CalibrationDistribution = "beta(18, 2)"
    negative: str | CalibrationDistribution = "beta(20, 20)"
    quantization_weight: float = 1.0
    learning_rate: float = 4e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int = 100
    step_epoch: int = 80

    def _make_head(self, n_features: int) -> nn.Module:
        return HashHead(n_features, self.n_bits, hidden_features=n_features)

    def _train(self, head: nn.Module, features: Tensor, labels: Tensor) -> pd.DataFrame:
        batch_size = check_int(self.batch_size, "batch_size", minimum=2)
        targets = self._targets(count_pairs_of(batch_size), features)
        weight = check_real(self.quantization_weight, "quantization_weight", minimum=0)
        optimizer = self._adam(head.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            batch = features[rows]
            continuous_codes = head(batch)
            positive = positive_pairs(labels[rows])
            terms = {
                "calibration_loss": labelled_calibration_loss(
                    continuous_codes, batch, positive, targets(int(positive.sum()))
                ),
                "quantization_loss": quantization_loss(continuous_codes),
            }
            loss = terms["calibration_loss"] + weight * terms["quantization_loss"]
            gradient_step(loss, optimizer)
            return {"loss": loss, **terms, "positive": positive.float().mean()}

        return train(step, len(features), [optimizer], **self._schedule())

    def _targets(self, n_pairs: int, like: Tensor) -> Callable[[int], Tensor]:
        """Targets of a batch's pairs in order, by how many of them are positive."""
        if check_name(self.labels, "labels", LABELS) == "order":
            calibration = parse_calibration(self.calibration)
            whole = torch.as_tensor(target_quantiles(calibration, n_pairs)).to(like)
            return lambda n_positive: whole
        positive, negative = (_parse(getattr(self, name), name) for name in ("positive", "negative"))
        known: dict[int, Tensor] = {}

        def mixture(n_positive: int) -> Tensor:
            if n_positive not in known:
                parts = [
                    target_quantiles(distribution, n)
                    for distribution, n in ((negative, n_pairs - n_positive), (positive, n_positive))
                    if n
                ]
                known[n_positive] = torch.as_tensor(np.concatenate(parts)).to(like)
            return known[n_positive]

        return mixture


def _parse(distribution: str | CalibrationDistribution, name: str) -> CalibrationDistribution:
    try:
        return parse_calibration(distribution)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
