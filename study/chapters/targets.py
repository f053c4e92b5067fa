"""Which calibration distribution to take: targets described, compared, related to results, and chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from sdclib.data.variants import HOLDOUT
from sdclib.losses.calibration import (
    Beta,
    Binomial,
    CalibrationDistribution,
    parse_calibration,
    target_quantiles,
)
from sdclib.methods.presets import EMPIRICAL, PRESETS
from study.stats import compared, difference_table, mean_text
from study.tables import by_setting, set_name, setting_name

__all__ = [
    "DEFAULT",
    "PROPERTIES",
    "beta_cells",
    "beta_grid",
    "choice_table",
    "described",
    "held_out_choice",
    "mirror_pairs",
    "on_queries",
    "paper_target",
    "properties_table",
    "shape_contrasts",
    "spreads",
    "target_family",
    "target_label",
    "target_properties",
    "with_paper",
]

DEFAULT = str(PRESETS["release"].calibration)  # the paper's target and that of the authors' code
PROPERTIES = {"mean": "mean", "std": "standard deviation", "share_above": "share above 0"}
N_QUANTILES = 100_000


def target_properties(calibration: CalibrationDistribution) -> dict[str, float]:
    """Describe a calibration distribution by the keys of `PROPERTIES`, from 100,000 of its quantiles."""
    values = target_quantiles(calibration, N_QUANTILES)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "share_above": float((values > 0).mean()),
    }


def on_queries(results: pd.DataFrame) -> pd.DataFrame:
    """Leave out the runs that were measured on held-out training images."""
    return results[~results["data"].str.endswith(HOLDOUT)]


def properties_table(targets: Iterable[str]) -> pd.DataFrame:
    """Describe targets, a target a row and a property a column; "empirical" depends on the data and has none."""
    rows = {
        target: dict.fromkeys(PROPERTIES, np.nan)
        if target == EMPIRICAL
        else target_properties(parse_calibration(target))
        for target in dict.fromkeys(targets)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")


def described(summary: pd.DataFrame) -> pd.DataFrame:
    """Say what each target asks for and which expected mAP (%) came of it, a setting a column, best of the first first.

    `summary` is by calibration, see `study.stats.summarise`.
    """
    table = (
        properties_table(summary["calibration"])[list(PROPERTIES)].rename(columns=PROPERTIES).round(2) + 0.0
    )
    several = summary["n_bits"].nunique() > 1
    for data, n_bits, group in by_setting(summary):
        means = group.set_index("calibration")["map_expected"]
        table[setting_name(data, n_bits) if several else set_name(data)] = means.round(1)
    table = table.sort_values(table.columns[len(PROPERTIES)], ascending=False)
    return table.rename(index=lambda target: target_label(target).replace(" ", "\N{NO-BREAK SPACE}"))


def _beta(target: str) -> tuple[float, float] | None:
    """Give a and b of a target Beta(a, b), None for another target."""
    distribution = None if target == EMPIRICAL else parse_calibration(target)
    return (distribution.alpha, distribution.beta) if isinstance(distribution, Beta) else None


def target_family(target: str) -> str:
    """Family of a target: "symmetric Beta", "asymmetric Beta" or "other"."""
    if (pair := _beta(target)) is None:
        return "other"
    return "symmetric Beta" if pair[0] == pair[1] else "asymmetric Beta"


def _matched(n_bits: int) -> Beta:
    """Beta with the spread of `n_bits` fair bits."""
    return Beta((n_bits - 1) / 2, (n_bits - 1) / 2)


def target_label(target: str, n_bits: int | None = None) -> str:
    """Name a target for readers: "Beta(5, 5)"; with a code length K, "Beta matched to K" and "Binomial of K bits"."""
    if target == EMPIRICAL:
        return "Empirical"
    distribution = parse_calibration(target)
    if n_bits is not None and distribution == _matched(n_bits):
        return "Beta matched to K"
    if n_bits is not None and distribution == Binomial(n_bits):
        return "Binomial of K bits"
    return target.removeprefix("truncated_").capitalize()


def beta_grid(values: pd.Series) -> pd.DataFrame:
    """Lay values by target out over Beta(a, b), a (index) by b (columns), where a and b form a full grid."""
    cells = {pair: value for target, value in values.items() if (pair := _beta(str(target)))}
    ends = sorted({a for a, b in cells if a != b})
    grid = pd.DataFrame([[cells.get((a, b), np.nan) for b in ends] for a in ends], ends, ends)
    if len(ends) < 2 or grid.isna().any(axis=None):
        raise ValueError(f"values: expected every Beta(a, b) with a and b of {ends}, some are missing")
    return grid.rename_axis("a").rename_axis(columns="b")


def beta_cells(summary: pd.DataFrame) -> pd.DataFrame:
    """Lay out on `beta_grid`, in HTML, what a reader may want to know of each target.

    `summary` is that of one setting by calibration, with map_expected and intersection.
    """
    shown = summary.set_index("calibration")
    shown = shown.join(properties_table(shown.index))
    texts = [
        f"{target_label(str(target))}: mean {row['mean']:.2f}, standard deviation {row['std']:.2f}, "
        f"{row['share_above']:.0%} above 0<br>expected mAP {mean_text(row['map_expected'], row['map_expected_ci'])} %, "
        f"intersection {mean_text(row['intersection'], row['intersection_ci'])} %, {row['seeds']:.0f} seeds"
        for target, row in shown.iterrows()
    ]
    return beta_grid(pd.Series(texts, index=shown.index))


def mirror_pairs(targets: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of Beta(a, b), a < b, and Beta(b, a): alike in spread and tails, opposite in mean; lower mean first."""
    betas = {pair: target for target in targets if (pair := _beta(target))}
    return [(betas[a, b], betas[b, a]) for a, b in sorted(betas) if a < b and (b, a) in betas]


def shape_contrasts(results: pd.DataFrame) -> pd.DataFrame:
    """Compare targets that differ in one thing: tails at the default's spread, spread matched to K, steps at that.

    Returns
    -------
    DataFrame
        contrast ("Gaussian", "Laplace", "matched to K", "binomial", "empirical") and the columns of
        `study.stats.compared`. "binomial" is less the Beta matched to K, all others less the default.
    """
    tables = []
    for n_bits in results["n_bits"].unique():
        matched = str(_matched(n_bits))
        pairs = {
            "Gaussian": ("truncated_gaussian(0, 0.3)", DEFAULT),
            "Laplace": ("truncated_laplace(0, 0.21)", DEFAULT),
            "matched to K": (matched, DEFAULT),
            "binomial": (str(Binomial(n_bits)), matched),
            "empirical": (EMPIRICAL, DEFAULT),
        }
        group = results[results["n_bits"] == n_bits]
        tables += [
            compared(group, [pair], by="calibration").assign(contrast=name) for name, pair in pairs.items()
        ]
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def with_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Put the paper's ablation of targets and this study's into one table.

    Parameters
    ----------
    summary : DataFrame
        By calibration, see `study.stats.summarise`; and source, a text.
    paper : DataFrame
        ``results/paper.csv``: data, n_bits, calibration, contrastive, percent.

    Returns
    -------
    DataFrame
        source ("paper", or the summary's), setting, n_bits, target, percent, ci (NaN for the paper, which gives none).
    """
    theirs = paper[paper["contrastive"] == "no"].assign(source="paper", ci=np.nan)
    theirs["target"] = theirs["calibration"].map(paper_target)
    names = {"calibration": "target", "map_expected": "percent", "map_expected_ci": "ci"}
    both = pd.concat([theirs, summary.rename(columns=names)], ignore_index=True)
    both["setting"] = list(map(setting_name, both["data"], both["n_bits"]))
    return both[["source", "setting", "n_bits", "target", "percent", "ci"]]


def paper_target(name: str) -> str:
    """Write a target of the paper's table as `sdclib.losses.calibration.parse_calibration` takes it."""
    gaussian = re.fullmatch(r"Gaussian N\((.+)\) on \[-1, 1\]", name)
    return str(parse_calibration(f"truncated_gaussian({gaussian[1]})" if gaussian else name.lower()))


def spreads(both: pd.DataFrame) -> pd.DataFrame:
    """Give the symmetric Betas of `with_paper`, with std (of the target) and difference (from the default, points)."""
    symmetric = both[both["target"].map(target_family) == "symmetric Beta"]
    std = symmetric["target"].map(properties_table(symmetric["target"])["std"])
    default = symmetric[symmetric["target"] == DEFAULT].set_index(["source", "setting"])["percent"]
    base = default.loc[pd.MultiIndex.from_frame(symmetric[["source", "setting"]])].to_numpy()
    return symmetric.assign(std=std, difference=symmetric["percent"] - base)


def _lead(group: pd.DataFrame, target: str) -> dict[str, float]:
    """Mean lead of a target over the default with its interval; zeros for the default itself."""
    if target == DEFAULT:
        return dict.fromkeys(("mean", "low", "high"), 0.0)
    row = compared(group, [(target, DEFAULT)], by="calibration").iloc[0]
    return {name: float(row[name]) for name in ("mean", "low", "high")}


def _means(group: pd.DataFrame) -> pd.Series:
    """Average expected mAP by target, in percent."""
    return 100 * group.groupby("calibration", sort=False)["map_expected"].mean()


def held_out_choice(results: pd.DataFrame) -> pd.DataFrame:
    """Choose the target on held-out training images and measure it on the queries, for each data set that has both.

    Candidates are the targets that ran with both. No query has a part in the choice among them; which targets ran is
    not this function's to say.

    Returns
    -------
    DataFrame
        data, n_bits, setting, chosen, held_out (its lead over the default on held-out training images, points), mean,
        low, high (the same on the queries, zeros where the default is chosen), best (mean lead of the candidate that
        is best on the queries).
    """
    rows = []
    held_out = results[results["data"].str.endswith(HOLDOUT)]
    for data, n_bits, group in by_setting(held_out):
        data = data.removesuffix(HOLDOUT)
        queried = results[(results["data"] == data) & (results["n_bits"] == n_bits)]
        on_queries = _means(queried)
        means = _means(group)
        means = means[means.index.isin(on_queries.index)]
        chosen = str(means.idxmax())
        row = {"data": data, "n_bits": n_bits, "setting": setting_name(data, n_bits), "chosen": chosen}
        row |= {"held_out": means[chosen] - means[DEFAULT]} | _lead(queried, chosen)
        rows.append(row | {"best": on_queries[means.index].max() - on_queries[DEFAULT]})
    return pd.DataFrame(rows)


def choice_table(chosen: pd.DataFrame) -> pd.DataFrame:
    """Lay out `held_out_choice`."""
    table = difference_table(chosen.assign(what="lead on queries"), "what")
    labels = [target_label(*row) for row in chosen[["chosen", "n_bits"]].itertuples(index=False)]
    table.insert(0, "chosen", labels)
    table.insert(1, "lead, held out", chosen["held_out"].map("{:+z.1f}".format).to_numpy())
    table["best in hindsight"] = chosen["best"].map("{:+z.1f}".format).to_numpy()
    return table
