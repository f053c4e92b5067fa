from dataclasses import asdict

import pytest

from sdclib.methods.presets import PRESETS
from study.chapters.instance_table import step_differences, training_steps, variant_table
from study.stats import against, compared
from study.tables import find
from tests.sentences.published import count_signs, csv, runs, says, states, training_share

TEXT, COIL = "instances", "coil20/efficientnet-lite0"


@pytest.fixture(scope="module")
def results():
    return runs("instances")


def test_set(results):
    says(
        "COIL-20 stands in for these sets ... Average precision is over the first 100",
        set(results["data"]) == {COIL} and set(results["top_k"]) == {100},
    )
    says(
        "Of each object ten views are queries; the other 62 are database and training images.",
        training_share(COIL) == (1240, 1240),
    )
    says(
        "The settings are made for GLDv2, with 1,200,000 training images, where 20 epochs are 93,740 steps.",
        training_steps(PRESETS["paper-instance"], 1_200_000) == 93_740,
    )
    steps = variant_table(1240)["steps"]
    says("With COIL-20's 1,240 they are 80.", steps["paper-instance"] == 80)
    assert steps["longer"] == steps["release"]


def test_sdc_and_itq(results):
    itq, floats = find(results, method="itq"), find(results, method="cosine", center=False)
    release, instance = (
        compared(results, [(find(results, method="sdc", **asdict(PRESETS[name]), preset=name), itq)])
        for name in ("release", "paper-instance")
    )
    best = release.loc[release["mean"].idxmax()]
    states(
        TEXT,
        f"`release` is {best['mean']:.1f} points above ITQ at {best['n_bits']} bits and level with it at",
    )
    says(
        "points above ITQ at 128 bits and level with it at the other three",
        count_signs(release) == (1, 0, 3) and best["low"] > 0,
    )
    says("`paper-instance` is below it at all four", count_signs(instance) == (0, 4, 0))
    states(TEXT, f"by {-instance['mean'].max():.1f} to {-instance['mean'].min():.1f} points.")
    at_64 = instance.set_index("n_bits")["mean"][64]
    states(TEXT, f"with `paper-instance` it is {-at_64:.1f} points of expected mAP below ITQ.")
    lead = against(results, itq, 64).set_index("second").loc[floats]
    says("At 64 bits ITQ is even above the float features that it is made from", lead["low"] > 0)
    states(TEXT, f"that it is made from ({100 * results.set_index('config')['map_expected'][floats]:.1f} %).")


def test_steps(results):
    steps = step_differences(results, 64).set_index("label")
    mean, parts = steps["mean"], steps.iloc[:4]
    states(TEXT, f"its full weight is worth {mean['quantization weight 1']:.1f} points")
    states(
        TEXT,
        f"In all, `release` is {mean['all of release']:.1f} points better. The quantization weight alone makes "
        f"{mean['quantization weight 1']:.1f};",
    )
    states(
        TEXT, f"A hidden layer gains {mean['hidden layer alone']:.1f} points where nothing else is changed"
    )
    says("no other step can be told from chance", count_signs(parts) == (1, 0, 3))
    says("A hidden layer gains", steps["low"]["hidden layer alone"] > 0)


def test_figures_of_the_paper():
    paper = csv("paper")
    gldv2 = paper[paper["data"] == "GLDv2"]
    states(
        TEXT,
        f"The supplement reports {gldv2['percent'].min()} to {gldv2['percent'].max()} % for GLDv2 at 512 bits",
    )
    says("for GLDv2 at 512 bits", set(gldv2["n_bits"]) == {512})
    says(
        "no figure of the paper for ROxford or RParis could be read at its source",
        not paper["data"].str.contains("Oxford|Paris").any(),
    )
