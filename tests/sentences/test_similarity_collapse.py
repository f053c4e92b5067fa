import pandas as pd
import pytest

from sdclib import load_features
from study.chapters.feature_bias import bias_table, by_verdict, contradiction, least_p_value
from tests.sentences.published import runs, says


@pytest.fixture(scope="module")
def sets():
    return bias_table(runs("datasets"), "SDC (release)", "ITQ", n_bits=64)


def test_bias_of_features(sets):
    main = runs("main").set_index("label")
    says(
        "Features that come out of a ReLU are not negative, so even unlike images have a cosine well above zero.",
        sets["negative_mean"].min() > 0.2,
    )
    says(
        "Their values take either sign, but their cosines keep the bias.",
        0.25 < (load_features("cifar10-embedded").train < 0).mean() < 0.75
        and main.loc["Float cosine", "negative_mean"] > 0.2,
    )
    centred = pd.concat([runs("datasets"), runs("main")]).query("label == 'Float cosine (centred)'")
    says("Subtracting the training mean takes it away.", centred["all_mean"].abs().max() < 0.01)
    says(
        "The float features reach ..., and ... when centred.",
        main.loc["Float cosine (centred)", "map_expected"] > main.loc["Float cosine", "map_expected"],
    )


def test_sign_of_features():
    packaged, own = (
        100 * runs(name).query("label == 'Sign of features'")["map_expected"]
        for name in ("main", "cifar10_closed")
    )
    says(
        "Sign of features is not the usual hash here. On CIFAR-10's own features, which come out of a ReLU, it has ...",
        packaged.min() > own.max() + 20,
    )


def test_bias_and_collapse(sets):
    says(
        "With 4 sets no correlation can be established: even the same order in both would have a two-sided permutation "
        "p-value of 0.083.",
        len(sets) == 4 and least_p_value(4) > 0.05,
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
