"""Properties of targets, their relation with results, comparisons of targets, and the figures."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study.chapters.target_choice import (
    default_differences,
    held_out_choice,
    held_out_gain,
    regret,
    regret_table,
)
from study.statistics import left_out_r2, rank_relation

from sdclib.losses.calibration import Beta, Binomial, Empirical, TruncatedLaplace
from study.chapters.target_figures import (
    plot_beta_grids,
    plot_properties,
    plot_reached,
    plot_spread,
    plot_target_differences,
)
from study.chapters.targets import (
    DEFAULT,
    beta_grid,
    histogram_distribution,
    mirror_pairs,
    paper_table,
    properties_table,
    relations,
    shape_contrasts,
    spread_ranges,
    spreads,
    target_family,
    target_label,
    target_properties,
    with_calibration,
    with_paper,
)
from study.tables import summarise

MEANS = {"beta(5, 5)": 0.6, "beta(1, 2)": 0.65, "beta(2, 1)": 0.5, "beta(1, 1)": 0.58, "beta(2, 2)": 0.61}
PAPER = pd.DataFrame(
    [
        ("CIFAR-10", 64, "Beta(2, 2)", "no", 60.0),
        ("CIFAR-10", 64, "Beta(5, 5)", "no", 63.0),
        ("CIFAR-10", 64, "Gaussian N(0, 0.3) on [-1, 1]", "no", 62.0),
        ("CIFAR-10", 64, "Beta(5, 5)", "yes", 66.0),
    ],
    columns=["data", "n_bits", "calibration", "contrastive", "percent"],
)


def table(means=MEANS, data="tiny", n_bits=64, seeds=(0, 1, 2)):
    """Runs of SDC towards each target, seeds a point apart around the given means."""
    return pd.DataFrame(
        [
            {
                "data": data,
                "method": "sdc",
                "n_bits": n_bits,
                "seed": seed,
                "label": target,
                "parameters": json.dumps({"preset": "release", "calibration": target}),
                "map_expected": mean + 0.01 * (seed - np.mean(seeds)),
                "intersection": 1 - mean,
                "all_mean": 0.01,
                "all_std": 0.2,
            }
            for target, mean in means.items()
            for seed in seeds
        ]
    )


class TestProperties:
    @pytest.mark.parametrize(("a", "b"), [(5, 5), (2, 5), (1, 10), (0.5, 0.5)])
    def test_of_betas_are_those_of_scipy(self, a, b):
        found, beta = target_properties(Beta(a, b)), stats.beta(a, b, loc=-1, scale=2)
        mean, variance, skewness, kurtosis = beta.stats("mvsk")
        assert found["mean"] == pytest.approx(mean, abs=1e-4)
        assert found["std"] == pytest.approx(np.sqrt(variance), abs=1e-3)
        assert found["share_above"] == pytest.approx(beta.sf(0), abs=1e-4)
        assert found["skewness"] == pytest.approx(skewness, abs=0.01)
        assert found["kurtosis"] == pytest.approx(kurtosis, abs=0.02)

    def test_of_others(self):
        assert target_properties(Binomial(4))["std"] == pytest.approx(0.5, abs=1e-3)
        assert target_properties(Binomial(4))["share_above"] == pytest.approx(5 / 16, abs=1e-4)
        assert target_properties(TruncatedLaplace(0, 0.05))["kurtosis"] == pytest.approx(3, abs=0.1)

    def test_table_has_a_row_a_target(self):
        found = properties_table(["beta(5, 5)", "empirical", "beta(5, 5)"], Empirical([0.2, 0.2, 0.4]))
        assert found.index.tolist() == ["beta(5, 5)", "empirical"]
        assert found.loc["empirical", "mean"] > 0.2
        with pytest.raises(
            ValueError, match="empirical: expected a distribution that stands for 'empirical'"
        ):
            properties_table(["empirical"])
        with pytest.raises(ValueError, match="calibration: expected"):
            properties_table(["gamma(1, 1)"])

    def test_histograms_become_distributions(self):
        histogram = pd.DataFrame(
            {"similarity": [-0.5, 0.0, 0.5], "positive": [0, 1, 3], "negative": [5, 1, 0]}
        )
        found = histogram_distribution(histogram)
        assert np.unique(found.similarities).tolist() == [-0.5, 0.0, 0.5]
        shares = [(found.similarities == value).mean() for value in (-0.5, 0.0, 0.5)]
        assert shares == pytest.approx([0.5, 0.2, 0.3], abs=1e-4)
        with pytest.raises(ValueError, match="histogram: expected at least one pair, got none"):
            histogram_distribution(histogram.assign(positive=0, negative=0))


def test_targets_are_labels():
    runs = table({"beta(1, 2)": 0.5}, seeds=[0])
    default = runs.assign(parameters='{"preset": "release"}')
    other = runs.assign(method="itq")
    labelled = with_calibration(pd.concat([runs, default, other]))
    assert labelled["label"].tolist() == ["beta(1, 2)", "beta(5, 5)"]
    assert DEFAULT == "beta(5, 5)"


def test_names_and_families():
    assert target_label("beta(31.5, 31.5)") == "Beta(31.5, 31.5)"
    assert target_label("beta(31.5, 31.5)", 64) == "Beta matched to K"
    assert target_label("beta(31.5, 31.5)", 16) == "Beta(31.5, 31.5)"
    assert target_label("binomial(16)", 16) == "Binomial of K bits"
    assert target_label("truncated_laplace(0, 0.21)") == "Laplace(0, 0.21)"
    assert target_label("empirical") == "Empirical"
    families = [target_family(t) for t in ("beta(2, 2)", "beta(2, 5)", "empirical", "binomial(8)")]
    assert families == ["symmetric Beta", "asymmetric Beta", "other", "other"]


def test_grid_and_mirror_images():
    summary = summarise(table(), ["map_expected"])
    grid = beta_grid(summary, "map_expected")
    np.testing.assert_allclose(grid.to_numpy(), [[58, 65], [50, 61]])
    assert (grid.index.name, grid.columns.name) == ("a", "b")
    with pytest.raises(
        ValueError, match=r"summary: expected every Beta\(a, b\) with a and b of \[1.0, 2.0\]"
    ):
        beta_grid(summary[summary["label"] != "beta(1, 1)"], "map_expected")
    assert mirror_pairs([*MEANS, "empirical", "beta(1, 5)"]) == [("beta(1, 2)", "beta(2, 1)")]


class TestRankRelation:
    def test_agrees_with_scipy(self):
        rng = np.random.default_rng(1)
        x = rng.normal(size=20)
        y = x + rng.normal(size=20)
        rho, low, high, p = rank_relation(x, y)
        expected = stats.spearmanr(x, y)
        assert rho == pytest.approx(expected.statistic)
        assert p == pytest.approx(expected.pvalue, abs=0.01)
        assert low < rho < high

    def test_of_few_in_one_order(self):
        rho, _, _, p = rank_relation([1, 2, 3, 4], [1, 4, 9, 16])
        assert rho == 1
        assert p == pytest.approx(2 / 24, abs=0.01)

    def test_noise_is_not_taken_for_a_relation(self):
        rng = np.random.default_rng(0)
        _, low, high, p = rank_relation(rng.normal(size=30), rng.normal(size=30))
        assert low < 0 < high
        assert p > 0.05

    def test_constants_and_shapes(self):
        assert np.isnan(rank_relation([1, 1, 1, 1], [1, 2, 3, 4])).all()
        with pytest.raises(ValueError, match=r"x, y: expected shapes \(n,\) alike with n >= 4"):
            rank_relation([1, 2, 3], [1, 2, 3])


class TestLeftOut:
    def test_is_what_refitting_gives(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(12, 2)), rng.normal(size=12)
        errors, by_mean = [], []
        for i in range(12):
            kept = np.arange(12) != i
            design = np.column_stack([np.ones(12), x, x**2])
            fit = np.linalg.lstsq(design[kept], y[kept], rcond=None)[0]
            errors.append(y[i] - design[i] @ fit)
            by_mean.append(y[i] - y[kept].mean())
        assert left_out_r2(x, y) == pytest.approx(1 - np.sum(np.square(errors)) / np.sum(np.square(by_mean)))

    def test_sees_an_optimum_in_the_middle(self):
        x = np.arange(-5.0, 6)
        assert left_out_r2(x[:, None], 25 - x**2) == pytest.approx(1)
        assert stats.spearmanr(x, 25 - x**2).statistic == pytest.approx(0, abs=1e-9)
        with pytest.raises(
            ValueError, match=r"properties, values: expected shapes .* n >= 2 n_properties \+ 3"
        ):
            left_out_r2(np.ones((4, 1)), np.ones(4))


def test_relations_have_a_row_a_property():
    targets = [f"beta({a}, {b})" for a in (1, 2, 5) for b in (1, 2, 5, 10)]
    properties = properties_table([*targets, "beta(3, 3)"])
    values = 50 - 10 * properties["mean"].drop("beta(3, 3)").round(4)
    found = relations(properties, values, [("mean", "std")])
    assert found.loc["mean", "rho"] == pytest.approx(-1)
    assert found.loc["mean", "r2"] == pytest.approx(1)
    assert found.loc["mean and standard deviation", "r2"] == pytest.approx(1)
    assert np.isnan(found.loc["mean and standard deviation", "rho"])
    assert found.index[:2].tolist() == ["mean", "standard deviation"]


def test_differences_to_the_default():
    runs = pd.concat([table(), table({"beta(5, 5)": 0.5, "beta(7.5, 7.5)": 0.52}, n_bits=16)])
    found = default_differences(summarise(runs, ["map_expected"]))
    assert found.columns.tolist() == ["tiny, 64 bits", "tiny, 16 bits"]
    assert found.index[:2].tolist() == ["Beta(1, 2)", "Beta(2, 2)"]
    assert found.loc["Beta matched to K", "tiny, 16 bits"] == pytest.approx(2)
    assert found.loc["Beta(2, 1)", "tiny, 64 bits"] == pytest.approx(-10)
    assert np.isnan(found.loc["Beta(2, 1)", "tiny, 16 bits"])


class TestRegret:
    def test_of_the_default(self):
        best = table({"beta(5, 5)": 0.6, "beta(2, 2)": 0.4}, data="other")
        found = regret(pd.concat([table(), best])).set_index("setting")
        row = found.loc["tiny, 64 bits"]
        assert (row["best"], row["targets"]) == ("beta(1, 2)", 5)
        half = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3)
        assert [row["mean"], row["low"], row["high"]] == pytest.approx([5, 5 - half, 5 + half])
        assert found.loc["other, 64 bits", ["mean", "low", "high"]].tolist() == [0, 0, 0]

    def test_a_seed_held_out_does_not_choose(self):
        runs = table({"beta(5, 5)": 0.6, "beta(1, 1)": 0.6})
        runs["map_expected"] = 0.6
        lucky = (runs["label"] == "beta(1, 1)") & (runs["seed"] == 0)
        runs.loc[lucky, "map_expected"] = 0.9
        runs.loc[(runs["label"] == "beta(1, 1)") & (runs["seed"] != 0), "map_expected"] = 0.5
        gains = held_out_gain(runs).set_index("seed")
        # Without seed 0 the default is better; with it the lucky target is chosen, and loses.
        assert gains["chosen"].tolist() == ["beta(5, 5)", "beta(1, 1)", "beta(1, 1)"]
        assert gains["gain"].tolist() == pytest.approx([0, -10, -10])

    def test_targets_without_the_seed_are_no_candidates(self):
        two = table({"beta(1, 2)": 0.9}, seeds=(0, 1))
        gains = held_out_gain(pd.concat([table({"beta(5, 5)": 0.6}), two])).set_index("seed")
        assert gains["chosen"].to_dict() == {0: "beta(1, 2)", 1: "beta(1, 2)", 2: "beta(5, 5)"}

    def test_table(self):
        runs = table()
        shown = regret_table(regret(runs), held_out_gain(runs))
        assert shown.loc["tiny, 64 bits"].tolist()[0] == "Beta(1, 2)"
        assert shown.loc["tiny, 64 bits", "best less default"].startswith("+5.0 (")
        assert shown.loc["tiny, 64 bits", "gain, seed held out"].startswith("5.0 ±")


class TestHeldOutChoice:
    def test_the_queries_have_no_part_in_the_choice(self):
        held_out = table({"beta(5, 5)": 0.5, "beta(1, 2)": 0.53, "beta(2, 2)": 0.51}, data="tiny+holdout")
        queried = table({"beta(5, 5)": 0.6, "beta(1, 2)": 0.58, "beta(2, 2)": 0.64, "beta(9, 9)": 0.9})
        found = held_out_choice(pd.concat([held_out, queried, table(data="other")])).set_index("setting")
        assert found.index.tolist() == ["tiny, 64 bits"]
        row = found.loc["tiny, 64 bits"]
        assert row["chosen"] == "beta(1, 2)"
        assert [row["held_out"], row["mean"], row["best"]] == pytest.approx([3, -2, 4])
        # Welch's interval of two groups of three, each with a deviation of one point: 4 degrees of freedom.
        half = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3)
        assert [row["low"], row["high"]] == pytest.approx([-2 - half, -2 + half])

    def test_the_default_chosen_makes_no_difference(self):
        held_out = table({"beta(5, 5)": 0.5, "beta(1, 2)": 0.4}, data="tiny+holdout")
        row = held_out_choice(pd.concat([held_out, table()])).iloc[0]
        assert row["chosen"] == DEFAULT
        assert row[["held_out", "mean", "low", "high"]].tolist() == [0, 0, 0, 0]


def test_shapes_are_compared_with_what_they_differ_from_in_one_thing():
    means = {
        "beta(5, 5)": 0.6,
        "truncated_gaussian(0, 0.3)": 0.61,
        "beta(31.5, 31.5)": 0.5,
        "binomial(64)": 0.52,
    }
    short = table({"beta(5, 5)": 0.4, "beta(7.5, 7.5)": 0.43, "beta(31.5, 31.5)": 0.1}, n_bits=16)
    found = shape_contrasts(pd.concat([table(means), short]))
    rows = {(row.contrast, row.n_bits): row.mean for row in found.itertuples()}
    assert rows == pytest.approx(
        {("Gaussian", 64): 1, ("matched to K", 64): -10, ("binomial", 64): 2, ("matched to K", 16): 3}
    )


class TestPaper:
    def test_its_targets_stand_beside_ours(self):
        summary = summarise(table(), ["map_expected"])
        both = with_paper(summary, PAPER)
        theirs = both[both["source"] == "paper"]
        assert theirs["target"].tolist() == ["beta(2, 2)", "beta(5, 5)", "truncated_gaussian(0, 0.3)"]
        shown = paper_table(both, "paper")
        assert shown.index.name == "target"
        assert shown["CIFAR-10, 64 bits"].to_dict() == {
            "Beta(2, 2)": "60.0",
            "Beta(5, 5)": "63.0",
            "Gaussian(0, 0.3)": "62.0",
        }
        ours = paper_table(both, "this study")  # not the targets that the paper does not have
        assert ours.index.tolist() == ["Beta(2, 2)", "Beta(5, 5)"]
        assert ours.loc["Beta(5, 5)", "tiny, 64 bits"].startswith("60.0 ± ")
        with pytest.raises(ValueError, match=r"source: expected one of .*'this study'\], got 'ours'"):
            paper_table(both, "ours")
        strange = PAPER.assign(calibration="Cauchy(0, 1)")
        with pytest.raises(ValueError, match="calibration: expected a distribution such as"):
            with_paper(summary, strange)

    def test_a_setting_with_one_of_its_targets_has_no_column(self):
        runs = pd.concat([table(), table({"beta(5, 5)": 0.5, "beta(7.5, 7.5)": 0.6}, n_bits=16)])
        both = with_paper(summarise(runs, ["map_expected"]), PAPER)
        assert paper_table(both, "this study").columns.tolist() == ["tiny, 64 bits"]
        best = spread_ranges(both).set_index("setting")["best"]
        assert best["tiny, 16 bits"] == "Beta matched to K"  # of 16 bits: Beta(7.5, 7.5)

    def test_spreads_are_those_of_symmetric_betas(self):
        both = with_paper(summarise(table(), ["map_expected"]), PAPER)
        found = spreads(both)
        assert list(found) == ["paper", "this study"]
        ours = found["this study"]["tiny, 64 bits"]
        assert ours.index.tolist() == ["beta(5, 5)", "beta(2, 2)", "beta(1, 1)"]
        np.testing.assert_allclose(ours["std"], 1 / np.sqrt([11, 5, 3]), atol=1e-3)
        np.testing.assert_allclose(ours["difference"], [0, 1, -2], atol=1e-9)
        ranges = spread_ranges(both, narrow="beta(2, 2)", wide="beta(1, 1)").set_index("source")
        assert ranges.loc["this study", "best"] == "Beta(2, 2)"
        assert ranges.loc["this study", ["narrow", "wide"]].tolist() == pytest.approx([1, -2])
        assert ranges.loc["paper", "best"] == "Beta(5, 5)"
        assert np.isnan(ranges.loc["paper", "wide"])


def test_figures():
    runs = pd.concat([table(), table({"beta(5, 5)": 0.5, "beta(7.5, 7.5)": 0.52}, n_bits=16)])
    summary = summarise(runs, ["map_expected", "all_mean", "all_std"])
    both = with_paper(summary, PAPER)

    figure = plot_spread(spreads(both), lowest=-1)
    assert [axes.get_title() for axes in figure.axes] == ["paper", "this study"]
    assert figure.axes[0].get_ylim()[0] == -1
    plt.close(figure)

    main = summary[summary["n_bits"] == 64].set_index("label")
    figure = plot_beta_grids({"mAP": beta_grid(main.reset_index(), "map_expected")})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["2", "1"]
    assert figure.axes[0].texts[0].get_text() == "50.0"  # a = 2, b = 1: the upper left
    plt.close(figure)

    differences = default_differences(summary)
    figure = plot_target_differences(differences)
    assert len(figure.axes[0].texts) == differences.notna().to_numpy().sum()
    assert figure.axes[0].get_xticklabels()[0].get_text() == "tiny\n64 bits"
    plt.close(figure)

    points = properties_table(main.index).join(main)
    chosen = runs[runs["n_bits"] == 64]
    figure = plot_properties(points, chosen, {"mean": None, "std": None, "share_above": 0.1})
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "mean of the target",
        "standard deviation of the target",
        "share above 0 of the target",
    ]
    dots, symmetric, asymmetric, *_ = figure.axes[0].lines
    assert len(dots.get_xdata()) == len(chosen)
    np.testing.assert_allclose(sorted(symmetric.get_ydata()), [58, 60, 61])
    np.testing.assert_allclose(sorted(asymmetric.get_ydata()), [50, 65])
    plt.close(figure)

    figure = plot_reached(points)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 0.01)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), 0.2)
    plt.close(figure)
