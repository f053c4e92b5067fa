"""SDC with its three sockets, and what goes into them: by features, by neighbours, by labels, other targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdclib.checks import check_name
from sdclib.losses.calibration import (
    CalibrationDistribution,
    Empirical,
    calibration_loss,
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
from sdclib.methods.presets import (
    CHOICES,
    EMPIRICAL,
    LATER,
    WITHOUT_VIEWS,
    SDCSettings,
    settings_from_preset,
)
from sdclib.methods.trained import HashHead, TrainedHasher, adam, draw_views, gradient_step, train

__all__ = [
    "CalibratedHasher",
    "MatchingHasher",
    "NeighbourSDCHasher",
    "SDCHasher",
    "SupervisedSDCHasher",
    "coarsened",
    "linear_map",
    "quantile_map",
    "similarity_moments",
    "whitening",
]

PairLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From continuous codes, features that give the order, and which pairs are positive, to a loss."""


class CalibratedHasher(TrainedHasher):
    """SDC by `settings`; the methods below say how their parameters make these.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head for features as they are, on the CPU.
    history_ : DataFrame
        See `sdclib.methods.trained.train`, with calibration_loss and quantization_loss, with contrastive_loss where
        there are views, and with positive, the share of positive pairs, where labels give the order; not there after
        `load`.
    """

    @property
    def settings(self) -> SDCSettings:
        """All settings of the training."""
        raise NotImplementedError

    @property
    def needs_views(self) -> bool:
        """Whether there is a contrastive term."""
        return self.settings.contrastive_weight > 0

    def _make_head(self, n_features: int) -> nn.Module:
        settings = self.settings
        hidden = settings.hidden_features or n_features
        return HashHead(n_features, self.n_bits, hidden, settings.n_hidden_layers, settings.norm)

    def _length(self, n_batches: int) -> dict[str, Any]:
        """Epochs, and after how many the rate falls, where an epoch has so many batches."""
        return {"epochs": self.settings.epochs, "step_epoch": self.settings.step_epoch}

    def _train(
        self, head: nn.Module, features: Tensor, views: Tensor | None = None, labels: Tensor | None = None
    ) -> pd.DataFrame:
        settings = self.settings
        mean, matrix = view_of(features, settings.head_features, settings.shrinkage)
        raw, features = features, seen(features, mean, matrix)
        views = None if views is None else seen(views, mean, matrix)
        teacher = features
        if settings.order_features not in (None, settings.head_features):
            teacher = seen(raw, *view_of(raw, settings.order_features, settings.shrinkage))
        if settings.order_by == "neighbours":
            smooth = smooth_over_neighbours(teacher.cpu().numpy(), settings.n_neighbors, settings.n_steps)
            teacher = torch.as_tensor(smooth).to(features)
        pair_loss = _pair_loss(settings, teacher)
        optimizer = adam(head.parameters(), settings.learning_rate, settings.weight_decay)
        if settings.norm == "fixed":
            _fix_norm(head, features)

        def step(rows: Tensor) -> dict[str, Tensor]:
            pair = [] if views is None else [view[rows] for view in draw_views(views)]
            if settings.joint_views:
                calibrated, pair_codes = _pass_together(head, pair)
            else:
                pair_codes = [head(view) for view in pair[: 1 if settings.contrast == "image" else 2]]
                if settings.view_pairs:
                    order = pair if settings.order_by == "features" else [teacher[rows]] * 2
                    calibrated = list(zip(pair_codes, order, strict=True))
                else:
                    calibrated = [(head(features[rows]), teacher[rows])]
                if settings.contrast == "image":
                    pair_codes = [calibrated[0][0], *pair_codes]
            positive = None if labels is None else positive_pairs(labels[rows], settings.pairs)
            terms = {
                "calibration_loss": _mean(pair_loss(codes, order, positive) for codes, order in calibrated),
                "quantization_loss": _mean(quantization_loss(codes) for codes, _ in calibrated),
            }
            loss = terms["calibration_loss"] + settings.quantization_weight * terms["quantization_loss"]
            if pair:
                terms["contrastive_loss"] = nt_xent_loss(pair_codes[0], pair_codes[1], settings.temperature)
                loss = loss + settings.contrastive_weight * terms["contrastive_loss"]
            gradient_step(loss, optimizer)
            if positive is not None:
                terms["positive"] = positive.float().mean()
            return {"loss": loss, **terms}

        length = self._length(len(features) // settings.batch_size)
        schedule = self._schedule(batch_size=settings.batch_size, **length)
        history = train(step, len(features), [optimizer], **schedule)
        absorb(head, mean, matrix)
        return history


@dataclass(eq=False, repr=False, kw_only=True)
class SDCHasher(CalibratedHasher):
    """Hash by similarity distribution calibration.

    Parameters
    ----------
    preset : str
        ``"paper"``, ``"paper-no-contrastive"``, ``"paper-instance"``, ``"release"`` or ``"release-simclr"``, see
        `sdclib.methods.presets.preset_table`. ``"paper"`` and ``"release-simclr"`` have a contrastive term and need
        views.
    calibration : str or CalibrationDistribution, optional
        Such as ``"beta(5, 5)"``; this and the following parameters, where not None, replace the preset's value.
    order_by, target, match_by : str, optional
        The three sockets, see `sdclib.methods.presets.SDCSettings`, as for all other settings.
    n_bits, random_state, device, progress
        See `sdclib.methods.trained.TrainedHasher`; for the attributes see `CalibratedHasher`.

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
    label = "SDC"
    color = "#0072B2"

    preset: str = field(default="paper-no-contrastive", kw_only=False)
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
    contrast: str | None = None
    joint_views: bool | None = None
    order_by: str | None = None
    target: str | None = None
    match_by: str | None = None
    whiten: bool | None = None
    shrinkage: float | None = None
    order_features: str | None = None
    n_neighbors: int | None = None
    n_steps: int | None = None
    positive: str | CalibrationDistribution | None = None
    negative: str | CalibrationDistribution | None = None
    rank_temperature: float | None = None
    norm: str | None = None
    n_quantiles: int | None = None

    @property
    def settings(self) -> SDCSettings:
        """The preset with what the parameters replace."""
        return settings_from_preset(
            self.preset, **{one.name: getattr(self, one.name) for one in fields(SDCSettings)}
        )

    _without_views = f"; the presets {', '.join(WITHOUT_VIEWS)} need none"

    @property
    def needs_labels(self) -> bool:
        """Whether labels put the pairs in order."""
        return self.order_by == "labels"

    @staticmethod
    def _read_parameters(parameters: dict[str, Any], version: int) -> dict[str, Any]:
        now = _VERSION_1.get(parameters.get("preset", "")) if version == 1 else None
        if now is None:
            return parameters
        given = {name: value for name, value in parameters.items() if value is not None}
        return now | given | {"preset": now["preset"]}

    def resolved_parameters(self) -> dict[str, Any]:
        """All settings, whatever the preset was called; those that came later only where they are not the default."""
        settings, usual = asdict(self.settings), SDCSettings()
        settings["calibration"] = str(settings["calibration"])
        return {
            name: str(value) if name in ("positive", "negative") else value
            for name, value in settings.items()
            if value is not None and not (name in LATER and value == getattr(usual, name))
        }


_VERSION_1: dict[str, dict[str, Any]] = {  # what presets of older saved models are now
    "paper": {"preset": "paper-no-contrastive"},
    "paper-contrastive": {"preset": "paper-no-contrastive", "contrastive_weight": 1.0},
    "release-contrastive": {
        "preset": "release",
        "contrastive_weight": 1.0,
        "clip_targets": True,
        "view_pairs": True,
    },
}
UPDATES = 500  # of the weights, where the number of epochs is not given


@dataclass(eq=False, repr=False, kw_only=True)
class NeighbourSDCHasher(CalibratedHasher):
    """SDC with pairs in the order that centred features give, averaged over their nearest neighbours.

    It is ``SDCHasher(order_by="neighbours", center=True)`` with settings of its own. Neighbours are needed in training
    alone; a query is encoded by the head like in SDC.

    Parameters
    ----------
    n_neighbors, n_steps : int
        See `sdclib.methods.neighbours.smooth_over_neighbours`; 0 steps leave SDC with ``center=True``.
    epochs, step_epoch : int, optional
        See `sdclib.methods.trained.TrainedHasher`. By default as many epochs as make 500 batches, so that training
        takes as long on few rows as on many; the learning rate falls after four fifths of them.
    calibration, target, match_by, quantization_weight, learning_rate, weight_decay, batch_size, n_hidden_layers
        See `sdclib.methods.presets.SDCSettings`.
    n_bits, random_state, device, progress
        See `sdclib.methods.trained.TrainedHasher`; for the attributes see `CalibratedHasher`.

    Notes
    -----
    Made for this study. Neighbours, steps, learning rate and length of training were chosen on training rows alone: see
    the chapters on the method and on tuning in the book.
    """

    method = "neighbour-sdc"
    label = "SDC by neighbours"
    color = "#0072B2"

    n_neighbors: int = 10
    n_steps: int = 4
    calibration: str | CalibrationDistribution = "beta(5, 5)"
    quantization_weight: float = 1.0
    learning_rate: float = 8e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int | None = None
    step_epoch: int | None = None
    target: str | None = None
    match_by: str | None = None
    n_hidden_layers: int | None = None

    @property
    def settings(self) -> SDCSettings:
        """Settings of SDC."""
        return _own_settings(self, order_by="neighbours", center=True)

    def _length(self, n_batches: int) -> dict[str, Any]:
        epochs = math.ceil(UPDATES / max(1, n_batches)) if self.epochs is None else self.epochs
        step_epoch = max(1, round(0.8 * epochs)) if self.step_epoch is None else self.step_epoch
        return {"epochs": epochs, "step_epoch": step_epoch}


MATCHES = {  # target of `MatchingHasher`: target and match_by of SDC
    "cosine": ("similarities", "regression"),
    "standardised": ("linear", "regression"),
    "mapped": ("distribution", "regression"),
    "rank": ("similarities", "rank"),
    "calibrated": ("distribution", "quantiles"),
}
FEATURES = CHOICES["order_features"]


@dataclass(eq=False, repr=False, kw_only=True)
class MatchingHasher(CalibratedHasher):
    """SDC with another target, or matched to it in another way.

    The loss of a batch compares the code cosine :math:`s` of each pair with a target that is made from its feature
    cosine :math:`t`, for each value of `target`

    - ``"cosine"``: :math:`t`, the similarity-preserving target;
    - ``"standardised"``: :math:`a t + b` cut to [-1, 1], see `linear_map`;
    - ``"mapped"``: :math:`F^{-1}(G(t))` with the calibration distribution's quantile function :math:`F^{-1}` and the
      distribution function :math:`G` of the cosine over training pairs, see `quantile_map`: mean, spread and shape are
      the calibration distribution's, but the same cosine has the same target in every batch;
    - ``"rank"``: none; the loss knows the order of the pairs alone;
    - ``"calibrated"``: SDC's own, the quantile of :math:`F` at the pair's rank in its batch.

    Parameters
    ----------
    target : {"cosine", "standardised", "mapped", "rank", "calibrated"}
    features : {"raw", "centred", "whitened"}
        What head and cosines see; `transform` takes features as they are.
    temperature : float
        Of the ranking loss.
    calibration, shrinkage, quantization_weight, learning_rate, weight_decay, batch_size, epochs, step_epoch
        See `sdclib.methods.presets.SDCSettings`.
    n_bits, random_state, device, progress
        See `sdclib.methods.trained.TrainedHasher`; for the attributes see `CalibratedHasher`.

    Notes
    -----
    Made for this study, to tell apart what the targets of SDC do: their mean and spread, their shape, and the
    alignment within a batch. Batches of 256 with four times the learning rate of ``release`` take a quarter of
    the steps. No setting was tuned.
    """

    method = "matching"
    label = "Similarity matching"
    color = "#009E73"

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

    @property
    def settings(self) -> SDCSettings:
        """Settings of SDC."""
        target, match_by = MATCHES[check_name(self.target, "target", MATCHES)]
        features = check_name(self.features, "features", FEATURES)
        return _own_settings(
            self,
            target=target,
            match_by=match_by,
            center=features == "centred",
            whiten=features == "whitened",
            rank_temperature=self.temperature,
        )


@dataclass(eq=False, repr=False, kw_only=True)
class SupervisedSDCHasher(CalibratedHasher):
    """SDC with labels in the order of pairs, or in their targets too.

    Each batch's pairs are put in order, negative pairs first and positive ones after them, by the feature cosine within
    each kind. With `labels`

    - ``"order"``, the targets are the quantiles :math:`F^{-1}((2n - 1) / 2N)` of one calibration distribution, as in
      SDC: labels decide which pairs get the upper ones, and the share of positive pairs decides how many;
    - ``"target"``, the target distribution is a mixture: the :math:`N_-` negative pairs of the batch get the quantiles
      :math:`F_-^{-1}((2n - 1) / 2N_-)` of one distribution, the :math:`N_+` positive ones those of another.

    Parameters
    ----------
    labels : {"order", "target"}
    calibration : str or CalibrationDistribution
        For "order", see `sdclib.losses.calibration.parse_calibration`.
    positive, negative : str or CalibrationDistribution
        For "target". By default the positive pairs' has mean 0.8 and standard deviation 0.13, the negative pairs' mean
        0 and standard deviation 0.16.
    quantization_weight, learning_rate, weight_decay, batch_size, epochs, step_epoch
        See `sdclib.methods.presets.SDCSettings`.
    n_bits, random_state, device, progress
        See `sdclib.methods.trained.TrainedHasher`; for the attributes see `CalibratedHasher`.

    Notes
    -----
    Made for this study; the paper is about hashing without labels. Batches of 256 with four times the learning rate
    of ``release`` take a quarter of the steps. No setting was tuned.
    """

    method = "supervised-sdc"
    label = "Supervised SDC"
    color = "#0072B2"
    needs_labels = True

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

    @property
    def settings(self) -> SDCSettings:
        """Settings of SDC."""
        one = check_name(self.labels, "labels", ("order", "target")) == "order"
        return _own_settings(self, order_by="labels", **({"positive": None, "negative": None} if one else {}))


def _own_settings(hasher: CalibratedHasher, **given: Any) -> SDCSettings:
    """Make settings of SDC from the parameters of a hasher that have the same names and a value, and `given`."""
    names = {one.name for one in fields(SDCSettings)}
    own = {name: value for name, value in hasher.get_params().items() if name in names and value is not None}
    return settings_from_preset("release", **{"n_hidden_layers": 1} | own | given)


def _mean(values: Any) -> Tensor:
    return torch.stack(list(values)).mean()


def view_of(features: Tensor, kind: str, shrinkage: float) -> tuple[Tensor | None, Tensor | None]:
    """Say what is subtracted from features and what they are multiplied with; None for nothing."""
    if kind == "raw":
        return None, None
    return features.mean(dim=0), whitening(features, shrinkage) if kind == "whitened" else None


def seen(features: Tensor, mean: Tensor | None, matrix: Tensor | None) -> Tensor:
    features = features if mean is None else features - mean
    return features if matrix is None else features @ matrix.T


def absorb(head: nn.Module, mean: Tensor | None, matrix: Tensor | None) -> None:
    """Let the trained head take features as they are: W M (x - m) + b = (W M) x + (b - W M m)."""
    first = next(layer for layer in head.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        if matrix is not None:
            first.weight.copy_(first.weight @ matrix)
        if mean is not None:
            first.bias.sub_(first.weight @ mean)


def _pass_together(head: nn.Module, pair: list[Tensor]) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """Pass two views through the head at once; codes and features whose halves pair rows of one view, and its codes."""
    half = len(pair[0]) // 2
    features = torch.cat([view[rows] for rows in (slice(half), slice(half, 2 * half)) for view in pair])
    codes = head(features)
    first, second = codes.view(2, 2, half, -1).transpose(0, 1).reshape(2, 2 * half, -1)
    return [(codes, features)], [first, second]


def _fix_norm(head: nn.Module, features: Tensor) -> None:
    """Give the BatchNorm at the head's end mean and variance of all training rows, and keep them."""
    *layers, norm = head.layers  # type: ignore[misc]
    with torch.no_grad():
        values = nn.Sequential(*layers)(features)
        norm.running_mean.copy_(values.mean(dim=0))
        norm.running_var.copy_(values.var(dim=0))
    norm.eval()


def _pair_loss(settings: SDCSettings, teacher: Tensor) -> PairLoss:
    """Make the loss of a batch; `teacher` has the features of all training rows that give the order."""
    pairs = settings.pairs
    if settings.match_by == "rank":
        tau = settings.rank_temperature
        return lambda codes, order, positive: ranking_loss(codes, order, tau, pairs, positive)
    if settings.match_by == "regression":
        if settings.target == "similarities":
            return lambda codes, order, _: matching_loss(codes, pair_similarities(order, pairs), pairs)
        make_map = linear_map if settings.target == "linear" else quantile_map
        to_target = make_map(teacher, parse_calibration(settings.calibration))
        return lambda codes, order, _: matching_loss(codes, to_target(pair_similarities(order, pairs)), pairs)
    targets = _targets(settings, teacher)
    return lambda codes, order, positive: calibration_loss(
        codes, order, targets(0 if positive is None else int(positive.sum())), pairs, positive
    )


def _targets(settings: SDCSettings, teacher: Tensor) -> Callable[[int], Tensor]:
    """Quantiles that the pairs of a batch are to have, in order, by how many of them are positive."""
    n_pairs = count_pairs_of(settings.batch_size, settings.pairs) * (2 if settings.joint_views else 1)

    def ready(quantiles: np.ndarray) -> Tensor:
        quantiles = quantiles.clip(min=0) if settings.clip_targets else quantiles
        targets = torch.as_tensor(quantiles, dtype=torch.float32, device=teacher.device)
        return targets if settings.n_quantiles is None else coarsened(targets, settings.n_quantiles)

    if settings.order_by == "labels" and settings.positive is not None and settings.negative is not None:
        positive, negative = parse_calibration(settings.positive), parse_calibration(settings.negative)
        known: dict[int, Tensor] = {}

        def mixture(n_positive: int) -> Tensor:
            if n_positive not in known:
                kinds = ((negative, n_pairs - n_positive), (positive, n_positive))
                known[n_positive] = ready(
                    np.concatenate([target_quantiles(kind, n) for kind, n in kinds if n])
                )
            return known[n_positive]

        return mixture
    if settings.calibration == EMPIRICAL or settings.target != "distribution":
        rows = teacher[torch.randperm(len(teacher), device=teacher.device)]
        quantiles = target_quantiles(Empirical(pair_similarities(rows).cpu().numpy()), n_pairs)
        if settings.target == "linear":
            to_target = linear_map(teacher, parse_calibration(settings.calibration))
            quantiles = to_target(torch.from_numpy(quantiles)).numpy()
    else:
        quantiles = target_quantiles(parse_calibration(settings.calibration), n_pairs)
    whole = ready(quantiles)
    return lambda n_positive: whole


def coarsened(targets: Tensor, n_quantiles: int) -> Tensor:
    """Put the mean of each of `n_quantiles` equal groups of neighbouring targets in place of the targets.

    Targets of shape (n_pairs,), ascending, keep shape and mean; ValueError if `n_quantiles` does not divide their
    number.
    """
    if len(targets) % n_quantiles:
        raise ValueError(f"n_quantiles: expected a divisor of {len(targets)} targets, got {n_quantiles}")
    means = targets.view(n_quantiles, -1).mean(dim=1)
    return means.repeat_interleave(len(targets) // n_quantiles)


MAPPED_ROWS = 2000  # training rows at most whose pairs make the map
MAPPED_QUANTILES = 1000  # points of the map
MOMENT_QUANTILES = 100_000  # of the calibration distribution, for its mean and spread


def similarity_moments(features: Tensor) -> tuple[float, float]:
    r"""Mean and standard deviation of the cosine over all pairs of different rows, exactly and without listing them.

    With the unit rows :math:`u_i`, the sum of cosines is :math:`\|\sum_i u_i\|^2` and that of their squares
    :math:`\|U^\top U\|_F^2`, each less the n ones of rows with themselves. ValueError for fewer than two rows.
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
    r"""Matrix, shape (d, d), that whitens centred features, with the variances shrunk towards their mean.

    With the covariance :math:`V \Lambda V^\top` and the mean variance :math:`\bar\lambda`,

    .. math:: M = c \left( (1 - \gamma) \Lambda + \gamma \bar\lambda I \right)^{-1/2} V^\top ,

    where :math:`c` keeps the mean squared length of the centred rows as it was, so that only directions change, and
    :math:`\gamma`, the `shrinkage` in (0, 1], rotates only where it is 1. ValueError if all rows are the same.
    """
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

    It is made over all pairs of the training features, shape (n, d), n >= 2, and takes cosines of any shape to targets.
    ValueError if all pairs have the same cosine.
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

    Of more than 2,000 training rows, 2,000 that torch's generator draws make the map; it takes cosines of any shape.
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
