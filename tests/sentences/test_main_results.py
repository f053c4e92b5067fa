import pytest

from study.stats import mean_interval
from study.tables import find, where
from tests.sentences.published import csv, runs, says

TABLES = (
    *("cifar10_closed", "cifar10_sdc", "cifar10_contrastive", "cifar10_contrastive_paper"),
    *("cifar10_rivals", "cifar10_slow"),
)
ROW = ["config", "n_bits", "seed"]


@pytest.fixture(scope="module")
def results():
    return runs(*TABLES)


def test_main_job():
    """The packaged features, which other chapters quote."""
    table = runs("main").fillna({"n_bits": 0})
    seeds = table.groupby(["config", "n_bits"])["map_expected"]
    says(
        "Mean over seeds, and half of the 95 % confidence interval where there is more than one seed.",
        (seeds.max() - seeds.min() < 0.035).all(),
    )
    says(
        "mAP in the authors' definition and as the mean over all orders of ties.",
        (100 * (table["map_authors"] - table["map_expected"]).abs()).max() < 0.5,
    )
    again = table.merge(runs("study").fillna({"n_bits": 0}), on=ROW, suffixes=("", "_again"))
    says(
        "Every figure and number on this page comes from `results/main.csv`, made from `config/main.yaml`.",
        len(again) == 22 and (100 * (again["map_expected"] - again["map_expected_again"]).abs()).max() < 1,
    )


def test_protocol(results):
    says(
        "1,000 queries, 59,000 database images, 5,000 of them for training, R = 1,000.",
        set(results["top_k"]) == {1000} and set(results["data"]) == {"cifar10/efficientnet-lite0"},
    )
    seeds = results.groupby(["method", "config", "n_bits"]).size()
    says("Three seeds, one split, one network's features.", set(seeds) == {1, 3})
    halves = results.groupby(["method", "config", "n_bits"])["map_expected"].agg(
        lambda values: mean_interval(values)[1]
    )
    says(
        "With three seeds they are wide where training is unsteady.",
        halves["nsh"].max() > 0.1 > 10 * halves["itq"].median(),
    )
    floats = results[results["n_bits"].isna()]
    says(
        "What the cosine of the features themselves gets, as they are and less the mean of the training features.",
        len(floats) == 2 and set(floats["method"]) == {"cosine"} and set(floats["center"]) == {False, True},
    )


def test_settings(results):
    rivals = results.groupby("method")[["learning_rate", "epochs"]].agg(set)
    says(
        "TBH and SSDH among others train in another way.",
        5000 // 400 * max(rivals["epochs"]["tbh"]) < 100_000 / 50 and rivals["epochs"]["ssdh"] == {60},
    )
    says(
        "Where a learning rate is named, it is the one that tuning found.",
        {0.01, 1e-4} == rivals["learning_rate"]["bihalf"] == rivals["learning_rate"]["greedyhash"],
    )


def test_definitions(results):
    means = 100 * results.groupby(["method", "config", "n_bits"])[["map_authors", "map_expected"]].mean()
    says(
        "The definition hardly matters here: it changes the mean of a method by at most ... points.",
        (means["map_authors"] - means["map_expected"]).abs().max() < 1,
    )


def test_bit_balance(results):
    balance = results.pivot_table(index="config", columns="n_bits", values="bit_balance").max(axis=1)
    sign, nsh = find(results, method="sign", center=False), find(results, method="nsh")
    says(
        "Below 25 % at every code length are Sign of features and NSH.",
        set(balance.index[balance < 0.25]) == {sign, nsh},
    )
    says(
        "These features have no negative values, so their signs are all the same.",
        balance[sign] == 0,
    )
    says("A bit of NSH ends up on one side for nearly all images.", balance[nsh] < 0.15)


def test_other_sets_and_the_paper(results):
    sets = runs("datasets")
    codes = sets[sets["method"] != "cosine"]
    says(
        "SDC and ITQ at 64 bits, and float features, on four image sets, over three seeds.",
        sets["data"].nunique() == 4
        and set(codes["n_bits"]) == {64}
        and set(codes.groupby(["data", "config"]).size()) == {3},
    )
    paper = csv("paper").query("data == 'CIFAR-10' and calibration == 'Beta(5, 5)'")
    says("The supplement's figures for SDC at 64 bits.", set(paper["n_bits"]) == {64} and len(paper) == 2)
    here = set(where(results, method="sdc", n_bits=64)["preset"])
    says(
        "Here, at the same code length, SDC (paper-two-views) less SDC (paper-no-contrastive) is ...",
        {"paper-no-contrastive", "paper-two-views", "release", "release-two-views"} <= here,
    )
