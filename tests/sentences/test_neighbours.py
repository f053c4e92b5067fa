import pandas as pd
import pytest

from sdclib.methods import METHODS
from study.stats import compared
from study.tables import find, where
from tests.sentences.published import bench, csv, runs, says, states

CIFAR10 = "cifar10/efficientnet-lite0"
TABLES = (
    *(
        "neighbours",
        "neighbours_rivals",
        "neighbours_sets",
        "cifar10_closed",
        "cifar10_sdc",
        "cifar10_rivals",
    ),
    *("cifar10_contrastive", "cifar10_contrastive_paper", "cifar10_slow", "datasets"),
)


@pytest.fixture(scope="module")
def results():
    return where(runs(*TABLES), n_bits=64)


def test_better_than_the_paper(results):
    here = where(results, data=CIFAR10)
    method = find(results, method="neighbour-sdc", n_steps=4)
    paper, release = (
        find(here, method="sdc", preset=preset) for preset in ("paper-no-contrastive", "release")
    )
    less = compared(here, [(method, paper), (method, release)])
    says("Better than the paper: neighbours as teacher", len(less) == 2 and less["low"].min() > 1)
    says("Expected mAP@1000 on CIFAR-10", set(here["top_k"]) == {1000})
    less = compared(pd.concat([results, where(runs("text"), n_bits=64)]), [(method, release)])
    better = less[less["low"] > 0].set_index("data")["mean"].rename(lambda data: data.split("/")[0])
    says(
        "The book's chapter on it says where it ranks better (CIFAR-10, Caltech-101, Corel-5k, and text by little).",
        set(better.index) == {"cifar10", "caltech101", "corel5k", "embeddings"}
        and better.idxmin() == "embeddings"
        and better["embeddings"] < 2,
    )
    overlap = here.groupby("config")["intersection"].mean()
    says(
        "The teacher pulls positive and negative pairs apart before any code is learned, and the codes follow.",
        overlap[method] < overlap[release] - 0.05,
    )


def test_rivals(results):
    """A method has one tuned rate in these tables, which the chapter calls "(tuned)"."""
    tuning = runs("tuning")
    best = tuning.pivot_table(index="method", columns="learning_rate", values="map_expected").idxmax(axis=1)
    rivals = results[results["method"].isin(["bihalf", "greedyhash"]) & (results["learning_rate"] != 1e-4)]
    found = set(rivals[["method", "learning_rate"]].itertuples(index=False, name=None))
    says(
        "*Tuned* rivals have a learning rate that we chose on held-out training images; two rivals' rates.",
        found == set(best.items()) and len(best) == 2,
    )
    says("Rivals were tuned on CIFAR-10 alone.", set(tuning["data"]) == {f"{CIFAR10}+holdout"})
    with_views = {name for name, kind in METHODS.items() if getattr(kind(), "needs_views", False)}
    elsewhere = results[(results["data"] != CIFAR10) & (results["data"] != "cifar10-embedded")]
    says(
        "CIBHash and CroVCA need augmented views, which are made for CIFAR-10 only.",
        {"cibhash", "crovca"} <= with_views and not with_views & set(elsewhere["method"]),
    )


def test_choice_of_neighbours():
    maps = 100 * csv("teacher").pivot_table(index=["data", "n_neighbors"], columns="n_steps", values="map")
    chosen = maps.xs(10, level="n_neighbors")
    says(
        "10 neighbours with 4 steps rank training rows ... points better than the centred features do.",
        (chosen[4] > chosen[0]).all(),
    )
    of_caltech = maps.loc["caltech101/efficientnet-lite0"]
    says(
        "Where classes are small, many neighbours mix them: on Caltech-101 the worst choice is ... points below the "
        "centred features.",
        of_caltech.min(axis=1).idxmin() == of_caltech.index.max()
        and of_caltech.min().min() < of_caltech[0].min() - 1,
    )


def test_time():
    measured = bench("neighbours")
    says("Seconds of one fit at 64 bits; one thread.", (measured["n_bits"], measured["threads"]) == (64, 1))
    medians = pd.DataFrame(measured["seconds"]).median()
    ratio, closed = (medians[name] / medians["release"] for name in ("neighbour-sdc", "neighbour-itq"))
    states(
        "neighbours",
        f"A fit of SDC by neighbours takes {100 * ratio:.0f} % of the time of SDC as released, and one of ITQ by "
        f"neighbours, its closed form, {100 * closed:.0f} %.",
    )
    says("It trains in less than a quarter of `release`'s time.", ratio < 0.25)
