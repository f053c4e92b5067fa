"""Settings of SDC, and those that have a name: what the paper's supplement says, and what the authors' code does."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sdclib.checks import Limit, check_limits, check_name, check_real

if TYPE_CHECKING:
    import pandas as pd

    from sdclib.losses.calibration import CalibrationDistribution

__all__ = [
    "BEST",
    "EMPIRICAL",
    "PRESETS",
    "WITHOUT_VIEWS",
    "SDCSettings",
    "preset_table",
    "settings_from_preset",
]

EMPIRICAL = "empirical"  # the calibration distribution that is made of the training features
DEFAULT = "beta(5, 5)"
BEST = "best"  # what `sdclib.methods.hasher_for` gives for classes; until the next release


# Settings that SDC got after the first runs, whose ids are made without them.
LATER = {"order_by", "target", "match_by", "whiten", "shrinkage", "order_features", "n_neighbors", "n_steps"}
LATER |= {"positive", "negative", "rank_temperature", "norm", "n_quantiles", "contrast", "joint_views"}
# What parameters of these names may be, in every method, see `sdclib.checks.check_limits`.
LIMITS: dict[str, Limit] = {
    **dict.fromkeys(("random_state", "n_hidden_layers", "n_steps"), 0),
    **dict.fromkeys(("n_bits", "hidden_features", "latent_features", "epochs", "step_epoch"), 1),
    **dict.fromkeys(("n_iterations", "n_neighbors", "n_positives", "n_quantiles"), 1),
    "batch_size": 2,
    **dict.fromkeys(("learning_rate", "momentum", "weight_decay", "distortion", "scale", "margin"), 0.0),
    **dict.fromkeys(("quantization_weight", "contrastive_weight", "penalty_weight", "kl_weight"), 0.0),
    **dict.fromkeys(("adversarial_weight", "rate_weight", "alpha", "beta", "gamma"), 0.0),
    **dict.fromkeys(("temperature", "rank_temperature", "sort_temperature", "weight_temperature"), 1e-6),
    "ridge": 1e-12,
    "optimizer": ("adam",),
    "form": ("sdc",),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "pairs": ("half", "all"),
    "contrast": ("views", "image"),
    "order_by": ("features", "neighbours", "labels"),
    "target": ("distribution", "similarities", "linear"),
    "match_by": ("quantiles", "regression", "rank"),
    "order_features": ("raw", "centred", "whitened"),
    "norm": ("batch", "plain", "fixed", "none"),
}


@dataclass(frozen=True)
class SDCSettings:
    """All settings of one SDC training but data, code length and seed; ValueError names one that is out of range.

    Parameters
    ----------
    calibration : str or CalibrationDistribution
        See `sdclib.losses.calibration.parse_calibration`; or ``"empirical"`` for the features' own similarities.
    pairs : {"half", "all"}
        Which rows of a batch make pairs, see `sdclib.losses.pairs`.
    center : bool
        Subtract the mean of the training features from them, for head and order of pairs alike.
    hidden_features, n_hidden_layers : int
        Width, None for the features' own, and number of the hidden layers; 0 is the linear head.
    quantization_weight, contrastive_weight : float
        Weights of the quantization loss, and of NT-Xent between two augmented views, which needs views above 0.
    learning_rate, weight_decay : float
        Adam's, with betas (0.9, 0.999); the decay is Adam's L2 penalty.
    batch_size, epochs, step_epoch : int
        See `sdclib.methods.trained.TrainedHasher`.
    temperature, rank_temperature : float
        Of NT-Xent, and of the ranking loss of ``match_by="rank"``; at least 1e-6.
    clip_targets : bool
        Raise targets below 0 to 0.
    view_pairs : bool
        Take calibration and quantization losses of the two augmented views, each with pairs of its own, rather than of
        the images as they are. It needs a contrastive weight.
    contrast : {"views", "image"}
        What the contrastive loss compares: two augmented views, or the image as it is with one augmented view.
    joint_views : bool
        Pass both views through the head at once, so that BatchNorm sees them together, and put the pairs inside both in
        one order. It needs `view_pairs`, and pairs of halves.
    order_by : {"features", "neighbours", "labels"}
        First socket: what puts the pairs of a batch in order. The cosine of the features; that of the features
        averaged over their nearest neighbours, see `sdclib.methods.neighbours`; or labels, all negative pairs before
        all positive ones, and the features within each kind.
    target : {"distribution", "similarities", "linear"}
        Second socket: what the code similarities are matched to. The calibration distribution; the similarities that
        give the order, as they are; or these on a line such that training pairs have the mean and the standard
        deviation of the calibration distribution, cut to [-1, 1].
    match_by : {"quantiles", "regression", "rank"}
        Third socket: how. Quantiles of the target, aligned in each batch; the target of each pair by itself, the same
        in every batch; or the order alone, see `sdclib.losses.calibration.ranking_loss`, which needs no target.
    whiten, shrinkage : bool, float
        Centre and whiten the features, see `sdclib.methods.sdc.whitening`; the shrinkage, in (0, 1], leads from almost
        equal variances to a mere rotation.
    order_features : {"raw", "centred", "whitened"}, optional
        The features that put pairs in order, where the head sees others; by default what the head sees.
    n_neighbors, n_steps : int
        For ``order_by="neighbours"``.
    positive, negative : str or CalibrationDistribution, optional
        For ``order_by="labels"``: a distribution for the pairs of each kind, in place of one for all.
    norm : {"batch", "plain", "fixed", "none"}
        End of the head, see `sdclib.methods.trained.HashHead`.
    n_quantiles : int, optional
        Different targets in a batch, each the mean of as many neighbouring quantiles; one a pair by default.
    """

    calibration: str | CalibrationDistribution = DEFAULT
    pairs: str = "half"
    center: bool = False
    hidden_features: int | None = 4096
    n_hidden_layers: int = 1
    quantization_weight: float = 1.0
    learning_rate: float = 1e-4
    weight_decay: float = 5e-4
    batch_size: int = 64
    epochs: int = 100
    step_epoch: int = 80
    contrastive_weight: float = 0.0
    temperature: float = 0.3
    clip_targets: bool = False
    view_pairs: bool = False
    contrast: str = "views"
    joint_views: bool = False
    order_by: str = "features"
    target: str = "distribution"
    match_by: str = "quantiles"
    whiten: bool = False
    shrinkage: float = 0.5
    order_features: str | None = None
    n_neighbors: int = 10
    n_steps: int = 4
    positive: str | CalibrationDistribution | None = None
    negative: str | CalibrationDistribution | None = None
    rank_temperature: float = 0.1
    norm: str = "batch"
    n_quantiles: int | None = None

    def __post_init__(self) -> None:
        check_limits(self, LIMITS | CHOICES)
        if not 0 < check_real(self.shrinkage, "shrinkage", minimum=0) <= 1:
            raise ValueError(f"shrinkage: expected a number above 0 and at most 1, got {self.shrinkage!r}")
        if self.view_pairs and not self.contrastive_weight:
            raise ValueError("view_pairs: expected a contrastive_weight above 0 beside it, got 0")
        if self.view_pairs and self.contrast == "image":
            raise ValueError("view_pairs: expected contrast='views' beside it, got 'image'")
        if self.joint_views and not (
            self.view_pairs and self.pairs == "half" and self.order_by == "features"
        ):
            raise ValueError(
                "joint_views: expected view_pairs, pairs='half' and order_by='features' beside it, got others"
            )
        if self.order_by == "labels" and self.match_by == "regression":
            raise ValueError(
                "match_by: expected 'quantiles' or 'rank' where labels give the order, got 'regression'"
            )
        if (self.positive is None) != (self.negative is None):
            raise ValueError("positive, negative: expected distributions for both or for neither, got one")
        if self.positive is not None and self.order_by != "labels":
            raise ValueError("positive, negative: expected order_by='labels' beside them")
        for name in ("calibration", "positive", "negative"):
            value = getattr(self, name)
            if value not in (EMPIRICAL, DEFAULT, None):
                from sdclib.losses.calibration import parse_calibration  # which imports torch

                parse_calibration(value, name)

    @property
    def head_features(self) -> str:
        """What the head sees: ``"raw"``, ``"centred"`` or ``"whitened"`` features."""
        return "whitened" if self.whiten else "centred" if self.center else "raw"


_PLAIN = SDCSettings()
_RELEASE = replace(_PLAIN, hidden_features=None, weight_decay=1e-5)
PRESETS: dict[str, SDCSettings] = {
    # The method of the paper: supplement, algorithm 1 and settings for category sets.
    "paper": replace(_PLAIN, contrastive_weight=1.0, contrast="image"),
    # The supplement's ablations, L_cl = 0: table 1.
    "paper-no-contrastive": _PLAIN,
    # Supplement, instance sets (GLDv2, ROxford, RParis).
    "paper-instance": replace(
        _PLAIN, n_hidden_layers=0, quantization_weight=0.01, batch_size=256, epochs=20, step_epoch=10
    ),
    # Authors' code (kamwoh/sdc): models/arch/sdc.py has width d, the training settings a smaller weight decay. Its
    # configs/model/sdc.yaml clips targets at 0 too, which this preset never did.
    "release": _RELEASE,
    # Authors' code with its contrastive term (configs/model/sdc_simclr.yaml).
    "release-simclr": replace(
        _RELEASE, contrastive_weight=1.0, clip_targets=True, view_pairs=True, joint_views=True
    ),
}
WITHOUT_VIEWS = [name for name, settings in PRESETS.items() if not settings.contrastive_weight]
RENAMED = {"paper-contrastive": "paper", "release-contrastive": "release-simclr"}  # until the next release


def settings_from_preset(preset: str, **overrides: object) -> SDCSettings:
    """Take a preset and replace what is given and not None; ValueError names what is unknown or out of range."""
    if preset == BEST:
        raise ValueError(
            "preset: expected one of SDCHasher's, got 'best', which is now sdclib.methods.hasher_for('classes', n_bits)"
        )
    if preset in RENAMED:
        warnings.warn(f"preset: {preset!r} is now {RENAMED[preset]!r}", FutureWarning, stacklevel=3)
        preset = RENAMED[preset]
    check_name(preset, "preset", PRESETS)
    given = {name: value for name, value in overrides.items() if value is not None}
    return replace(PRESETS[preset], **given)  # type: ignore[arg-type]


def preset_table() -> pd.DataFrame:
    """Presets as columns, settings that they are about as rows, and whether the presets differ in a row."""
    import pandas as pd

    columns = {
        name: {
            key: "d" if value is None else value
            for key, value in asdict(settings).items()
            if key not in LATER - {"contrast", "joint_views"}
        }
        for name, settings in PRESETS.items()
    }
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    table["differs"] = table.nunique(axis=1) > 1
    table.index.name = "setting"
    return table
