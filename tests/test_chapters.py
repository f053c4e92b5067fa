"""What chapters make of tables of runs, on small tables with known answers; one section a module."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sdclib.data.variants import leave_out_training, longtail_sizes
from sdclib.losses.calibration import Beta, Binomial
from sdclib.methods.presets import PRESETS
from study.chapters import instance_table
from study.chapters.contributions import (
    STEPS,
    contributions,
    with_targets,
)
from study.chapters.equal_bytes import decide_over_sets, decision_table
from study.chapters.imbalance import (
    add_ratios,
    in_order,
    mean_by_size,
    over_queries,
    size_contrasts,
    tail_contrasts,
    tail_name,
)
from study.chapters.pair_targets import (
    PairTargets,
    pair_targets,
)
from study.chapters.targets import (
    DEFAULT,
    beta_grid,
    described,
    held_out_choice,
    mirror_pairs,
    properties_table,
    shape_contrasts,
    spreads,
    target_family,
    target_label,
    target_properties,
    with_paper,
)
from study.chapters.teacher_objectives import name_objectives, plot_teacher
from study.chapters.training_effects import base, effects
from study.provenance import PROJECT_ROOT
from study.runs import expand_config
from study.stats import summarise
from study.tables import Config, find
from tests.tables import seeds_of, table_of

NOISE = np.array([-0.01, 0.0, 0.01])  # of three seeds
WELCH = stats.t.ppf(0.975, 4) * np.sqrt(
    2 / 3
)  # half the interval of a difference of two such groups, in points
STUDENT = stats.t.ppf(0.975, 2) / np.sqrt(3)  # of a mean
A, B = Config("itq"), Config("lsh")


def around(means, column=None, noise=NOISE, **more):
    """Three seeds around each mean; keys are configurations, or values of a column."""
    table = seeds_of({key: mean + noise for key, mean in means.items()}, **more)
    return table if column is None else table.rename(columns={"config": column})


# Targets

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


def targets(means=MEANS, **more):
    return around(means, "calibration", **more)


def by_target(runs):
    return summarise(runs, ["map_expected"], by="calibration")


@pytest.mark.parametrize(("a", "b"), [(5, 5), (2, 5), (1, 10), (0.5, 0.5)])
def test_properties_of_betas_are_those_of_scipy(a, b):
    beta = stats.beta(a, b, loc=-1, scale=2)
    mean, variance = beta.stats("mv")
    assert target_properties(Beta(a, b)) == {
        "mean": pytest.approx(mean, abs=1e-4),
        "std": pytest.approx(np.sqrt(variance), abs=1e-3),
        "share_above": pytest.approx(beta.sf(0), abs=1e-4),
    }


def test_properties_of_other_targets():
    assert target_properties(Binomial(4))["share_above"] == pytest.approx(5 / 16, abs=1e-4)
    found = properties_table(["beta(5, 5)", "empirical", "beta(5, 5)"])
    assert found.index.tolist() == ["beta(5, 5)", "empirical"]
    assert found.loc["empirical"].isna().all()


@pytest.mark.parametrize(
    ("target", "n_bits", "label", "family"),
    [
        ("beta(31.5, 31.5)", None, "Beta(31.5, 31.5)", "symmetric Beta"),
        ("beta(31.5, 31.5)", 64, "Beta matched to K", "symmetric Beta"),
        ("beta(2, 5)", 16, "Beta(2, 5)", "asymmetric Beta"),
        ("binomial(16)", 16, "Binomial of K bits", "other"),
        ("truncated_laplace(0, 0.21)", None, "Laplace(0, 0.21)", "other"),
        ("empirical", None, "Empirical", "other"),
    ],
)
def test_names_and_families_of_targets(target, n_bits, label, family):
    assert (target_label(target, n_bits), target_family(target)) == (label, family)


def test_grid_and_mirror_images():
    means = by_target(targets()).set_index("calibration")["map_expected"]
    grid = beta_grid(means)
    np.testing.assert_allclose(grid.to_numpy(), [[58, 65], [50, 61]])
    assert (grid.index.name, grid.columns.name) == ("a", "b")
    with pytest.raises(ValueError, match=r"values: expected every Beta\(a, b\) with a and b of \[1.0, 2.0\]"):
        beta_grid(means.drop("beta(1, 1)"))
    assert mirror_pairs([*MEANS, "empirical", "beta(1, 5)"]) == [("beta(1, 2)", "beta(2, 1)")]


def test_targets_are_described_best_first():
    found = described(by_target(pd.concat([targets(), targets({"beta(5, 5)": 0.5}, n_bits=16)])))
    assert found.columns[3:].tolist() == ["tiny, 64 bits", "tiny, 16 bits"]
    found.index = found.index.str.replace("\N{NO-BREAK SPACE}", " ")
    assert found.index[:2].tolist() == ["Beta(1, 2)", "Beta(2, 2)"]
    assert found.loc["Beta(5, 5)"].tolist() == pytest.approx([0, 0.3, 0.5, 60, 50])
    assert np.isnan(found.loc["Beta(2, 1)", "tiny, 16 bits"])
    assert described(by_target(targets())).columns[3:].tolist() == ["tiny"]


def test_queries_have_no_part_in_the_choice():
    held_out = targets({"beta(5, 5)": 0.5, "beta(1, 2)": 0.53, "beta(2, 2)": 0.51}, data="tiny+holdout")
    queried = targets({"beta(5, 5)": 0.6, "beta(1, 2)": 0.58, "beta(2, 2)": 0.64, "beta(9, 9)": 0.9})
    (row,) = held_out_choice(pd.concat([held_out, queried, targets(data="other")])).to_dict("records")
    assert (row["setting"], row["chosen"]) == ("tiny, 64 bits", "beta(1, 2)")
    assert [row["held_out"], row["mean"], row["best"]] == pytest.approx([3, -2, 4])
    assert [row["low"], row["high"]] == pytest.approx([-2 - WELCH, -2 + WELCH])
    default = targets({"beta(5, 5)": 0.5, "beta(1, 2)": 0.4}, data="tiny+holdout")
    (row,) = held_out_choice(pd.concat([default, targets()])).to_dict("records")
    assert row["chosen"] == DEFAULT == "beta(5, 5)"
    assert [row[name] for name in ("held_out", "mean", "low", "high")] == [0, 0, 0, 0]


def test_shapes_are_compared_with_what_they_differ_from_in_one_thing():
    means = {
        "beta(5, 5)": 0.6,
        "truncated_gaussian(0, 0.3)": 0.61,
        "beta(31.5, 31.5)": 0.5,
        "binomial(64)": 0.52,
    }
    short = targets({"beta(5, 5)": 0.4, "beta(7.5, 7.5)": 0.43, "beta(31.5, 31.5)": 0.1}, n_bits=16)
    found = shape_contrasts(pd.concat([targets(means), short]))
    rows = {(row.contrast, row.n_bits): row.mean for row in found.itertuples()}
    assert rows == pytest.approx(
        {("Gaussian", 64): 1, ("matched to K", 64): -10, ("binomial", 64): 2, ("matched to K", 16): 3}
    )


def test_targets_of_the_paper_stand_beside_ours():
    runs = pd.concat([targets(), targets({"beta(5, 5)": 0.5, "beta(7.5, 7.5)": 0.6}, n_bits=16)])
    both = with_paper(by_target(runs).assign(source="here"), PAPER)
    theirs = both[both["source"] == "paper"]
    assert theirs["target"].tolist() == ["beta(2, 2)", "beta(5, 5)", "truncated_gaussian(0, 0.3)"]
    with pytest.raises(ValueError, match="calibration: expected a distribution such as"):
        with_paper(by_target(runs).assign(source="here"), PAPER.assign(calibration="Cauchy(0, 1)"))

    wide = spreads(both).query("source == 'here' and n_bits == 64").set_index("target")
    np.testing.assert_allclose(wide.loc[["beta(2, 2)", "beta(1, 1)"], "std"], 1 / np.sqrt([5, 3]), atol=1e-3)
    np.testing.assert_allclose(wide.loc[["beta(5, 5)", "beta(2, 2)"], "difference"], [0, 1], atol=1e-9)


# What spread, shape, alignment and labels add


@pytest.fixture
def matching(tmp_path):
    """Runs of similarity matching, SDC and others in two settings, three seeds each."""
    means = {"cosine": 0.5, "standardised": 0.6, "mapped": 0.58, "calibrated": 0.57}
    rows = []
    for data, n_bits in (("cifar10-embedded", 64), ("tiny", 16)):
        for target, mean in means.items():
            method = "sdc" if target == "calibrated" else "matching"
            parameters = (
                '{"preset": "release"}' if method == "sdc" else f'{{"features": "raw", "target": "{target}"}}'
            )
            rows += [
                {"data": data, "n_bits": n_bits, "method": method, "parameters": parameters, "seed": seed}
                | {"map_expected": mean + noise}
                for seed, noise in enumerate(NOISE)
            ]
    rows += [
        {
            "method": "matching",
            "parameters": '{"features": "whitened", "target": "rank"}',
            "map_expected": 0.1,
        },
        {"parameters": '{"center": true, "preset": "release"}', "map_expected": 0.1},
        {"method": "itq", "parameters": "{}", "map_expected": 0.1},
        {"method": "supervised-sdc", "parameters": '{"labels": "target"}', "map_expected": 0.1},
    ]
    return with_targets(table_of(rows, tmp_path / "spread.csv"))


def test_runs_are_called_by_target_and_features(matching):
    assert list(dict.fromkeys(map(str, matching["config"]))) == [
        "cosine as it is", "linear map", "quantile map", "SDC", "order alone (whitened)", "SDC (centred)", "ITQ",
        "Supervised SDC (target)",
    ]  # fmt: skip
    assert find(matching, target="calibrated", features="centred").method == "sdc"


def test_steps_add_up(matching):
    steps = contributions(matching)
    for _, group in steps.groupby("data"):
        assert group["step"].tolist() == [name for name, *_ in STEPS]
        np.testing.assert_allclose(group["mean"], [10, -2, -1, 7], atol=1e-9)
    np.testing.assert_allclose(steps["high"] - steps["mean"], WELCH)


def test_targets_of_pairs(tiny):
    found = pair_targets(tiny, Beta(5, 5))
    unit = tiny.train / np.linalg.norm(tiny.train, axis=1, keepdims=True)
    first, second = np.triu_indices(200, 1)
    np.testing.assert_allclose(np.sort(found.cosine), np.sort((unit @ unit.T)[first, second]), atol=1e-5)
    assert found.cosine[found.positive].mean() > found.cosine[~found.positive].mean()
    for values in (found.standardised, found.mapped):
        assert [values.mean(), values.std()] == pytest.approx([0, 0.3015], abs=0.01)
        assert (np.diff(values[found.cosine.argsort()]) >= -1e-6).all()
    assert pair_targets(leave_out_training(tiny), Beta(5, 5), n_rows=30).cosine.shape == (435,)
    values = np.array([0.0, 0, 0, 4, 4, 10])
    by_hand = PairTargets(values, values, values, values > 0)
    assert by_hand.separation("mapped") == pytest.approx(6 / values.std())
    vectors = [np.eye(4, dtype=np.uint8)[labels] for labels in (tiny.query_labels, tiny.database_labels)]
    several = dataclasses.replace(tiny, query_labels=vectors[0], database_labels=vectors[1])
    with pytest.raises(ValueError, match="features: expected one label a training row in tiny"):
        pair_targets(several, Beta(5, 5))


# Imbalance of classes


def tails(means, **more):
    """Three seeds of each (configuration, kind of training rows)."""
    return pd.concat(
        [around({config: mean}, data=f"a+longtail-{kind}", **more) for (config, kind), mean in means.items()]
    )


def test_names_and_order_of_long_tails():
    assert [tail_name(f"a+longtail-{kind}") for kind in ("100", "2.5-control")] == [
        "ratio 100",
        "ratio 2.5, control",
    ]
    with pytest.raises(
        ValueError, match=r"data: expected a long-tailed set such as NAME\+longtail-50, got 'a'"
    ):
        tail_name("a")
    rows = [("100", "lsh"), ("10-control", "itq"), ("10", "itq"), ("100", "sdc"), ("10", "sdc")]
    table = pd.DataFrame(
        [(f"a+longtail-{kind}", method) for kind, method in rows] + [("a", "sdc")], columns=["data", "method"]
    )
    assert in_order(table).index.tolist() == [4, 2, 1, 3, 0]
    both = add_ratios(
        pd.DataFrame({"data": [f"a+longtail-{kind}" for kind in ("1", "10", "10-control")] + ["a"]})
    )
    assert both[["ratio", "control"]].to_numpy().tolist() == [[1, False], [10, False], [10, True], [1, True]]


def test_means_over_classes_and_queries():
    sizes = longtail_sizes(500, 10, 100)
    classes = pd.DataFrame(
        {"id": "r", "class": range(10), "n_train": sizes, "map_expected": np.arange(10) / 10}
    )
    table = mean_by_size(classes).set_index("group")
    assert table["n_classes"].to_dict() == {"head": 3, "middle": 4, "tail": 3}
    assert table["map_expected"].tolist() == pytest.approx([0.1, 0.45, 0.8])
    assert table.loc["tail", "n_train"] == pytest.approx((13 + 8 + 5) / 3)
    weighed = {
        "id": ["r", "r"],
        "class": [0, 1],
        "n_train": 3,
        "n_query": [1, 3],
        "map_expected": [0.2, 0.6],
        "map_unseen": [0.4, 0.0],
    }
    assert over_queries(pd.DataFrame(weighed)).loc[
        0, ["map_expected", "map_unseen"]
    ].tolist() == pytest.approx([0.5, 0.1])


def test_fewer_rows_and_imbalance_add_up():
    means = {
        (A, "1"): 0.8,
        (A, "9-control"): 0.7,
        (A, "9"): 0.5,
        (B, "9-control"): 0.6,
        (B, "9"): 0.58,
        (Config("sh"), "9"): 0.5,
    }
    table = tail_contrasts(add_ratios(tails(means)), 9, reference=B)
    assert table[["group", "label"]].to_numpy().tolist() == [
        ["fewer rows", A], ["imbalance", A], ["imbalance", B], ["more than reference", A],
    ]  # fmt: skip
    assert table["mean"].tolist() == pytest.approx([-10, -20, -2, -18])
    assert table["high"].tolist()[:3] == pytest.approx([-10 + WELCH, -20 + WELCH, -2 + WELCH])


def test_sizes_are_compared_with_the_same_classes_of_the_control():
    """Head classes gain 1 point, the middle none, the tail loses 10; the other method loses 4 in the tail."""
    shifts = {A: (0.01, 0, -0.1), B: (0, 0, -0.04)}
    classes = pd.concat(
        tails({(config, kind): 0.5 + number / 100 + (shift[number] if kind == "9" else 0)}).assign(
            **{"class": number, "n_train": 1, "n_query": 1}
        )
        for config, shift in shifts.items()
        for kind in ("9", "9-control")
        for number in range(3)
    )
    table = size_contrasts(classes, 9).set_index(["label", "group"])
    assert table.loc[A, "mean"].to_dict() == pytest.approx({"head": 1, "middle": 0, "tail": -10}, abs=1e-9)
    apart = size_contrasts(classes, 9, "more than reference", B)
    assert apart["label"].tolist() == [A] * 3
    assert apart["mean"].tolist() == pytest.approx([1, 0, -6], abs=1e-9)


# Presets for instance sets


def test_steps_of_training():
    assert instance_table.training_steps(PRESETS["paper-instance"], 1240) == 20 * 4
    assert instance_table.training_steps(PRESETS["release"], 1240) == 100 * 19
    with pytest.raises(ValueError, match="n_train: expected a whole number >= 64, got 63"):
        instance_table.training_steps(PRESETS["release"], 63)
    found = instance_table.variant_table(1240)
    assert found["steps"].tolist() == [80, 1900, 1900, 1900, 1900, 80]
    assert found["hidden layers"].tolist() == [0, 0, 0, 0, 1, 1]
    assert found.loc["longer", "rate falls after"] == "50%"


def test_presets_are_taken_apart(tmp_path):
    config = yaml.safe_load((PROJECT_ROOT / "config" / "instances.yaml").read_text())
    run = [dict(spec.parameters) for spec in expand_config(config) if spec.n_bits == 64]
    variants = list(instance_table.VARIANTS.values())
    assert all(parameters in run for parameters in variants)
    rows = [
        {"seed": seed, "parameters": pd.Series(parameters).to_json(), "x": i + noise}
        for i, parameters in enumerate(variants)
        for seed, noise in enumerate(NOISE)
    ]
    found = instance_table.step_differences(table_of(rows, tmp_path / "t.csv"), 64, "x").set_index("label")
    assert found["mean"].tolist() == pytest.approx([100, 100, 100, 100, 400, 500])
    assert found["mean"].iloc[:4].sum() == pytest.approx(found.loc["all of release", "mean"])


# Settings of a training

QUICK = {"batch_size": 256, "learning_rate": 4e-4}
CASES = [  # what differs from release, mean mAP, seconds
    ({}, 0.60, 10.0),
    ({"batch_size": 128}, 0.58, 6.0),
    ({"batch_size": 128, "learning_rate": 2e-4}, 0.61, 6.5),
    (QUICK, 0.62, 4.0),
    ({**QUICK, "hidden_features": 64}, 0.61, 3.0),
    ({**QUICK, "hidden_features": 1024}, 0.64, 20.0),
    ({**QUICK, "center": True}, 0.62, 4.5),
    ({"preset": "paper-no-contrastive"}, 0.65, 40.0),
]


@pytest.fixture
def trained(tmp_path):
    rows = [
        {"seed": seed, "parameters": pd.Series({"preset": "release", **changed}).to_json()}
        | {"map_expected": mean + noise, "fit_seconds": seconds + seed, "machine": "{}"}
        for changed, mean, seconds in CASES
        for seed, noise in enumerate(NOISE)
    ]
    return table_of(rows, tmp_path / "training.csv")


def test_every_setting_is_compared_with_the_base_nearest_to_it(trained):
    bases = {"release": base(trained, 1e-4), "quick": base(trained, 4e-4)}
    table = effects(trained, bases)
    assert table[["change", "base", "group"]].to_numpy().tolist() == [
        ["batch 128", "release", "batch"],
        ["rate 0.0002, batch 128", "release", "rate, batch"],
        ["rate 0.0004, batch 256", "release", "rate, batch"],
        ["width 64", "quick", "width"],
        ["width 1024", "quick", "width"],
        ["centred", "quick", "center"],
        ["paper-no-contrastive", "release", "width, weight_decay"],
    ]
    np.testing.assert_allclose(table["mean"], [-2, 1, 2, -1, 2, 0, 5], atol=1e-9)
    np.testing.assert_allclose(table["time"], np.array([7, 7.5, 5, 4, 21, 5.5, 41]) / 11)
    np.testing.assert_allclose(table["p_holm"], multipletests(table["p"], method="holm")[1])
    with pytest.raises(ValueError, match="results: expected one data set and code length, got 2"):
        effects(pd.concat([trained, trained.assign(n_bits=16)]), bases)


# Equal bytes, and the teacher


def stored(data, seed, method, value, error=0.01, query="float"):
    row = {"data": data, "seed": seed, "method": method, "n_bits": 64, "n_bytes": 8, "query": query}
    return row | {
        "goal": "classes",
        "k": 100 if data == "a" else 1000,
        "depth": 0,
        "value": value,
        "error": error,
    }


def test_the_best_over_sets_has_the_highest_mean_of_those_that_all_have():
    rows = [stored(data, seed, "pq", 0.5 + 0.2 * (data == "a")) for data in "ab" for seed in (0, 1)]
    rows += [stored(data, seed, "itq", 0.3 + 0.5 * (data == "a")) for data in "ab" for seed in (0, 1)]
    rows += [stored("a", seed, "opq", 0.99) for seed in (0, 1)]
    costs = pd.DataFrame({"method": ["pq", "pq"], "n_bytes": 8, "fit_seconds": [1.0, 3.0], "encode_us": 5.0})
    costs = costs.reindex(columns=[*costs, "search_us", "float_search_us", "rescore_us"])
    (best,) = decide_over_sets(pd.DataFrame(rows), costs, k=10, depth=100).to_dict("records")
    assert (best["method"], best["value"], best["level"]) == ("pq", pytest.approx(0.6), "")
    assert best["error"] == pytest.approx(0.01 / np.sqrt(2))
    shown = decision_table(pd.DataFrame([best])).reset_index()
    assert shown.loc[0, ["goal", "take", "%", "fit, encode a million"]].tolist() == [
        "same class",
        "PQ",
        "60.0 ± 1.4",
        "2 s, 5 s",
    ]


def test_objectives_have_names_and_a_teacher_or_none():
    settings = [
        {"method": "itq"},
        {"method": "neighbour-itq", "n_steps": 4, "n_neighbors": 10},
        {"method": "neighbour-sdc", "n_steps": 0, "n_neighbors": 10},
        {
            "method": "neighbour-sdc",
            "n_steps": 4,
            "n_neighbors": 10,
            "target": "linear",
            "n_hidden_layers": 0,
        },
        {"method": "neighbour-sdc", "n_steps": 4, "n_neighbors": 10, "match_by": "rank"},
        {"method": "bihalf", "n_neighbors": 10},
        {"method": "bihalf"},
    ]
    columns = ["method", "n_steps", "n_neighbors", "target", "match_by", "n_hidden_layers"]
    named = name_objectives(pd.DataFrame(settings, columns=columns))
    assert named["objective"].tolist() == [
        "ITQ",
        "ITQ",
        "SDC",
        "Linear map, linear head",
        "Order alone",
        "BiHalf",
        "BiHalf",
    ]
    assert named["teacher"].tolist() == [False, True, False, True, True, True, False]
    means = named.assign(data="a", n_bits=8, map_expected=np.linspace(0.2, 0.8, 7))
    (axes,) = plot_teacher(means).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [5, 5]
