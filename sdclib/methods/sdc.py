"""SDC as an estimator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.calibration import CalibrationDistribution, Empirical, parse_calibration, target_quantiles
from sdclib.head import HashHead
from sdclib.losses import calibration_loss, nt_xent_loss, pair_similarities, quantization_loss
from sdclib.losses.pairs import count_pairs_of
from sdclib.methods.trained import TrainedHasher, adam, draw_views
from sdclib.presets import EMPIRICAL, SDCSettings, settings_from_preset
from sdclib.training import gradient_step, train

__all__ = ["SDCHasher"]


class SDCHasher(TrainedHasher):
    """Hash by similarity distribution calibration.

    Parameters
    ----------
    n_bits : int
        Code length K.
    preset : str
        ``"paper"``, ``"paper-instance"``, ``"release"``, ``"paper-contrastive"`` or ``"release-contrastive"``, see
        `sdclib.presets.preset_table`.
    calibration : str or CalibrationDistribution, optional
        Such as ``"beta(5, 5)"``; this and the following parameters, where not None, replace the preset's value.
    pairs, center, hidden_features, n_hidden_layers, quantization_weight, learning_rate, weight_decay, batch_size, \
epochs, step_epoch, contrastive_weight, temperature, clip_targets, view_pairs : optional
        See `sdclib.presets.SDCSettings`.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : HashHead
        The trained hash head, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`, with calibration_loss and quantization_loss; not there after `load`.

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

    def __init__(
        self,
        n_bits: int = 64,
        preset: str = "paper",
        *,
        calibration: str | CalibrationDistribution | None = None,
        pairs: str | None = None,
        center: bool | None = None,
        hidden_features: int | None = None,
        n_hidden_layers: int | None = None,
        quantization_weight: float | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        step_epoch: int | None = None,
        contrastive_weight: float | None = None,
        temperature: float | None = None,
        clip_targets: bool | None = None,
        view_pairs: bool | None = None,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.preset = preset
        self.calibration = calibration
        self.pairs = pairs
        self.center = center
        self.hidden_features = hidden_features
        self.n_hidden_layers = n_hidden_layers
        self.quantization_weight = quantization_weight
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.step_epoch = step_epoch
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.clip_targets = clip_targets
        self.view_pairs = view_pairs
        self.random_state = random_state
        self.device = device
        self.progress = progress

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
