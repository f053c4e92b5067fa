import pandas as pd
import pytest

from sdclib.methods.presets import settings_from_preset
from study.chapters.instance_table import training_steps
from study.chapters.targets import (
    DEFAULT,
    beta_grid,
    cosine_histogram,
    held_out_choice,
    histogram_distribution,
    mirror_pairs,
    properties_table,
    regret,
    relations,
    shape_contrasts,
    spread_ranges,
    target_label,
    with_paper,
)
from study.stats import compared, count_signs, rank_relation, summarise
from study.tables import where
from tests.sentences.published import csv, runs, says, states

TEXT = "calibration"
DATA, N_BITS = "cifar10-embedded", 64
BELOW_0 = ["beta(1, 2)", "beta(2, 5)", "beta(5, 10)"]


@pytest.fixture(scope="module")
def table():
    return runs("calibration", "targets")


@pytest.fixture(scope="module")
def results(table):
    return table[~table["data"].str.endswith("+holdout")]


@pytest.fixture(scope="module")
def main(results):
    """Means in percent by target."""
    here = where(results, data=DATA, n_bits=N_BITS)
    return summarise(here, ["map_expected", "all_mean"], by="calibration").set_index("calibration")


@pytest.fixture(scope="module")
def floats():
    """Histogram of the features' cosines."""
    return cosine_histogram(DATA)


@pytest.fixture(scope="module")
def properties(main, floats):
    return properties_table(main.index, histogram_distribution(floats))


@pytest.fixture(scope="module")
def shapes(results):
    """Differences by contrast."""
    return {name: rows for name, rows in shape_contrasts(results).groupby("contrast")}


def test_answer(results, main, properties, shapes, floats):
    related = relations(properties, main["map_expected"], [("mean", "std")])
    alone = related["r2"][related["rho"].notna()].sort_values(ascending=False)
    tied = properties["mean"].corr(properties["skewness"], method="spearman")
    says(
        "First, its mean or its skewness, which the targets tried cannot tell apart.",
        tied < -0.5
        and set(alone.index[:2]) == {"mean", "skewness"}
        and related["high"]["mean"] < 0 < related["low"]["skewness"],
    )
    says("The share above 0 predicts less well.", alone["share above 0"] < alone.iloc[1] - 0.1)
    both = related["r2"]["mean and standard deviation"]
    states(
        TEXT,
        f"Alone, the {alone.index[0]} predicts left-out targets best (left-out R² {alone.iloc[0]:.2f}), "
        f"then the "
        f"{alone.index[1]} ({alone.iloc[1]:.2f}); mean and standard deviation together reach {both:.2f}. "
        f"Mean and "
        f"skewness go together in these targets (rank correlation {tied:.2f}), so which of the two acts "
        f"cannot be told. "
        f"The share above 0 predicts less well ({alone['share above 0']:.2f}).",
    )
    best, positive = main["map_expected"].nlargest(3).index, floats[["positive", "negative"]].sum()
    share = 100 * properties.loc[best, "share_above"]
    first, second, third = map(target_label, best)
    states(
        TEXT,
        f"The three best targets, {first}, {second} and {third}, have {share.min():.0f} to "
        f"{share.max():.0f} % of their "
        f"similarities above 0; {100 * positive['positive'] / positive.sum():.0f} % of the pairs are "
        f"positive.",
    )
    lead = regret(results).set_index(["data", "n_bits"]).loc[(DATA, N_BITS)]
    states(
        TEXT,
        f"The paper's Beta(5, 5) is {lead['mean']:.1f} points below the best target there in hindsight, "
        f"{target_label(lead['best'])}.",
    )
    matched = shapes["matched to K"].query("n_bits == @N_BITS")
    mirrored = compared(results, mirror_pairs(properties.index), by="calibration")
    says(
        "First, its mean or its skewness. Then its spread.",
        mirrored["mean"].max() > -2 * matched["mean"].min(),
    )
    low, high = mirrored["mean"].min(), mirrored["mean"].max()
    states(TEXT, f"below 0 beats its mirror image by {low:.1f} to {high:.1f} points of expected mAP.")
    states(
        TEXT,
        f"At 64 bits alone it lies between {-matched['mean'].min():.1f} points below and "
        f"{matched['mean'].max():.1f} "
        "above, by the data: K does not decide.",
    )
    says("The best spread depends on the data.", matched["high"].min() < 0 < matched["low"].max())
    signs = {name: (len(rows), *count_signs(rows)) for name, rows in shapes.items()}
    says(
        "The target matched to K is better than Beta(5, 5) in one of five settings and worse in one. The "
        "binomial in "
        "place of the matched Beta makes no difference that can be told from chance.",
        signs["matched to K"] == (5, 1, 1, 3) and signs["binomial"][1:3] == (0, 0),
    )
    says(
        "The Gaussian is better than Beta(5, 5) in one of four settings, the Laplace in none of three, "
        "and neither is "
        "worse anywhere. The features' own distribution is worse in three of four.",
        signs["Gaussian"] == (4, 1, 0, 3)
        and signs["Laplace"][1:] == (0, 0, signs["Laplace"][0])
        and signs["empirical"] == (4, 0, 3, 1),
    )
    shape = pd.concat([shapes["Gaussian"], shapes["Laplace"]])
    says(
        "The shape of symmetric targets of one spread matters less.",
        2 * shape["mean"].abs().max() < matched["mean"].abs().max(),
    )


def test_runs(results, main):
    quick = settings_from_preset("release", batch_size=256, learning_rate=4e-4)
    release = settings_from_preset("release")
    says(
        "All runs have the preset `release` with batches of 256, so a quarter of the steps, and four "
        "times its "
        "learning rate.",
        len(where(results, preset="release", batch_size=256, learning_rate=4e-4)) == len(results)
        and quick.learning_rate == 4 * release.learning_rate
        and abs(training_steps(quick, 5000) / training_steps(release, 5000) - 0.25) < 0.01,
    )
    seeds = main["seeds"]
    asymmetric = [name for name in seeds.index if name in sum(mirror_pairs(seeds.index), ())]
    says(
        "Means are over three seeds, those of most asymmetric Betas over two.",
        (seeds.drop(asymmetric) == 3).all()
        and (seeds[asymmetric] == 2).mean() > 0.5
        and set(seeds) == {2, 3},
    )
    grid = beta_grid(main["map_expected"])
    says(
        "The whole grid and the mirror images ran on the embedded part of CIFAR-10 only, at 16 bits as "
        "one pair.",
        grid.shape == (4, 4)
        and len(mirror_pairs(results.query("data == @DATA and n_bits == 16")["calibration"].unique())) == 1
        and not mirror_pairs(results.query("data != @DATA")["calibration"].unique()),
    )


def test_spread(results, properties):
    both = with_paper(summarise(results, ["map_expected"], by="calibration"), csv("paper"))
    ranges = spread_ranges(both).dropna(subset=["narrow", "wide"])
    paper = properties_table(both.loc[both["source"] == "paper", "target"])
    says("All targets of the paper's ablation have mean 0.", paper["mean"].abs().max() < 1e-3)
    std = ranges.loc[ranges["source"] == "this study", "std"]
    states(TEXT, f"the best one moves between standard deviations of {std.min():.2f} and {std.max():.2f}.")
    best = ranges[ranges["setting"].str.startswith("CIFAR-10 (embedded)")]["best"]
    says(
        "On the embedded data the best symmetric target is the same at both code lengths.",
        len(best) == 2 and best.nunique() == 1,
    )
    states(
        TEXT,
        f"The wide target, the arcsine distribution, is {-ranges['wide'].max():.1f} to "
        f"{-ranges['wide'].min():.1f} points "
        f"below Beta(5, 5) in all {len(ranges)} settings. The narrow one lies between "
        f"{-ranges['narrow'].min():.1f} points "
        f"below and {ranges['narrow'].max():.1f} above it.",
    )
    shared = both.pivot_table(index="target", columns=["source", "setting"], values="percent")
    alike = shared[[("paper", "CIFAR-10, 64 bits"), ("this study", "CIFAR-10 (embedded), 64 bits")]].dropna()
    rho = alike.corr(method="spearman").iloc[0, 1]
    states(
        TEXT,
        f"Over the {len(alike)} targets that both have at 64 bits, the paper's CIFAR-10 and ours are in a "
        f"rank "
        f"correlation of {rho:.2f}.",
    )
    alike = properties.loc[["truncated_laplace(0, 0.21)", "truncated_gaussian(0, 0.3)", DEFAULT]]
    says(
        "Gaussian and Laplace differ from Beta(5, 5) in shape, with the same mean and nearly the same "
        "spread; the "
        "Laplace has the heaviest tails.",
        alike["mean"].abs().max() < 0.001
        and alike["std"].max() - alike["std"].min() < 0.03
        and alike["kurtosis"].is_monotonic_decreasing,
    )


def test_mean(results, main, properties):
    here = results[(results["data"] == DATA) & (results["calibration"].map(properties["mean"]) < -0.01)]
    lowest = properties["mean"].idxmin()
    says(
        "The lowest mean of all, that of Beta(1, 10), is the worst of these: only 0.1 % of it lies above 0.",
        lowest == "beta(1, 10)"
        and main.loc[here["calibration"].unique(), "map_expected"].idxmin() == lowest
        and abs(100 * properties["share_above"][lowest] - 0.1) < 0.05,
    )
    reached = main["all_mean"][properties["mean"] < -0.01] / 100
    central = main["all_mean"][properties["mean"].abs() <= 0.01] / 100
    relation = rank_relation(main["all_mean"], main["map_expected"])
    states(
        TEXT,
        f"Targets with a mean below 0 end at a mean code similarity of {reached.min():.3f} to "
        f"{reached.max():.3f}, those "
        f"with mean 0 at {central.min():.3f} to {central.max():.3f}. Asking for less than can be had "
        f"brings the codes as "
        f"near to 0 as they come, and the lower their mean, the higher mAP (rank correlation "
        f"{relation['rho']:.2f}).",
    )
    says("The lower their mean, the higher mAP.", relation["high"] < 0)
    pairs = mirror_pairs(properties.index)
    ranks, collapse = (
        compared(results, pairs, metric, by="calibration") for metric in ("map_expected", "intersection")
    )
    says(
        "Of two mirror images the one with the lower mean has the higher expected mAP in all seven "
        "comparisons, beyond "
        "chance in five, and the smaller intersection in all seven, beyond chance in six.",
        count_signs(ranks) == (5, 0, 2)
        and count_signs(collapse) == (0, 6, 1)
        and ranks["mean"].min() > 0 > collapse["mean"].max(),
    )
    default = where(compared(results, [(first, DEFAULT) for first, _ in pairs], by="calibration"), data=DATA)
    says(
        "Against Beta(5, 5) a target with a mean below 0 gains beyond chance in two of seven, and loses "
        "in none.",
        count_signs(default) == (2, 0, 5),
    )


def test_regret(results):
    found = regret(results)
    says(
        "The best target is another than Beta(5, 5) in all five settings, and its lead is beyond chance "
        "in four. The "
        "settings have five different best targets. They chose from 5 to 23 targets, not the same ones.",
        len(found) == 5
        and (found["best"] != DEFAULT).all()
        and (found["low"] > 0).sum() == 4
        and found["best"].nunique() == 5
        and (found["targets"].min(), found["targets"].max()) == (5, 23),
    )
    here = where(results, n_bits=N_BITS)
    everywhere = here.groupby("calibration")["data"].nunique() == here["data"].nunique()
    less = {
        target: compared(here, [(target, DEFAULT)], by="calibration")
        for target in everywhere.index[everywhere].drop(DEFAULT)
    }
    says(
        "Four targets ran on every set at 64 bits. Beta(2, 5) and the Beta matched to K are worse than "
        "Beta(5, 5) beyond "
        "chance on some set. Beta(1, 2) and Beta(5, 10) are on none.",
        {target: bool((rows["high"] < 0).any()) for target, rows in less.items()}
        == {"beta(2, 5)": True, "beta(31.5, 31.5)": True, "beta(1, 2)": False, "beta(5, 10)": False},
    )


def test_other_sets(table, results, main):
    sets = results[results["calibration"].isin(BELOW_0)].groupby("calibration")["data"].nunique()
    says(
        "Three asymmetric targets ran on all sets, those that rank best on the queries of the embedded data.",
        dict(sets) == dict.fromkeys(BELOW_0, results["data"].nunique())
        and set(main["map_expected"].nlargest(3).index) == set(BELOW_0),
    )
    less = compared(where(results, n_bits=N_BITS), [(name, DEFAULT) for name in BELOW_0], by="calibration")
    less = less.set_index("data")
    full = less.loc["cifar10/efficientnet-lite0"]
    rest = less.loc[["caltech101/efficientnet-lite0", "corel5k/efficientnet-lite0"]]
    states(
        TEXT,
        "On all of CIFAR-10, too, targets with their mean below 0 are better, by "
        f"{full['mean'].min():.1f} to {full['mean'].max():.1f} points; on Caltech-101 and Corel-5k they "
        f"are not.",
    )
    signs = {name: count_signs(where(less, first=name)) for name in BELOW_0}
    means = less.groupby("first")["mean"].min()
    says(
        "On four sets Beta(1, 2) gains beyond chance on two, Beta(2, 5) gains on one and loses on one, "
        "Beta(5, 10) gains "
        "on one. By its mean no target gains on every set.",
        signs == {"beta(1, 2)": (2, 0, 2), "beta(2, 5)": (1, 1, 2), "beta(5, 10)": (1, 0, 3)}
        and (means <= 0).all(),
    )
    says(
        "On all of CIFAR-10 they are better; on Caltech-101 and Corel-5k they are not.",
        len(full) == 3
        and (full["low"] > 0).all()
        and len(rest) == 6
        and (rest["low"] < 0).all()
        and (rest["high"] < 0).sum() == 1
        and set(less.index) == {*full.index, *rest.index, DATA},
    )
    chosen = held_out_choice(table)
    states(
        TEXT,
        f"changes expected mAP on the queries by {chosen['mean'].min():+.1f} to "
        f"{chosen['mean'].max():+.1f} points.",
    )
    others = chosen[chosen["data"] != DATA]
    states(
        TEXT,
        f"Over the sets it gains {chosen['mean'].mean():.1f} points by the mean, hindsight among the same "
        f"candidates "
        f"{chosen['best'].mean():.1f}; without the embedded data {others['mean'].mean():.1f} and "
        f"{others['best'].mean():.1f}.",
    )
    says(
        "Held-out training images choose another target than Beta(5, 5) on all three sets, and the choice "
        "gains beyond "
        "chance on two.",
        len(chosen) == 3 and (chosen["chosen"] != DEFAULT).all() and count_signs(chosen) == (2, 0, 1),
    )
    few = table[table["data"].str.endswith("+holdout")].groupby("data")["calibration"].unique().map(set)
    embedded = few.pop(f"{DATA}+holdout")
    says(
        "On CIFAR-10 (embedded) the asymmetric candidates are the 3 targets of 23 that rank best on its "
        "queries.",
        set(BELOW_0) <= embedded and len(main) == 23,
    )
    elsewhere = pd.concat(
        compared(where(results, data=data.removesuffix("+holdout")), [(name, DEFAULT)], by="calibration")
        for data, kept in few.items()
        for name in embedded - kept
    )
    says(
        "Candidates there but not on the other sets are Beta(1, 2) and Beta(2, 2).",
        set(elsewhere["first"]) == {"beta(1, 2)", "beta(2, 2)"},
    )
    states(
        TEXT,
        f"which on those sets are {-elsewhere['mean'].max():.1f} to {-elsewhere['mean'].min():.1f} points "
        f"below Beta(5, 5) "
        "on the queries.",
    )
