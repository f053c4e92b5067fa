"""Which calibration distribution to take: the default against the best, and a choice on held-out training images."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from numpy.typing import NDArray

from sdclib.data.variants import HOLDOUT
from study.chapters.targets import DEFAULT, target_label
from study.comparisons import by_setting, difference_table, setting_name
from study.statistics import contrast
from study.tables import mean_interval, spelled

__all__ = ["default_differences", "held_out_choice", "held_out_gain", "regret", "regret_table"]

Values = Mapping[str, NDArray]  # percent by target, one value a seed


def default_differences(summary: pd.DataFrame, default: str = DEFAULT) -> pd.DataFrame:
    """Take expected mAP of the default from that of each target, a target a row and a setting a column.

    Parameters
    ----------
    summary : DataFrame
        With targets as labels, see `study.tables.summarise`.
    default : str

    Returns
    -------
    DataFrame
        Points; index names of `target_label`, columns settings, NaN where a target did not run; in the
        order of the setting that has most targets, best first.
    """
    rows = {}
    for data, n_bits, group in by_setting(summary):
        means = group.set_index("label")["map_expected"].to_dict()
        rows[setting_name(data, n_bits)] = {
            target_label(str(target), n_bits): mean - means[default] for target, mean in means.items()
        }
    table = pd.DataFrame(rows)
    fullest = table[table.count().idxmax()]
    return table.loc[fullest.sort_values(ascending=False).index].rename_axis("target")


def regret(results: pd.DataFrame, default: str = DEFAULT) -> pd.DataFrame:
    """Tell how far the default target is below the best one in each setting.

    The best target is the one with the highest mean on the very queries that measure it, so its lead is flattered;
    `held_out_gain` flatters less.

    Parameters
    ----------
    results : DataFrame
        See `study.chapters.targets.with_calibration`.
    default : str

    Returns
    -------
    DataFrame
        One row a setting: data, n_bits, setting, targets (number), best, mean, low, high (best less default in points,
        Welch's 95 % interval; zeros where the default is best).
    """
    rows = []
    for data, n_bits, group in by_setting(results):
        values = _by_target(group)
        best = max(values, key=lambda target: values[target].mean())
        lead = _lead(values, best, default)
        rows.append((data, n_bits, setting_name(data, n_bits), len(values), best, *lead))
    return pd.DataFrame(rows, columns=["data", "n_bits", "setting", "targets", "best", "mean", "low", "high"])


def _by_target(group: pd.DataFrame) -> Values:
    """Group expected mAP of a setting's runs by target, in percent."""
    return {str(t): 100 * g["map_expected"].to_numpy() for t, g in group.groupby("label", sort=False)}


def _lead(values: Values, target: str, default: str) -> tuple[float, float, float]:
    """Mean lead of a target over the default and its Welch's 95 % interval; zeros for the default itself."""
    return (0.0, 0.0, 0.0) if target == default else contrast([values[target], values[default]], [1, -1])


def held_out_gain(results: pd.DataFrame, default: str = DEFAULT) -> pd.DataFrame:
    """Choose the target on all seeds but one and measure it on that one, for each seed in turn.

    Candidates of a seed are the targets that have it and at least one other. What is held out is the seed of the
    training, not the queries.

    Parameters
    ----------
    results : DataFrame
        See `study.chapters.targets.with_calibration`.
    default : str

    Returns
    -------
    DataFrame
        One row a setting and seed: data, n_bits, setting, seed, chosen, gain (chosen less default, points).
    """
    rows = []
    for data, n_bits, group in by_setting(results):
        table = 100 * group.pivot_table(index="label", columns="seed", values="map_expected")
        means = table.to_dict()
        for seed, measured in means.items():
            others = table[table[seed].notna()].drop(columns=seed).mean(axis=1).dropna()
            chosen = str(others.idxmax())
            gain = measured[chosen] - measured[default]
            rows.append((data, n_bits, setting_name(data, n_bits), seed, chosen, gain))
    return pd.DataFrame(rows, columns=["data", "n_bits", "setting", "seed", "chosen", "gain"])


def held_out_choice(results: pd.DataFrame, default: str = DEFAULT) -> pd.DataFrame:
    """Choose the target on held-out training images and measure it on the queries, for each data set that has both.

    Candidates are the targets that ran with both. No query has a part in the choice among them; which targets ran is
    not this function's to say.

    Parameters
    ----------
    results : DataFrame
        See `study.chapters.targets.with_calibration`; held-out runs have data that end with ``+holdout``.
    default : str

    Returns
    -------
    DataFrame
        One row a setting: data, n_bits, setting, chosen, held_out (its lead over the default on held-out training
        images, points), mean, low, high (the same on the queries, Welch's 95 % interval; zeros where the default is
        chosen), best (mean lead of the candidate that is best on the queries).
    """
    rows = []
    for data, n_bits, held_out in by_setting(results[results["data"].str.endswith(HOLDOUT)]):
        data = data.removesuffix(HOLDOUT)
        values = _by_target(results[(results["data"] == data) & (results["n_bits"] == n_bits)])
        means = 100 * held_out.groupby("label", sort=False)["map_expected"].mean()
        means = means[means.index.isin(list(values))]
        chosen = str(means.idxmax())
        held_out_lead = means[chosen] - means[default]
        lead = _lead(values, chosen, default)
        best = max(values[target].mean() for target in means.index) - values[default].mean()
        rows.append((data, n_bits, setting_name(data, n_bits), chosen, held_out_lead, *lead, best))
    return pd.DataFrame(
        rows, columns=["data", "n_bits", "setting", "chosen", "held_out", "mean", "low", "high", "best"]
    )


def regret_table(found: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Spell `regret` and `held_out_gain` out, a setting a row.

    Parameters
    ----------
    found, gains : DataFrame
        What the two return for the same results.
    """
    best = [
        target_label(target, n_bits) for target, n_bits in zip(found["best"], found["n_bits"], strict=True)
    ]
    table = difference_table(found.assign(what="best less default"), "what")
    table.insert(0, "best", best)
    held_out = [
        spelled(*mean_interval(gains["gain"][gains["setting"] == setting])) for setting in table.index
    ]
    return table.assign(**{"gain, seed held out": held_out})
