"""Colours, markers, axes and legends: one colour a method through the whole book, colour-blind-safe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdclib.methods import METHOD_COLORS, METHOD_LABELS

__all__ = [
    "MARKERS",
    "NEGATIVE_COLOR",
    "POSITIVE_COLOR",
    "bits_axis",
    "legend_below",
    "method_colors",
]

# Okabe and Ito's palette
POSITIVE_COLOR, NEGATIVE_COLOR = "#0072B2", "#D55E00"
MARKERS = "osD^vP*X<>"


def method_colors(labels: list[str]) -> dict[str, str]:
    """Colour of each label by its method, the same in every figure; see `study.tables.method_label`."""
    by_label = {METHOD_LABELS[method]: color for method, color in METHOD_COLORS.items()}
    return {label: by_label.get(label.split(" (")[0], "#009E73") for label in labels}


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
