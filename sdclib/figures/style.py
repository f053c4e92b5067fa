"""Colours, markers, axes and legends: one colour a method through the whole book, colour-blind-safe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "MARKERS",
    "METHOD_COLORS",
    "NEGATIVE_COLOR",
    "POSITIVE_COLOR",
    "bits_axis",
    "legend_below",
    "method_colors",
]

# Okabe and Ito's palette
POSITIVE_COLOR, NEGATIVE_COLOR = "#0072B2", "#D55E00"
MARKERS = "osD^vP*X<>"
# One a method through the whole book; methods of one colour differ by marker and line.
METHOD_COLORS = {
    "Float cosine": "#000000",
    "SDC": "#0072B2",
    "ITQ": "#E69F00",
    "LSH": "#CC79A7",
    "Sign of features": "#999999",
    "Random rotation": "#999999",
    "PCAH": "#E69F00",
    "SH": "#CC79A7",
    "GreedyHash": "#009E73",
    "BiHalf": "#009E73",
    "SSDH": "#D55E00",
    "TBH": "#D55E00",
    "CIBHash": "#56B4E9",
    "NSH": "#56B4E9",
    "WCH": "#56B4E9",
    "CroVCA": "#882255",
    "SDC by neighbours": "#0072B2",
    "Similarity matching": "#009E73",
    "Supervised SDC": "#0072B2",
    "OrthoHash": "#D55E00",
    "Hashed logits": "#CC79A7",
}


def method_colors(labels: list[str]) -> dict[str, str]:
    """Colour of each label by its method, the same in every figure; see `study.tables.method_label`."""
    return {label: METHOD_COLORS.get(label.split(" (")[0], "#009E73") for label in labels}


def bits_axis(axes: Axes, lengths: Iterable[int]) -> None:
    """Make the horizontal axis one of code lengths, logarithmic, with a tick at each of `lengths`."""
    ordered = sorted(set(lengths))
    axes.set_xscale("log", base=2)
    axes.set_xticks([float(n) for n in ordered], [str(n) for n in ordered])
    axes.set_xlabel("code length (bits)")


def legend_below(axes: Axes, ncols: int = 2, **more: Any) -> None:
    """Put the legend of the axes below their figure and give it room; `more` goes to `Figure.legend`.

    Below rather than beside: a figure is scaled to the width of the page, and a narrow one keeps its text legible.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    if "handles" not in more:
        more["handles"], more["labels"] = axes.get_legend_handles_labels()
    figure.legend(loc="outside lower center", ncols=ncols, frameon=False, fontsize="small", **more)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * -(-len(more["handles"]) // ncols) + 0.1)
