import json

import pytest
from statsmodels.stats.power import TTestIndPower

from sdclib.methods.presets import PRESETS
from study.chapters.training_effects import base, effects
from study.stats import compared
from study.tables import Config, where
from tests.sentences.published import count_signs, runs, says, states

TEXT = "training"


@pytest.fixture(scope="module")
def changes():
    table = runs("training")
    bases = {"release": base(table, 1e-4), "quick": base(table, 4e-4)}
    return effects(table, bases).set_index(["base", "change"])


@pytest.fixture(scope="module")
def whole():
    return runs("cifar10_sdc", "training")


def test_quantization_loss(changes):
    sure = changes[changes["p_holm"] < 0.05]
    says(
        "of 24 changes only a weaker quantization loss has an effect that holds when all are tested together",
        len(changes) == 24 and set(sure["group"]) == {"quantization_weight"} and (sure["high"] < 0).all(),
    )
    without = changes.loc["quick", "quantization weight 0.0"]
    states(TEXT, f"without this loss expected mAP falls by {-without['mean']:.1f} points.")
    quick = where(runs("training"), config=base(runs("training"), 4e-4))["map_expected"].mean()
    weights = where(changes.loc["quick"], group="quantization_weight")["mean"] + 100 * quick
    states(
        TEXT,
        f"{weights.iloc[0]:.1f} % at 0, {100 * quick:.1f} % at 1, which both bases have, and "
        f"{weights.iloc[-1]:.1f} % at 3.",
    )
    ordered = [*weights.iloc[:3], 100 * quick, weights.iloc[3]]
    says("The more weight it has, the higher the mean", ordered == sorted(ordered))
    tripled = changes.loc["quick", "quantization weight 3.0"]
    says("Whether 3 is better than 1, three seeds cannot tell.", tripled["low"] < 0 < tripled["high"])


def test_what_does_nothing_and_what_saves_time(changes):
    quiet = changes[changes["group"].isin(["weight_decay", "center"])]
    says("Weight decay and centring do nothing that three seeds could show.", count_signs(quiet) == (0, 0, 4))
    release, quick = changes.loc["release"], changes.loc["quick"]
    large = release.loc["rate 0.0008, batch 512"]
    states(TEXT, f"training takes {100 * large['time']:.0f} % of the time, at no loss of mAP that shows.")
    kept = release.loc["batch 512"]
    says("at the same learning rate a batch of 512 costs", kept["high"] < 0)
    states(
        TEXT,
        f"a batch of 512 costs {-kept['mean']:.1f} points. With the rate in proportion it is "
        f"{large['mean']:.1f} points above release, and a loss of more than {-large['low']:.1f} points is "
        "unlikely.",
    )
    none, wide, pairs = (quick.loc[name] for name in ("hidden layers 0", "width 4096", "pairs all"))
    longer = wide["time"] / release.loc["rate 0.0004, batch 256", "time"]
    states(TEXT, f"Without it expected mAP falls by {-none['mean']:.1f} points.")
    states(TEXT, f"gains {wide['mean']:.1f} points and makes training {longer:.1f} times as long.")
    says(
        "Without it expected mAP falls by ... A width of 4096 in place of 256 gains",
        none["high"] < 0 < wide["low"],
    )
    clipped = release.loc["clip targets yes"]
    states(TEXT, f"as the authors' configuration does, lowers the mean by {-clipped['mean']:.1f} points.")
    says("two changes that ran with other kernels have none", changes["time"].isna().sum() == 2)
    says(
        "All pairs of a batch, in place of half against half, gain nothing that shows.",
        pairs["high"] < 0 and release.loc["pairs all", "low"] < 0,
    )


def test_presets_on_all_of_cifar10(whole):
    names = ("paper-no-contrastive", "release", "paper", "release-simclr")
    of = {name: Config("sdc", json.dumps({"preset": name})) for name in names}

    def less(first, second):
        rows = compared(whole, [(of[first], of[second])]).set_index(["data", "n_bits"])
        settings = [vars(PRESETS[preset]) for preset in (first, second)]
        differing = {name for name in settings[0] if settings[0][name] != settings[1][name]}
        return rows.loc["cifar10/efficientnet-lite0"], differing, rows

    wide, differing, everywhere = less("paper-no-contrastive", "release")
    copy = everywhere.loc["cifar10-embedded", 64]
    states(
        TEXT, f"The wider layer with more decay is worth {copy['mean']:.1f} points on the copy and nothing"
    )
    says(
        "a hidden layer of 4096 units, and more weight decay ... and nothing on all of CIFAR-10",
        copy["low"] > 0
        and count_signs(wide) == (0, 0, 4)
        and differing == {"hidden_features", "weight_decay"}
        and PRESETS["paper-no-contrastive"].hidden_features == 4096,
    )
    term, differing, _ = less("paper", "paper-no-contrastive")
    states(
        TEXT,
        f"The contrastive term alone gains {term['mean'][64]:.1f} points at 64 bits and "
        f"{term['mean'][128]:.1f} at 128;",
    )
    says(
        "at 16 and 32 bits no gain shows",
        (term["low"] > 0).tolist() == [False, False, True, True]
        and differing == {"contrastive_weight", "contrast"},
    )
    three, differing, _ = less("release-simclr", "release")
    states(
        TEXT,
        f"it costs {-three['mean'][16]:.1f} points at 16 bits and {-three['mean'][32]:.1f} at 32, and gains nothing "
        "that shows at 64 and 128.",
    )
    says(
        "the term between two views, which pass the head in one batch, are both sorted into pairs, and have "
        "targets below 0 raised to 0",
        count_signs(three) == (0, 2, 2)
        and differing == {"contrastive_weight", "clip_targets", "view_pairs", "joint_views"},
    )


def test_epochs_and_noise():
    epochs = 100 * runs("epochs").pivot_table(index="epochs", columns="seed", values="map_expected")
    mean = epochs.mean(axis=1)
    says(
        "A training of *quick* was measured after 15 of them. ... From epoch 60 on the mean over seeds is within "
        "1 point of the last.",
        epochs.shape == (15, 3)
        and (mean.loc[60:] - mean.loc[100]).abs().max() < 1 < mean.loc[100] - mean.loc[40],
    )
    reward = (epochs.max() - epochs.loc[100]).max()
    states(TEXT, f"is at most {reward:.1f} points above the last.")
    states(TEXT, f"their standard deviation is {epochs.loc[100].std():.1f} points.")
    groups = runs("training").groupby("config")["map_expected"]
    says("with three seeds each", set(groups.size()) == {3})
    deviation = 100 * groups.var().mean() ** 0.5
    found = deviation * TTestIndPower().solve_power(nobs1=3, alpha=0.05, power=0.8)
    states(
        TEXT,
        f"Seeds alone make a standard deviation of {deviation:.1f} points, so a true difference of {found:.1f} "
        "points is found in four of five such experiments",
    )
