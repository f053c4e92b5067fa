"""Tables of the chapter on calibration distributions, as readers see them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from study.chapters.targets import (
    DEFAULT,
    held_out_gain,
    spread_ranges,
    target_label,
)
from study.stats import compared, difference_table, interval_text, mean_interval, mean_text

__all__ = [
    "choice_table",
    "contrast_table",
    "described",
    "mirror_rows",
    "regret_table",
    "relations_table",
    "spread_table",
    "versus_default",
]

LESS_DEFAULT = f"less {target_label(DEFAULT)}"


def described(properties: pd.DataFrame, summary: pd.DataFrame, n_bits: int) -> pd.DataFrame:
    """Say what each target asks for, and which expected mAP (%) came of it, best first.

    `properties` by target, see `study.chapters.targets.properties_table`; `summary` by target, with map_expected.
    """
    shown = properties[["mean", "std", "share_above"]].round(2) + 0.0
    shown = shown.assign(mAP=summary["map_expected"].round(1)).sort_values("mAP", ascending=False)
    names = {"std": "standard deviation", "share_above": "share above 0", "mAP": "expected mAP@R (%)"}
    return shown.rename(index=lambda target: target_label(target, n_bits), columns=names)


def spread_table(both: pd.DataFrame) -> pd.DataFrame:
    """Best symmetric Beta of each setting that has a narrow and a wide one, see `study.chapters.targets.with_paper`."""
    ranges = spread_ranges(both).dropna(subset=["narrow", "wide"])
    settings = ranges["setting"].where(ranges["source"] != "paper", "paper: " + ranges["setting"])
    shown = ranges.set_index(settings)[["best", "std", "narrow", "wide"]]
    formats = {"std": "{:.2f}", "narrow": "{:+z.1f}", "wide": "{:+z.1f}"}
    shown = shown.assign(**{name: shown[name].map(form.format) for name, form in formats.items()})
    return shown.rename(
        columns={"std": "its standard deviation", "narrow": "Beta(10, 10)", "wide": "Beta(0.5, 0.5)"}
    )


def contrast_table(shapes: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Lay out some of `study.chapters.targets.shape_contrasts`, under the names that a reader knows."""
    chosen = shapes[shapes["contrast"].isin(names)]
    return difference_table(chosen.assign(named=chosen["contrast"].map(dict(names))), "named")


def mirror_rows(results: pd.DataFrame, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """Differences of mirror images in expected mAP and in the intersection, for `study.figures.plot_contrasts`."""
    metrics = {"map_expected": "expected mAP@R", "intersection": "intersection"}
    rows = pd.concat(
        compared(results, pairs, metric, by="calibration").assign(group=title)
        for metric, title in metrics.items()
    )
    labels = map("{}, {} bits".format, rows["first"].map(target_label), rows["n_bits"])
    return rows.assign(label=list(labels))


def versus_default(differences: pd.DataFrame, properties: pd.DataFrame) -> pd.DataFrame:
    """Lay out differences from the default beside the mean of each target, one row a target and code length."""
    return pd.DataFrame(
        {
            "bits": differences["n_bits"].to_numpy(),
            "mean of the target": properties["mean"].reindex(differences["first"]).round(2).to_numpy(),
            LESS_DEFAULT: [interval_text(row) for row in differences.to_dict("records")],
        },
        index=pd.Index(differences["first"].map(target_label), name="target"),
    )


def relations_table(related: pd.DataFrame) -> pd.DataFrame:
    """Lay out `study.chapters.targets.relations`; properties that predict together have no rank correlation."""
    alone = related["rho"].notna()
    ranks = [f"{row.rho:.2f} ({row.low:.2f} to {row.high:.2f})" for row in related.itertuples()]
    return pd.DataFrame(
        {
            "rank correlation": pd.Series(ranks, related.index).where(alone, ""),
            "p": related["p"].map("{:.4f}".format).where(alone, ""),
            "left-out R²": related["r2"].map("{:.2f}".format),
        }
    )


def regret_table(results: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Lay out `study.chapters.targets.regret`, and beside it what a choice on other seeds gains."""
    table = difference_table(found.assign(what=LESS_DEFAULT), "what")
    labels = [target_label(*row) for row in found[["best", "n_bits"]].itertuples(index=False)]
    table.insert(0, "best target", labels)
    gains = held_out_gain(results).groupby("setting")["gain"]
    table["chosen on other seeds"] = gains.agg(lambda gain: mean_text(*mean_interval(gain)))
    return table


def choice_table(chosen: pd.DataFrame) -> pd.DataFrame:
    """Lay out `study.chapters.targets.held_out_choice`."""
    table = difference_table(chosen.assign(what="lead on queries"), "what")
    labels = [target_label(*row) for row in chosen[["chosen", "n_bits"]].itertuples(index=False)]
    table.insert(0, "chosen", labels)
    table.insert(1, "lead, held out", chosen["held_out"].map("{:+z.1f}".format).to_numpy())
    table["best in hindsight"] = chosen["best"].map("{:+z.1f}".format).to_numpy()
    return table
