from dataclasses import asdict

import pytest

from sdclib.methods.presets import settings_from_preset
from study.chapters.epochs import by_epoch
from study.chapters.training_effects import costs, effects, ladder, per_doubling, with_width
from study.stats import compared
from study.tables import find, settings_of, where
from tests.sentences.published import runs, says

QUICK = {"batch_size": 256, "learning_rate": 4e-4}
WIDTH = 256  # of the packaged features


@pytest.fixture(scope="module")
def results():
    return with_width(runs("training"), WIDTH)


def sdc(**changed):
    """Configuration that changes so much of the preset release."""
    settings = asdict(settings_from_preset("release", **changed))
    return find(runs("training"), preset="release", **settings)


@pytest.fixture(scope="module")
def bases():
    return {"release": sdc(), "quick": sdc(**QUICK)}


@pytest.fixture(scope="module")
def changes(results, bases):
    return effects(results, bases)


@pytest.fixture(scope="module")
def cost(results):
    return costs(results)


def test_runs(results, changes, bases):
    says("With three seeds each.", set(results.groupby("config").size()) == {3})
    says(
        "The bases have 1.",
        set(results.loc[results["config"].isin(bases.values()), "quantization_weight"]) == {1},
    )
    largest = changes.loc[changes["mean"].abs().idxmax()]
    says(
        "Keep the quantization loss at its full weight. The largest of 23 changes is quantization weight 0.",
        len(changes) == 23 and largest["change"] == "quantization weight 0" and largest["high"] < 0,
    )
    says(
        "To weaken it is the one kind of change whose effect stands when all 23 are tested together.",
        set(changes.loc[changes["p_holm"] < 0.05, "group"]) == {"quantization weight"},
    )


def test_one_change_at_a_time(results, changes, bases):
    means = ladder(results, bases["quick"], "quantization_weight").groupby("value")["map_expected"].mean()
    says(
        "Where the rise ends this table does not show.",
        means.is_monotonic_increasing and means.index[-1] == 3,
    )
    rate = compared(results, [(bases["quick"], sdc(batch_size=256))]).iloc[0]
    says("At a batch of 256 the higher rate alone is worth ...", rate["low"] > 0)
    collapse = effects(results, bases, "intersection").query("base == 'quick'").set_index("change")
    centred = changes.query("base == 'quick'").set_index("change").loc["centred"]
    says(
        "Centring lowers it by ... points, and yet its effect on mAP cannot be told from noise. Less collapse and a "
        "better ranking are not the same thing.",
        collapse.loc["centred", "high"] < 0 and centred["low"] < 0 < centred["high"],
    )
    quiet = changes[changes["group"].isin(["weight decay", "centring"])]
    says(
        "Weight decay and centring moved the mean by at most ... points; leave them alone.",
        quiet["mean"].abs().max() < 1.5 and (quiet["low"] < 0).all() and (quiet["high"] > 0).all(),
    )


def test_step_by_step(results, changes, bases):
    release, quick = bases.values()
    slopes = [
        per_doubling(ladder(results, *of))
        for of in (
            (release, "batch_size"),
            (release, "batch_size", "learning_rate"),
            (quick, "quantization_weight"),
            (quick, "hidden_features"),
        )
    ]
    groups = ["batch size", "batch size and learning rate", "quantization weight", "width"]
    steps = changes[changes["group"].isin(groups)]
    says(
        "A setting that was changed in several steps says more than each step does: together they show "
        "more than alone.",
        all(slope["low"] > 0 or slope["high"] < 0 for slope in slopes)
        and ((steps["low"] > 0) | (steps["high"] < 0)).mean() < 0.5,
    )


def test_presets():
    names = ["paper-no-contrastive", "release", "paper-two-views", "release-two-views"]
    of_terms = [
        {key for key, value in settings_of(plain).items() if settings_of(term)[key] != value}
        for plain, term in (("paper-no-contrastive", "paper-two-views"), ("release", "release-two-views"))
    ]
    says(
        "The first changes nothing but the term. The second changes three settings at once: the term itself, targets "
        "below 0 raised to 0, and pairs inside each view.",
        of_terms == [{"contrastive_weight"}, {"contrastive_weight", "clip_targets", "view_pairs"}],
    )
    tables = ("cifar10_sdc", "cifar10_contrastive", "cifar10_contrastive_paper")
    whole = runs(*tables)
    seeds = whole[whole["preset"].isin(names)].groupby(["config", "n_bits"]).size()
    says(
        "The same presets were run by the paper's whole protocol, with ... four code lengths.",
        len(seeds) == 16 and set(seeds) == {3},
    )


def test_time(cost, results):
    seconds = cost["seconds"]
    quick = seconds / seconds[sdc(**QUICK)]
    more = quick[[sdc(**QUICK, pairs="all"), *(sdc(**QUICK, hidden_features=n) for n in (1024, 4096))]]
    changed = [{"quantization_weight": n} for n in (0.0, 0.1, 0.3, 3.0)]
    changed += [{"weight_decay": 0.0}, {"weight_decay": 5e-4}, {"center": True}]
    same = quick[[sdc(**QUICK, **values) for values in changed]]
    says(
        "More steps (small batches), more pairs and a wider layer cost time; most other settings cost none.",
        seconds[sdc(batch_size=32)] > 1.3 * seconds[sdc()] > 2 * seconds[sdc(batch_size=256)]
        and more.min() > 1.3
        and (same - 1).abs().max() < 0.2,
    )
    says(
        "Times of one table can be compared: each run took ... times the mean of its setting.",
        (cost["seconds_low"] / seconds).min() > 0.8 and (cost["seconds_high"] / seconds).max() < 1.25,
    )
    says(
        "Raise the learning rate with the batch: training takes ... of the time.",
        seconds[sdc(batch_size=512, learning_rate=8e-4)] < 0.5 * seconds[sdc()],
    )
    release = where(results, config=sdc())
    both = runs("main").query("n_bits == 64").merge(release, on=["config", "seed"], suffixes=("_main", ""))
    says(
        "Those of two tables cannot: the runs of release in `results/main.csv`, with the same settings and seeds, took "
        "... times as long.",
        len(both) == 3
        and both["fit_seconds_main"].mean() > 1.3 * both["fit_seconds"].mean()
        and (both["map_expected_main"] - both["map_expected"]).abs().max() < 0.015,
    )


def test_published_gain():
    table = runs("cifar10_sdc", "cifar10_contrastive_paper").query("n_bits == 64")
    pair = tuple(find(table, preset=preset) for preset in ("paper-two-views", "paper-no-contrastive"))
    (row,) = compared(table, [pair]).to_dict("records")
    says("An interval that holds the published gain.", row["low"] < 66.3 - 63.0 < row["high"])


def test_epochs(results):
    epochs = by_epoch(runs("epochs"))
    quick = 100 * where(results, config=sdc(**QUICK)).set_index("seed")["map_expected"]
    says(
        "The same training of *quick* was stopped and measured after several epochs. At the last epoch these runs "
        "differ from quick in the table above by at most ... points.",
        epochs.shape == (15, 3) and epochs.index[-1] == 100 and (epochs.iloc[-1] - quick).abs().max() < 0.5,
    )
