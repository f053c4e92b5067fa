"""SDC as an estimator."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from sdclib.calibration import CalibrationDistribution, parse_calibration, target_quantiles
from sdclib.head import HashHead
from sdclib.losses import calibration_loss, nt_xent_loss, quantization_loss
from sdclib.methods.trained import TrainedHasher, adam, draw_views
from sdclib.presets import SDCSettings, settings_from_preset
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
    hidden_features, n_hidden_layers, quantization_weight, learning_rate, weight_decay, batch_size, epochs, \
step_epoch, contrastive_weight, temperature, clip_targets, view_pairs : optional
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
        targets = target_quantiles(parse_calibration(settings.calibration), settings.batch_size // 2)
        if settings.clip_targets:
            targets = targets.clip(min=0)
        target = torch.as_tensor(targets, dtype=torch.float32, device=features.device)
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
                    [calibration_loss(codes, batch, target) for codes, batch in calibrated]
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
        return train(step, len(features), [optimizer], **schedule)
