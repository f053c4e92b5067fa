import json

import pandas as pd

from sdclib.losses.calibration import parse_calibration, target_quantiles
from study.comparisons import compared
from tests.sentences.published import runs, says

CIFAR10 = "cifar10/efficientnet-lite0"


def test_methods():
    sdc = runs("cifar10_sdc").query("label == 'SDC (paper)'")
    says(
        "CIFAR-10 is the paper's protocol, 16 to 128 bits, SDC by the preset `paper`; Welch's 95 % interval over three "
        "seeds.",
        sorted(sdc["n_bits"].unique()) == [16, 32, 64, 128]
        and (sdc.groupby("n_bits")["seed"].nunique() == 3).all(),
    )
    tuned = runs("tuning")
    tuned["rate"] = [json.loads(text)["learning_rate"] for text in tuned["parameters"]]
    best = tuned.pivot_table(index="method", columns="rate", values="map_expected").idxmax(axis=1)
    ran = {name for table in ("cifar10_rivals", "cifar10_slow") for name in runs(table)["label"]}
    says(
        "BiHalf and GreedyHash have a learning rate chosen on held-out training images.",
        dict(best) == {"bihalf": 0.01, "greedyhash": 0.01}
        and {"BiHalf (learning_rate=0.01)", "GreedyHash (learning_rate=0.01)"} <= ran,
    )


def test_targets():
    ran = {
        json.loads(row["parameters"]).get("calibration", "beta(5, 5)")
        for name in ("calibration", "targets")
        for row in runs(name).to_dict("records")
    }
    extreme = {"beta(0.2, 0.2)", "beta(0.5, 0.5)", "beta(1, 1)"}
    narrow = {"beta(10, 10)", "beta(7.5, 7.5)", "beta(31.5, 31.5)", "binomial(16)", "binomial(64)"}
    values = {name: target_quantiles(parse_calibration(name), 10_000) for name in ran - {"empirical"}}
    spread = {name: of.std() for name, of in values.items()}
    says(
        "Extreme targets are Beta(0.2, 0.2), Beta(0.5, 0.5) and Beta(1, 1); narrow ones are Beta(10, 10) and, matched "
        "to the code length, Beta(7.5, 7.5), Beta(31.5, 31.5) and the binomial distribution.",
        extreme | narrow <= ran
        and max(spread[name] for name in narrow)
        < spread["beta(5, 5)"]
        < min(spread[name] for name in extreme),
    )
    says(
        "A target with most pairs below 0 (`beta(1, 2)`, `beta(2, 5)`, `beta(5, 10)`); the mirror image of one, "
        "`beta(5, 2)`.",
        all((values[name] < 0).mean() > 0.5 for name in ("beta(1, 2)", "beta(2, 5)", "beta(5, 10)"))
        and "beta(5, 2)" in ran,
    )


def test_centring():
    share = runs("datasets").pivot_table(index="data", columns="label", values="intersection")
    change = share["Float cosine (centred)"] - share["Float cosine"]
    says("With four image sets no correlation can be established.", len(share) == 4)
    says(
        "What centring, which takes the bias away, does to the collapse depends on the set.",
        change.min() < -0.05 and change.max() > 0.05,
    )


def test_better_than_the_paper():
    rows = pd.concat([runs(name) for name in ("neighbours", "cifar10_sdc", "cifar10_contrastive_paper")])
    rows = rows[(rows["data"] == CIFAR10) & (rows["n_bits"] == 64)].drop_duplicates("id")
    less = compared(rows, [("SDC by neighbours", f"SDC ({name})") for name in ("paper", "paper-contrastive")])
    says("Better than the paper's method, on these images.", len(less) == 2 and less["low"].min() > 1)
