import numpy as np
import pandas as pd
import pytest

from sdclib.losses.calibration import parse_calibration, target_quantiles
from study.chapters.epochs import by_epoch, epoch_noise
from study.chapters.why import (
    BASE,
    PARTS,
    enough_quantiles,
    from_tables,
    less_base,
    of_study,
    read_variants,
)
from study.provenance import RESULTS
from study.stats import mean_interval, seed_noise
from study.tables import where
from tests.sentences.published import csv, runs, says


@pytest.fixture(scope="module")
def variants():
    rows = read_variants(RESULTS / "why.csv")
    return rows[rows["data"] == "cifar10-embedded"]


@pytest.fixture(scope="module")
def means(variants):
    """Means in percent by study and variant."""
    return 100 * variants.groupby(["study", "variant"]).mean(numeric_only=True)


def test_trainings(variants, means):
    says("Three seeds each.", (variants.groupby(["study", "variant"]).size() == 3).all())
    quick = where(runs("training"), data="cifar10-embedded", batch_size=256, learning_rate=4e-4, center=True)
    says(
        "The trainings of this page have the preset `release` with batches of 256, four times its learning rate and "
        "centred features, at 64 bits.",  # so that they repeat those of another table, but for rounding
        set(variants["n_bits"]) == {64}
        and abs(100 * quick["map_expected"].mean() - means.loc[(BASE, BASE), "map_expected"]) < 0.4,
    )


def test_quantiles(variants):
    rows = less_base(variants, "quantiles")
    by_number = rows.set_index(rows["variant"].astype(int))
    says("Few targets are enough.", (enough_quantiles(rows) or 128) <= 32)
    says(
        "To tell only the more similar half of a batch from the other costs ... points.",
        by_number.loc[2, "high"] < 0,
    )
    says(
        "So a batch of 256 has targets enough: finer ones, by more pairs or larger batches, have little to win.",
        by_number.loc[32, "mean"] > -1,
    )


def test_teacher_and_head(means):
    mean = means["map_expected"]
    says(
        "The order of the pairs counts. Whitening, which gives all directions of the features the same spread, costs "
        "... points where it only orders the pairs, ... where only the head sees it.",
        mean["teacher and head", "whitened, centred"] + 2
        < mean["teacher and head", "centred, whitened"]
        < mean[BASE, BASE],
    )
    even = means["balanced_bits"]
    by_raw, by_centred = (
        even[[("teacher and head", f"{teacher}, raw"), other]]
        for teacher, other in (("raw", ("teacher and head", "raw, centred")), ("centred", (BASE, BASE)))
    )
    says("It is the teacher's view that decides how bits are used.", by_raw.max() + 20 < by_centred.min())


def test_target_for_k_bits():
    spread = target_quantiles(parse_calibration("beta(5, 5)"), 10_000).std()
    says(
        "K independent fair bits give similarities with a standard deviation of ..., which is narrower than that of "
        "Beta(5, 5) at the code lengths in use.",
        (1 / np.sqrt(runs("calibration")["n_bits"].dropna().unique().astype(float)) < spread).all(),
    )


def test_batchnorm(variants, means):
    ends = means.loc["end of the head"]
    says("Nothing collapses without BatchNorm.", ends["constant_bits"].max() < 1)
    even = means["balanced_bits"]
    says(
        "A standardisation at the start does no more than nothing in its place.",
        abs(even["end of the head", "fixed"] - even["end of the head", "none"]) < 5,
    )
    rows = of_study(variants, "end of the head")
    by_seed = 100 * rows.pivot_table(index="variant", columns="seed", values="balanced_bits")
    less = {name: sum(mean_interval(by_seed.loc[name] - by_seed.loc[BASE])) for name in ("fixed", "none")}
    says(
        "BatchNorm makes bits more even; what evens the bits is that BatchNorm goes on with every batch.",
        max(less.values()) < 0,
    )
    says(
        "BatchNorm makes bits more even, but not alone.",
        even["teacher and head", "raw, raw"] < even["end of the head", "none"] - 10,
    )


def test_last_epochs(variants):
    epochs = csv("why_epochs")
    falls, kept = (
        by_epoch(where(epochs, data="cifar10-embedded", variant=variant, averaged=1), "epoch")
        for variant in (BASE, "kept")
    )
    noise = {
        "before": epoch_noise(falls, (61, 80)),
        "after": epoch_noise(falls, (81, 100)),
        "kept": epoch_noise(kept, (81, 100)),
    }
    says("The fall quiets the last epochs.", 2 * noise["after"] < min(noise["before"], noise["kept"]))
    says(
        "So the epoch is not what sets runs apart.",
        2 * max(noise.values()) < seed_noise(variants, by=["study", "variant"])[0],
    )


def test_limits(variants):
    studies = [less_base(variants, study) for study in ("end of the head", "quantiles", "rate")]
    rows = pd.concat([from_tables({part.table: runs(part.table) for part in PARTS}), *studies])
    unsure = rows[(rows["low"] <= 0) & (rows["high"] >= 0)]
    says(
        "A difference of a point can hide in most intervals that hold 0.",
        ((unsure["low"] <= -1) | (unsure["high"] >= 1)).mean() > 0.5,
    )
