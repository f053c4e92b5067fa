"""Plots to look at from several sides: drawn in the book's pages by a small script, a table everywhere else."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sdclib.figures.style import method_colors
from study.stats import mean_text

__all__ = ["InteractiveScatter", "scatter_by_bits"]


@dataclass(frozen=True)
class InteractiveScatter:
    """One metric against another, one point a method and code length, with a selector of the code length.

    A notebook shows it as HTML: a figure with its caption, the data as JSON and a table of the points. The book's
    script `interactive.js` draws the plot from the JSON and folds the table; where no script runs, the table stays.

    Attributes
    ----------
    points : tuple of dict
        label, n_bits, color (hexadecimal), x, y and their half intervals x_ci, y_ci (None without one).
    xlabel, ylabel : str
        With the unit.
    caption : str
    n_bits : int
        Code length that is shown first.
    """

    points: tuple[dict[str, Any], ...]
    xlabel: str
    ylabel: str
    caption: str
    n_bits: int

    def __repr__(self) -> str:
        """Say what is shown, in one line."""
        labels = {point["label"] for point in self.points}
        return f"InteractiveScatter: {len(self.points)} points of {len(labels)} methods"

    def _repr_html_(self) -> str:
        """Figure, data and table, as `IPython` shows them."""
        data = {
            "points": self.points,
            "xlabel": self.xlabel,
            "ylabel": self.ylabel,
            "caption": self.caption,
            "n_bits": self.n_bits,
        }
        # No "<" in the script, so that no label can end it.
        spelled_out = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        return (
            f'<figure class="sdc-scatter"><script type="application/json">{spelled_out}</script>'
            f"{self._table().to_html(index=False)}<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )

    def _table(self) -> pd.DataFrame:
        """Spell the points out, for readers without scripts."""
        return pd.DataFrame(
            {
                "method": [point["label"] for point in self.points],
                "bits": [point["n_bits"] for point in self.points],
                **{
                    label: [
                        mean_text(
                            point[axis], math.nan if point[f"{axis}_ci"] is None else point[f"{axis}_ci"]
                        )
                        for point in self.points
                    ]
                    for axis, label in (("x", self.xlabel), ("y", self.ylabel))
                },
            }
        )


def scatter_by_bits(
    summary: pd.DataFrame,
    n_bits: int,
    *,
    x: str = "intersection",
    y: str = "map_expected",
    xlabel: str = "intersection of positive and negative pairs (%)",
    ylabel: str = "expected mAP@R (%)",
    caption: str = "",
) -> InteractiveScatter:
    """Make a scatter plot in which readers choose the code length.

    Parameters
    ----------
    summary : DataFrame
        Of one data set: label, n_bits, and the metrics with their half intervals, see `study.stats.summarise`.
        Rows of float features are left out.
    n_bits : int
        Code length that is shown first.
    x, y : str
        Columns of the summary.
    xlabel, ylabel : str
        With the unit.
    caption : str

    Returns
    -------
    InteractiveScatter
        Points in the order of labels and code lengths in the summary.

    Raises
    ------
    ValueError
        If the summary lacks a column, or has no row at `n_bits` or more than one for a method and code length; the
        message names it.
    """
    needed = ["label", "n_bits", x, f"{x}_ci", y, f"{y}_ci"]
    if missing := [name for name in needed if name not in summary]:
        raise ValueError(f"summary: expected the columns {needed}, {missing} missing")
    codes = summary[summary["n_bits"].notna()]
    if codes.duplicated(["label", "n_bits"]).any():
        raise ValueError("summary: expected one row a method and code length, got more; choose one data set")
    lengths = sorted({int(length) for length in codes["n_bits"]})
    if n_bits not in lengths:
        raise ValueError(f"n_bits: expected one of {lengths}, got {n_bits!r}")
    colors = method_colors(list(codes["label"].unique()))
    order = {label: i for i, label in enumerate(colors)}
    rows = sorted(codes.to_dict("records"), key=lambda row: (order[row["label"]], row["n_bits"]))
    points = [
        {
            "label": row["label"],
            "n_bits": int(row["n_bits"]),
            "color": colors[row["label"]],
            **_numbers(row, (x, f"{x}_ci", y, f"{y}_ci")),
        }
        for row in rows
    ]
    return InteractiveScatter(tuple(points), xlabel, ylabel, caption, int(n_bits))


def _numbers(row: dict[Any, Any], columns: Sequence[str]) -> dict[str, float | None]:
    """Coordinates and half intervals to two decimals; None for NaN, which JSON has no word for."""
    return {
        name: None if math.isnan(row[column]) else round(float(row[column]), 2)
        for name, column in zip(("x", "x_ci", "y", "y_ci"), columns, strict=True)
    }
