"""Effects of training settings: differences, noise of seeds and epochs, time; and their figures."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study.comparisons import brief
from study.figures.effects import plot_cost, plot_effects, plot_epochs, plot_ladders
from study.statistics import detectable, deviation_factors, holm, seeds_needed

from study.chapters.epochs import best_less_last, by_epoch, epoch_noise, fall_gain, first_within
from study.chapters.training_effects import (
    change_name,
    costs,
    differing_settings,
    effect_table,
    effects,
    ladder,
    per_doubling,
    seed_noise,
    short_names,
    verdict_on,
    with_settings,
)
from study.tables import method_label

QUICK = {"batch_size": 256, "learning_rate": 4e-4}
BASES = {"release": "SDC (release)", "quick": "SDC (release, batch_size=256, learning_rate=0.0004)"}
# What differs from release, mean mAP, seconds.
CASES = [
    ({}, 0.60, 10.0),
    ({"batch_size": 128}, 0.58, 6.0),
    ({"batch_size": 128, "learning_rate": 2e-4}, 0.61, 6.5),
    (QUICK, 0.62, 4.0),
    ({**QUICK, "hidden_features": 64}, 0.61, 3.0),
    ({**QUICK, "hidden_features": 1024}, 0.64, 20.0),
    ({**QUICK, "center": True}, 0.62, 4.5),
    ({"preset": "paper"}, 0.65, 40.0),
]
OFFSETS = (-0.011, 0.002, 0.009)  # of the seeds; they sum to zero


def runs(cases=CASES, offsets=OFFSETS, scale=2):
    """Runs of SDC around the given means, a seed an offset; but for release the offsets are `scale` times as large."""
    rows = []
    for changed, mean, seconds in cases:
        parameters = {"preset": "release", **changed}
        for seed, offset in enumerate(offsets):
            rows.append(
                {
                    "data": "tiny",
                    "method": "sdc",
                    "label": method_label("sdc", parameters),
                    "n_bits": 64,
                    "seed": seed,
                    "parameters": json.dumps(parameters),
                    "map_expected": mean + offset * (scale if changed else 1),
                    "fit_seconds": seconds + seed,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def results():
    return with_settings(runs(), n_features=256)


class TestSettings:
    def test_all_of_a_run_and_none_of_other_methods(self, results):
        others = pd.concat([runs(), runs()[:1].assign(method="itq", parameters="{}")], ignore_index=True)
        assert len(with_settings(others, 256)) == len(results) == 24
        first = results.drop_duplicates("label").set_index("label")
        assert list(first["hidden_features"]) == [256, 256, 256, 256, 64, 1024, 256, 4096]
        assert list(first["weight_decay"]) == [1e-5] * 7 + [5e-4]
        assert list(first["preset"]) == ["release"] * 7 + ["paper"]
        with pytest.raises(ValueError, match="results: expected runs of sdc, got none"):
            with_settings(others[others["method"] == "itq"], 256)

    def test_presets_that_differ(self):
        table = differing_settings(["paper", "release"])
        assert table.to_dict("index") == {
            "hidden_features": {"paper": 4096, "release": "d"},
            "weight_decay": {"paper": 5e-4, "release": 1e-5},
        }

    def test_names_of_changes(self):
        settings = {
            "batch_size": 32, "learning_rate": 4e-4, "pairs": "all", "quantization_weight": 0.0, "n_hidden_layers": 0,
            "center": True, "temperature": 0.5,
        }  # fmt: skip
        assert change_name(settings, ["learning_rate", "batch_size"]) == "batch 32, rate 0.0004"
        assert change_name(settings, ["pairs", "quantization_weight"]) == "all pairs, quantization weight 0"
        assert change_name(settings, ["center", "temperature"]) == "centred, temperature 0.5"
        assert change_name(settings, ["n_hidden_layers"]) == "no hidden layer"
        assert change_name({"n_hidden_layers": 2, "center": False}, ["n_hidden_layers", "center"]) == (
            "2 hidden layers, not centred"
        )


class TestEffects:
    def test_every_setting_is_compared_with_the_base_nearest_to_it(self, results):
        table = effects(results, BASES)
        assert table[["change", "base", "group"]].to_numpy().tolist() == [
            ["batch 128", "release", "batch size"],
            ["batch 128, rate 0.0002", "release", "batch size and learning rate"],
            ["batch 256, rate 0.0004", "release", "batch size and learning rate"],
            ["width 64", "quick", "width"],
            ["width 1024", "quick", "width"],
            ["centred", "quick", "centring"],
            ["preset paper", "release", "preset paper"],
        ]
        np.testing.assert_allclose(table["mean"], [-2, 1, 2, -1, 2, 0, 5], atol=1e-9)
        assert list(short_names(table).values()) == [
            "release", "quick", "release, batch 128", "release, batch 128, rate 0.0002", "quick, width 64",
            "quick, width 1024", "quick, centred", "paper",
        ]  # fmt: skip

    def test_intervals_and_p(self, results):
        row = effects(results, BASES).iloc[0]
        base = 60 + 100 * np.array(OFFSETS)
        changed = 58 + 200 * np.array(OFFSETS)
        welch = stats.ttest_ind(changed, base, equal_var=False)
        assert (row["low"], row["high"]) == pytest.approx(tuple(welch.confidence_interval()))
        assert row["p"] == pytest.approx(welch.pvalue)
        paired = stats.ttest_rel(changed, base).confidence_interval()
        assert (row["paired_low"], row["paired_high"]) == pytest.approx(tuple(paired))

    def test_other_seeds_are_not_paired(self, results):
        moved = results.copy()
        moved.loc[moved["label"] == BASES["release"], "seed"] += 7
        table = effects(moved, BASES).set_index("change")
        assert np.isnan(table.loc["batch 128", "paired_low"])
        assert not np.isnan(table.loc["width 64", "paired_low"])

    def test_errors_name_what_is_wrong(self, results):
        with pytest.raises(ValueError, match="results: expected one data set and code length, got 2"):
            effects(pd.concat([results, results.assign(n_bits=16)]), BASES)
        with pytest.raises(ValueError, match="bases: expected labels of the table, got SDC \\(else\\)"):
            effects(results, {"else": "SDC (else)"})
        with pytest.raises(ValueError, match="SDC \\(release\\): expected at least two seeds"):
            effects(results[(results["label"] != BASES["release"]) | (results["seed"] == 0)], BASES)

    def test_holm(self):
        np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(holm([0.9, 0.6]), [1, 1])

    def test_holm_keeps_the_chance_of_any_false_finding(self):
        p = np.random.default_rng(0).uniform(size=(2000, 8))
        assert np.mean([(holm(row) < 0.05).any() for row in p]) == pytest.approx(0.05, abs=0.015)

    def test_what_is_said(self, results):
        assert verdict_on({"low": 0.1, "high": 1}) == "raises"
        assert verdict_on({"low": -1, "high": -0.1}) == "lowers"
        assert verdict_on({"low": -1, "high": 0.1}) == "unclear"
        assert brief({"mean": 1.24, "low": -0.1, "high": 2.6}) == "+1.2 (-0.1 to 2.6)"
        rows = effects(results, BASES).head(2).assign(p_holm=[0.0004, 0.25])
        assert list(effect_table(rows)["p (Holm)"]) == ["< 0.001", "0.250"]
        assert list(effect_table(rows).index) == ["batch 128", "batch 128, rate 0.0002"]


class TestNoise:
    def test_pooled_over_settings(self, results):
        deviation, freedom = seed_noise(results)
        variance = np.var(OFFSETS, ddof=1)
        assert deviation == pytest.approx(100 * np.sqrt(variance * (1 + 7 * 4) / 8))
        assert freedom == 16
        with pytest.raises(ValueError, match="results: expected a label with at least two runs"):
            seed_noise(results[results["seed"] == 0])

    def test_detectable_difference_is_found_as_often_as_said(self):
        points = detectable(0.8, 3, power=0.8)
        rng = np.random.default_rng(1)
        first, second = rng.normal(0, 0.8, (4000, 3)), rng.normal(points, 0.8, (4000, 3))
        found = stats.ttest_ind(first, second, axis=1).pvalue < 0.05
        assert found.mean() == pytest.approx(0.8, abs=0.02)
        assert detectable(0.8, 3, level=0.001) > points > detectable(0.8, 10)
        with pytest.raises(ValueError, match="n_seeds: expected at least 2, got 1"):
            detectable(0.8, 1)

    def test_seeds_needed_is_the_least_number(self):
        n_seeds = seeds_needed(1, 0.8)
        assert detectable(0.8, n_seeds) <= 1 < detectable(0.8, n_seeds - 1)
        assert seeds_needed(100, 0.8) == 2
        with pytest.raises(ValueError, match=r"points, deviation: expected numbers above 0, got 0, 0\.8"):
            seeds_needed(0, 0.8)

    def test_factors_hold_the_true_deviation_as_often_as_said(self):
        low, high = deviation_factors(3)
        found = np.random.default_rng(2).normal(size=(4000, 3)).std(axis=1, ddof=1)
        assert ((low * found < 1) & (high * found > 1)).mean() == pytest.approx(0.95, abs=0.01)


class TestLadders:
    def test_one_setting_alone(self, results):
        steps = ladder(results, BASES["quick"], "hidden_features")
        assert list(steps["value"].unique()) == [64, 256, 1024]
        assert steps.groupby("value")["map_expected"].mean().tolist() == pytest.approx([61, 62, 64])
        assert list(ladder(results, BASES["release"], "batch_size")["value"].unique()) == [64, 128]

    def test_another_in_proportion(self, results):
        steps = ladder(results, BASES["release"], "batch_size", "learning_rate")
        assert steps.groupby("value")["map_expected"].mean().to_dict() == pytest.approx(
            {64: 60, 128: 61, 256: 62}
        )

    def test_points_a_doubling(self):
        values = np.repeat([0.0, 1, 2, 4, 8], 3)
        noise = np.tile([0.1, -0.2, 0.1], 5)
        steps = pd.DataFrame({"value": values, "map_expected": 50 + 2 * np.log2(values.clip(0.01)) + noise})
        slope, low, high = per_doubling(steps)
        assert slope == pytest.approx(2)
        spread = np.sqrt((noise[3:] ** 2).sum() / 10 / 15)  # squared doublings from their mean sum to 15
        assert (low, high) == pytest.approx((2 - 2.228 * spread, 2 + 2.228 * spread), abs=1e-3)

    def test_errors(self, results):
        with pytest.raises(ValueError, match="base: expected a label of the table, got 'SDC'"):
            ladder(results, "SDC", "batch_size")
        with pytest.raises(ValueError, match="setting: expected runs with several values of 'temperature'"):
            ladder(results, BASES["release"], "temperature")
        with pytest.raises(ValueError, match="steps: expected at least three runs with two values above 0"):
            per_doubling(pd.DataFrame({"value": [0.0, 1, 1, 1], "map_expected": [1.0, 2, 3, 4]}))


def test_costs(results):
    table = costs(results)
    assert list(table["seconds"]) == sorted(table["seconds"])
    row = table.loc[BASES["release"]]
    assert (row["seconds"], row["seconds_low"], row["seconds_high"]) == (11, 10, 12)
    assert row["map_expected"] == pytest.approx(60)
    half = stats.t.ppf(0.975, 2) * 100 * np.std(OFFSETS, ddof=1) / np.sqrt(3)
    assert row["map_expected_ci"] == pytest.approx(half)
    names = short_names(effects(results, BASES))
    best = [names[label] for label in table.index[table["best_for_its_time"]]]
    assert best == ["quick, width 64", "quick", "quick, width 1024", "paper"]


class TestEpochs:
    EPOCHS = (5, 40, 79, 80, 99, 100)
    MEANS = (0.50, 0.60, 0.595, 0.605, 0.612, 0.610)

    def looked(self, offsets=(-0.01, 0.0, 0.01)):
        cases = [
            ({**QUICK, "epochs": n}, mean, n / 10) for n, mean in zip(self.EPOCHS, self.MEANS, strict=True)
        ]
        return with_settings(runs(cases, offsets, scale=1), 256)

    def test_table(self):
        table = by_epoch(self.looked())
        assert list(table.index) == list(self.EPOCHS)
        np.testing.assert_allclose(table[0], 100 * np.array(self.MEANS) - 1)
        np.testing.assert_allclose(table[2], 100 * np.array(self.MEANS) + 1)
        with pytest.raises(ValueError, match="results: expected the same epochs of every seed"):
            by_epoch(self.looked()[1:])
        with pytest.raises(ValueError, match="that differ in epochs alone, got several hidden_features"):
            by_epoch(pd.concat([self.looked(), with_settings(runs(CASES[4:5]), 256)]))

    def test_noise_and_gain(self):
        table = by_epoch(self.looked())
        assert epoch_noise(table, (79, 80)) == pytest.approx(1 / np.sqrt(2))
        table[1] = table[1] + [0, 0, 1, -1, 0, 0]  # 60.5 and 59.5
        table[2] = table[2] + [0, 0, 0, 3, 0, 0]
        variances = [0.5, 0.5, 8]
        assert epoch_noise(table, (79, 80)) == pytest.approx(np.sqrt(np.mean(variances)))
        mean, low, high = fall_gain(table, (79, 80), (99, 100))
        each = np.array([1.1, 1.1, -0.4])
        half = stats.t.ppf(0.975, 2) * each.std(ddof=1) / np.sqrt(3)
        assert (mean, low, high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
        with pytest.raises(ValueError, match="epochs: expected at least two epochs from 81 to 99, got 1"):
            epoch_noise(table, (81, 99))

    def test_best_and_first(self):
        table = by_epoch(self.looked())
        assert best_less_last(table).tolist() == pytest.approx([0.2, 0.2, 0.2])
        assert first_within(table, 1.01) == 80
        assert first_within(table, 2) == 40
        assert first_within(table, 0.1) == 100
        table.loc[80, 1] = 70
        assert best_less_last(table).tolist() == pytest.approx([0.2, 9, 0.2])
        table.loc[99] = 70
        assert first_within(table, 2) == 100


def test_figures(results):
    table = effects(results, BASES).assign(p_holm=[0.01] + [0.5] * 6)
    figure = plot_effects(table)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(table["change"])
    drawn = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert sorted(x for line in drawn for x in line.get_xdata()) == pytest.approx(sorted(table["mean"]))
    assert [line.get_markerfacecolor() for line in drawn].count("white") == 2  # both bases have unsure rows
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["release", "quick"]
    heights = axes.get_yticks()
    assert heights[1] - heights[0] > 1.5  # another group
    assert heights[2] - heights[1] == pytest.approx(1)
    plt.close(figure)

    figure = plot_effects(table[table["base"] == "quick"].drop(columns="p_holm"))
    assert not figure.legends
    plt.close(figure)

    steps = ladder(results, BASES["quick"], "hidden_features")
    figure = plot_ladders({"width": steps, "width again": steps, "and again": steps})
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_visible()] == [
        "width",
        "width again",
        "and again",
    ]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["64", "256", "1024"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == pytest.approx([61, 62, 64])
    plt.close(figure)

    names = {BASES["release"]: "release", "SDC (paper)": "paper"}
    figure = plot_cost(costs(results), names)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "release",
        "paper",
        "other settings",
    }
    assert [c[0].get_markerfacecolor() == "white" for c in axes.containers] == [True, False]
    plt.close(figure)

    table = by_epoch(TestEpochs().looked())
    figure = plot_epochs(table, 80)
    whole, late = figure.axes
    assert whole.lines[0].get_xdata().tolist() == list(TestEpochs.EPOCHS)
    assert late.lines[0].get_xdata().tolist() == [79, 80, 99, 100]
    assert whole.lines[1].get_ydata().tolist() == table[1].tolist()
    plt.close(figure)
