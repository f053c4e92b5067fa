"""Differences between targets, what the targets of pairs are, and the figures of both."""

import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sdclib.calibration import Beta
from sdclib.contributions import (
    STEPS,
    PairTargets,
    compared,
    contributions,
    differences,
    learns_from_labels,
    listed,
    pair_targets,
    said,
    set_name,
    setting_name,
    step_table,
    training_share,
    verdict,
    with_targets,
)
from sdclib.figures import plot_pair_targets, plot_settings
from sdclib.unseen import leave_out_training

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
    assert named["target"].tolist() == ["cosine", "rank", "calibrated", "calibrated", "ITQ"]
    assert named["features"].tolist() == ["raw", "whitened", "centred", "raw", ""]


def test_steps_add_up_and_have_welchs_intervals():
    steps = contributions(with_targets(table()))
    assert steps["step"].tolist() == [name for name, *_ in STEPS] * 2
    for _, group in steps.groupby("data"):
        np.testing.assert_allclose(group["mean"], [10, -2, -1, 7], atol=1e-9)
        assert group["mean"].iloc[:3].sum() == pytest.approx(group["mean"].iloc[3])
    half = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3)
    np.testing.assert_allclose(steps["high"] - steps["mean"], half)
    shown = step_table(steps)
    assert shown.index.tolist() == ["CIFAR-10 (embedded), 64 bits", "tiny, 16 bits"]
    assert shown.loc["tiny, 16 bits", "shape"] == f"-2.0 ({-2 - half:.1f} to {-2 + half:.1f})"
    missing = table(means={"cosine": 0.5, "calibrated": 0.6})
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
    assert verdict(rows) == (
        "raises expected mAP in 2 of 4 settings, lowers it in 1, and the interval holds 0 in 1 "
        "(from -1.0 to +3.0 points)"
    )


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
        ],
        columns=["setting", "name", "map_expected", "map_expected_ci"],
    )
    figure = plot_settings(
        summary,
        ["SDC", "ITQ"],
        [("one", "One"), ("two", "Two")],
        metrics=["map_expected"],
        hollow=lambda name: name == "ITQ",
    )
    drawn = [
        [line.get_xydata()[0].tolist() for line in axes.containers and [c[0] for c in axes.containers]]
        for axes in figure.axes
    ]
    assert drawn == [[[50.0, 1], [60.0, 0]], [[55.0, 0]]]
    faces = [container[0].get_markerfacecolor() for container in figure.axes[0].containers]
    assert faces == ["white", "#0072B2"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["expected mAP@R (%)"] * 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["SDC", "ITQ"]
    plt.close(figure)
