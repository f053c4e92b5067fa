"""The presets against the published values (supplement, implementation details; authors' code)."""

from dataclasses import replace

import pytest

from sdclib.methods import NeighbourSDCHasher, SDCHasher, make_hasher
from sdclib.methods.presets import PRESETS, preset_table, settings_from_preset
from study.runs import RunSpec


def test_paper_preset_has_the_supplements_values():
    paper = PRESETS["paper"]
    assert paper.calibration == "beta(5, 5)"
    assert (paper.hidden_features, paper.n_hidden_layers) == (4096, 1)
    assert (paper.learning_rate, paper.weight_decay) == (1e-4, 5e-4)
    assert (paper.batch_size, paper.epochs, paper.step_epoch) == (64, 100, 80)
    assert paper.quantization_weight == 1


def test_instance_preset_has_the_supplements_values():
    instance = PRESETS["paper-instance"]
    assert instance.n_hidden_layers == 0
    assert (instance.batch_size, instance.epochs, instance.step_epoch) == (256, 20, 10)
    assert instance.quantization_weight == 0.01


def test_release_differs_from_paper_in_width_and_weight_decay_only():
    table = preset_table()
    differing = table.index[table["paper"] != table["release"]]
    assert set(differing) == {"hidden_features", "weight_decay"}
    assert table.loc["hidden_features", "release"] == "d"
    assert table.loc["weight_decay", "release"] == 1e-5


def test_contrastive_variants_differ_in_targets_and_pairs():
    paper, release = PRESETS["paper-contrastive"], PRESETS["release-contrastive"]
    assert paper.temperature == release.temperature == 0.3
    assert paper.contrastive_weight == release.contrastive_weight == 1
    assert (paper.clip_targets, release.clip_targets) == (False, True)
    assert (paper.view_pairs, release.view_pairs) == (False, True)
    for plain, contrastive in (("paper", paper), ("release", release)):
        same = {"contrastive_weight": 0, "clip_targets": False, "view_pairs": False}
        assert settings_from_preset(plain) == replace(contrastive, **same)


def test_overrides_replace_and_none_keeps():
    settings = settings_from_preset("release", epochs=3, batch_size=None)
    assert (settings.epochs, settings.batch_size) == (3, 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_features", 0),
        ("n_hidden_layers", -1),
        ("batch_size", 1),
        ("epochs", 0),
        ("step_epoch", 2.5),
        ("learning_rate", float("nan")),
        ("weight_decay", -1),
        ("quantization_weight", "much"),
        ("calibration", "beta(0, 0)"),
        ("pairs", "some"),
        ("contrastive_weight", -1),
        ("temperature", 0.0),
        ("view_pairs", True),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        settings_from_preset("paper", **{name: value})


def test_unknown_preset_lists_the_known():
    with pytest.raises(
        ValueError, match=r"preset: expected one of paper, .*release-contrastive, got 'magic'"
    ):
        settings_from_preset("magic")


def test_best_is_a_method_of_its_own():
    hasher = make_hasher("sdc", 16, seed=3, preset="best", epochs=5)
    assert isinstance(hasher, NeighbourSDCHasher)
    assert (hasher.n_bits, hasher.random_state, hasher.epochs, hasher.n_steps) == (16, 3, 5, 4)
    with pytest.raises(ValueError, match=r"preset: .*got 'best', which is sdclib.methods.NeighbourSDCHasher"):
        _ = SDCHasher(preset="best").settings
    with pytest.raises(
        ValueError, match=r"parameters of method 'neighbour-sdc': expected one of .*got 'pairs'"
    ):
        make_hasher("sdc", 16, preset="best", pairs="all")


def test_a_run_of_best_is_a_run_of_the_method():
    named = RunSpec("cifar10-embedded", "sdc", 16, 1, {"preset": "best", "epochs": 5})
    assert named == RunSpec("cifar10-embedded", "neighbour-sdc", 16, 1, {"epochs": 5})
    assert named.id != RunSpec("cifar10-embedded", "sdc", 16, 1, {"epochs": 5}).id
