"""What sets SDC's settings for instance sets apart from those for category sets, step by step."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from sdclib.checks import check_int
from sdclib.methods.presets import SDCSettings, settings_from_preset
from study.stats import compared
from study.tables import find

__all__ = ["STEPS", "VARIANTS", "step_differences", "training_steps", "variant_table"]

LONGER = {"epochs": 475, "step_epoch": 238}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper-instance": {"preset": "paper-instance"},
    "longer": {"preset": "paper-instance", **LONGER},
    "longer, full quantization": {"preset": "paper-instance", **LONGER, "quantization_weight": 1.0},
    "release, linear head": {"preset": "release", "n_hidden_layers": 0},
    "release": {"preset": "release"},
    "paper-instance, hidden layer": {"preset": "paper-instance", "n_hidden_layers": 1},
}
"""Names of runs of SDC, from ``paper-instance`` to ``release``, and the parameters that each has."""

# What is changed, with it, without it. The first four add up to the fifth.
STEPS = (
    ("more steps", "longer", "paper-instance"),
    ("quantization weight 1", "longer, full quantization", "longer"),
    ("batches, schedule, decay", "release, linear head", "longer, full quantization"),
    ("hidden layer, after these", "release", "release, linear head"),
    ("all of release", "release", "paper-instance"),
    ("hidden layer alone", "paper-instance, hidden layer", "paper-instance"),
)


def training_steps(settings: SDCSettings, n_train: int) -> int:
    """Count the steps of a training: epochs times whole batches, as a short last batch is dropped."""
    check_int(n_train, "n_train", minimum=settings.batch_size)
    return settings.epochs * (n_train // settings.batch_size)


def variant_table(n_train: int) -> pd.DataFrame:
    """Lay out how the settings of `VARIANTS` differ, with the steps that so many training rows make."""
    rows = {}
    for name, parameters in VARIANTS.items():
        settings = settings_from_preset(**parameters)
        rows[name] = {
            "steps": training_steps(settings, n_train),
            "batch": settings.batch_size,
            "hidden layers": settings.n_hidden_layers,
            "quantization weight": settings.quantization_weight,
            "rate falls after": f"{settings.step_epoch / settings.epochs:.0%}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def step_differences(results: pd.DataFrame, n_bits: int, metric: str = "map_expected") -> pd.DataFrame:
    """Take the difference between ``release`` and ``paper-instance`` apart, in one data set at one code length.

    Returns
    -------
    DataFrame
        label (the step, see `STEPS`) and the columns of `study.stats.compared`.
    """
    here = results[results["n_bits"] == n_bits]
    runs = {
        name: find(here, method="sdc", **asdict(settings_from_preset(**parameters)))
        for name, parameters in VARIANTS.items()
    }
    table = compared(here, [(runs[first], runs[second]) for _, first, second in STEPS], metric)
    table.insert(0, "label", [name for name, *_ in STEPS])
    return table
