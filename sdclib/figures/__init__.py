"""Figures of the book: one style, one colour a method, colour-blind-safe."""

from sdclib.figures.images import plot_gallery, plot_images
from sdclib.figures.results import plot_by_bits, plot_history, plot_intersections, plot_tie_bounds
from sdclib.figures.similarities import (
    plot_alignment,
    plot_calibration,
    plot_pair_histogram,
    plot_pair_histograms,
    plot_stages,
)
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR, method_colors

__all__ = [
    "NEGATIVE_COLOR",
    "POSITIVE_COLOR",
    "method_colors",
    "plot_alignment",
    "plot_by_bits",
    "plot_calibration",
    "plot_gallery",
    "plot_history",
    "plot_images",
    "plot_intersections",
    "plot_pair_histogram",
    "plot_pair_histograms",
    "plot_stages",
    "plot_tie_bounds",
]
