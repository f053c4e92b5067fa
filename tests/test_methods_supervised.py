"""Methods that learn from labels: targets stated once more, what a run hands them, and that they learn."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from sdclib import load_features
from sdclib.evaluation import evaluate_codes
from sdclib.methods import METHODS, BaseHasher, LogitHasher, OrthoHashHasher, SDCHasher, SupervisedSDCHasher
from sdclib.methods.sdc import _targets
from sdclib.methods.supervised import class_targets
from study.runs import RunSpec, run_experiment

SUPERVISED = sorted(name for name, kind in METHODS.items() if kind().needs_labels)
QUICK = {"n_bits": 12, "epochs": 3, "batch_size": 60}


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(0, 4, 240)


@pytest.fixture(scope="module")
def X(ids):
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((4, 10))
    return (centres[ids] + 0.6 * rng.standard_normal((240, 10)) + 0.5).astype(np.float32)


class TestSupervisedSDC:
    def test_targets_of_a_mixture_by_scipy(self):
        hasher = SupervisedSDCHasher(labels="target", positive="beta(4, 2)", negative="beta(3, 5)")
        hasher.set_params(batch_size=20)
        targets_of = _targets(hasher.settings, torch.zeros(1))
        targets = targets_of(4).numpy()
        u = (2 * np.arange(1, 7) - 1) / 12, (2 * np.arange(1, 5) - 1) / 8
        expected = [*(2 * stats.beta(3, 5).ppf(u[0]) - 1), *(2 * stats.beta(4, 2).ppf(u[1]) - 1)]
        np.testing.assert_allclose(targets, expected, atol=1e-6)
        assert [len(targets_of(n)) for n in (0, 10)] == [10, 10]

    def test_where_labels_say_nothing_order_is_sdc(self, X):
        settings = {**QUICK, "learning_rate": 4e-4}
        alone = np.arange(240)  # no positive pair
        hasher = SupervisedSDCHasher(labels="order", **settings).fit(X, alone)
        sdc = SDCHasher(preset="release", **settings).fit(X)
        np.testing.assert_array_equal(hasher.decision_function(X), sdc.decision_function(X))
        assert (hasher.history_["positive"] == 0).all()


class TestOrthoHash:
    def test_class_targets(self):
        torch.manual_seed(0)
        rows = class_targets("hadamard", 10, 16).numpy()
        np.testing.assert_array_equal(rows @ rows.T, 16 * np.eye(10))
        coins = class_targets("bernoulli", 200, 50).numpy()
        assert set(np.unique(coins)) == {-1, 1}
        assert abs(coins.mean()) < 0.05
        for n_bits in (12, 8):
            with pytest.raises(
                ValueError, match=f"class_targets: .*10 classes, got 'hadamard' with n_bits = {n_bits}"
            ):
                class_targets("hadamard", 10, n_bits)


def test_hashed_logits_are_projections_of_a_classifiers_logits(X, ids):
    hasher = LogitHasher(n_bits=4000, epochs=30, batch_size=60, n_hidden_layers=0).fit(X, ids)
    f = hasher.decision_function(X)
    np.testing.assert_allclose(f.mean(axis=0), 0, atol=1e-3)
    assert np.linalg.matrix_rank(f, tol=1e-2) == 4  # of four classes, whatever the number of bits
    # the share of differing bits estimates the angle between centred logits
    share = (hasher.transform(X)[:20, None] != hasher.transform(X)[None, :20]).mean(axis=2)
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    angle = np.arccos((unit[:20] @ unit[:20].T).clip(-1, 1))
    np.testing.assert_allclose(share, angle / np.pi, atol=0.05)
    assert np.mean(ids[share.argsort(axis=1)[:, 1]] == ids[:20]) > 0.5


class TestExperiment:
    @pytest.mark.parametrize("method", SUPERVISED)
    def test_a_run_gets_the_training_rows_labels_and_no_other(self, tiny_data, monkeypatch, method):
        seen = []
        fit = BaseHasher.fit
        monkeypatch.setattr(
            BaseHasher, "fit", lambda self, X, y=None, **more: seen.append(y) or fit(self, X, y, **more)
        )
        spec = RunSpec("tiny", method, 12, 1, {"epochs": 2, "batch_size": 50})
        metrics = run_experiment(spec, progress=False).metrics
        np.testing.assert_array_equal(seen[0], tiny_data.database_labels[tiny_data.train_index])
        assert 0 <= metrics["map_expected"] <= 1

    def test_a_set_without_labels_of_training_rows_is_named(self, tiny):
        apart = dataclasses.replace(tiny, train_features=tiny.train, train_index=np.zeros(0, np.int64))
        spec = RunSpec("tiny", "logits", 12, 0, {"epochs": 1, "batch_size": 50})
        with pytest.raises(
            ValueError, match=r"features: logits learns from labels .* but tiny has none of them"
        ):
            run_experiment(spec, apart, progress=False)
        nothing = np.zeros((40, 0), np.uint8), np.zeros((400, 0), np.uint8)
        listed = dataclasses.replace(
            tiny, query_labels=nothing[0], database_labels=nothing[1], ground_truth=(np.arange(3),) * 40
        )
        with pytest.raises(ValueError, match="but tiny has none of them"):
            run_experiment(spec, listed, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (SupervisedSDCHasher, {"labels": "order"}),
        (SupervisedSDCHasher, {"labels": "target"}),
        (OrthoHashHasher, {"learning_rate": 4e-4}),
        (LogitHasher, {}),
    ],
)
def test_it_learns_what_labels_say_of_rows_it_has_not_seen(kind, parameters):
    data = load_features("cifar10-embedded+unseen")
    labels = data.database_labels[data.train_index]

    def ranked(y):
        hasher = kind(n_bits=32, epochs=15, **parameters).fit(data.train, y)
        codes = hasher.transform(data.query), hasher.transform(data.database)
        return evaluate_codes(*codes, data.relevant, data.top_k, junk=data.junk)[0]["map_expected"]

    assert ranked(labels) > ranked(np.random.default_rng(0).permutation(labels)) + 0.1
