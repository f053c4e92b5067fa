"""Means, differences and intervals over seeds; and how tables show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from study.tables import Config, by_setting, setting_name

__all__ = [
    "against",
    "by_bits",
    "compared",
    "contrast",
    "difference",
    "difference_table",
    "format_summary",
    "interval_text",
    "mean_interval",
    "mean_text",
    "summarise",
]

Row = Mapping[Any, Any] | pd.Series  # mean, low, high
WITHOUT_CHANCE = ("cosine", "sign", "pcah")  # the same codes with every seed: one run is all there is to know
METRIC_NAMES = {
    "map_authors": "mAP@{} (authors' definition)",
    "map_expected": "mAP@{} (expected)",
    "intersection": "intersection",
    "overlap_auc": "overlap AUC",
}


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval by Student's t; NaN for fewer than two values."""
    array = np.asarray(values, dtype=float)
    if array.size < 2:
        return (float(array[0]) if array.size else np.nan), np.nan
    return float(array.mean()), float(stats.t.ppf(0.975, array.size - 1) * stats.sem(array))


def contrast(groups: Sequence[ArrayLike], weights: Sequence[float]) -> dict[str, float]:
    """Weighted sum of group means with a 95 % interval by Welch and Satterthwaite: mean, low, high.

    Weights 1 and -1 are Welch's test of two groups; 1, -1, -1 and 1 a difference of differences.

    Parameters
    ----------
    groups : sequence of array-like, shapes (n_seeds,), n_seeds >= 2
    weights : sequence of float, one a group
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    for i, array in enumerate(arrays):
        if array.ndim != 1 or array.size < 2:
            raise ValueError(f"groups[{i}]: expected at least two values, got shape {array.shape}")
    mean = float(np.dot(weights, [array.mean() for array in arrays]))
    parts = np.square(weights) * [array.var(ddof=1) / array.size for array in arrays]
    if not parts.sum():
        return {"mean": mean, "low": mean, "high": mean}
    freedom = parts.sum() ** 2 / (parts**2 / [array.size - 1 for array in arrays]).sum()
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def difference(first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """Difference of two means as by `contrast`; its ends are NaN where a group has one value."""
    if min(np.size(first), np.size(second)) > 1:
        return contrast([first, second], [1, -1])
    return {"mean": mean_interval(first)[0] - mean_interval(second)[0], "low": np.nan, "high": np.nan}


def compared(
    results: pd.DataFrame, pairs: Iterable[tuple[Any, Any]], metric: str = "map_expected", by: str = "config"
) -> pd.DataFrame:
    """Differences of pairs in every data set and code length that has at least two seeds of both.

    Parameters
    ----------
    results : DataFrame
        data, n_bits, seed, `by` and the metric in [0, 1]; its order is that of the settings.
    pairs : iterable of (first, second)
        Values of the column `by`.
    metric, by : str

    Returns
    -------
    DataFrame
        first, second; mean, low, high (first less second in points, 95 % interval by Welch) and p of the same test;
        paired_low, paired_high (95 % interval of the mean difference seed by seed, over the seeds that both have);
        data, n_bits, setting (see `study.tables.setting_name`).
    """
    rows = []
    for pair in pairs:
        chosen = results[results[by].isin(pair)]
        for data, n_bits, here in by_setting(chosen):
            first, second = (
                100 * here[here[by] == key].set_index("seed")[metric].astype(float) for key in pair
            )
            if min(len(first), len(second)) < 2:
                continue
            apart, half = mean_interval((first - second).dropna())
            row = dict(zip(("first", "second"), pair, strict=True)) | contrast([first, second], [1, -1])
            row["p"] = float(stats.ttest_ind(first, second, equal_var=False).pvalue)
            row |= {"paired_low": apart - half, "paired_high": apart + half}
            rows.append(row | {"data": data, "n_bits": n_bits, "setting": setting_name(data, n_bits)})
    columns = [
        "first",
        "second",
        "mean",
        "low",
        "high",
        "p",
        "paired_low",
        "paired_high",
        "data",
        "n_bits",
        "setting",
    ]
    return pd.DataFrame(rows, columns=columns)


def against(results: pd.DataFrame, config: Config, n_bits: int, metric: str = "map_expected") -> pd.DataFrame:
    """Compare one method with every other of a data set at a code length, and with the float features.

    Against methods with seeds by Welch's interval; against those `WITHOUT_CHANCE`, which have one run, by the interval
    of the method's own mean.

    Returns
    -------
    DataFrame
        first (`config`), second, mean, low, high; points.
    """
    chosen = results[results["n_bits"].isna() | (results["n_bits"] == n_bits)]
    values = 100 * chosen.loc[chosen["config"] == config, metric].to_numpy(dtype=float)
    rows = []
    other: Config
    for other, group in chosen[chosen["config"] != config].groupby("config", sort=False):  # type: ignore[assignment]
        others = 100 * group[metric].to_numpy(dtype=float)
        if len(others) == 1 and other.method in WITHOUT_CHANCE:
            mean, half = mean_interval(values - others[0])
            row = {"mean": mean, "low": mean - half, "high": mean + half}
        else:
            row = contrast([values, others], [1, -1])
        rows.append({"first": config, "second": other, **row})
    return pd.DataFrame(rows)


def summarise(
    results: pd.DataFrame,
    metrics: Sequence[str] = ("map_authors", "map_expected", "intersection"),
    by: str = "config",
) -> pd.DataFrame:
    """One row a data set, value of `by` and code length: number of seeds, mean and 95 % half interval of each metric.

    Returns
    -------
    DataFrame
        data, `by`, n_bits, seeds, and for every metric ``metric`` and ``metric_ci``; percent for metrics in [0, 1].
    """
    grouped = results.groupby(["data", by, "n_bits"], sort=False, dropna=False)
    summary = grouped.size().rename("seeds").to_frame()
    for metric in metrics:
        summary[metric] = 100 * grouped[metric].mean()
        summary[f"{metric}_ci"] = 100 * stats.t.ppf(0.975, summary["seeds"] - 1) * grouped[metric].sem()
    return summary.reset_index()


# What is shown: cells of tables.


def mean_text(mean: float, half: float) -> str:
    """``mean ± half``, or the mean alone where there is no interval; one decimal."""
    return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def interval_text(row: Row) -> str:
    """Write a difference: ``+1.2 (0.8 to 1.6)``; the mean alone where there is no interval."""
    if pd.isna(row["low"]):
        return f"{row['mean']:+z.1f}"
    return f"{row['mean']:+z.1f} ({row['low']:z.1f} to {row['high']:z.1f})"


def difference_table(rows: pd.DataFrame, column: str, index: str = "setting") -> pd.DataFrame:
    """Lay differences out with a value of `index` a row and a value of `column` a column, empty where there is none."""
    cells = rows.assign(cell=[interval_text(row) for row in rows.to_dict("records")])
    table = cells.pivot_table(index=index, columns=column, values="cell", aggfunc="first", sort=False)
    return table.fillna("").rename_axis(columns=None)


def format_summary(summary: pd.DataFrame, top_k: int) -> pd.DataFrame:
    """Lay a summary out for readers: ``mean ± half interval`` in percent; `top_k` is the R of mAP@R."""
    table = pd.DataFrame({"method": summary["config"]})
    table["bits"] = ["float" if pd.isna(n_bits) else str(n_bits) for n_bits in summary["n_bits"]]
    table["seeds"] = summary["seeds"]
    for metric, name in METRIC_NAMES.items():
        if metric in summary:
            table[name.format(top_k)] = list(map(mean_text, summary[metric], summary[f"{metric}_ci"]))
    return table


def by_bits(summary: pd.DataFrame, metric: str, by: str = "config") -> pd.DataFrame:
    """Lay one metric of one data set out with a method a row and a code length a column, best at the longest first."""
    codes = summary[summary["n_bits"].notna()].sort_values("n_bits")
    codes = codes.assign(cell=list(map(mean_text, codes[metric], codes[f"{metric}_ci"])))
    table = codes.pivot_table(index=by, columns="n_bits", values="cell", aggfunc="first", sort=False)
    longest = codes[codes["n_bits"] == codes["n_bits"].max()]
    order = longest.sort_values(metric, ascending=metric == "intersection")[by]
    return (
        table.loc[order].fillna("").rename(columns="{} bits".format).rename_axis(index="method", columns=None)
    )
