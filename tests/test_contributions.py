"""Differences between targets, what the targets of pairs are, and the figures of both."""

import dataclasses
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study.comparisons import (
    compared,
    difference_table,
    differences,
    listed,
    reads_otherwise,
    said,
    set_name,
    setting_name,
    standing,
    tally,
    verdict,
)

from sdclib.data.variants import leave_out_training
from sdclib.losses.calibration import Beta
from study.chapters.contributions import (
    STEPS,
    contributions,
    seen_less_unseen,
    short_label,
    spread_or_distribution,
    with_targets,
)
from study.chapters.pair_targets import (
    PairTargets,
    learns_from_labels,
    mean_targets,
    pair_targets,
    plot_pair_targets,
    positive_share,
    training_share,
)
from study.figures import plot_settings

MEANS = {"cosine": 0.5, "standardised": 0.6, "mapped": 0.58, "calibrated": 0.57}


def table(settings=(("cifar10-embedded", 64), ("tiny", 16)), means=MEANS):
    """Runs of similarity matching and SDC, three seeds each around the given means."""
    rows = []
    for data, n_bits in settings:
        for target, mean in means.items():
            method = "sdc" if target == "calibrated" else "matching"
            parameters = {"preset": "release"} if method == "sdc" else {"target": target}
            for seed in range(3):
                rows.append(
                    {
                        "data": data,
                        "method": method,
                        "n_bits": n_bits,
                        "seed": seed,
                        "label": f"{method} {target}",
                        "parameters": json.dumps(parameters),
                        "map_expected": mean + 0.01 * (seed - 1),
                    }
                )
    return pd.DataFrame(rows)


def test_targets_and_features_of_runs():
    runs = pd.DataFrame(
        [
            ("matching", "x", "{}"),
            ("matching", "x", '{"target": "rank", "features": "whitened"}'),
            ("sdc", "x", '{"center": true}'),
            ("sdc", "x", '{"center": false}'),
            ("itq", "ITQ", "{}"),
        ],
        columns=["method", "label", "parameters"],
    )
    named = with_targets(runs)
    assert named["target"].tolist() == ["cosine", "rank", "calibrated", "calibrated", ""]
    assert named["features"].tolist() == ["raw", "whitened", "centred", "raw", ""]
    assert named["label"].tolist() == [
        "cosine as it is", "order alone (whitened)", "SDC (centred)", "SDC", "ITQ",
    ]  # fmt: skip


def test_short_labels_of_supervised_methods():
    assert short_label("supervised-sdc", {}) == "Supervised SDC (order)"
    assert short_label("supervised-sdc", {"labels": "target"}) == "Supervised SDC (target)"
    assert short_label("orthohash", {"class_targets": "hadamard"}) == "OrthoHash (class_targets=hadamard)"


def test_steps_add_up_and_have_welchs_intervals():
    steps = contributions(with_targets(table()))
    assert steps["step"].tolist() == [name for name, *_ in STEPS] * 2
    for _, group in steps.groupby("data"):
        np.testing.assert_allclose(group["mean"], [10, -2, -1, 7], atol=1e-9)
        assert group["mean"].iloc[:3].sum() == pytest.approx(group["mean"].iloc[3])
    half = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3)
    np.testing.assert_allclose(steps["high"] - steps["mean"], half)
    shown = difference_table(steps, "step")
    assert shown.index.tolist() == ["CIFAR-10 (embedded), 64 bits", "tiny, 16 bits"]
    assert shown.loc["tiny, 16 bits", "shape"] == f"-2.0 ({-2 - half:.1f} to {-2 + half:.1f})"
    missing = table(means={"cosine": 0.5, "calibrated": 0.6})
    assert difference_table(steps.iloc[[0, 5]], "step").loc["tiny, 16 bits", "mean and spread"] == ""
    with pytest.raises(ValueError, match="standardised: expected at least two seeds at 64 bits"):
        contributions(with_targets(missing))


def test_differences_are_compared_where_both_are():
    runs = pd.concat([table(), table([("other", 64)], {"cosine": 0.4})])
    rows = compared(runs, [("matching standardised", "matching cosine")])
    assert rows["setting"].tolist() == ["CIFAR-10 (embedded), 64 bits", "tiny, 16 bits"]
    assert rows["mean"].tolist() == pytest.approx([10, 10])
    one = runs[runs["data"] == "tiny"]
    (row,) = differences(one, [("matching cosine", "matching mapped")], 16).to_dict("records")
    assert row["mean"] == pytest.approx(-8)
    assert said(row) == f"-8.0 points (95 % interval {row['low']:.1f} to {row['high']:.1f})"
    assert listed(rows).startswith(
        "CIFAR-10 (embedded), 64 bits +10.0 points (95 % interval 7.7 to 12.3); tiny, 16"
    )
    single = runs[runs["seed"] == 0]
    assert compared(single, [("matching standardised", "matching cosine")]).empty
    assert listed(compared(single, [("a", "b")])) == ""


def test_verdict_counts_intervals():
    rows = pd.DataFrame({"mean": [2.0, -1, 0.1, 3], "low": [1.0, -2, -1, 0.5], "high": [3.0, -0.1, 1, 5]})
    assert tally(rows) == (2, 1, 1)
    for chosen, expected in (
        (
            [0, 1, 2, 3],
            "raises X in 2 of 4 settings, lowers it in 1 and the interval holds 0 in 1 (-1.0 to +3.0 points)",
        ),
        ([0, 3], "raises X in all 2 settings (+2.0 to +3.0 points)"),
        ([1], "lowers X in the one setting (-1.0 points)"),
        ([1, 2], "lowers X in 1 of 2 settings and the interval holds 0 in 1 (-1.0 to +0.1 points)"),
        (
            [2, 2],
            "neither raises nor lowers X by more than chance may: every interval holds 0 (+0.1 points)",
        ),
    ):
        assert verdict(rows.iloc[chosen], "X") == expected


def intervals(*lows):
    """Rows of intervals of width 1 that begin at `lows`."""
    low = np.array(lows, dtype=float)
    return pd.DataFrame({"setting": list("abc")[: len(low)], "mean": low + 0.5, "low": low, "high": low + 1})


@pytest.mark.parametrize(
    ("whole", "spread", "rest", "expected"),
    [
        (
            (1, 2, 1),
            (1, 1, 1),
            (-0.5, -3, -0.5),
            "enough .* in 3 of these 3, .* in 0 of the 3 .* from it in 1",
        ),
        (
            (1, 2, -0.5),
            (1, 1, -0.5),
            (-0.5, -0.5, -0.5),
            "in 2 of 3 .* enough .* in 2 of these 2, .* in 0 of",
        ),
        ((1, 2, -0.5), (1, -0.5, 1), (-0.5, -0.5, -0.5), "in 2 of 3 .* not all of it: .* in 1 of these 2,"),
        (
            (1, 2, 1),
            (1, 1, 1),
            (2, -3, -0.5),
            "not all of it: .* 3 of these 3, .* in 1 of the 3 .* from it in 1",
        ),
        ((-2, -0.5, -0.5), (1, 1, 1), (1, 1, 1), "^SDC gains nothing .* any of 3 settings"),
    ],
)
def test_the_question_of_spread_is_answered_by_intervals(whole, spread, rest, expected):
    assert re.search(
        expected, spread_or_distribution(intervals(*whole), intervals(*spread), intervals(*rest))
    )


@pytest.mark.parametrize(
    ("lows", "expected"),
    [
        ((1, 2), "ahead of X"),
        ((-2, -3), "behind X"),
        ((-0.5, -0.2), "level with X"),
        ((1, -0.5), "ahead of X in 1 of 2 settings and level with it in 1"),
        ((1, -0.5, -2), "ahead of X in 1 of 3 settings, behind it in 1 and level with it in 1"),
    ],
)
def test_standing_of_one_method_to_another(lows, expected):
    assert standing(intervals(*lows), "X") == expected


def test_differences_that_read_otherwise():
    pairs = {"first": ["a", "a", "b"], "second": ["b", "c", "c"]}
    rows, others = intervals(1, -0.5, -3).assign(**pairs), intervals(2, 1, 2).assign(**pairs)
    assert reads_otherwise(rows, others).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="others: expected the same pairs"):
        reads_otherwise(rows, others.iloc[::-1])


def test_settings_of_the_question_must_agree():
    with pytest.raises(ValueError, match=r"rest: expected the settings of whole, .* got \['a'\]"):
        spread_or_distribution(intervals(1, 1), intervals(1, 1), intervals(1))


def test_names_and_shares(tiny):
    assert set_name("caltech101/efficientnet-lite0+unseen") == "Caltech-101, unseen"
    assert setting_name("tiny", 8) == "tiny, 8 bits"
    assert training_share("corel5k/efficientnet-lite0") == (4500, 4500)
    assert training_share("caltech101/efficientnet-lite0+unseen") == (2020, 7667)
    assert training_share("tiny", tiny) == (200, 400)
    with pytest.raises(ValueError, match=r"data: expected one of caltech101, .* or its features, got 'tiny'"):
        training_share("tiny")
    assert [learns_from_labels(m) for m in ("sdc", "cosine", "matching", "supervised-sdc", "logits", "orthohash")] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


def test_shares_and_targets_of_positive_pairs(tiny):
    labels = tiny.database_labels[tiny.train_index]
    first, second = np.triu_indices(len(labels), 1)
    assert positive_share("tiny", tiny) == pytest.approx((labels[first] == labels[second]).mean())
    assert positive_share("caltech101/efficientnet-lite0+unseen") == pytest.approx(19 / 2019)
    with pytest.raises(
        ValueError, match=r"data: expected a set with classes of one size, .* got 'corel5k/b'"
    ):
        positive_share("corel5k/b")
    negative, positive = mean_targets(0.1, Beta(1, 1))  # uniform on [-1, 1]
    assert (negative, positive) == pytest.approx((-0.1, 0.9), abs=1e-4)
    with pytest.raises(ValueError, match=r"share: expected pairs of both kinds, got 0.0 of 100 pairs"):
        mean_targets(0.0, Beta(1, 1), 100)


def test_training_rows_in_the_database_are_set_against_the_same_runs_without_them():
    seen = table([("tiny", 16), ("other", 16)])
    unseen = table([("tiny+unseen", 16)])
    unseen["map_expected"] -= 0.1 + 0.05 * unseen["seed"]
    more = seen_less_unseen(pd.concat([seen, unseen], ignore_index=True).sample(frac=1, random_state=0))
    assert set(more["data"]) == {"tiny"}
    assert len(more) == len(unseen)
    np.testing.assert_allclose(more["map_expected"], 0.1 + 0.05 * more["seed"])
    assert set(more.columns) == {"data", "method", "label", "n_bits", "seed", "map_expected"}


class TestPairTargets:
    def test_of_all_pairs(self, tiny):
        targets = pair_targets(tiny, Beta(5, 5))
        unit = tiny.train / np.linalg.norm(tiny.train, axis=1, keepdims=True)
        first, second = np.triu_indices(200, 1)
        expected = np.sort((unit @ unit.T)[first, second])
        np.testing.assert_allclose(np.sort(targets.cosine), expected, atol=1e-5)
        labels = tiny.database_labels[tiny.train_index]
        assert targets.positive.sum() == (labels[first] == labels[second]).sum()
        assert targets.cosine[targets.positive].mean() > targets.cosine[~targets.positive].mean()
        for values in (targets.standardised, targets.mapped):
            assert values.mean() == pytest.approx(0, abs=0.01)
            assert values.std() == pytest.approx(0.3015, abs=0.01)
            assert (np.diff(values[targets.cosine.argsort()]) >= -1e-6).all()
        few = pair_targets(leave_out_training(tiny), Beta(5, 5), n_rows=30)
        assert few.cosine.shape == (435,)

    def test_separation_and_upper_share(self):
        values = np.array([0.0, 0, 0, 4, 4, 10])
        positive = np.array([False, False, False, True, True, True])
        targets = PairTargets(values, values, values, positive)
        assert targets.separation("mapped") == pytest.approx(6 / values.std())
        assert targets.upper_share("cosine", 1 / 6) == pytest.approx(49 / (49 + 3 * 9 + 2))

    def test_several_labels_are_named(self, tiny):
        vectors = [np.eye(4, dtype=np.uint8)[labels] for labels in (tiny.query_labels, tiny.database_labels)]
        several = dataclasses.replace(tiny, query_labels=vectors[0], database_labels=vectors[1])
        with pytest.raises(ValueError, match="features: expected one label a training row in tiny"):
            pair_targets(several, Beta(5, 5))


def test_figures(tiny):
    figure = plot_pair_targets(pair_targets(tiny, Beta(5, 5)))
    assert [axes.get_title() for axes in figure.axes] == ["cosine as it is", "linear map", "quantile map"]
    plt.close(figure)
    summary = pd.DataFrame(
        [
            ("one", "ITQ", 50.0, 1.0),
            ("one", "SDC", 60.0, np.nan),
            ("two", "SDC", 55.0, 2.0),
            ("two", "else", 0, 0),
            ("three", "ITQ", 40.0, 2.0),
        ],
        columns=["setting", "label", "intersection", "intersection_ci"],
    )
    figure = plot_settings(summary, ["SDC", "ITQ"], "intersection", hollow=lambda name: name == "ITQ")
    drawn = [[c[0].get_xydata()[0].tolist() for c in axes.containers] for axes in figure.axes]
    assert drawn == [[[50.0, 1], [60.0, 0]], [[55.0, 0]], [[40.0, 1]], []]
    assert [axes.get_title() for axes in figure.axes] == ["one", "two", "three", ""]
    faces = [container[0].get_markerfacecolor() for container in figure.axes[0].containers]
    assert faces == ["white", "#0072B2"]
    assert figure.get_supxlabel() == "intersection (%)"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["SDC", "ITQ"]
    plt.close(figure)
