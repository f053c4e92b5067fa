"""Which property of the calibration distribution matters: targets described, compared and related to results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from sdclib.losses.calibration import (
    Beta,
    Binomial,
    CalibrationDistribution,
    Empirical,
    parse_calibration,
    target_quantiles,
)
from sdclib.methods.presets import EMPIRICAL, PRESETS
from study.comparisons import compared, setting_name
from study.statistics import left_out_r2, rank_relation
from study.tables import spelled

__all__ = [
    "DEFAULT",
    "PROPERTIES",
    "beta_grid",
    "histogram_distribution",
    "mirror_pairs",
    "paper_table",
    "properties_table",
    "relations",
    "shape_contrasts",
    "spread_ranges",
    "spreads",
    "target_family",
    "target_label",
    "target_properties",
    "with_calibration",
    "with_paper",
]

DEFAULT = str(PRESETS["release"].calibration)  # the paper's target and that of the authors' code
PROPERTIES = {
    "mean": "mean",
    "std": "standard deviation",
    "share_above": "share above 0",
    "skewness": "skewness",
    "kurtosis": "excess kurtosis",
}
N_QUANTILES = 100_000


def target_properties(calibration: CalibrationDistribution) -> dict[str, float]:
    """Describe a calibration distribution by the keys of `PROPERTIES`, from 100,000 of its quantiles.

    Parameters
    ----------
    calibration : CalibrationDistribution

    Returns
    -------
    dict
        mean and std (cosine similarity), share_above (share of pairs that get a similarity above 0), skewness, and
        kurtosis (excess: 0 for a Gaussian).
    """
    values = target_quantiles(calibration, N_QUANTILES)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "share_above": float((values > 0).mean()),
        "skewness": float(stats.skew(values)),
        "kurtosis": float(stats.kurtosis(values)),
    }


def histogram_distribution(histogram: pd.DataFrame) -> Empirical:
    """Distribution of the similarities that a pair histogram counts, of positive and negative pairs together.

    Parameters
    ----------
    histogram : DataFrame
        similarity (ascending), positive, negative (pair counts), see `sdclib.evaluation.evaluate_codes`.

    Raises
    ------
    ValueError
        If the histogram counts no pair.
    """
    counts = (histogram["positive"] + histogram["negative"]).to_numpy(dtype=float)
    if not counts.sum() > 0:
        raise ValueError("histogram: expected at least one pair, got none")
    middles = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    places = np.searchsorted(np.cumsum(counts) / counts.sum(), middles)
    return Empirical(histogram["similarity"].to_numpy()[places.clip(max=len(counts) - 1)])


def with_calibration(results: pd.DataFrame) -> pd.DataFrame:
    """Keep the runs of SDC and make their calibration distribution their label.

    Parameters
    ----------
    results : DataFrame
        See `study.tables.read_results`; runs of SDC that differ in data, code length, seed and target only.

    Returns
    -------
    DataFrame
        With ``label`` as `sdclib.losses.calibration.parse_calibration` takes it, or "empirical".
    """
    kept = results[results["method"] == "sdc"]
    parameters = [json.loads(text) for text in kept["parameters"]]
    labels = [str(p.get("calibration", PRESETS[p.get("preset", "paper")].calibration)) for p in parameters]
    return kept.assign(label=labels)


def properties_table(
    targets: Iterable[str], empirical: CalibrationDistribution | None = None
) -> pd.DataFrame:
    """Describe targets, a target a row and a property a column; see `target_properties`.

    Parameters
    ----------
    targets : iterable of str
    empirical : CalibrationDistribution, optional
        What stands for "empirical".

    Raises
    ------
    ValueError
        If "empirical" is among the targets and nothing stands for it, or a target is unknown.
    """
    rows = {}
    for target in dict.fromkeys(targets):
        if target == EMPIRICAL and empirical is None:
            raise ValueError(f"empirical: expected a distribution that stands for {target!r}, got None")
        distribution = empirical if target == EMPIRICAL else parse_calibration(target)
        assert distribution is not None
        rows[target] = target_properties(distribution)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")


def target_family(target: str) -> str:
    """Family of a target: "symmetric Beta", "asymmetric Beta" or "other"."""
    distribution = None if target == EMPIRICAL else parse_calibration(target)
    if not isinstance(distribution, Beta):
        return "other"
    return "symmetric Beta" if distribution.alpha == distribution.beta else "asymmetric Beta"


def target_label(target: str, n_bits: int | None = None) -> str:
    """Name a target for readers; with a code length, those matched to it by K.

    ``beta(5, 5)`` is "Beta(5, 5)"; with 64 bits ``beta(31.5, 31.5)``, whose spread is that of 64 fair bits, is
    "Beta matched to K" and ``binomial(64)`` "Binomial of K bits".
    """
    if target == EMPIRICAL:
        return "Empirical"
    distribution = parse_calibration(target)
    if n_bits is not None and distribution == Beta((n_bits - 1) / 2, (n_bits - 1) / 2):
        return "Beta matched to K"
    if n_bits is not None and distribution == Binomial(n_bits):
        return "Binomial of K bits"
    return target.removeprefix("truncated_").capitalize()


def beta_grid(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Lay a metric out over Beta(a, b), a (index) by b (columns), for the values of a and b that form a full grid.

    Parameters
    ----------
    summary : DataFrame
        Of one data set and code length with targets as labels, see `study.tables.summarise`.
    metric : str

    Raises
    ------
    ValueError
        If no two values of a and b form a full grid.
    """
    cells = {}
    for row in summary.to_dict("records"):
        distribution = None if row["label"] == EMPIRICAL else parse_calibration(row["label"])
        if isinstance(distribution, Beta):
            cells[distribution.alpha, distribution.beta] = row[metric]
    values = sorted({a for a, b in cells if a != b})
    grid = pd.DataFrame([[cells.get((a, b), np.nan) for b in values] for a in values], values, values)
    if len(values) < 2 or grid.isna().any(axis=None):
        raise ValueError(f"summary: expected every Beta(a, b) with a and b of {values}, some are missing")
    return grid.rename_axis("a").rename_axis(columns="b")


def mirror_pairs(targets: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of Beta(a, b), a < b, and Beta(b, a): alike in spread and tails, opposite in mean; lower mean first."""
    betas = {
        (distribution.alpha, distribution.beta): target
        for target in targets
        if target != EMPIRICAL and isinstance(distribution := parse_calibration(target), Beta)
    }
    return [(betas[a, b], betas[b, a]) for a, b in sorted(betas) if a < b and (b, a) in betas]


def relations(
    properties: pd.DataFrame, values: pd.Series, together: Sequence[Sequence[str]] = ()
) -> pd.DataFrame:
    """Relate every property of targets with a result: `rank_relation` and `left_out_r2`.

    Parameters
    ----------
    properties : DataFrame
        See `properties_table`.
    values : Series
        By target; targets without a value are left out.
    together : sequence of sequences of str
        Properties that predict together; they have no rank correlation.

    Returns
    -------
    DataFrame
        Index: names of the properties; columns rho, low, high, p, r2.
    """
    known = properties.loc[[target for target in properties.index if target in values.index]]
    y = values.loc[known.index]
    rows: dict[str, tuple[float, ...]] = {}
    for name, label in PROPERTIES.items():
        rows[label] = (*rank_relation(known[name].round(4), y), left_out_r2(known[[name]], y))
    for names in together:
        label = " and ".join(PROPERTIES[name] for name in names)
        rows[label] = (*[np.nan] * 4, left_out_r2(known[list(names)], y))
    columns = ["rho", "low", "high", "p", "r2"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("property")


def shape_contrasts(results: pd.DataFrame, default: str = DEFAULT) -> pd.DataFrame:
    """Compare targets that differ in one thing: tails at the default's spread, spread matched to K, steps at that.

    Parameters
    ----------
    results : DataFrame
        See `with_calibration`.
    default : str

    Returns
    -------
    DataFrame
        contrast ("Gaussian", "Laplace", "matched to K", "binomial", "empirical") and the columns of
        `study.comparisons.compared`. "binomial" is less the Beta matched to K, all others less the default.
    """
    tables = []
    for n_bits in results["n_bits"].unique():
        group = results[results["n_bits"] == n_bits]
        matched = str(Beta((n_bits - 1) / 2, (n_bits - 1) / 2))
        pairs = {
            "Gaussian": ("truncated_gaussian(0, 0.3)", default),
            "Laplace": ("truncated_laplace(0, 0.21)", default),
            "matched to K": (matched, default),
            "binomial": (str(Binomial(n_bits)), matched),
            "empirical": (EMPIRICAL, default),
        }
        for name, pair in pairs.items():
            tables.append(compared(group, [pair]).assign(contrast=name))
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def with_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Put the paper's ablation of targets and this study's into one table.

    Parameters
    ----------
    summary : DataFrame
        With targets as labels, see `study.tables.summarise`.
    paper : DataFrame
        ``results/paper.csv``: data, n_bits, calibration, contrastive, percent.

    Returns
    -------
    DataFrame
        source ("paper" or "this study"), setting, n_bits, target (as `sdclib.losses.calibration.parse_calibration`
        takes it), percent, ci (half of the 95 % interval; NaN for the paper, which gives none).

    Raises
    ------
    ValueError
        If the paper's table has a target that is not known here.
    """
    rows = []
    for row in paper[paper["contrastive"] == "no"].to_dict("records"):
        setting, target = setting_name(row["data"], row["n_bits"]), _paper_target(row["calibration"])
        rows.append(("paper", setting, row["n_bits"], target, row["percent"], np.nan))
    for row in summary.to_dict("records"):
        setting, percent = setting_name(row["data"], row["n_bits"]), row["map_expected"]
        rows.append(("this study", setting, row["n_bits"], row["label"], percent, row["map_expected_ci"]))
    return pd.DataFrame(rows, columns=["source", "setting", "n_bits", "target", "percent", "ci"])


def _paper_target(name: str) -> str:
    """Spell a target of the paper's table as `sdclib.losses.calibration.parse_calibration` takes it."""
    gaussian = re.fullmatch(r"Gaussian N\((.+)\) on \[-1, 1\]", name)
    return str(parse_calibration(f"truncated_gaussian({gaussian[1]})" if gaussian else name.lower()))


def paper_table(both: pd.DataFrame, source: str) -> pd.DataFrame:
    """Spell one source of `with_paper` out for the paper's targets: a target a row, a setting a column; percent.

    Parameters
    ----------
    both : DataFrame
        See `with_paper`.
    source : {"paper", "this study"}

    Returns
    -------
    DataFrame
        Targets in the paper's order. Those that the source does not have are left out, and so are settings with fewer
        than two of them, in which nothing can be compared.

    Raises
    ------
    ValueError
        If nothing is of that source.
    """
    if source not in (known := list(both["source"].unique())):
        raise ValueError(f"source: expected one of {known}, got {source!r}")
    targets = both.loc[both["source"] == "paper", "target"].unique()
    here = both[(both["source"] == source) & both["target"].isin(targets)]
    cells = here.assign(
        cell=[spelled(*pair) for pair in here[["percent", "ci"]].itertuples(index=False)],
    ).pivot_table(index="target", columns="setting", values="cell", aggfunc="first")
    cells = cells.reindex(index=targets, columns=here["setting"].unique())
    cells = cells.loc[:, cells.notna().sum() > 1].dropna(how="all").fillna("")
    return cells.rename(index=target_label).rename_axis("target").rename_axis(columns=None)


def spreads(both: pd.DataFrame, default: str = DEFAULT) -> dict[str, dict[str, pd.DataFrame]]:
    """Give the symmetric Betas of `with_paper` by source and setting: std, difference from the default, ci.

    Parameters
    ----------
    both : DataFrame
        See `with_paper`.
    default : str

    Returns
    -------
    dict of dict of DataFrame
        Index target; std (of the target), difference (points), ci (of the mean, points).
    """
    symmetric = both[[target_family(target) == "symmetric Beta" for target in both["target"]]]
    std = properties_table(symmetric["target"])["std"]
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for source, setting in symmetric[["source", "setting"]].drop_duplicates().itertuples(index=False):
        here = (symmetric["source"] == source) & (symmetric["setting"] == setting)
        table = symmetric[here].set_index("target")
        table = table.assign(std=std, difference=table["percent"] - table.loc[default, "percent"])
        found.setdefault(source, {})[setting] = table[["std", "difference", "ci"]].sort_values("std")
    return found


def spread_ranges(
    both: pd.DataFrame, narrow: str = "beta(10, 10)", wide: str = "beta(0.5, 0.5)", default: str = DEFAULT
) -> pd.DataFrame:
    """Find the best symmetric Beta of each source and setting, and what a narrow and a wide one lose or gain.

    Parameters
    ----------
    both : DataFrame
        See `with_paper`.
    narrow, wide, default : str
        Targets; NaN where a setting does not have one.

    Returns
    -------
    DataFrame
        source, setting, best (see `target_label`), std (of the best), narrow and wide (less the default, points).
    """
    lengths = both.drop_duplicates("setting").set_index("setting")["n_bits"]
    rows = []
    for source, settings in spreads(both, default).items():
        for setting, table in settings.items():
            best = str(table["difference"].idxmax())
            ends = (table["difference"].get(target, np.nan) for target in (narrow, wide))
            rows.append((source, setting, target_label(best, lengths[setting]), table["std"][best], *ends))
    return pd.DataFrame(rows, columns=["source", "setting", "best", "std", "narrow", "wide"])
