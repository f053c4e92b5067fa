"""What each setting of SDC's training changes: differences to a base, trends, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sdclib.methods.presets import SDCSettings
from study.stats import compared, summarise
from study.tables import Config

__all__ = ["change_name", "costs", "effects", "ladder", "per_doubling", "short_names", "with_width"]

SETTINGS = tuple(SDCSettings.__dataclass_fields__)
# Settings that were changed together, and what the change is called.
GROUPS = {
    frozenset({"batch_size"}): "batch size",
    frozenset({"batch_size", "learning_rate"}): "batch size and learning rate",
    frozenset({"pairs"}): "pairs",
    frozenset({"quantization_weight"}): "quantization weight",
    frozenset({"n_hidden_layers"}): "hidden layers",
    frozenset({"hidden_features"}): "width",
    frozenset({"weight_decay"}): "weight decay",
    frozenset({"center"}): "centring",
    frozenset({"contrastive_weight", "clip_targets", "view_pairs"}): "contrastive term",
}
CHANGES = {
    "batch_size": "batch {}",
    "learning_rate": "rate {:g}",
    "pairs": "{} pairs",
    "quantization_weight": "quantization weight {:g}",
    "hidden_features": "width {}",
    "weight_decay": "weight decay {:g}",
}


def with_width(results: pd.DataFrame, n_features: int) -> pd.DataFrame:
    """Say of SDC's runs what hidden layers of the features' width come to: `n_features`."""
    width = results["hidden_features"]
    return results.assign(hidden_features=width.where(width.notna(), n_features))


def change_name(settings: Mapping[str, Any], changed: Sequence[str]) -> str:
    """Name a change by the values that it leads to: "batch 256, rate 0.0004"."""
    words = []
    for name in sorted(changed, key=[*CHANGES, *changed].index):
        value = settings[name]
        if name == "center":
            words.append("centred" if value else "not centred")
        elif name == "n_hidden_layers":
            words.append(f"{value or 'no'} hidden layer{'s' if value > 1 else ''}")
        else:
            words.append(CHANGES.get(name, f"{name} {{}}").format(value))
    return ", ".join(words)


def effects(results: pd.DataFrame, bases: Mapping[str, Config], metric: str = "map_expected") -> pd.DataFrame:
    """Difference of every configuration to the base that it shares most settings with.

    Parameters
    ----------
    results : DataFrame
        Of SDC, one data set and code length, see `with_width`; every configuration has at least two seeds.
    bases : mapping of str to Config
        By the names that they are to have. The first one is not compared; where a setting is as near to several
        bases, the first of them counts.
    metric : str

    Returns
    -------
    DataFrame
        config, group (see `GROUPS`), change, base (its name), base_config, the columns of `study.stats.compared`, and
        p_holm (Holm's). Rows of a group follow each other.
    """
    if len(found := results[["data", "n_bits"]].drop_duplicates()) != 1:
        raise ValueError(f"results: expected one data set and code length, got {len(found)}")
    runs = results.drop_duplicates("config")
    settings = dict(zip(runs["config"], runs[["preset", *SETTINGS]].to_dict("records"), strict=True))
    first, *_ = bases.values()
    rows = []
    for config, values in settings.items():
        if config == first:
            continue
        changes = {
            name: [key for key in SETTINGS if values[key] != settings[base][key]]
            for name, base in bases.items()
            if base != config
        }
        base = min(changes, key=lambda name: len(changes[name]))
        changed, name = changes[base], f"preset {values['preset']}"
        is_preset = values["preset"] != settings[bases[base]]["preset"]
        row = {
            "config": config,
            "group": GROUPS.get(frozenset(changed), name if is_preset else ", ".join(sorted(changed))),
            "change": name if is_preset else change_name(values, changed),
            "base": base,
            "base_config": bases[base],
        }
        rows.append(row | compared(results, [(config, bases[base])], metric).iloc[0].to_dict())
    table = pd.DataFrame(rows)
    table["p_holm"] = multipletests(table["p"], method="holm")[1]
    order = {group: i for i, group in enumerate(dict.fromkeys(table["group"]))}
    return table.sort_values("group", key=lambda group: group.map(order), kind="stable", ignore_index=True)


def short_names(table: pd.DataFrame) -> dict[Config, str]:
    """Name every configuration of `effects`, bases too, by base and change: "release, batch 512"."""
    names = dict(zip(table["base_config"], table["base"], strict=True))
    for config, base, change in table[["config", "base", "change"]].itertuples(index=False):
        is_preset = change.startswith("preset ")
        names.setdefault(config, change.removeprefix("preset ") if is_preset else f"{base}, {change}")
    return names


def ladder(
    results: pd.DataFrame, base: Config, setting: str, in_proportion: str | None = None
) -> pd.DataFrame:
    """Select the runs that differ from a base in one setting alone, with the base's own, by its value.

    Parameters
    ----------
    results : DataFrame
        See `with_width`.
    base : Config
    setting : str
        A numerical one of `sdclib.methods.presets.SDCSettings`.
    in_proportion : str, optional
        Another setting, which has to change by the same factor.

    Returns
    -------
    DataFrame
        value, seed and map_expected in percent, by value and seed.
    """
    start = results[results["config"] == base].iloc[0]
    same = [name for name in SETTINGS if name not in (setting, in_proportion)]
    kept = (results[same].map(str) == start[same].map(str)).all(axis=1)  # None is not equal to None
    if in_proportion is not None:
        expected = start[in_proportion] * results[setting] / start[setting]
        kept &= np.isclose(results[in_proportion].astype(float), expected.astype(float), rtol=1e-6)
    found = results[kept]
    if found["config"].nunique() < 2:
        raise ValueError(f"setting: expected runs with several values of {setting!r} beside {base}, got none")
    table = pd.DataFrame({"value": found[setting].astype(float), "seed": found["seed"]})
    table["map_expected"] = 100 * found["map_expected"]
    return table.sort_values(["value", "seed"], ignore_index=True)


def per_doubling(steps: pd.DataFrame) -> dict[str, float]:
    """Points a doubling of the setting adds, by a straight line through all runs of a `ladder` but those of value 0."""
    kept = steps[steps["value"] > 0]
    line = stats.linregress(np.log2(kept["value"]), kept["map_expected"])
    half = stats.t.ppf(0.975, len(kept) - 2) * line.stderr
    return {"mean": line.slope, "low": line.slope - half, "high": line.slope + half}


def costs(results: pd.DataFrame) -> pd.DataFrame:
    """Give expected mAP and seconds of training in one data set and code length, a configuration a row, fastest first.

    Returns
    -------
    DataFrame
        Index config; map_expected and map_expected_ci (percent), seconds, seconds_low, seconds_high (mean, least and
        most), best_for_its_time (no other configuration has as high a mean in as little time).
    """
    table = summarise(results, ["map_expected"]).set_index("config")[["map_expected", "map_expected_ci"]]
    seconds = results.groupby("config", sort=False)["fit_seconds"].agg(["mean", "min", "max"])
    table[["seconds", "seconds_low", "seconds_high"]] = seconds
    table = table.sort_values(["seconds", "map_expected"], ascending=[True, False])
    best_before = table["map_expected"].cummax().shift(fill_value=-np.inf)
    return table.assign(best_for_its_time=table["map_expected"] > best_before)
