"""What the page of methods says, and its table of deviations against the sources' values and the library's."""

import inspect

import pandas as pd
import pytest

from sdclib.extract.views import N_VIEWS
from sdclib.methods import METHODS
from sdclib.methods.presets import PRESETS
from study.chapters.training_effects import base
from study.provenance import PROJECT_ROOT, RESULTS
from study.rules import PAPER_RULE
from study.tables import find, where
from tests.sentences.published import csv, runs, says

# Sources: S the paper's supplement, C the SDC authors' code, O the code of the method's own authors.
ADAM = {"learning_rate": 1e-4, "batch_size": 64, "epochs": 100, "step_epoch": 80}
SDC = ADAM | {"calibration": "beta(5, 5)", "pairs": "half", "center": False, "quantization_weight": 1.0}
WITHOUT = {"contrastive_weight": 0.0, "view_pairs": False}
SUPPLEMENT = {"hidden_features": 4096, "n_hidden_layers": 1, "weight_decay": 5e-4, "clip_targets": False}
CODE = {"hidden_features": None, "n_hidden_layers": 1, "weight_decay": 1e-5, "clip_targets": True}
TERM = {"contrastive_weight": 1.0, "temperature": 0.3}
SGD = {"learning_rate": 1e-4, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 32}
SOURCES = {
    "paper": SDC | SUPPLEMENT | TERM | {"contrast": "image", "view_pairs": False},  # S, A and algorithm 1
    "paper-no-contrastive": SDC | SUPPLEMENT | WITHOUT,  # S, B
    "paper-instance": SDC | SUPPLEMENT | WITHOUT  # S, A
    | {"n_hidden_layers": 0, "quantization_weight": 0.01, "batch_size": 256, "epochs": 20, "step_epoch": 10},
    "release": SDC | CODE | WITHOUT,  # C configs/model/sdc.yaml, configs/train.yaml, models/arch/sdc.py
    "release-simclr": SDC  # C configs/model/sdc_simclr.yaml, trainers/sdc.py, models/loss/sdc.py
    | CODE
    | TERM
    | {"contrast": "views", "view_pairs": True, "joint_views": True},
    "greedyhash": SGD | {"penalty_weight": 0.1, "epochs": 60},  # O
    "bihalf": SGD | {"gamma": 6.0, "epochs": 300, "step_epoch": 120},  # O
    "cibhash": {"temperature": 0.3, "kl_weight": 0.001, "stochastic": False, "learning_rate": 1e-3}  # O
    | {"batch_size": 64, "epochs": 60, "hidden_features": 1024},
    "ssdh": {"alpha": 2.0, "beta": 2.0, "learning_rate": 1e-3, "epochs": 10},  # O
    "tbh": {"learning_rate": 1e-4, "batch_size": 400, "latent_features": 512, "epochs": 8000},  # O
    "nsh": {"n_positives": 2, "temperature": 0.3, "quantization_weight": 1.0, "hidden_features": 0}  # C
    | {"latent_features": 1024, "learning_rate": 1e-5, "weight_decay": 1e-5, "batch_size": 50, "epochs": 200},
    "wch": {"temperature": 0.3, "weight_temperature": 0.2, "learning_rate": 1e-5},  # O
    "crovca": {"epochs": 5},  # O
    "orthohash": {"scale": 8.0, "margin": 0.2, "learning_rate": 1e-4, "weight_decay": 5e-4, "batch_size": 256},  # O
}  # fmt: skip

RIVALS = ("cifar10_rivals", "cifar10_slow")


@pytest.fixture(scope="module")
def deviations():
    """Cells by method and setting; methods that share a row have one each."""
    table = pd.read_csv(PROJECT_ROOT / "book" / "deviations.csv", dtype=str)
    table["method"] = table["method"].str.split(", ")
    return table.explode("method").set_index(["method", "setting"])


def here(name, setting):
    """Value of the library: of a preset of SDC, or a method's default; None where it is no setting."""
    if name in PRESETS:
        return getattr(PRESETS[name], setting, None)
    parameter = inspect.signature(METHODS[name]).parameters.get(setting) if name in METHODS else None
    return parameter and parameter.default


@pytest.mark.parametrize("name", SOURCES)
def test_every_setting_is_its_sources_or_in_the_table(deviations, name):
    for setting, value in SOURCES[name].items():
        assert here(name, setting) == value or (name, setting) in deviations.index, (setting, value)


def test_the_table_has_the_values_of_the_library(deviations):
    assert deviations.index.is_unique
    assert not deviations.isna().any(axis=None)
    known = {*METHODS, *PRESETS, "all"}
    assert set(deviations.index.get_level_values("method")) <= known
    values = {place: here(*place) for place in deviations.index}
    written = deviations["here"].to_dict()
    settings = {place: value for place, value in values.items() if value is not None}
    assert len(settings) > 10
    assert {place: str(value) for place, value in settings.items()} == {p: written[p] for p in settings}
    says(
        "a row a deviation",
        all(
            deviations.loc[place, "source says"] != written[place] or place[1] in ("learning_rate", "center")
            for place in settings
        ),
    )


def test_the_papers_rule():
    rule = ADAM | {"optimizer": "adam", "weight_decay": 5e-4}  # S, A: for all methods on sets of categories
    assert rule == PAPER_RULE


def test_views():
    says("four an image, made once", N_VIEWS == 4)


def test_measured_effects(deviations):
    table = runs("cifar10_closed", "cifar10_sdc", *RIVALS)
    means = (100 * table.groupby(["config", "n_bits"])["map_expected"].mean()).round(1)

    def quoted(place, *expected, n_bits=64):
        found = [f"{means[find(table, **settings), n_bits]} %" for settings in expected]
        assert all(value in deviations.loc[place, "effect"] for value in found), found

    quoted(("all", "network"), {"preset": "paper-no-contrastive"})
    paper = csv("paper").query("data == 'CIFAR-10' and calibration == 'Beta(5, 5)' and contrastive == 'no'")
    says(
        "the supplement has 63.0 % for SDC without the contrastive term", paper["percent"].tolist() == [63.0]
    )
    for method in ("greedyhash", "bihalf"):
        quoted(
            (method, "learning_rate"), *({"method": method, "learning_rate": rate} for rate in (0.01, 1e-4))
        )
    tuned = runs("tuning").pivot_table(index="method", columns="learning_rate", values="map_expected")
    says("0.01, chosen on held-out training images", set(tuned.idxmax(axis=1)) == {0.01})
    quoted(("ssdh", "what is trained"), {"method": "ssdh"})
    quoted(("nsh", "loss"), {"method": "nsh"}, n_bits=16)
    training = runs("training")
    clipped, plain = (
        100 * where(training, **which)["map_expected"].mean()
        for which in ({"preset": "release", "clip_targets": True}, {"config": base(training, 1e-4)})
    )
    assert f"costs {plain - clipped:.1f} points" in deviations.loc[("release", "clip_targets"), "effect"]
    quoted(("lsh", "center"), *({"method": "lsh", "center": center} for center in (False, True)))
    both = 100 * table.groupby(["config", "n_bits"])[["map_authors", "map_expected"]].mean()
    says(
        "the definitions differ by less than 1 point in the mean of any method on CIFAR-10",
        (both["map_authors"] - both["map_expected"]).abs().max() < 1,
    )
    epochs = 100 * runs("epochs").pivot_table(index="epochs", columns="seed", values="map_expected")
    says(
        "0.1 points by the supplement's schedule, on the packaged features",
        round((epochs.max() - epochs.loc[100]).mean(), 1) == 0.1,
    )


def test_tables():
    tables = (csv(path.stem) for path in RESULTS.glob("*.csv"))
    says("so it has no row in the tables", all("wch" not in set(rows.get("method", ())) for rows in tables))
    data = set(runs("datasets", "instances")["data"].str.split("/").str[0])
    says(
        "CIFAR-10; Caltech-101, Corel-5k and COIL-20 in place of the others",
        data == {"cifar10", "caltech101", "corel5k", "coil20"},
    )
    steps = 5000 // 400 * 100
    says(
        "1,200 steps are too few to judge TBH by",
        steps == 1200 and len(where(runs("cifar10_slow"), method="tbh")) > 0,
    )
