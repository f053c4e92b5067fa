"""Tables of the chapter on calibration distributions, as readers see them."""

from __future__ import annotations

import pandas as pd

from study.chapters.targets import (
    DEFAULT,
    target_label,
)
from study.stats import compared, difference_table

__all__ = [
    "choice_table",
    "described",
    "mirror_rows",
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


def mirror_rows(results: pd.DataFrame, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """Differences of mirror images in expected mAP and in the intersection, for `study.figures.plot_contrasts`."""
    metrics = {"map_expected": "expected mAP@R", "intersection": "intersection"}
    rows = pd.concat(
        compared(results, pairs, metric, by="calibration").assign(group=title)
        for metric, title in metrics.items()
    )
    labels = map("{}, {} bits".format, rows["first"].map(target_label), rows["n_bits"])
    return rows.assign(label=list(labels))


def choice_table(chosen: pd.DataFrame) -> pd.DataFrame:
    """Lay out `study.chapters.targets.held_out_choice`."""
    table = difference_table(chosen.assign(what="lead on queries"), "what")
    labels = [target_label(*row) for row in chosen[["chosen", "n_bits"]].itertuples(index=False)]
    table.insert(0, "chosen", labels)
    table.insert(1, "lead, held out", chosen["held_out"].map("{:+z.1f}".format).to_numpy())
    table["best in hindsight"] = chosen["best"].map("{:+z.1f}".format).to_numpy()
    return table
