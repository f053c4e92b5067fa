"""What each setting of SDC's training changes: differences to a base, trends, noise of seeds and epochs, time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sdclib.methods.presets import SDCSettings, preset_table, settings_from_preset
from study.comparisons import brief
from study.statistics import holm
from study.tables import by_sign, difference, mean_interval

__all__ = [
    "change_name",
    "costs",
    "differing_settings",
    "effect_table",
    "effects",
    "ladder",
    "per_doubling",
    "seed_noise",
    "short_names",
    "verdict_on",
    "with_settings",
]

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


def differing_settings(presets: Sequence[str]) -> pd.DataFrame:
    """Rows of `sdclib.methods.presets.preset_table` in which the given presets differ; a preset a column."""
    table = preset_table()[list(presets)]
    return table[table.nunique(axis=1) > 1]


def with_settings(results: pd.DataFrame, n_features: int) -> pd.DataFrame:
    """Keep the runs of SDC and add all their settings, a column each, and their preset.

    Parameters
    ----------
    results : DataFrame
        See `study.tables.read_results`.
    n_features : int
        Width d of the features: what a preset that has hidden layers of width d comes to.

    Returns
    -------
    DataFrame
        With the columns preset and those of `sdclib.methods.presets.SDCSettings`.

    Raises
    ------
    ValueError
        If there is no run of SDC.
    """
    kept = results[results["method"] == "sdc"].reset_index(drop=True)
    if kept.empty:
        raise ValueError("results: expected runs of sdc, got none")
    rows = []
    for text in kept["parameters"]:
        parameters: dict[str, Any] = {"preset": "paper", **json.loads(text)}
        settings = settings_from_preset(**parameters)
        row = {"preset": parameters["preset"], **{name: getattr(settings, name) for name in SETTINGS}}
        rows.append(row | {"hidden_features": settings.hidden_features or n_features})
    return kept.join(pd.DataFrame(rows))


def change_name(settings: Mapping[str, Any], changed: Sequence[str]) -> str:
    """Name a change by the values that it leads to: "batch 256, rate 0.0004"."""
    names = {
        "batch_size": "batch {}",
        "learning_rate": "rate {:g}",
        "pairs": "{} pairs",
        "quantization_weight": "quantization weight {:g}",
        "hidden_features": "width {}",
        "weight_decay": "weight decay {:g}",
    }
    words = []
    for name in sorted(changed, key=[*names, *changed].index):
        value = settings[name]
        if name == "center":
            words.append("centred" if value else "not centred")
        elif name == "n_hidden_layers":
            words.append(f"{value or 'no'} hidden layer{'s' if value > 1 else ''}")
        else:
            words.append(names.get(name, f"{name} {{}}").format(value))
    return ", ".join(words)


def effects(results: pd.DataFrame, bases: Mapping[str, str], metric: str = "map_expected") -> pd.DataFrame:
    """Difference of every setting to the base that it shares most settings with.

    Parameters
    ----------
    results : DataFrame
        Of one data set and code length, see `with_settings`; every label has at least two seeds.
    bases : mapping of str to str
        Labels of the bases, by the names that they are to have. The first one is not compared; where a setting is
        as near to several bases, the first of them counts.
    metric : str
        Values in [0, 1].

    Returns
    -------
    DataFrame
        One row a setting: label, group (see `GROUPS`), change, base, base_label; mean, low, high (points, Welch's 95 %
        interval), p (of Welch's test), p_holm (see `holm`), paired_low and paired_high (points, 95 % interval of the
        mean difference seed by seed; NaN where the seeds are not the same). Rows of a group follow each other.

    Raises
    ------
    ValueError
        If the table has several data sets or code lengths, or a base is missing.
    """
    if len(found := results[["data", "n_bits"]].drop_duplicates()) != 1:
        raise ValueError(f"results: expected one data set and code length, got {len(found)}")
    n_bits = int(results["n_bits"].iloc[0])
    runs = results.drop_duplicates("label").set_index("label")
    if missing := [label for label in bases.values() if label not in runs.index]:
        raise ValueError(f"bases: expected labels of the table, got {', '.join(missing)}")
    settings = runs[[*SETTINGS]]
    rows = []
    for label in settings.index:
        if label == next(iter(bases.values())):
            continue
        changes = {
            name: [key for key in SETTINGS if settings.loc[label, key] != settings.loc[base, key]]
            for name, base in bases.items()
            if base != label
        }
        base = min(changes, key=lambda name: len(changes[name]))
        preset = runs.loc[label, "preset"]
        is_preset = preset != runs.loc[bases[base], "preset"]
        name = f"preset {preset}"
        mean, low, high = difference(results, label, bases[base], n_bits, metric)
        row = {
            "label": label,
            "group": GROUPS.get(
                frozenset(changes[base]), name if is_preset else ", ".join(sorted(changes[base]))
            ),
            "change": name if is_preset else change_name(settings.loc[label], changes[base]),
            "base": base,
            "base_label": bases[base],
            "mean": mean,
            "low": low,
            "high": high,
        }
        rows.append(row | _tests(results, label, bases[base], metric))
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    order = {group: i for i, group in enumerate(dict.fromkeys(table["group"]))}
    return table.sort_values("group", key=lambda group: group.map(order), kind="stable", ignore_index=True)


def _tests(results: pd.DataFrame, first: str, second: str, metric: str) -> dict[str, float]:
    """Welch's p, and the paired interval over the seeds that both have."""
    values = [100 * results[results["label"] == label].set_index("seed")[metric] for label in (first, second)]
    found = {"p": float(stats.ttest_ind(*values, equal_var=False).pvalue)}
    low = high = float("nan")
    if set(values[0].index) == set(values[1].index):
        mean, half = mean_interval(values[0] - values[1])
        low, high = mean - half, mean + half
    return found | {"paired_low": low, "paired_high": high}


def verdict_on(row: Mapping[str, Any] | pd.Series) -> str:
    """Say by its interval what a change does: "raises", "lowers", or "unclear" where the interval holds 0."""
    return by_sign(row, "raises", "lowers", "unclear")


def short_names(table: pd.DataFrame) -> dict[str, str]:
    """Name every label of `effects`, bases too, by base and change: "release, batch 512"."""
    names = dict(zip(table["base_label"], table["base"], strict=True))
    for label, base, change in table[["label", "base", "change"]].itertuples(index=False):
        names.setdefault(
            label, change.removeprefix("preset ") if change.startswith("preset ") else f"{base}, {change}"
        )
    return names


def effect_table(table: pd.DataFrame) -> pd.DataFrame:
    """Spell `effects` out for readers: a change a row, with base, difference, interval, and p by Holm."""
    return pd.DataFrame(
        {
            "from": table["base"].to_numpy(),
            "points (95 % interval)": [brief(row) for _, row in table.iterrows()],
            "p (Holm)": [f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in table["p_holm"]],
        },
        index=pd.Index(table["change"], name="change"),
    )


def seed_noise(results: pd.DataFrame, metric: str = "map_expected") -> tuple[float, int]:
    """Pool the standard deviation of runs that differ in their seed alone over all settings.

    Parameters
    ----------
    results : DataFrame
        label and the metric, in [0, 1].
    metric : str
        A column of `results`.

    Returns
    -------
    deviation : float
        In points.
    freedom : int
        Its degrees of freedom.

    Raises
    ------
    ValueError
        If no label has two runs.
    """
    grouped = results.groupby("label")[metric]
    freedom = int((grouped.size() - 1).sum())
    if not freedom:
        raise ValueError("results: expected a label with at least two runs, got one run a label")
    squares = ((results[metric] - grouped.transform("mean")) ** 2).sum()
    return float(100 * np.sqrt(squares / freedom)), freedom


def ladder(
    results: pd.DataFrame,
    base: str,
    setting: str,
    in_proportion: str | None = None,
    metric: str = "map_expected",
) -> pd.DataFrame:
    """Select the runs that differ from a base in one setting alone, with the base's own, by its value.

    Parameters
    ----------
    results : DataFrame
        See `with_settings`.
    base : str
        A label.
    setting : str
        A numerical one of `sdclib.methods.presets.SDCSettings`.
    in_proportion : str, optional
        Another setting, which has to change by the same factor.
    metric : str
        Values in [0, 1].

    Returns
    -------
    DataFrame
        value, seed and the metric in percent, by value and seed.

    Raises
    ------
    ValueError
        If the base is missing or nothing but the base is left.
    """
    if base not in set(results["label"]):
        raise ValueError(f"base: expected a label of the table, got {base!r}")
    start = results[results["label"] == base].iloc[0]
    same = [name for name in SETTINGS if name not in (setting, in_proportion)]
    kept = (results[same] == start[same]).all(axis=1)
    if in_proportion is not None:
        expected = start[in_proportion] * results[setting] / start[setting]
        kept &= np.isclose(results[in_proportion].astype(float), expected.astype(float), rtol=1e-6)
    found = results[kept]
    if found["label"].nunique() < 2:
        raise ValueError(f"setting: expected runs with several values of {setting!r} beside {base}, got none")
    table = pd.DataFrame(
        {"value": found[setting].astype(float), "seed": found["seed"], metric: 100 * found[metric]}
    )
    return table.sort_values(["value", "seed"], ignore_index=True)


def per_doubling(steps: pd.DataFrame, metric: str = "map_expected") -> tuple[float, float, float]:
    """Points a doubling of the setting adds, by a straight line through all runs, with its 95 % interval.

    Parameters
    ----------
    steps : DataFrame
        See `ladder`; runs with the value 0 are left out.
    metric : str
        A column of `steps`.

    Returns
    -------
    slope, low, high : float

    Raises
    ------
    ValueError
        If fewer than three runs or one value are left.
    """
    kept = steps[steps["value"] > 0]
    if len(kept) < 3 or kept["value"].nunique() < 2:
        raise ValueError(f"steps: expected at least three runs with two values above 0, got {len(kept)} runs")
    line = stats.linregress(np.log2(kept["value"]), kept[metric])
    half = stats.t.ppf(0.975, len(kept) - 2) * line.stderr
    return float(line.slope), float(line.slope - half), float(line.slope + half)


def costs(results: pd.DataFrame, metric: str = "map_expected") -> pd.DataFrame:
    """Mean of a metric and seconds of training, a setting a row, fastest first.

    Parameters
    ----------
    results : DataFrame
        Of one data set and code length: label, fit_seconds and the metric.
    metric : str
        A column of `results`.

    Returns
    -------
    DataFrame
        Index label; the metric and ``METRIC_ci`` (percent), seconds, seconds_low, seconds_high (mean, least and most),
        best_for_its_time (no other setting has as high a mean in as little time).
    """
    grouped = results.groupby("label", sort=False)
    table = pd.DataFrame(
        {label: mean_interval(100 * group[metric]) for label, group in grouped},
        index=[metric, f"{metric}_ci"],
    ).T
    seconds = grouped["fit_seconds"].agg(["mean", "min", "max"])
    table[["seconds", "seconds_low", "seconds_high"]] = seconds
    table = table.sort_values(["seconds", metric], ascending=[True, False])
    table["best_for_its_time"] = table[metric] > table[metric].cummax().shift(fill_value=-np.inf)
    table.index.name = "label"
    return table
