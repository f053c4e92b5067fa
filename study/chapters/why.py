"""What parts of SDC gain or lose: differences from the tables of runs, and from the variants of `study.variants`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sdclib.data.vectors import read_csv
from sdclib.losses.calibration import parse_calibration, target_quantiles
from sdclib.methods.sdc import coarsened
from study.comparisons import compared, ends, set_name, tally
from study.tables import mean_interval, method_label, spelled, summarise

__all__ = [
    "BASE",
    "PARTS",
    "TEXT",
    "Part",
    "averaging",
    "by_epoch",
    "by_part",
    "change_names",
    "coarse_spread",
    "enough_quantiles",
    "from_tables",
    "laid_out",
    "less_base",
    "read_variants",
]

BASE = "base"
# Columns that are text even where all of it is digits.
TEXT: dict[str, type] = {"variant": str, "data_sha256": str}


def _sdc(**parameters: Any) -> str:
    return method_label("sdc", dict(sorted({"preset": "release", **parameters}.items())))


def _quick(**parameters: Any) -> str:
    return _sdc(batch_size=256, learning_rate=4e-4, **parameters)


@dataclass(frozen=True)
class Part:
    """A change that a table of runs tells the effect of.

    Parameters
    ----------
    part : str
        What is changed.
    table : str
        Name of the table, without folder and ending.
    change : str
        What it is changed to.
    first, second : str
        Labels of the runs with the change and without it, see `study.tables.method_label`.
    """

    part: str
    table: str
    change: str
    first: str
    second: str


def _matching(features: str, target: str) -> str:
    return method_label("matching", {"features": features, "target": target})


_NEIGHBOURS = "SDC by neighbours"
PARTS = (
    Part("pairs", "training", "all pairs, batch 64", _sdc(pairs="all"), _sdc()),
    Part("pairs", "training", "all pairs, batch 256", _quick(pairs="all"), _quick()),
    Part("centring", "training", "centred, batch 64", _sdc(center=True), _sdc()),
    Part("centring", "spread", "centred", _quick(center=True), _quick()),
    Part("whitening", "spread", "whitened", _matching("whitened", "calibrated"), _quick(center=True)),
    Part(
        "whitening",
        "spread",
        "whitened, linear map",
        _matching("whitened", "standardised"),
        _matching("centred", "standardised"),
    ),
    Part("target", "calibration", "target for 64 bits", _quick(calibration="beta(31.5, 31.5)"), _quick()),
    Part("target", "calibration", "target for 16 bits", _quick(calibration="beta(7.5, 7.5)"), _quick()),
    Part("target", "calibration", "binomial, 64 bits", _quick(calibration="binomial(64)"), _quick()),
    Part("target", "calibration", "binomial, 16 bits", _quick(calibration="binomial(16)"), _quick()),
    Part("teacher", "neighbours", "neighbours as teacher", _NEIGHBOURS, f"{_NEIGHBOURS} (n_steps=0)"),
)


def from_tables(
    tables: Mapping[str, pd.DataFrame], parts: Sequence[Part] = PARTS, metric: str = "map_expected"
) -> pd.DataFrame:
    """Differences that changes make, in every data set and code length that has seeds with them and without.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        See `study.tables.read_results`, by name.
    parts : sequence of Part
    metric : str
        Values in [0, 1].

    Returns
    -------
    DataFrame
        part, change and the columns of `study.comparisons.compared`: mean, low, high in points with Welch's
        95 % interval over seeds.

    Raises
    ------
    ValueError
        If a table is missing, or has no setting with seeds of both sides.
    """
    found = []
    for one in parts:
        if one.table not in tables:
            raise ValueError(f"tables: expected one by the name of {one.table}, got {', '.join(tables)}")
        rows = compared(tables[one.table], [(one.first, one.second)], metric)
        if rows.empty:
            raise ValueError(f"tables: expected seeds of {one.first} and {one.second} in {one.table}")
        found.append(rows.assign(part=one.part, change=one.change))
    return pd.concat(found, ignore_index=True)


def change_names(rows: pd.DataFrame, data: str, n_bits: int) -> list[str]:
    """Name changes, with set and code length where these are not the usual ones: "centred, Caltech-101".

    Parameters
    ----------
    rows : DataFrame
    data, n_bits
        The usual ones.
    """
    names = []
    for change, where, length in rows[["change", "data", "n_bits"]].itertuples(index=False):
        words = [change] if where == data else [change, set_name(where)]
        if length != n_bits and f"{length} bits" not in change:
            words.append(f"{length} bits")
        names.append(", ".join(words))
    return names


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Count for each part how many differences lie above 0, below 0, and hold it.

    Parameters
    ----------
    rows : DataFrame
        part, and mean, low, high (points); see `from_tables`.

    Returns
    -------
    DataFrame
        Index the parts in the order of `rows`; above, below, open (numbers of differences) and ends (text), the least
        and the greatest mean.
    """
    counts = {
        part: [*tally(group), ends(group).removesuffix(" points")]
        for part, group in rows.groupby("part", sort=False)
    }
    return pd.DataFrame.from_dict(counts, orient="index", columns=["above", "below", "open", "ends"])


def read_variants(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the table that `scripts/why.py` writes and label each run by study and variant.

    Raises
    ------
    ValueError
        If columns are missing.
    """
    table = read_csv(Path(path), dtype=TEXT)
    if missing := {"data", "study", "variant", "seed", "map_expected"} - set(table.columns):
        raise ValueError(
            f"{Path(path)}: expected the columns of a table of variants, {sorted(missing)} missing"
        )
    label = (table["study"] + ": " + table["variant"]).where(table["study"] != BASE, BASE)
    return table.assign(label=label)


def less_base(variants: pd.DataFrame, study: str, metric: str = "map_expected") -> pd.DataFrame:
    """Differences of a study's variants to the base, for each data set, over seeds and seed by seed.

    Parameters
    ----------
    variants : DataFrame
        See `read_variants`.
    study : str
    metric : str
        Values in [0, 1].

    Returns
    -------
    DataFrame
        variant, the columns of `study.comparisons.compared`, and paired_low, paired_high: 95 %
        interval of the mean difference between runs of one seed, which start from the same weights with the rows in
        the same order.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    labels = list(dict.fromkeys(variants.loc[variants["study"] == study, "label"]))
    if not labels:
        raise ValueError(f"study: expected one of {', '.join(variants['study'].unique())}, got {study!r}")
    rows = compared(variants, [(label, BASE) for label in labels], metric)
    values = 100 * variants.pivot_table(index=["data", "label"], columns="seed", values=metric)
    for i, (data, label) in enumerate(zip(rows["data"], rows["first"], strict=True)):
        mean, half = mean_interval((values.loc[data, label] - values.loc[data, BASE]).dropna())
        rows.loc[i, ["paired_low", "paired_high"]] = mean - half, mean + half
    return rows.assign(variant=rows["first"].str.removeprefix(f"{study}: "))


def laid_out(variants: pd.DataFrame, study: str, metrics: Mapping[str, str]) -> pd.DataFrame:
    """Spell means of the base and of a study's variants out: ``mean ± half interval`` in percent.

    Parameters
    ----------
    variants : DataFrame
        Of one data set, see `read_variants`.
    study : str
    metrics : mapping of str to str
        Columns of the table, and what readers call them.
    """
    chosen = variants[variants["study"].isin([BASE, study])]
    summary = summarise(chosen, list(metrics))
    columns = {
        name: [spelled(mean, half) for mean, half in zip(summary[key], summary[f"{key}_ci"], strict=True)]
        for key, name in metrics.items()
    }
    return pd.DataFrame(columns, index=summary["label"].str.removeprefix(f"{study}: ").rename(study))


def enough_quantiles(rows: pd.DataFrame, high: str = "high") -> int | None:
    """Fewest targets a batch from which on no interval lies below 0; None where even that of the most does.

    Parameters
    ----------
    rows : DataFrame
        See `less_base`; variants are numbers of targets.
    high : {"high", "paired_high"}
        Column of the interval's upper end.
    """
    by_number = rows.assign(number=rows["variant"].astype(int)).sort_values("number", ascending=False)
    kept = by_number[(by_number[high] >= 0).cummin()]
    return int(kept["number"].min()) if len(kept) else None


def coarse_spread(calibration: str, n_pairs: int, n_quantiles: int) -> float:
    """Spread of coarsened targets divided by that of the targets, see `sdclib.methods.sdc.coarsened`."""
    targets = torch.as_tensor(target_quantiles(parse_calibration(calibration), n_pairs))
    return float(coarsened(targets, n_quantiles).std(correction=0) / targets.std(correction=0))


def by_epoch(epochs: pd.DataFrame, data: str, variant: str, averaged: int = 1) -> pd.DataFrame:
    """Lay expected mAP out by epoch and seed, as `study.chapters.epochs` takes it.

    Parameters
    ----------
    epochs : DataFrame
        data, variant, seed, epoch, averaged (epochs over which weights were averaged) and map_expected.
    data, variant : str
    averaged : int

    Returns
    -------
    DataFrame
        Index epochs, a seed a column; percent.

    Raises
    ------
    ValueError
        If there is no such row, or a seed lacks an epoch.
    """
    kept = (epochs["data"] == data) & (epochs["variant"] == variant) & (epochs["averaged"] == averaged)
    table = 100 * epochs[kept].pivot_table(index="epoch", columns="seed", values="map_expected")
    if table.empty or table.isna().any(axis=None):
        raise ValueError(
            f"epochs: expected the same epochs of every seed for {variant} on {data} with averaged = {averaged}, "
            f"got {'none' if table.empty else 'some without'}"
        )
    return table.sort_index()


def averaging(epochs: pd.DataFrame, data: str, variant: str, epoch: int, averaged: int) -> dict[str, float]:
    """Difference that averaged weights make to those of the last epoch averaged, seed by seed.

    Parameters
    ----------
    epochs, data, variant
        See `by_epoch`.
    epoch : int
        The last one averaged.
    averaged : int

    Returns
    -------
    dict
        mean, low, high: points, with the 95 % interval over seeds.

    Raises
    ------
    ValueError
        If an epoch is missing.
    """
    means = by_epoch(epochs, data, variant, averaged)
    alone = by_epoch(epochs, data, variant)
    if epoch not in means.index or epoch not in alone.index:
        raise ValueError(f"epoch: expected one with an average of {averaged} epochs, got {epoch}")
    mean, half = mean_interval(means.loc[epoch] - alone.loc[epoch])
    return {"mean": mean, "low": mean - half, "high": mean + half}
