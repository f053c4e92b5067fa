"""What the figures of results, images and similarities draw is what they were given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from PIL import Image
from study.figures.results import (
    plot_by_bits,
    plot_curves,
    plot_history,
    plot_intersections,
    plot_tie_bounds,
)

from sdclib.data.images import ImageSet
from sdclib.figures.similarities import (
    plot_alignment,
    plot_calibration,
    plot_pair_histogram,
    plot_pair_histograms,
    plot_stages,
)
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR
from sdclib.losses.calibration import Beta
from study.figures.images import plot_gallery, plot_images


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def summary() -> pd.DataFrame:
    """Two methods at two code lengths, and the float features."""
    rows = [
        ("ITQ", 16, 50.0, 1.0, 40.0, 0.5),
        ("ITQ", 64, 60.0, 2.0, 30.0, 0.5),
        ("SDC (release)", 16, 55.0, np.nan, 35.0, np.nan),
        ("SDC (release)", 64, 70.0, 3.0, 20.0, 0.5),
        ("Float cosine", None, 65.0, np.nan, 25.0, np.nan),
    ]
    columns = ["label", "n_bits", "map_expected", "map_expected_ci", "intersection", "intersection_ci"]
    return pd.DataFrame(rows, columns=columns).astype({"n_bits": "Int64"})


def image_set() -> ImageSet:
    return ImageSet(
        name="made up",
        ids=tuple("abcd"),
        labels=np.array([0, 1, 0, 1]),
        class_names=("cat", "a very long class name"),
        read=lambda number: Image.fromarray(np.full((4, 4, 3), 40 * number, dtype=np.uint8)),
        top_k=2,
        query=np.array([0, 1]),
        database=np.array([2, 3]),
        train_index=np.array([0, 1]),
        licence="",
        citation="",
    )


def test_history_has_a_panel_a_term_and_none_for_time() -> None:
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [3.0, 2.0, 1.0],
            "quantization_loss": [0.3, 0.2, 0.1],
            "learning_rate": [1e-4] * 3,
            "seconds": [0.1] * 3,
        }
    )
    panels = plot_history(history).axes
    assert [axes.get_title() for axes in panels] == ["loss", "quantization loss"]
    for axes, name in zip(panels, ("loss", "quantization_loss"), strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), history[["epoch", name]].to_numpy())
        assert axes.get_xlabel() == "epoch"


def test_intersections_are_points_a_method_and_length(summary: pd.DataFrame) -> None:
    panels = plot_intersections(summary).axes
    assert [axes.get_title() for axes in panels] == ["16 bits", "64 bits"]
    points = [
        (float(bars[0].get_xdata()[0]), float(bars[0].get_ydata()[0]), bars.get_label())
        for bars in panels[1].containers
    ]
    assert points == [(30.0, 60.0, "ITQ"), (20.0, 70.0, "SDC (release)")]
    assert [panels[0].get_xlabel(), panels[0].get_ylabel()] == ["intersection (%)", "expected mAP@R (%)"]


def test_lines_by_bits_have_intervals_and_float_features_a_level(summary: pd.DataFrame) -> None:
    (axes,) = plot_by_bits(summary).axes
    drawn = {bars.get_label(): bars for bars in axes.containers if isinstance(bars, ErrorbarContainer)}
    assert list(drawn) == ["SDC (release)", "ITQ"]  # by the longest codes
    line, _, (intervals,) = drawn["ITQ"].lines
    np.testing.assert_array_equal(line.get_xydata(), [[16, 50], [64, 60]])
    np.testing.assert_allclose([segment[:, 1] for segment in intervals.get_segments()], [[49, 51], [58, 62]])
    levels = [line for line in axes.lines if line.get_label() == "Float cosine"]
    assert [set(line.get_ydata()) for line in levels] == [{65.0}]


@pytest.mark.parametrize("log", [False, True])
def test_curves_are_shares_in_percent(log: bool) -> None:
    table = pd.DataFrame({"k": [1, 10, 100], "precision": [0.9, 0.5, 0.1]})
    (axes,) = plot_curves({"ITQ": table}, "k", "precision", "k", "precision@k (%)", log=log).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [90, 50, 10])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.array([1, 10, 100]) * (1 if log else 100))
    assert axes.get_xscale() == ("log" if log else "linear")


def test_bounds_of_ties_surround_the_expected_value() -> None:
    results = pd.DataFrame(
        {
            "label": ["ITQ", "LSH"],
            "n_bits": [16, 16],
            "map_expected": [0.5, 0.3],
            "map_optimistic": [0.7, 0.4],
            "map_pessimistic": [0.2, 0.25],
        }
    )
    (axes,) = plot_tie_bounds(results).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["LSH, 16 bits", "ITQ, 16 bits"]
    np.testing.assert_allclose(axes.lines[2].get_xdata(), [20, 70])
    np.testing.assert_allclose(axes.lines[3].get_xdata(), [50])


def test_images_come_with_their_labels_and_empty_places_stay_empty() -> None:
    panels = plot_images(image_set(), [1, 2, 0], n_columns=2).axes
    assert [axes.get_title() for axes in panels] == ["a very long c…", "cat", "cat", ""]
    np.testing.assert_array_equal(panels[1].images[0].get_array(), np.full((4, 4, 3), 80))
    assert not panels[3].images


def test_neighbours_are_marked_by_a_sign_and_a_colour() -> None:
    query, same, other = plot_gallery(image_set(), {0: [2, 3]}).axes
    assert query.get_title() == "query: cat"
    assert same.get_title() == "✓ cat"
    assert other.get_title() == "✗ a very long c…"
    assert to_hex(same.spines["left"].get_edgecolor()) == to_hex(POSITIVE_COLOR)
    assert to_hex(other.spines["left"].get_edgecolor()) == to_hex(NEGATIVE_COLOR)


HISTOGRAM = pd.DataFrame(
    {"similarity": [-0.5, 0.0, 0.5], "positive": [0, 10, 30], "negative": [50, 50, 0]}
)  # shares 0, 1/4, 3/4 and 1/2, 1/2, 0: 25 % in common


def test_pair_histograms_are_shares_and_say_the_intersection() -> None:
    _, axes = plt.subplots()
    plot_pair_histogram(HISTOGRAM, axes, "codes")
    drawn = [line.get_ydata() for line in axes.lines]
    assert any(np.allclose(np.asarray(y) / np.sum(y), [0, 0.25, 0.75]) for y in drawn)
    assert any(np.allclose(np.asarray(y) / np.sum(y), [0.5, 0.5, 0]) for y in drawn)
    figure = plot_pair_histograms({"first": HISTOGRAM, "second": HISTOGRAM, "third": HISTOGRAM})
    titles = [axes.get_title(loc=loc) for axes in figure.axes for loc in ("left", "center")]
    assert [title.split(",")[0].split("\n")[0] for title in titles if title] == ["first", "second", "third"]


def test_calibration_is_drawn_by_its_quantiles() -> None:
    distribution = Beta(5, 5)
    (axes,) = plot_calibration({"Beta(5, 5)": distribution}).axes
    x, y = axes.lines[0].get_xdata(), axes.lines[0].get_ydata()
    inside = (np.asarray(x) > 0.01) & (np.asarray(x) < 0.99)
    np.testing.assert_allclose(np.asarray(y)[inside], distribution.quantile(np.asarray(x)[inside]), atol=1e-9)


def test_alignment_orders_pairs_by_their_features() -> None:
    (axes,) = plot_alignment([0.3, 0.1, 0.2], [0.9, -0.5, 0.4], [-0.8, 0.0, 0.8]).axes
    points = [
        collection.get_offsets()[:, 1] for collection in axes.collections if len(collection.get_offsets())
    ]
    drawn = [*points, *(line.get_ydata() for line in axes.lines)]
    assert any(np.allclose(y, [-0.5, 0.4, 0.9]) for y in drawn if len(y) == 3)
    assert any(np.allclose(y, [-0.8, 0.0, 0.8]) for y in drawn if len(y) == 3)


def test_stages_have_a_panel_each() -> None:
    rng = np.random.default_rng(0)
    stages = {"start": rng.uniform(0.3, 0.6, 200), "end": rng.uniform(-1, 1, 200)}
    figure = plot_stages(stages, Beta(5, 5))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["start", "end"]
