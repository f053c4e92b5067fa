import math

import pytest

from sdclib import load_features
from study.chapters.feature_bias import bias_table, by_verdict, contradiction
from study.tables import find, where
from tests.sentences.published import runs, says


@pytest.fixture(scope="module")
def sets():
    table = runs("datasets")
    return bias_table(table, find(table, preset="release"), find(table, method="itq"), n_bits=64)


def test_bias_of_features(sets):
    plain, centred = (
        where(runs("main", "datasets"), method="cosine", center=center).set_index("data")
        for center in (False, True)
    )
    packaged = "cifar10-embedded"
    says(
        "Features that come out of a ReLU are not negative, so even unlike images have a cosine well above zero.",
        sets["negative_mean"].min() > 0.2,
    )
    says(
        "Their values take either sign, but their cosines keep the bias.",
        0.25 < (load_features("cifar10-embedded").train < 0).mean() < 0.75
        and plain.loc[packaged, "negative_mean"] > 0.2,
    )
    says("Subtracting the training mean takes it away.", centred["all_mean"].abs().max() < 0.01)
    says(
        "The float features reach ..., and ... when centred.",
        centred.loc[packaged, "map_expected"] > plain.loc[packaged, "map_expected"],
    )


def test_sign_of_features():
    packaged, own = (
        100 * where(runs(name), method="sign", center=False)["map_expected"]
        for name in ("main", "cifar10_closed")
    )
    says(
        "Sign of features is not the usual hash here. On CIFAR-10's own features, which come out of a ReLU, it has ...",
        packaged.min() > own.max() + 20,
    )


def test_other_methods_collapse_less():
    full = where(runs("cifar10_sdc", "cifar10_rivals", "cifar10_contrastive", "cifar10_slow"), n_bits=64)
    means = full.groupby("config")["intersection"].mean()
    less = means[means < means[find(full, preset="paper-no-contrastive")]]
    says(
        "Nor is the collapse of SDC the least: on all of CIFAR-10 BiHalf, TBH, GreedyHash have less.",
        {config.method for config in less.index} == {"bihalf", "tbh", "greedyhash"},
    )
    here = where(runs("main"), n_bits=64).groupby("config")["intersection"].mean()
    says(
        "Of these 6 rows, the least collapse is that of SDC.",
        len(here) == 6 and here.idxmin().method == "sdc",
    )


def test_bias_and_collapse(sets):
    says(
        "With 4 sets no correlation can be established: even the same order in both would have a two-sided permutation "
        "p-value of 0.083.",
        len(sets) == 4 and 2 / math.factorial(4) > 0.05,
    )
    says(
        "The bias does not order the sets by collapse: COIL-20 has a larger bias than Corel-5k but a smaller "
        "intersection of the features.",
        contradiction(sets, "float", "").startswith("COIL-20 has a larger bias than Corel-5k"),
    )
    says(
        "So less collapse need not mean a better ranking (Corel-5k, COIL-20).",
        set(by_verdict(sets, "drop")["above"]) - set(by_verdict(sets, "gain")["above"])
        == {"Corel-5k", "COIL-20"},
    )
