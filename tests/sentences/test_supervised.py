import pytest

from sdclib import load_features
from sdclib.data.variants import positive_share
from sdclib.losses.calibration import parse_calibration, target_quantiles
from sdclib.methods import SupervisedSDCHasher, make_hasher
from study.chapters.contributions import with_targets
from study.stats import compared, summarise
from study.tables import find, where
from tests.sentences.published import csv, runs, says, states, training_share

CHAPTER = "supervised"
EMBEDDED, CALTECH = "cifar10-embedded", "caltech101/efficientnet-lite0"


@pytest.fixture(scope="module")
def results():
    return with_targets(runs("supervised"))


@pytest.fixture(scope="module")
def gain(results):
    """Differences of methods by data and bits."""
    order, target = (find(results, method="supervised-sdc", labels=labels) for labels in ("order", "target"))
    sdc, logits = (find(results, method=method) for method in ("sdc", "logits"))
    ortho = find(results, method="orthohash", class_targets="bernoulli", learning_rate=1e-4)
    pairs = {
        "order": (order, sdc),
        "target": (target, order),
        "logits": (target, logits),
        "ortho": (target, ortho),
    }
    return {name: compared(results, [pair]).set_index(["data", "n_bits"]) for name, pair in pairs.items()}


def test_answer(gain):
    def mean(name, data, n_bits=64):
        return gain[name].loc[(f"{data}+unseen", n_bits), "mean"]

    states(
        CHAPTER,
        f"labels in the order of the pairs gain {mean('order', EMBEDDED):.1f} points on the packaged CIFAR-10 at 64 "
        f"bits, labels in the target another {mean('target', EMBEDDED):.1f}. On Caltech-101, whose batches have few "
        f"positive pairs, the order gains nothing measurable and the target {mean('target', CALTECH):.1f}.",
    )
    says(
        "the order gains nothing measurable",
        gain["order"].loc[(f"{CALTECH}+unseen", 64), "low"] < 0,
    )
    says("both uses help", (gain["target"]["low"] > 0).all())
    says("ahead of hashed logits everywhere", (gain["logits"]["low"] > 0).all())
    ahead = gain["ortho"][gain["ortho"]["low"] > 0].index.tolist()
    says(
        "and behind at 16 bits and where an image has several labels.",
        set(ahead) == {("corel5k/efficientnet-lite0", 64), (f"{EMBEDDED}+unseen", 16)},
    )
    states(
        CHAPTER,
        f"is ahead at 64 bits, by {-mean('ortho', EMBEDDED):.1f} points on the packaged CIFAR-10 and by "
        f"{-mean('ortho', CALTECH):.1f} on Caltech-101,",
    )
    says(
        "Which of supervised SDC and OrthoHash is ahead stays the same.",
        (gain["ortho"].loc[[EMBEDDED, CALTECH], "high"] < 0).all(),
    )


def test_targets():
    n_pairs = SupervisedSDCHasher().batch_size // 2
    caltech = (20 - 1) / (training_share(CALTECH)[0] - 1)  # 20 training rows a class
    embedded = positive_share(load_features(EMBEDDED))
    states(
        CHAPTER,
        f"of the {n_pairs} pairs of a batch {n_pairs * caltech:.1f} are positive on Caltech-101 and "
        f"{n_pairs * embedded:.1f} on the packaged CIFAR-10",
    )
    positive, negative = (
        target_quantiles(parse_calibration(text), 10_000) for text in ("beta(18, 2)", "beta(20, 20)")
    )
    says(
        "positive pairs get the quantiles of one with a mean far above 0, negative pairs those of a narrow one "
        "around 0",
        positive.mean() > 0.7 and abs(negative.mean()) < 0.01,
    )


def test_variants_of_orthohash(results):
    unseen = where(results, data=f"{EMBEDDED}+unseen", n_bits=64)
    usual = find(unseen, method="orthohash", class_targets="bernoulli", learning_rate=1e-4)
    hadamard, faster = (
        find(unseen, method="orthohash", **changed)
        for changed in ({"class_targets": "hadamard"}, {"learning_rate": 4e-4})
    )
    target = find(unseen, method="supervised-sdc", labels="target")
    same, better, ahead = compared(unseen, [(hadamard, usual), (faster, usual), (faster, target)]).to_dict(
        "records"
    )
    says("With the rows of a Hadamard matrix it is the same", same["low"] < 0 < same["high"])
    states(
        CHAPTER,
        f"with the learning rate of the other methods it is {better['mean']:.1f} points better, and "
        f"{ahead['mean']:.1f} ahead of supervised SDC (target).",
    )


def test_training_rows_in_the_database(results):
    means = summarise(results, ["map_expected"]).set_index(["config", "data", "n_bits"])["map_expected"]

    def loss(config, data):
        return means[config, data, 64] - means[config, f"{data}+unseen", 64]

    ortho = find(results, method="orthohash", class_targets="bernoulli", learning_rate=1e-4)
    unlabelled = [find(results, method=method) for method in ("itq", "sdc", "matching")]
    states(
        CHAPTER,
        f"OrthoHash loses {loss(ortho, CALTECH):.1f} points on Caltech-101, where methods without labels lose 3",
    )
    says("lose 3", all(round(loss(config, CALTECH)) == 3 for config in unlabelled))
    says("without labels", not any(make_hasher(config.method, 8).needs_labels for config in unlabelled))
    says(
        "In Corel-5k the protocol trains on the whole database",
        len(set(training_share("corel5k/efficientnet-lite0"))) == 1,
    )


def test_all_of_cifar10():
    full = with_targets(where(runs("labels"), data="cifar10/efficientnet-lite0"))
    full = full.merge(csv("labels_unseen")[["id", "map_unseen"]], on="id")
    order, target = (find(full, method="supervised-sdc", labels=labels) for labels in ("order", "target"))
    pairs = (order, find(full, method="sdc")), (target, order), (find(full, method="orthohash"), target)
    by_order, by_target, ahead = compared(full, pairs, metric="map_unseen").to_dict("records")
    states(
        CHAPTER,
        f"labels in the order gain {by_order['mean']:.1f} points among the images that were not trained on, labels in "
        f"the target another {by_target['mean']:.1f}, and OrthoHash is {ahead['mean']:.1f} points ahead of that "
        f"({ahead['low']:.1f} to {ahead['high']:.1f}).",
    )
    says("gain", min(by_order["low"], by_target["low"]) > 0)
    difference = (full["map_expected"] - full["map_unseen"]).groupby(full["config"]).mean()
    says("it hardly matters whether they are counted", difference.abs().max() < 0.005)
