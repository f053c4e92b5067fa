import numpy as np
import pandas as pd
import pytest

from study.stats import compared
from study.tables import find, settings_of, where
from tests.sentences.published import csv, runs, says, states

TEXT, DATA = "why", "cifar10-embedded"
QUICK = settings_of("release", batch_size=256, learning_rate=4e-4)


@pytest.fixture(scope="module")
def variants():
    return where(csv("why"), data=DATA)


@pytest.fixture(scope="module")
def less(variants):
    """Differences of the variants to the base, and of two more from other chapters."""
    names = variants["variant"].unique()
    rows = [compared(variants, [(name, "base") for name in names if name != "base"], by="variant")]
    matched = {"calibration": "beta(31.5, 31.5)"}
    for name, table, setting in (
        ("all pairs", "training", {"pairs": "all"}),
        ("matched", "calibration", matched),
    ):
        found = where(runs(table), n_bits=64)
        pair = tuple(find(found, method="sdc", **QUICK | given) for given in (setting, {}))
        rows.append(compared(found, [pair]).assign(first=name))
    return pd.concat(rows).set_index("first")


@pytest.fixture(scope="module")
def even(variants):
    return 100 * variants.groupby("variant")["balanced_bits"].mean()


def test_trainings(variants):
    says("with Welch's 95 % intervals over three seeds.", (variants.groupby("variant").size() == 3).all())
    base = where(runs("training"), data=DATA, **QUICK | {"center": True})["map_expected"].mean()
    says(
        "The base has the preset `release` with batches of 256, so 128 pairs, four times its learning rate and "
        "centred features.",
        abs(100 * (base - where(variants, variant="base")["map_expected"].mean())) < 0.4,  # but for rounding
    )


def test_order(less, even):
    lost = -less["mean"]
    order, head, both = lost[["whitened, centred", "centred, whitened", "whitened, whitened"]]
    states(
        TEXT,
        f"Whitening costs {order:.1f} points where it only orders the pairs, {head:.1f} where only the head sees it, "
        f"and {both:.1f} where it does both.",
    )
    says("Whitening costs", (less.filter(like="whitened", axis=0)["high"] < 0).all())
    table = runs("neighbours")
    pair = tuple(find(table, method="neighbour-sdc", n_steps=steps) for steps in (4, 0))
    (gain,) = compared(table, [pair]).to_dict("records")
    states(TEXT, f"gain {gain['mean']:.1f} points (95 % interval {gain['low']:.1f} to {gain['high']:.1f})")
    states(
        TEXT,
        f"An order taken from whitened features costs {order:.1f} points of expected mAP, and one taken from averages "
        f"over nearest neighbours gains {gain['mean']:.1f}.",
    )
    raw = ["raw, raw", "raw, centred", "centred, raw"]
    says("Centring hardly changes expected mAP", lost[raw].abs().max() < 1.5)
    states(TEXT, f"With pairs in the order of raw features {even['raw, raw']:.0f} % of the bits are even")
    says(
        "with centred ones nearly all, whatever the head sees",
        abs(even["raw, raw"] - even["raw, centred"]) < 5 and even[["base", "centred, raw"]].min() > 98,
    )


def test_targets(less):
    lost = -less["mean"]
    states(TEXT, f"Two targets cost {lost['2']:.1f} points and 8 cost {lost['8']:.1f}; with 32, no loss")
    says("and 8 cost ... with 32, no loss can be told from chance", less["paired_high"]["8"] < 0)
    says("32 different targets a batch do as well as 128", less["low"]["32"] < 0 < less["high"]["32"])
    states(TEXT, f"all {128 * 255:,} pairs of a batch, in place of 128, cost {lost['all pairs']:.1f} points.")
    says("in place of 128, cost", less["high"]["all pairs"] < 0)
    matched = less.loc["matched"].set_index("data")
    says(
        "What the target matched to 64 bits does depends on the data: on Caltech-101 it gains.",
        matched["high"][DATA] < 0 < matched["low"]["caltech101/efficientnet-lite0"],
    )


def test_what_could_go(variants, less, even):
    others = less.loc[["plain", "fixed", "none", "kept"]]
    says(
        "a head without BatchNorm or a learning rate that never falls cannot be told from the usual ones",
        (others["low"] < 0).all() and (others["high"] > 0).all(),
    )
    states(TEXT, f"It makes all bits even, against {even['none']:.0f} % without it.")
    says("It makes all bits even", even["base"] == 100)


def test_last_epochs(variants):
    epochs = where(csv("why_epochs"), data=DATA)
    single = where(epochs, averaged=1)
    noise = 100 * single.groupby(["variant", single["epoch"] > 80, "seed"])["map_expected"].std()
    between = 100 * np.sqrt(variants.groupby("variant")["map_expected"].var().mean())  # as many seeds each
    states(TEXT, f"From seed to seed it is {between:.2f} points")
    says("so the epoch is not what sets runs apart", noise.groupby(level=[0, 1]).mean().max() < between / 3)
    table = epochs.pivot_table(index=["variant", "epoch", "seed"], columns="averaged", values="map_expected")
    change = 100 * (table[20] - table[1]).dropna().groupby(["variant", "epoch"]).mean()
    says(
        "Averaging the weights of 20 epochs changes expected mAP by 0.1 points at most, before the rate falls and "
        "after it.",
        set(change.index) == {("base", 80), ("base", 100), ("kept", 100)} and change.abs().max() < 0.15,
    )


def test_limits(less):
    unsure = less[(less["low"] <= 0) & (less["high"] >= 0)]
    says(
        "a difference of one point can hide in most intervals that contain 0",
        ((unsure["low"] <= -1) | (unsure["high"] >= 1)).mean() > 0.5,
    )
