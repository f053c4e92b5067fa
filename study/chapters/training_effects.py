"""What each setting of SDC's training changes, in expected mAP and in time."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from statsmodels.stats.multitest import multipletests

from sdclib.methods.presets import SDCSettings
from study.stats import compared
from study.tables import Config, kernels_of, settings_text, where

__all__ = ["base", "effects"]

SETTINGS = tuple(SDCSettings.__dataclass_fields__)
SHORT = {"batch_size": "batch", "learning_rate": "rate", "hidden_features": "width"}


def base(results: pd.DataFrame, learning_rate: float) -> Config:
    """Give the configuration of `release` at a learning rate that all others there add a setting to."""
    configs = where(results, preset="release", learning_rate=learning_rate)["config"]
    return min(configs, key=lambda config: len(config.parameters))


def effects(results: pd.DataFrame, bases: Mapping[str, Config]) -> pd.DataFrame:
    """Compare every configuration with the base that it shares most settings with, the first of them if several.

    Parameters
    ----------
    results : DataFrame
        Of SDC, one data set and code length; every configuration has at least two seeds.
    bases : mapping of str to Config
        By the names that they are to have. The first one is not compared.

    Returns
    -------
    DataFrame
        group (names of the changed settings), change (for readers), base (its name), time (of training, that of the
        first base being 1; NaN where other kernels ran), the columns of `study.stats.compared`, and p_holm (Holm's).
    """
    if len(found := results[["data", "n_bits"]].drop_duplicates()) != 1:
        raise ValueError(f"results: expected one data set and code length, got {len(found)}")
    kernels = kernels_of(results)
    usual = kernels[results["config"] == next(iter(bases.values()))].iloc[0]
    seconds = results["fit_seconds"].where(kernels == usual).groupby(results["config"]).mean().to_dict()
    runs = results.drop_duplicates("config").set_index("config")[["preset", *SETTINGS]]
    settings = runs.astype(object).where(runs.notna(), None).to_dict("index")
    first, *_ = bases.values()
    rows = []
    for config, values in settings.items():
        if config == first:
            continue
        changes = {
            name: {key: values[key] for key in SETTINGS if values[key] != settings[of][key]}
            for name, of in bases.items()
            if of != config
        }
        name = min(changes, key=lambda name: len(changes[name]))
        changed = {SHORT.get(key, key): value for key, value in changes[name].items()}
        same_preset = values["preset"] == settings[bases[name]]["preset"]
        row = compared(results, [(config, bases[name])]).iloc[0].to_dict()
        row |= {"group": ", ".join(changed), "base": name, "time": seconds[config] / seconds[first]}
        rows.append(row | {"change": settings_text(changed) if same_preset else values["preset"]})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=multipletests(table["p"], method="holm")[1])
