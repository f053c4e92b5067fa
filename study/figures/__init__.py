"""Figures of the book: one style, one colour a method, colour-blind-safe."""

from sdclib.figures.plots import plot_pair_histogram, plot_pair_histograms, plot_recall_by_bits
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR, method_colors
from study.figures.calibration import plot_alignment, plot_calibration, plot_stages
from study.figures.images import plot_gallery
from study.figures.interactive import explore_grids, scatter_by_bits, show_explorer, use_notebook_style
from study.figures.plots import (
    plot_by_bits,
    plot_by_ratio,
    plot_contrasts,
    plot_curves,
    plot_effects,
    plot_epochs,
    plot_history,
    plot_intersections,
    plot_settings,
    plot_tie_bounds,
)

__all__ = [
    "NEGATIVE_COLOR",
    "POSITIVE_COLOR",
    "explore_grids",
    "method_colors",
    "plot_alignment",
    "plot_by_bits",
    "plot_by_ratio",
    "plot_calibration",
    "plot_contrasts",
    "plot_curves",
    "plot_effects",
    "plot_epochs",
    "plot_gallery",
    "plot_history",
    "plot_intersections",
    "plot_pair_histogram",
    "plot_pair_histograms",
    "plot_recall_by_bits",
    "plot_settings",
    "plot_stages",
    "plot_tie_bounds",
    "scatter_by_bits",
    "show_explorer",
    "use_notebook_style",
]
