"""SDC's training, and its presets against the published values (supplement, implementation details; authors' code)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdclib.methods import NeighbourSDCHasher, SDCHasher, make_hasher, trained
from sdclib.methods.presets import PRESETS, preset_table, settings_from_preset
from study.runs import RunSpec


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 24))
    return (centres[rng.integers(0, 5, 300)] + 0.5 * rng.standard_normal((300, 24)) + 0.4).astype(np.float32)


class TestTraining:
    def test_head_has_the_papers_layers(self, X):
        head = SDCHasher(n_bits=16, preset="paper", epochs=1).fit(X).head_
        assert [tuple(p.shape) for p in head.parameters()] == [
            (4096, 24), (4096,), (16, 4096), (16,), (16,), (16,),
        ]  # fmt: skip
        linear = SDCHasher(n_bits=16, preset="paper-instance", epochs=1).fit(X).head_
        assert [tuple(p.shape) for p in linear.parameters()] == [(16, 24), (16,), (16,), (16,)]
        deep = (
            SDCHasher(n_bits=4, preset="release", n_hidden_layers=2, hidden_features=8, epochs=1).fit(X).head_
        )
        assert [tuple(p.shape) for p in deep.parameters()][::2] == [(8, 24), (8, 8), (4, 8), (4,)]

    def test_history_falls_and_counts_epochs(self, X):
        history = (
            SDCHasher(n_bits=16, preset="release", epochs=40, step_epoch=20, random_state=1).fit(X).history_
        )
        assert history["epoch"].tolist() == list(range(1, 41))
        assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.02
        np.testing.assert_allclose(  # means of float32 over few batches, each rounded at 6e-8
            history["loss"], history["calibration_loss"] + history["quantization_loss"], rtol=1e-5
        )
        assert history["learning_rate"].tolist() == pytest.approx([1e-4] * 20 + [1e-5] * 20)

    def test_centred_training_is_training_on_centred_features(self, X, monkeypatch):
        monkeypatch.setattr(trained, "training_scale", lambda X: 1.0)  # centred features are shorter
        parameters = {"preset": "release", "epochs": 5, "random_state": 3}
        mean = X.mean(axis=0)
        centred = SDCHasher(n_bits=16, center=True, **parameters).fit(X)
        by_hand = SDCHasher(n_bits=16, **parameters).fit(X - mean)
        # rounding of float32 that the training amplifies: up to 3e-4 over five seeds
        np.testing.assert_allclose(
            centred.decision_function(X), by_hand.decision_function(X - mean), atol=5e-3
        )
        plain = SDCHasher(n_bits=16, **parameters).fit(X)
        assert not np.allclose(centred.decision_function(X), plain.decision_function(X), atol=0.1)

    @pytest.mark.parametrize(
        "changed", [{"pairs": "all"}, {"calibration": "empirical"}, {"calibration": "binomial(16)"}]
    )
    def test_other_pairs_and_targets_train(self, X, changed):
        history = (
            SDCHasher(n_bits=16, preset="release", epochs=30, learning_rate=1e-3, **changed).fit(X).history_
        )
        assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.02

    def test_diverged_training_is_named(self, X):
        with pytest.raises(ValueError, match="training diverged, loss is nan in epoch 1"):
            SDCHasher(n_bits=8, preset="release", epochs=2, learning_rate=1e30).fit(X)


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
