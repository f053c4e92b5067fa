"""Images with their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from sdclib.data.images import ImageSet
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR

__all__ = ["plot_gallery"]


def plot_gallery(images: ImageSet, neighbours: Mapping[int, Sequence[int]]) -> Figure:
    """Show queries with their neighbours, best first: relevant ones blue with a tick, others orange with a cross.

    Parameters
    ----------
    images : ImageSet
    neighbours : mapping of int to sequence of int
        Image number of a query to those of its neighbours, as many for each query.
    """
    n_columns = 1 + len(next(iter(neighbours.values())))
    figure, grid = plt.subplots(
        len(neighbours),
        n_columns,
        figsize=(0.85 * n_columns, 1.1 * len(neighbours)),
        squeeze=False,
        layout="constrained",
    )
    for row, (query, found) in zip(grid, neighbours.items(), strict=True):
        for axes, number in zip(row, [query, *found], strict=True):
            axes.imshow(images.read(int(number)))
            axes.set(xticks=[], yticks=[])
            color, text = "0.3", f"query: {_label_text(images, query)}"
            if axes is not row[0]:
                good = _share_a_label(images, query, int(number))
                color = POSITIVE_COLOR if good else NEGATIVE_COLOR
                text = f"{'✓' if good else '✗'} {_label_text(images, int(number))}"
            axes.set_title(text, fontsize=_title_size(images), color=color)
            for spine in axes.spines.values():
                spine.set(color=color, linewidth=2.5)
    return figure


def _label_text(images: ImageSet, number: int) -> str:
    label = images.labels[number]
    names = [images.class_names[int(label)]] if label.ndim == 0 else np.array(images.class_names)[label > 0]
    text = ", ".join(names)
    return text if len(text) <= 14 else f"{text[:13]}…"


def _title_size(images: ImageSet) -> str:
    """Font size at which the longest label fits over its image."""
    return "medium" if max(map(len, images.class_names)) <= 6 else "x-small"


def _share_a_label(images: ImageSet, first: int, second: int) -> bool:
    a, b = images.labels[first], images.labels[second]
    return bool(a == b) if a.ndim == 0 else bool((a & b).any())
