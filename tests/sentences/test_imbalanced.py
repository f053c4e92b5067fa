import pandas as pd
import pytest

from sdclib import load_features
from sdclib.data.variants import class_sizes, positive_share
from sdclib.losses.calibration import parse_calibration
from sdclib.methods.presets import settings_from_preset
from study.chapters import imbalance
from study.chapters.instance_table import training_steps
from study.chapters.targets import target_properties
from study.provenance import RESULTS
from study.stats import against, compared
from study.tables import find, read_results, where
from tests.sentences.published import runs, says, states

DATA = "cifar10-embedded+longtail"
CHAPTER = "imbalanced"


@pytest.fixture(scope="module")
def tails():
    return imbalance.labelled(imbalance.in_order(runs("imbalanced")))


@pytest.fixture(scope="module")
def classes():
    return imbalance.labelled(imbalance.in_order(read_results(RESULTS / "imbalanced_classes.csv")))


def of(rows, name, **values):
    """Row of a method in a table of contrasts."""
    (row,) = where(rows.assign(name=rows["label"].map(str)), name=name, **values).to_dict("records")
    return row


def test_the_long_tail():
    sizes = {n: list(class_sizes(load_features(f"{DATA}-{n}")).values()) for n in (1, 10, 50, 100)}
    says(
        "the first class keeps all its rows, the last one row for every so many of the first",
        all(found[0] == sizes[1][0] == n * found[-1] for n, found in sizes.items()),
    )
    positive = [positive_share(load_features(f"{DATA}-{n}")) for n in (1, 10, 50, 100)]
    says("more of its pairs are positive", positive == sorted(positive))
    above = target_properties(parse_calibration("beta(2, 5)"))["share_above"]
    says("`beta(2, 5)` puts 11 % of the pairs above 0, near the 10 %", round(100 * above) == 11)
    states(CHAPTER, f"near the {100 * positive[0]:.0f} % of positive pairs of ten equal classes")


def test_fewer_rows_and_imbalance(tails, classes):
    sdc, itq = "SDC", find(tails, method="itq")
    cost = imbalance.tail_contrasts(imbalance.add_ratios(tails), 100, reference=itq)
    fewer, unequal = (
        {name: -of(cost, name, group=what)["mean"] for name in ("SDC", "ITQ", "BiHalf (learning_rate=0.01)")}
        for what in ("fewer rows", "imbalance")
    )
    states(
        CHAPTER,
        f"with a long tail SDC loses {fewer[sdc] + unequal[sdc]:.1f} points of expected mAP and falls behind ITQ, "
        f"which loses {fewer['ITQ'] + unequal['ITQ']:.1f}. What tells them apart is not imbalance, which costs SDC "
        f"{unequal[sdc]:.1f} points and ITQ {unequal['ITQ']:.1f}, but fewer rows, which cost SDC {fewer[sdc]:.1f} "
        f"and ITQ {fewer['ITQ']:.1f}.",
    )
    more = of(cost, "SDC", group="more than reference")
    states(CHAPTER, f"({-more['mean']:.1f} points, 95 % interval {-more['high']:.1f} to {-more['low']:.1f})")
    bihalf = of(cost, "BiHalf (learning_rate=0.01)", group="more than reference")
    states(CHAPTER, f"and BiHalf {-bihalf['mean']:.1f} points more.")
    says("beyond chance", bihalf["high"] < 0)
    gap = compared(tails, [(find(tails, method="sdc", calibration="beta(5, 5)", epochs=100), itq)]).set_index(
        "data"
    )["mean"]
    states(
        CHAPTER,
        f"It is {gap[f'{DATA}-1']:.1f} points ahead of ITQ at ratio 1 and {-gap[f'{DATA}-100']:.1f} behind at "
        "ratio 100.",
    )
    means = tails.groupby(["data", "method"])["map_expected"].mean()
    says("loses most and is still first", means[f"{DATA}-100"].idxmax() == "bihalf")
    loss = fewer["BiHalf (learning_rate=0.01)"] + unequal["BiHalf (learning_rate=0.01)"]
    says("loses most", loss > fewer[sdc] + unequal[sdc])
    hidden = imbalance.tail_contrasts(
        imbalance.add_ratios(imbalance.over_queries(classes)), 100, "map_unseen"
    )
    says(
        "On images that no run was trained on it is the same.",
        all(
            abs(of(hidden, name, group=what)["mean"] - of(cost, name, group=what)["mean"]) < 0.5
            for name in ("SDC", "ITQ")
            for what in ("fewer rows", "imbalance")
        ),
    )


def test_other_settings(tails):
    def run(calibration, epochs=100):
        return find(tails, method="sdc", calibration=calibration, epochs=epochs)

    here = where(tails, data=f"{DATA}-100")
    pairs = [(run("beta(2, 2)"), run("beta(5, 5)")), (run("beta(2, 5)"), run("beta(5, 5)"))]
    wider, leaning, longer = compared(here, [*pairs, (run("beta(5, 5)", 475), run("beta(5, 5)"))]).to_dict(
        "records"
    )
    says("`beta(2, 2)` is wider and level with `beta(5, 5)`", wider["low"] < 0 < wider["high"])
    states(CHAPTER, f"is {-leaning['mean']:.1f} points worse on the long tail.")
    says("worse", leaning["high"] < 0)
    states(CHAPTER, f"SDC stays where it is ({longer['mean']:.1f} points).")
    rate = {"batch_size": 256, "learning_rate": 4e-4}
    more = settings_from_preset("release", **rate, epochs=475, step_epoch=380)
    n_train = {n: len(load_features(f"{DATA}-{n}").train) for n in (1, 100)}
    says(
        "as many steps as at ratio 1",
        training_steps(more, n_train[100])
        == training_steps(settings_from_preset("release", **rate), n_train[1]),
    )


def test_small_and_large_classes(classes):
    by_size = imbalance.size_contrasts(classes, 100)
    apart = imbalance.size_contrasts(classes, 100, "more than reference", find(classes, method="itq"))
    more, large = of(apart, "SDC", group="tail"), of(by_size, "SDC", group="head")
    states(
        CHAPTER,
        f"lose {-of(by_size, 'SDC', group='tail')['mean']:.1f} points, {-more['mean']:.1f} more than with ITQ (95 % "
        f"interval {-more['high']:.1f} to {-more['low']:.1f}), and queries of the three largest gain "
        f"{large['mean']:.1f}, where ITQ loses {-of(by_size, 'ITQ', group='head')['mean']:.1f}.",
    )


def test_many_classes_and_several_labels():
    table = imbalance.labelled(runs("imbalanced"))

    def gain(data, n_bits):
        rows = where(table, data=f"{data}/efficientnet-lite0")
        ranks = against(rows, find(rows, method="sdc"), n_bits).set_index("second")
        return ranks.loc[find(rows, method="itq")]

    states(
        CHAPTER,
        f"On Caltech-101 SDC is {gain('caltech101', 16)['mean']:.1f} points better than ITQ at 16 bits and "
        f"{-gain('caltech101', 64)['mean']:.1f} points worse at 64; on Corel-5k the two are level at 16 bits, and SDC "
        f"is {gain('corel5k', 64)['mean']:.1f} points better at 64.",
    )
    says("level at 16 bits", gain("corel5k", 16)["low"] < 0 < gain("corel5k", 16)["high"])
    says("better at 64", gain("corel5k", 64)["low"] > 0)


@pytest.fixture(scope="module")
def labels():
    return imbalance.labelled(runs("labels"))


def test_fine_labels(labels):
    leads = []
    queries = pd.read_parquet(RESULTS / "labels_queries.parquet", columns=["data", "label"])
    n_classes = queries.groupby("data")["label"].nunique()
    depths = [n_classes[f"embeddings/text/wordnet-nouns-depth{depth}.npz"] for depth in (3, 4, 5)]
    states(
        CHAPTER,
        "The 1,000 queries are of {} classes at depth 3, {} at depth 4 and {} at depth 5.".format(*depths),
    )
    for depth in (3, 4, 5):
        rows = where(labels, data=f"embeddings/text/wordnet-nouns-depth{depth}.npz")
        sdc = find(rows, method="sdc", calibration="beta(5, 5)")
        found = against(rows, sdc, 64)
        leads.append(found.set_index(found["second"].map(lambda config: config.method)))
    itq, bihalf, narrow = ([lead.loc[name] for lead in leads] for name in ("itq", "bihalf", "sdc"))
    states(
        CHAPTER,
        f"{itq[0]['mean']:.1f} points at depth 3, {itq[1]['mean']:.1f} at depth 4 and none at depth 5. That over "
        f"BiHalf shrinks from {bihalf[0]['mean']:.1f} to {bihalf[2]['mean']:.1f}. The narrow target does not suit fine "
        f"classes better: it is {narrow[0]['mean']:.1f}, {narrow[1]['mean']:.1f} and {narrow[2]['mean']:.1f} points "
        "worse",
    )
    says("none at depth 5", itq[2]["low"] < 0 < itq[2]["high"] and min(row["low"] for row in itq[:2]) > 0)
    says("worse", min(row["low"] for row in narrow) > 0)
    spread = target_properties(parse_calibration("beta(31.5, 31.5)"))["std"]
    says("Beta(31.5, 31.5) has the spread of 64 independent bits", abs(spread - 1 / 8) < 1e-3)


def more_than_itq(data, ratio):
    """What imbalance costs SDC more than ITQ on another set."""
    rows = imbalance.labelled(runs("labels"))
    rows = rows[rows["data"].str.startswith(data)]
    cost = imbalance.tail_contrasts(imbalance.add_ratios(rows), ratio, reference=find(rows, method="itq"))
    return of(cost, "SDC", group="more than reference")


def test_long_tails_of_other_sets():
    text, caltech = more_than_itq("embeddings/text/wordnet-nouns.npz", 50), more_than_itq("caltech101", 10)
    states(
        CHAPTER,
        f"On text imbalance costs SDC {-text['mean']:.1f} points more than ITQ, which is beyond chance (95 % interval "
        f"{-text['high']:.1f} to {-text['low']:.1f}). On Caltech-101 it costs SDC {caltech['mean']:.1f} points less, "
        f"which may be chance ({caltech['low']:.1f} to {caltech['high']:.1f}).",
    )
    says("beyond chance", text["high"] < 0)
    states(CHAPTER, f"On text, though, imbalance costs SDC {-text['mean']:.1f} points more than ITQ.")
