"""What the figures draw is what they were given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from PIL import Image

from sdclib.data.images import ImageSet
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR
from sdclib.losses.calibration import Beta
from sdclib.methods import METHOD_COLORS
from study.chapters.pair_targets import PairTargets, plot_pair_targets
from study.chapters.target_figures import (
    plot_planes,
    plot_reached,
    plot_spread,
)
from study.figures import (
    plot_alignment,
    plot_by_bits,
    plot_by_ratio,
    plot_calibration,
    plot_contrasts,
    plot_curves,
    plot_effects,
    plot_epochs,
    plot_gallery,
    plot_history,
    plot_intersections,
    plot_pair_histogram,
    plot_pair_histograms,
    plot_settings,
    plot_stages,
    plot_tie_bounds,
)
from study.figures.plots import OTHER_COLOR, colors_of
from study.tables import Config

ITQ, SDC, LSH, FLOATS = Config("itq"), Config("sdc", '{"preset": "release"}'), Config("lsh"), Config("cosine")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def summary() -> pd.DataFrame:
    """Two methods at two code lengths, and the float features."""
    rows = [
        (ITQ, 16, 50.0, 1.0, 40.0, 0.5),
        (ITQ, 64, 60.0, 2.0, 30.0, 0.5),
        (SDC, 16, 55.0, np.nan, 35.0, np.nan),
        (SDC, 64, 70.0, 3.0, 20.0, 0.5),
        (FLOATS, None, 65.0, np.nan, 25.0, np.nan),
    ]
    columns = ["config", "n_bits", "map_expected", "map_expected_ci", "intersection", "intersection_ci"]
    return pd.DataFrame(rows, columns=columns).astype({"n_bits": "Int64"})


def labels(texts) -> list[str]:
    return [text.get_text() for text in texts]


def errorbars(axes) -> dict[str, tuple[float, float]]:
    """First point of each series with error bars, by its label."""
    return {bars.get_label(): tuple(map(float, bars[0].get_xydata()[0])) for bars in axes.containers}


def test_colours_follow_methods() -> None:
    assert colors_of([ITQ, SDC, "text", Config("unknown")]) == {
        ITQ: METHOD_COLORS["itq"],
        SDC: METHOD_COLORS["sdc"],
        "text": OTHER_COLOR,
        Config("unknown"): OTHER_COLOR,
    }


def test_history_has_a_panel_a_term_and_none_for_time() -> None:
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [3.0, 2.0], "quantization_loss": [0.3, 0.2], "seconds": 0.1}
    )
    panels = plot_history(history).axes
    assert [axes.get_title() for axes in panels] == ["loss", "quantization loss"]
    np.testing.assert_array_equal(panels[1].lines[0].get_xydata(), history[["epoch", "quantization_loss"]])


def test_intersections_are_points_a_method_and_length(summary: pd.DataFrame) -> None:
    panels = plot_intersections(summary).axes
    assert [axes.get_title() for axes in panels] == ["16 bits", "64 bits"]
    assert errorbars(panels[1]) == {"ITQ": (30, 60), "SDC (release)": (20, 70)}


def test_lines_by_bits_have_intervals_and_float_features_a_level(summary: pd.DataFrame) -> None:
    (axes,) = plot_by_bits(summary).axes
    drawn = {bars.get_label(): bars for bars in axes.containers if isinstance(bars, ErrorbarContainer)}
    assert list(drawn) == ["SDC (release)", "ITQ"]  # by the longest codes
    line, _, (intervals,) = drawn["ITQ"].lines
    np.testing.assert_array_equal(line.get_xydata(), [[16, 50], [64, 60]])
    np.testing.assert_allclose([segment[:, 1] for segment in intervals.get_segments()], [[49, 51], [58, 62]])
    assert [set(line.get_ydata()) for line in axes.lines if line.get_label() == "Float cosine"] == [{65.0}]


def test_curves_are_shares_in_percent() -> None:
    table = pd.DataFrame({"recall": [0.1, 0.5, 1.0], "precision": [0.9, 0.5, 0.1]})
    (axes,) = plot_curves({ITQ: table}, "recall", "precision", "recall (%)", "precision (%)").axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [90, 50, 10])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [10, 50, 100])


def test_bounds_of_ties_surround_the_expected_value() -> None:
    rows = [(ITQ, 16, 0.5, 0.7, 0.2), (LSH, 16, 0.3, 0.4, 0.25)]
    columns = ["config", "n_bits", "map_expected", "map_optimistic", "map_pessimistic"]
    (axes,) = plot_tie_bounds(pd.DataFrame(rows, columns=columns)).axes
    assert labels(axes.get_yticklabels()) == ["LSH, 16 bits", "ITQ, 16 bits"]
    np.testing.assert_allclose(axes.lines[2].get_xdata(), [20, 70])
    np.testing.assert_allclose(axes.lines[3].get_xdata(), [50])


def test_imbalance() -> None:
    ratios = {"config": ITQ, "ratio": [1.0, 10, 1, 10], "control": [False, False, True, True]}
    values = {"map_expected": [60.0, 50, 60, 58], "map_expected_ci": [1.0, 1, 1, np.nan]}
    left, right = plot_by_ratio(pd.DataFrame(ratios | values)).axes
    assert left.lines[0].get_ydata().tolist() == [60, 50]
    assert right.lines[0].get_ydata().tolist() == [60, 58]


def test_contrasts_have_a_panel_a_group_and_a_row_a_label() -> None:
    rows = [("head", ITQ, 1.0, 0.0, 2.0), ("tail", ITQ, -9.0, -10.0, -8.0), ("tail", "x", 0.0, 0.0, 0.0)]
    head, tail = plot_contrasts(
        pd.DataFrame(rows, columns=["group", "label", "mean", "low", "high"]), "x"
    ).axes
    assert head.lines[1].get_xdata().tolist() == [0, 2]
    assert tail.lines[2].get_xdata() == [-9]
    assert (tail.get_title(), labels(head.get_yticklabels())) == ("tail", ["ITQ", "x"])


def test_settings_have_a_panel_each() -> None:
    rows = [("one", ITQ, 50.0, 1.0), ("one", SDC, 60.0, np.nan), ("two", SDC, 55.0, 2.0), ("two", LSH, 0, 0)]
    table = pd.DataFrame(rows, columns=["setting", "config", "intersection", "intersection_ci"])
    figure = plot_settings(
        table, [SDC, ITQ], "intersection", hollow=lambda config: config == ITQ, n_columns=3
    )
    drawn = [[c[0].get_xydata()[0].tolist() for c in axes.containers] for axes in figure.axes]
    assert drawn == [[[50.0, 1], [60.0, 0]], [[55.0, 0]], []]
    faces = [container[0].get_markerfacecolor() for container in figure.axes[0].containers]
    assert faces == ["white", METHOD_COLORS["sdc"]]
    assert figure.get_supxlabel() == "intersection (%)"
    assert labels(figure.axes[0].get_yticklabels()) == ["SDC (release)", "ITQ"]


def test_effects_have_groups_bases_and_doubts() -> None:
    rows = [("a", "x", "one", 1.0, 0.01), ("b", "y", "one", 2.0, 0.5), ("b", "z", "two", 3.0, 0.5)]
    table = pd.DataFrame(rows, columns=["group", "change", "base", "mean", "p_holm"])
    table = table.assign(low=table["mean"] - 1, high=table["mean"] + 1)
    figure = plot_effects(table.assign(time=[1.0, 2, 3]))
    axes, times = figure.axes
    assert [line.get_xdata().tolist() for line in times.lines[:2]] == [[1.0, 2], [3.0]]
    assert labels(axes.get_yticklabels()) == ["x", "y", "z"]
    drawn = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert [(line.get_xdata().tolist(), line.get_markerfacecolor() == "white") for line in drawn] == [
        ([1.0], False), ([2.0], True), ([3.0], True),
    ]  # fmt: skip
    assert labels(figure.legends[0].get_texts()) == ["one", "two"]
    assert np.diff(axes.get_yticks()).tolist() == pytest.approx([1.6, 1])  # another group stands apart
    assert not plot_effects(table[:2].drop(columns="p_holm")).legends


def test_epochs_are_a_line_a_seed() -> None:
    tables = [pd.DataFrame({0: [59.0, 60, 61], 1: [60.1, 60.5, 60.7]}, index=[70, 80, 81])]
    tables.append(tables[0].loc[80:])
    for titles in ([], ["falls", "is kept"]):
        figure = plot_epochs(tables, 80, titles=titles)
        lines = figure.axes[1].lines
        assert [line.get_label() for line in lines[:2]] == ["seed 0", "seed 1"]
        np.testing.assert_array_equal(lines[1].get_ydata(), [60.5, 60.7])
        assert lines[2].get_xdata()[0] == 80.5
        assert [axes.get_title() for axes in figure.axes] == (titles or ["", ""])
        assert (figure.axes[0].get_xlim() == figure.axes[1].get_xlim()) == bool(titles)


def test_targets_by_spread_and_setting() -> None:
    spreads = pd.DataFrame(
        {"source": ["paper", "ours"], "setting": "s", "std": [0.3, 0.4], "difference": [0.0, 1], "ci": np.nan}
    )
    figure = plot_spread(spreads, lowest=-1)
    assert [axes.get_title() for axes in figure.axes] == ["paper", "ours"]
    assert figure.axes[0].get_ylim()[0] == -1
    grid = pd.DataFrame([[1.0, 2.0], [3.0, 5.0]], [1, 5], [1, 5])
    first, *others = plot_planes({"one": grid, "two": grid + 1, "three": grid}).axes
    assert [text.get_text() for text in first.texts] == [
        "-2.0",
        "+0.0",
        "-4.0",
        "-3.0",
    ]  # a falls from the top
    assert labels(first.get_yticklabels()) == ["5", "1"]
    assert not others[-1].axison


def test_targets_and_what_codes_make_of_them() -> None:
    table = pd.DataFrame(
        {"mean": [0.0, -0.2], "std": 0.3, "all_mean": 1.0, "all_std": 20.0},
        index=["beta(2, 2)", "beta(1, 2)"],
    )
    reached = plot_reached(table).axes
    assert [axes.lines[0].get_ydata().tolist() for axes in reached] == [[0.01], [0.2]]
    values = np.array([-0.5, 0.5])
    pairs = plot_pair_targets(PairTargets(values, values, values, values > 0)).axes
    assert [axes.get_title() for axes in pairs] == ["cosine as it is", "linear map", "quantile map"]


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


def test_neighbours_are_marked_by_a_sign_and_a_colour() -> None:
    query, same, other = plot_gallery(image_set(), {0: [2, 3]}).axes
    assert [axes.get_title() for axes in (query, same, other)] == ["query: cat", "✓ cat", "✗ a very long c…"]
    edges = [to_hex(axes.spines["left"].get_edgecolor()) for axes in (same, other)]
    assert edges == [to_hex(POSITIVE_COLOR), to_hex(NEGATIVE_COLOR)]


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
    x, y = (np.asarray(values) for values in axes.lines[0].get_data())
    inside = (x > 0.01) & (x < 0.99)
    np.testing.assert_allclose(y[inside], distribution.quantile(x[inside]), atol=1e-9)


def test_alignment_orders_pairs_by_their_features() -> None:
    (axes,) = plot_alignment([0.3, 0.1, 0.2], [0.9, -0.5, 0.4], [-0.8, 0.0, 0.8]).axes
    points = [of.get_offsets()[:, 1] for of in axes.collections if len(of.get_offsets())]
    drawn = [y for y in (*points, *(line.get_ydata() for line in axes.lines)) if len(y) == 3]
    assert any(np.allclose(y, [-0.5, 0.4, 0.9]) for y in drawn)
    assert any(np.allclose(y, [-0.8, 0.0, 0.8]) for y in drawn)


def test_stages_have_a_panel_each() -> None:
    rng = np.random.default_rng(0)
    figure = plot_stages({"start": rng.uniform(0.3, 0.6, 200), "end": rng.uniform(-1, 1, 200)}, Beta(5, 5))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["start", "end"]
