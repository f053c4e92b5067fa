"""What parts of SDC gain or lose: differences from the tables of runs, and from the variants of `study.variants`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sdclib.data.vectors import read_csv
from sdclib.losses.calibration import parse_calibration, target_quantiles
from sdclib.methods.presets import settings_from_preset
from sdclib.methods.sdc import coarsened
from study.stats import compared, count_signs, mean_text, range_text, summarise
from study.tables import find, set_name

__all__ = [
    "BASE",
    "PARTS",
    "TEXT",
    "Part",
    "by_part",
    "change_names",
    "coarse_spread",
    "enough_quantiles",
    "from_tables",
    "laid_out",
    "less_base",
    "of_study",
    "read_variants",
]

BASE = "base"
# Columns that are text even where all of it is digits.
TEXT: dict[str, type] = {"variant": str, "data_sha256": str}


@dataclass(frozen=True)
class Part:
    """A change that a table of runs tells the effect of.

    Parameters
    ----------
    part : str
        What is changed.
    table : str
        Name of the table.
    change : str
        What it is changed to.
    first, second : dict
        Values that the runs with the change and those without it have in columns of the table.
    """

    part: str
    table: str
    change: str
    first: dict[str, Any]
    second: dict[str, Any]


def _sdc(**changed: Any) -> dict[str, Any]:
    settings = asdict(settings_from_preset("release", **changed))
    return {"method": "sdc", "preset": "release", **settings}


def _quick(**changed: Any) -> dict[str, Any]:
    return _sdc(batch_size=256, learning_rate=4e-4, **changed)


def _matching(features: str, target: str) -> dict[str, Any]:
    return {"method": "matching", "features": features, "target": target}


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
    Part(
        "teacher",
        "neighbours",
        "neighbours as teacher",
        {"method": "neighbour-sdc", "n_steps": 4},
        {"method": "neighbour-sdc", "n_steps": 0},
    ),
)


def from_tables(tables: Mapping[str, pd.DataFrame], parts: Sequence[Part] = PARTS) -> pd.DataFrame:
    """Differences that changes make, in every data set and code length that has seeds with them and without.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        See `study.tables.published`, by name.
    parts : sequence of Part

    Returns
    -------
    DataFrame
        part, change and the columns of `study.stats.compared`.
    """
    found = []
    for one in parts:
        table = tables[one.table]
        rows = compared(table, [(find(table, **one.first), find(table, **one.second))])
        if rows.empty:
            raise ValueError(f"tables: expected seeds of {one.first} and {one.second} in {one.table}")
        found.append(rows.assign(part=one.part, change=one.change))
    return pd.concat(found, ignore_index=True)


def change_names(rows: pd.DataFrame, data: str, n_bits: int) -> list[str]:
    """Name changes, with set and code length where these are not the usual ones: "centred, Caltech-101"."""
    names = []
    for change, where, length in rows[["change", "data", "n_bits"]].itertuples(index=False):
        words = [change] if where == data else [change, set_name(where)]
        if length != n_bits and f"{length} bits" not in change:
            words.append(f"{length} bits")
        names.append(", ".join(words))
    return names


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Count for each part how many differences lie above 0, below 0, and hold it (open), with the range of means."""
    counts = {
        part: [*count_signs(group), range_text(group).removesuffix(" points")]
        for part, group in rows.groupby("part", sort=False)
    }
    return pd.DataFrame.from_dict(counts, orient="index", columns=["above", "below", "open", "ends"])


def read_variants(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the table that `scripts/why.py` writes; ValueError that names the columns which are missing."""
    table = read_csv(Path(path), dtype=TEXT)
    if missing := {"data", "study", "variant", "seed", "map_expected"} - set(table.columns):
        raise ValueError(
            f"{Path(path)}: expected the columns of a table of variants, {sorted(missing)} missing"
        )
    return table


def of_study(variants: pd.DataFrame, study: str) -> pd.DataFrame:
    """Keep the base and the variants of a study, which the column variant then tells apart."""
    if study not in (known := list(variants["study"].unique())):
        raise ValueError(f"study: expected one of {', '.join(known)}, got {study!r}")
    return variants[variants["study"].isin([BASE, study])]


def less_base(variants: pd.DataFrame, study: str, metric: str = "map_expected") -> pd.DataFrame:
    """Differences of a study's variants to the base: variant and the columns of `study.stats.compared`.

    Runs of one seed start from the same weights with the rows in the same order, which the paired interval uses.
    """
    rows = of_study(variants, study)
    names = [name for name in rows["variant"].unique() if name != BASE]
    found = compared(rows, [(name, BASE) for name in names], metric, by="variant")
    return found.assign(variant=found["first"])


def laid_out(variants: pd.DataFrame, study: str, metrics: Mapping[str, str]) -> pd.DataFrame:
    """Lay means of the base and of a study's variants out: ``mean ± half interval`` in percent.

    Parameters
    ----------
    variants : DataFrame
        Of one data set, see `read_variants`.
    study : str
    metrics : mapping of str to str
        Columns of the table, and what readers call them.
    """
    summary = summarise(of_study(variants, study), list(metrics), by="variant").set_index("variant")
    cells = {name: map(mean_text, summary[key], summary[f"{key}_ci"]) for key, name in metrics.items()}
    return pd.DataFrame({name: list(of) for name, of in cells.items()}, index=summary.index.rename(study))


def enough_quantiles(rows: pd.DataFrame, high: str = "high") -> int | None:
    """Fewest targets a batch from which on no interval lies below 0; None where even that of the most does.

    Parameters
    ----------
    rows : DataFrame
        See `less_base`; variants are numbers of targets.
    high : {"high", "paired_high"}
    """
    by_number = rows.assign(number=rows["variant"].astype(int)).sort_values("number", ascending=False)
    kept = by_number[(by_number[high] >= 0).cummin()]
    return int(kept["number"].min()) if len(kept) else None


def coarse_spread(calibration: str, n_pairs: int, n_quantiles: int) -> float:
    """Spread of coarsened targets divided by that of the targets, see `sdclib.methods.sdc.coarsened`."""
    targets = torch.as_tensor(target_quantiles(parse_calibration(calibration), n_pairs))
    return float(coarsened(targets, n_quantiles).std(correction=0) / targets.std(correction=0))
