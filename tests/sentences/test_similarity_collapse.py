import math

import pytest

from sdclib import load_features
from study.chapters.feature_bias import bias_table, by_verdict
from study.stats import compared, summarise
from study.tables import find, where
from tests.sentences.published import runs, says, states

TEXT, DATA = "similarity_collapse", "cifar10-embedded"


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
        "Even unlike images have a cosine well above zero: the bias.",
        sets["negative_mean"].min() > 0.2,
    )
    says(
        "Values of the packaged features take either sign, but their cosines keep the bias.",
        0.25 < (load_features("cifar10-embedded").train < 0).mean() < 0.75
        and plain.loc[packaged, "negative_mean"] > 0.2,
    )
    says("Subtracting the training mean takes it away.", centred["all_mean"].abs().max() < 0.01)
    reached, less = (100 * features.loc[packaged, "map_expected"] for features in (plain, centred))
    states(TEXT, f"the float features reach {reached:.1f} %, and {less:.1f} % when centred.")


def test_sign_of_features():
    packaged, own = (
        100 * where(runs(name), method="sign", center=False)["map_expected"]
        for name in ("main", "cifar10_closed")
    )
    says("Packaged features are another thing than a network's own.", packaged.min() > own.max() + 20)
    negative = 100 * (load_features(DATA).train[:, :64] < 0).mean()
    states(TEXT, f"with {negative:.0f} % of their values below 0.")
    assert own.max() - own.min() < 0.05
    states(
        TEXT,
        f"On CIFAR-10's own features, which come out of a ReLU, it has {own.mean():.1f} % at 16 to 128 bits.",
    )


def test_other_methods_collapse_less():
    full = where(runs("cifar10_sdc", "cifar10_rivals", "cifar10_contrastive", "cifar10_slow"), n_bits=64)
    means = full.groupby("config")["intersection"].mean()
    less = means[means < means[find(full, preset="paper-no-contrastive")]]
    says(
        "On all of CIFAR-10 BiHalf, TBH and GreedyHash collapse less.",
        {config.method for config in less.index} == {"bihalf", "tbh", "greedyhash"},
    )
    here = where(runs("main"), n_bits=64).groupby("config")["intersection"].mean()
    assert here.idxmin() == find(runs("main"), method="sdc", preset="paper-no-contrastive")
    states(
        TEXT,
        f"of these {len(here)} hashes, at 64 bits, SDC with the preset `paper-no-contrastive` collapses least "
        f"(intersection {100 * here.min():.1f} %) and {here.idxmax()} most ({100 * here.max():.1f} %).",
    )
    ranks = where(summarise(runs("main")), n_bits=64).set_index("config")
    assert ranks["map_expected"].idxmax() == here.idxmin()
    assert ranks["seeds"][here.idxmin()] == 1
    states(TEXT, f"with an expected mAP of {ranks['map_expected'].max():.1f} %, one seed;")
    others = where(summarise(runs("imbalanced")), data=f"{DATA}+longtail-1", n_bits=64).set_index("config")
    assert others["map_expected"].idxmax().method == "bihalf"
    states(
        TEXT,
        f"BiHalf with a tuned learning rate has {others['map_expected'].max():.1f} % on the same data and "
        f"bits",
    )


def test_bias_and_collapse(sets):
    says(
        "With 4 sets no correlation can be established: even the same order in both would have a "
        "two-sided permutation "
        "p-value of 0.083.",
        len(sets) == 4 and 2 / math.factorial(4) > 0.05,
    )
    rho = {
        name: sets["negative_mean"].corr(sets[name], method="spearman") for name in ("float", "drop", "gain")
    }
    states(
        TEXT,
        f"The rank correlations of the bias are {rho['float']:.1f} with the intersection of the features, "
        f"{rho['drop']:.1f} with how far SDC brings the intersection below ITQ's, and {rho['gain']:.1f} "
        f"with SDC's gain "
        "over ITQ.",
    )
    (bias, other), (less, more) = sets.loc[["COIL-20", "Corel-5k"], ["negative_mean", "float"]].T.to_numpy()
    states(
        TEXT,
        f"COIL-20 has a larger bias than Corel-5k ({bias:.2f} against {other:.2f}) but a smaller "
        f"intersection of the "
        f"features ({less:.1f} against {more:.1f} %).",
    )
    assert (bias > other, less < more) == (True, True)


def test_gains_and_collapse(sets):
    ends = sets["negative_mean"].idxmax(), sets["negative_mean"].idxmin()
    say = {name: by_verdict(sets, name) for name in ("gain", "gain_float", "drop")}
    says(
        "SDC gains over ITQ on CIFAR-10, the set with the largest bias, and loses on Caltech-101, the one "
        "with the "
        "smallest; on Corel-5k and COIL-20 the two cannot be told apart.",
        say["gain"]["above"] == ["CIFAR-10"]
        and say["gain"]["below"] == ["Caltech-101"]
        and ends == ("CIFAR-10", "Caltech-101"),
    )
    says(
        "Over the float cosine it gains beyond chance nowhere, and loses on Caltech-101.",
        say["gain_float"]["above"] == [] and say["gain_float"]["below"] == ["Caltech-101"],
    )
    says(
        "It lowers the intersection from ITQ's on all sets but Caltech-101. So less collapse need not "
        "mean a better "
        "ranking (Corel-5k, COIL-20).",
        set(say["drop"]["above"]) == {"CIFAR-10", "Corel-5k", "COIL-20"},
    )
    moved = sets["centred"] - sets["float"]
    states(
        TEXT,
        f"It lowers the intersection of the float features by {-moved['CIFAR-10']:.1f} points on CIFAR-10, "
        f"{-moved['COIL-20']:.1f} on COIL-20 and {-moved['Caltech-101']:.1f} on Caltech-101, and raises "
        f"it by "
        f"{moved['Corel-5k']:.1f} on Corel-5k.",
    )
    training = where(runs("training"), preset="release", batch_size=64, pairs="half")
    row = compared(training, [tuple(find(training, center=center) for center in (True, False))]).iloc[0]
    states(TEXT, f"({row['mean']:+.1f} points, 95 % interval {row['low']:.1f} to {row['high']:.1f}).")
    says("Centring changes it by no more than chance may.", row["low"] < 0 < row["high"])
