import pandas as pd
import pytest

from study.chapters.dial import change, with_dial
from study.stats import compared, contrast
from study.tables import find
from tests.sentences.published import runs, says, states

TEXT, IMAGES, WORDS = "bias", "CIFAR-10", "WordNet (text)"
COLLAPSE, RANKING = "intersection", "map_expected"


@pytest.fixture(scope="module")
def table():
    table = with_dial(runs("bias"))
    return table.assign(name=table["config"].astype(str))


@pytest.fixture(scope="module")
def changes(table):
    """Changes from no bias to four times the mean, by method and set."""
    return {
        metric: change(table, metric).astype({"config": str}).set_index(["config", "set"])
        for metric in (COLLAPSE, RANKING)
    }


def lead(table, other, data, dial, metric):
    """Difference of SDC and another method at one place of the dial."""
    here = table[(table["set"] == data) & (table["dial"] == dial)].groupby("name")[metric]
    return contrast([100 * here.get_group(name).astype(float) for name in ("SDC", other)], [1, -1])


def test_what_centres_and_what_does_not(changes):
    up, rank = (changes[metric]["mean"] for metric in (COLLAPSE, RANKING))
    states(
        TEXT,
        f"the intersection of LSH rises by {up['LSH', IMAGES]:.1f} points on CIFAR-10 and by {up['LSH', WORDS]:.1f} on "
        f"text, and that of BiHalf by {up['BiHalf', IMAGES]:.1f} and {up['BiHalf', WORDS]:.1f};",
    )
    itq = changes[COLLAPSE].loc["ITQ"], changes[RANKING].loc["ITQ"]
    says(
        "ITQ, which subtracts the mean, does not change",
        all((of["low"] < 0).all() and (of["high"] > 0).all() for of in itq),
    )
    states(
        TEXT,
        f"LSH loses {-rank['LSH', IMAGES]:.1f} points of mAP on CIFAR-10 and {-rank['LSH', WORDS]:.1f} on text",
    )
    signs = up["Sign of features"], rank["Sign of features"]
    says("LSH and signs: more intersection, lower mAP", (signs[0] > 0).all() and (signs[1] < 0).all())
    states(
        TEXT,
        f"{up['Float cosine', IMAGES]:.1f} points more intersection on CIFAR-10, "
        f"{up['Float cosine', WORDS]:.1f} on text",
    )
    states(
        TEXT,
        "BiHalf, which imitates cosines: more intersection | as predicted: "
        f"{up['BiHalf', IMAGES]:.1f} points on CIFAR-10, but only {up['BiHalf', WORDS]:.1f} on text",
    )
    assert (changes[COLLAPSE].loc["BiHalf", "low"] > 0).all()


def test_sdc(table, changes):
    up, rank = changes[COLLAPSE], changes[RANKING]
    states(
        TEXT,
        f"BiHalf loses {-rank['mean']['BiHalf', IMAGES]:.1f} points of mAP and SDC none, but SDC's own intersection "
        f"rises by {up['mean']['SDC', IMAGES]:.1f} points there and by {up['mean']['SDC', WORDS]:.1f} on text.",
    )
    says("and SDC none", rank.loc[("SDC", IMAGES), "mean"] > 0)
    states(
        TEXT,
        f"with the contrastive term, {up['mean']['SDC, contrastive', IMAGES]:.1f} points; not without it, "
        f"{up['mean']['SDC', IMAGES]:.1f} and {up['mean']['SDC', WORDS]:.1f}",
    )
    lsh, bihalf = (up["mean"][name, IMAGES] - up["mean"]["SDC", IMAGES] for name in ("LSH", "BiHalf"))
    states(
        TEXT, f"on CIFAR-10, by {lsh:.1f} points over LSH and {bihalf:.1f} over BiHalf; on text over neither"
    )
    says(
        "on text over neither",
        up["mean"]["SDC", WORDS] >= max(up["mean"]["LSH", WORDS], up["mean"]["BiHalf", WORDS]),
    )


def test_without_bias(table):
    less, more = (
        [lead(table, "ITQ", data, -1, metric) for data in (IMAGES, WORDS)] for metric in (COLLAPSE, RANKING)
    )
    states(TEXT, f"its intersection is {-less[0]['mean']:.1f} and {-less[1]['mean']:.1f} points below ITQ's.")
    states(
        TEXT,
        f"SDC still has {-less[0]['mean']:.1f} and {-less[1]['mean']:.1f} points less intersection than ITQ, and "
        f"{more[0]['mean']:.1f} and {more[1]['mean']:.1f} points more mAP",
    )
    says("beyond chance", max(of["high"] for of in less) < 0 < min(of["low"] for of in more))
    usual = lead(table, "ITQ", IMAGES, 0, COLLAPSE), lead(table, "ITQ", IMAGES, 0, RANKING)
    says(
        "SDC gains no less over ITQ where there is no bias at all.",
        less[0]["mean"] <= usual[0]["mean"] and more[0]["mean"] >= usual[1]["mean"],
    )


def test_runs(table):
    seeds = table.pivot_table("seed", ["set", "name"], "dial", aggfunc="nunique")
    says(
        "64 bits, three seeds.",
        set(seeds.to_numpy().ravel()) == {1, 3} and seeds.shape[1] == 5,
    )
    says("64 bits", set(table["n_bits"].dropna()) == {64})


def better_in_none_of_six():
    """Whether SDC is beyond chance better than ITQ in none of six comparisons on two networks, SSCD and its student."""
    table = runs("networks")
    table = table[table["data"].str.contains("sscd")]
    low = compared(table, [(find(table, method="sdc"), find(table, method="itq"))])["low"]
    return len(low) == 6 and (low <= 0).all() and table["data"].str.split("/").str[1].nunique() == 2


def test_networks_with_little_bias():
    table = runs("networks", "datasets")
    means = table[table["method"].eq("cosine") & table["center"].eq(False)].set_index("data")["negative_mean"]
    rows = {}
    for data, here in table.groupby("data"):
        pair = find(here, method="sdc", preset="release"), find(here, method="itq")
        rows[data] = compared(here, [pair]).iloc[0]
    lead = pd.DataFrame(rows).T.assign(bias=means)
    little = lead[lead.index.str.contains("sscd")]
    says(
        "SDC is better than ITQ in none of six comparisons beyond chance",
        len(little) == 6 and (little["low"] <= 0).all(),
    )
    says("worse in three", (little["high"] < 0).sum() == 3)
    says("features of networks that have little bias", little["bias"].max() < 0.2)
    cifar, coil, caltech = (
        lead[lead.index.str.startswith(f"{name}/")].sort_values("bias")
        for name in ("cifar10", "coil20", "caltech101")
    )
    ahead = cifar.iloc[2:]
    states(
        TEXT,
        f"On CIFAR-10 it is {ahead['mean'].iloc[0]:.1f} and {ahead['mean'].iloc[1]:.1f} points better with the two "
        "networks that have more bias.",
    )
    says("with the two networks that have more bias", ahead["low"].min() > 0 > cifar["low"].iloc[:2].max())
    says("Elsewhere more bias brings no lead", (pd.concat([coil, caltech])["low"] <= 0).all())
    says("SDC does worst where there is most bias", coil["mean"].idxmin() == coil["bias"].idxmax())
    says("behind ITQ with every network", (caltech["high"] < 0).all())
    states(TEXT, f"by {-caltech['mean'].iloc[0]:.1f} points where there is least.")
