"""Named settings of SDC: what the paper's supplement says, and what the authors' code does."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sdclib.checks import check_int, check_name, check_real

if TYPE_CHECKING:
    import pandas as pd

    from sdclib.losses.calibration import CalibrationDistribution

__all__ = ["BEST", "EMPIRICAL", "PRESETS", "SDCSettings", "preset_table", "settings_from_preset"]

EMPIRICAL = "empirical"  # the calibration distribution that is made of the training features
DEFAULT = "beta(5, 5)"
BEST = "best"  # this study's variant: a preset of the method by its name, a class of its own in the library


@dataclass(frozen=True)
class SDCSettings:
    """All settings of one SDC training but data, code length and seed.

    Parameters
    ----------
    calibration : str or CalibrationDistribution
        See `sdclib.losses.calibration.parse_calibration`; or ``"empirical"`` for the features' own similarities.
    pairs : {"half", "all"}
        Which rows of a batch make pairs, see `sdclib.losses.pairs`.
    center : bool
        Whether the mean of the training features is subtracted from them, for head and order of pairs alike.
    hidden_features : int or None
        Width of the hidden layers; None takes the features' width d.
    n_hidden_layers : int
        0 is the linear head.
    quantization_weight : float
        Weight of the quantization loss.
    learning_rate, weight_decay : float
        Adam's, with betas (0.9, 0.999); the decay is Adam's L2 penalty.
    batch_size : int
        Rows a step; a short last batch is dropped.
    epochs : int
        Passes over the training set.
    step_epoch : int
        After each so many epochs the learning rate is multiplied by 0.1.
    contrastive_weight : float
        Weight of NT-Xent between two augmented views; above 0 the method needs views.
    temperature : float
        Of NT-Xent.
    clip_targets : bool
        Whether targets below 0 are raised to 0.
    view_pairs : bool
        Whether calibration and quantization losses are those of the two augmented views, each with pairs of its own,
        rather than of the images as they are. It needs a contrastive weight.

    Raises
    ------
    ValueError
        If a value is out of range; the message names it.
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

    def __post_init__(self) -> None:
        if self.hidden_features is not None:
            check_int(self.hidden_features, "hidden_features", minimum=1)
        check_int(self.n_hidden_layers, "n_hidden_layers", minimum=0)
        check_int(self.batch_size, "batch_size", minimum=2)
        check_int(self.epochs, "epochs", minimum=1)
        check_int(self.step_epoch, "step_epoch", minimum=1)
        check_real(self.learning_rate, "learning_rate", minimum=0)
        check_real(self.weight_decay, "weight_decay", minimum=0)
        check_real(self.quantization_weight, "quantization_weight", minimum=0)
        check_real(self.contrastive_weight, "contrastive_weight", minimum=0)
        if not check_real(self.temperature, "temperature", minimum=0) > 0:
            raise ValueError(f"temperature: expected a number above 0, got {self.temperature!r}")
        if self.view_pairs and not self.contrastive_weight:
            raise ValueError("view_pairs: expected a contrastive_weight above 0 beside it, got 0")
        check_name(self.pairs, "pairs", ("half", "all"))  # PAIRS of sdclib.losses.pairs, which imports torch
        if self.calibration not in (EMPIRICAL, DEFAULT):
            from sdclib.losses.calibration import parse_calibration  # which imports torch

            parse_calibration(self.calibration)


_PAPER = SDCSettings()
_RELEASE = replace(_PAPER, hidden_features=None, weight_decay=1e-5)
PRESETS: dict[str, SDCSettings] = {
    # Supplement, category sets.
    "paper": _PAPER,
    # Supplement, instance sets (GLDv2, ROxford, RParis).
    "paper-instance": replace(
        _PAPER, n_hidden_layers=0, quantization_weight=0.01, batch_size=256, epochs=20, step_epoch=10
    ),
    # Authors' code (kamwoh/sdc): models/arch/sdc.py has width d, the training settings a smaller weight decay.
    "release": _RELEASE,
    # With the contrastive term: supplement, and authors' code (models/loss/sdc.py), which clips the targets and makes
    # pairs inside each view.
    "paper-contrastive": replace(_PAPER, contrastive_weight=1.0),
    "release-contrastive": replace(_RELEASE, contrastive_weight=1.0, clip_targets=True, view_pairs=True),
}


def settings_from_preset(preset: str, **overrides: object) -> SDCSettings:
    """Take a preset and replace what is given and not None.

    Raises
    ------
    ValueError
        If the preset is unknown or a value is out of range.
    """
    if preset == BEST:
        raise ValueError(
            "preset: expected one of SDCHasher's, got 'best', which is sdclib.methods.NeighbourSDCHasher, or"
            " make_hasher('sdc', n_bits, preset='best')"
        )
    check_name(preset, "preset", PRESETS)
    given = {name: value for name, value in overrides.items() if value is not None}
    return replace(PRESETS[preset], **given)  # type: ignore[arg-type]


def preset_table() -> pd.DataFrame:
    """Presets as columns, settings as rows, and whether the presets differ in a row."""
    import pandas as pd

    columns = {
        name: {key: "d" if value is None else value for key, value in asdict(settings).items()}
        for name, settings in PRESETS.items()
    }
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    table["differs"] = table.nunique(axis=1) > 1
    table.index.name = "setting"
    return table
