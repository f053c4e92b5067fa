import pytest

from sdclib import load_features
from sdclib.data.variants import class_sizes, positive_share
from sdclib.losses.calibration import parse_calibration
from sdclib.methods.presets import settings_from_preset
from study.chapters.imbalance import add_ratios, size_contrasts, tail_contrasts
from study.chapters.instance_table import training_steps
from study.chapters.targets import target_properties
from study.provenance import RESULTS
from study.tables import read_results, where
from tests.sentences.published import csv, runs, says

DATA = "cifar10-embedded+longtail"


@pytest.fixture(scope="module")
def shares():
    """Positive pairs in percent."""
    names = ["1", "10", "50", "100", "10-control", "50-control", "100-control"]
    return {name: 100 * positive_share(load_features(f"{DATA}-{name}")) for name in names}


def test_positive_pairs(shares):
    says(
        "A longer tail has more positive pairs, as most rows are of few classes.",
        shares["1"] + 2 < shares["10"] < shares["50"] - 2 < shares["100"] - 4,
    )
    says(
        "A control has as many rows as the long tail, in equal classes.",
        all(abs(shares[name] - shares["1"]) < 0.5 for name in shares if "control" in name),
    )


def test_calibration_distributions(shares):
    above = {
        name: 100 * target_properties(parse_calibration(name))["share_above"]
        for name in ("beta(5, 5)", "beta(2, 5)")
    }
    says(
        "By the paper's `beta(5, 5)` half of all pairs are to be more similar than 0.",
        abs(above["beta(5, 5)"] - 50) < 0.1,
    )
    says(
        "`beta(2, 5)` leans to low similarities and puts about as many pairs above 0 as ten equal classes have "
        "positive ones.",
        abs(above["beta(2, 5)"] - shares["1"]) < 2,
    )


def test_class_sizes():
    sizes = {
        ratio: list(class_sizes(load_features(f"{DATA}-{ratio}")).values()) for ratio in (1, 10, 50, 100)
    }
    says(
        "The first of the ten classes keeps all its rows, the last one row for every so many of the first.",
        all(len(of) == 10 and of[0] == sizes[1][0] == ratio * of[-1] for ratio, of in sizes.items()),
    )


def test_runs():
    table = runs("imbalanced")
    tails = table[table["data"].str.startswith(DATA)]
    sdc = where(table, method="sdc")
    says(
        "SDC is `release` with batches of 256 and four times its learning rate.",
        len(where(sdc, preset="release", batch_size=256, learning_rate=4e-4)) == len(sdc),
    )
    says(
        "BiHalf, which makes each bit +1 for half of a batch, and centred LSH, which learns nothing but a mean, ran "
        "at the two ends only.",
        all(
            set(tails.loc[tails["method"] == method, "data"])
            == {f"{DATA}-1", f"{DATA}-100", f"{DATA}-100-control"}
            for method in ("bihalf", "lsh")
        ),
    )
    says(
        "Long tails are of one data set, one backbone and one code length.",
        tails["data"].str.startswith("cifar10-embedded").all() and tails["n_bits"].nunique() == 1,
    )


def test_unseen_images():
    means = csv("imbalanced_classes").groupby("id")[["map_expected", "map_unseen"]].mean()
    says(
        "R stays, and half as many images are relevant, so figures are lower than above.",
        (means["map_unseen"] < means["map_expected"]).all(),
    )


def test_steps():
    chosen = {"batch_size": 256, "learning_rate": 4e-4}
    n_train = {ratio: len(load_features(f"{DATA}-{ratio}").train) for ratio in (1, 100)}
    longer = training_steps(
        settings_from_preset("release", **chosen, epochs=475, step_epoch=380), n_train[100]
    )
    says(
        "With as many steps at both ratios fewer rows change ...",
        longer == training_steps(settings_from_preset("release", **chosen), n_train[1]),
    )


def test_imbalance_costs():
    lost = tail_contrasts(add_ratios(runs("imbalanced")), 100).query("group == 'imbalance'")
    of_tail = size_contrasts(read_results(RESULTS / "imbalanced_classes.csv"), 100).query("group == 'tail'")
    says(
        "By its mean it costs ... most and ... least.",
        (lost["mean"] < 0).all() and (of_tail["mean"] < 0).all(),
    )
