"""The dial of bias, and whether one method is the first by every rule, on made-up runs."""

import numpy as np
import pandas as pd
import pytest

from study.chapters.dial import change, change_table, network_table, plot_dial, with_dial
from study.chapters.goal_classes import lead_table, leads, plot_lead
from study.tables import Config

DIALS = (-1, 0, 3)


@pytest.fixture
def runs():
    """LSH gets worse as the dial turns, ITQ does not; float cosine has one seed."""
    rows = []
    for data in ("cifar10-embedded", "tiny"):
        for dial in DIALS:
            for method, seeds, turn in (
                ("cosine", [0], 0.01),
                ("lsh", [0, 1, 2], 0.05),
                ("itq", [0, 1, 2], 0),
            ):
                for seed in seeds:
                    value = 0.5 + turn * dial + 0.002 * (seed - 1)
                    row = {"data": f"{data}+bias({dial})", "config": Config(method), "seed": seed}
                    rows.append(row | {"intersection": value, "map_expected": 1 - value})
    return with_dial(pd.DataFrame(rows))


def test_the_change_is_from_one_end_of_the_dial_to_the_other(runs):
    assert set(runs["set"]) == {"CIFAR-10 (packaged)", "tiny"}
    assert sorted(set(runs["dial"])) == list(DIALS)
    found = change(runs, "intersection").astype({"config": str}).set_index(["set", "config"])
    assert found["mean"]["tiny"].tolist() == pytest.approx([4, 20, 0])
    lsh, floats = found.loc[("tiny", "LSH")], found.loc[("tiny", "Float cosine")]
    assert lsh["high"] - lsh["mean"] == pytest.approx(
        2.776 * 0.2 * np.sqrt(2 / 3), rel=1e-3
    )  # t of 4 degrees
    assert floats[["low", "high"]].isna().all()
    table = change_table(runs).rename(index=str)
    assert table.loc[("tiny", "Float cosine")].tolist() == ["+4.0", "-4.0"]
    assert table.loc[("tiny", "LSH"), "expected mAP"] == "-20.0 (-20.5 to -19.5)"
    names = {text.get_text() for axes in plot_dial(runs).axes for text in axes.texts}
    assert names == {"LSH", "ITQ", "Float cosine"}
    with pytest.raises(ValueError, match=r"runs: expected data sets NAME\+bias\(NUMBER\), got \['tiny'\]"):
        with_dial(runs.assign(data="tiny"))


def test_networks_come_by_their_bias():
    """Of sets with more than one."""
    rows = []
    for data, bias in (("caltech101/other", 0.4), ("caltech101/sscd", 0.1), ("coil20/sscd", 0.2)):
        for method, value in (("cosine", 0.9), ("itq", 0.5), ("sdc", 0.5 - bias)):
            row = {"data": data, "n_bits": 64, "method": method, "config": Config(method), "center": False}
            row |= {"negative_mean": bias, "preset": "release"}
            rows += [
                row | {"seed": i, "intersection": value + i / 100, "map_expected": 1 - value + i / 100}
                for i in range(2)
            ]
    table = network_table(pd.DataFrame(rows))
    assert table.index.tolist() == [("Caltech-101", "SSCD"), ("Caltech-101", "other")]
    assert table["bias"].tolist() == [0.1, 0.4]
    assert table["intersection"].str.split(" ").str[0].tolist() == ["-10.0", "-40.0"]
    assert table["expected mAP"].str.split(" ").str[0].tolist() == ["+10.0", "+40.0"]


def test_the_lead_over_the_best_other_by_every_rule():
    """BiHalf is ahead where it is tuned, and a method without a rule counts under each."""
    values = {
        ("neighbour-sdc", None): 80,
        ("itq", None): 70,
        ("bihalf", "authors"): 60,
        ("bihalf", "paper"): 79,
        ("bihalf", "tuned"): 82,
    }
    rows = [
        {
            "method": method,
            "rule": rule,
            "n_bits": 64,
            "seed": seed,
            "images": "whole database",
            "mAP": value + seed,
        }
        for (method, rule), value in values.items()
        for seed in ((0,) if method == "itq" else (-1, 0, 1))
    ]
    table = pd.DataFrame(rows)
    found = leads(table).set_index("rule")
    assert found["other"].tolist() == ["itq", "bihalf", "bihalf"]
    assert found["mean"].tolist() == pytest.approx([10, 1, -2])
    assert found["high"]["tuned"] - found["mean"]["tuned"] == pytest.approx(2.776 * np.sqrt(2 / 3), rel=1e-3)
    assert np.isnan(found["high"]["authors"])  # ITQ has one seed
    assert (
        lead_table(leads(table)).loc[("whole database", "tuned"), "64 bits"] == "BiHalf: -2.0 (-4.3 to 0.3)"
    )
    labels = [text.get_text() for text in plot_lead(table).axes[0].get_yticklabels()]
    assert labels[0] == "SDC by neighbours"
