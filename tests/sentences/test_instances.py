from study.chapters.instance_table import variant_table
from study.chapters.pair_targets import training_share
from tests.sentences.published import csv, runs, says

COIL = "coil20/efficientnet-lite0"


def test_set():
    says(
        "COIL-20 stands in for them. The features are EfficientNet-Lite0's.",
        set(runs("instances")["data"]) == {COIL},
    )
    says(
        "Of each object ten views are queries; the others are database and training images.",
        training_share(COIL) == (20 * (72 - 10),) * 2,
    )


def test_steps():
    steps = variant_table(training_share(COIL)[0])["steps"]
    says(
        "First as many steps as `release` takes, by more epochs.",
        steps["longer"] == steps["release"] == steps["release, linear head"],
    )


def test_figures_of_the_paper():
    says(
        "There is no row for ROxford or RParis.", not csv("paper")["data"].str.contains("Oxford|Paris").any()
    )
