"""Similarity matching: each target stated once more, in NumPy, and what the transformations of features do."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from sdclib.losses.calibration import Beta, matching_loss, ranking_loss
from sdclib.methods import MatchingHasher, SDCHasher, trained
from sdclib.methods.sdc import FEATURES, MATCHES, linear_map, quantile_map, similarity_moments, whitening
from tests.packaged import packaged_map

QUICK = {"n_bits": 12, "epochs": 3, "batch_size": 60}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 10))
    return (centres[rng.integers(0, 4, 240)] + 0.6 * rng.standard_normal((240, 10)) + 0.5).astype(np.float32)


def cosine(x, y):
    return float(np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y))


def all_cosines(X):
    return np.array([cosine(x, y) for x, y in itertools.combinations(X.astype(np.float64), 2)])


class TestLosses:
    def test_matching_is_the_mean_absolute_difference_pair_by_pair(self):
        rng = np.random.default_rng(1)
        codes, targets = rng.standard_normal((8, 5)), rng.uniform(-1, 1, 4)
        expected = np.mean([abs(cosine(codes[i], codes[4 + i]) - targets[i]) for i in range(4)])
        assert matching_loss(torch.tensor(codes), torch.tensor(targets)).item() == pytest.approx(expected)
        with pytest.raises(ValueError, match=r"targets: expected shape \(4,\), got \(3,\)"):
            matching_loss(torch.tensor(codes), torch.zeros(3))

    def test_ranking_is_a_logistic_cost_of_each_two_pairs(self):
        rng = np.random.default_rng(2)
        codes, features = rng.standard_normal((12, 5)), rng.standard_normal((12, 7))
        features[1], features[7] = features[0], features[6]  # two pairs with equal t: of no order
        s = [cosine(codes[i], codes[6 + i]) for i in range(6)]
        t = [cosine(features[i], features[6 + i]) for i in range(6)]
        t[1] = t[0]
        costs = [
            0.2 * math.log(1 + math.exp(-(s[i] - s[j]) / 0.2))
            for i in range(6)
            for j in range(6)
            if t[i] > t[j]
        ]
        assert len(costs) == 14
        loss = ranking_loss(torch.tensor(codes), torch.tensor(features), temperature=0.2)
        assert loss.item() == pytest.approx(np.mean(costs))

    def test_ranking_knows_the_order_alone_and_its_slope_is_bounded(self):
        rng = np.random.default_rng(3)
        features = torch.tensor(rng.standard_normal((20, 6)))
        right = ranking_loss(features, features, 0.01)
        assert right < ranking_loss(torch.tensor(rng.standard_normal((20, 6))), features, 0.01) / 5
        with pytest.raises(ValueError, match=r"features: expected as many rows as codes \(20\)"):
            ranking_loss(features, features[:19])
        codes = features[:2].clone().requires_grad_()  # a single pair has no order
        loss = ranking_loss(codes, features[:2])
        loss.backward()
        assert loss.item() == 0
        assert (codes.grad == 0).all()


class TestTargets:
    def test_moments_are_those_of_all_pairs(self, X):
        cosines = all_cosines(X[:50])
        assert similarity_moments(torch.from_numpy(X[:50])) == pytest.approx((cosines.mean(), cosines.std()))
        with pytest.raises(ValueError, match="X: expected at least two rows to make a pair, got 1"):
            similarity_moments(torch.from_numpy(X[:1]))

    def test_standardised_is_linear_with_the_moments_of_the_calibration(self, X):
        cosines = all_cosines(X)
        targets = linear_map(torch.from_numpy(X), Beta(2, 1))(torch.tensor(cosines)).numpy()
        wanted = stats.beta(2, 1, loc=-1, scale=2)
        expected = (cosines - cosines.mean()) / cosines.std() * wanted.std() + wanted.mean()
        np.testing.assert_allclose(targets, expected.clip(-1, 1), atol=1e-4)
        assert (np.abs(expected) > 1).any(), "the cut is to be seen"

    def test_mapped_gives_training_pairs_the_calibration_distribution(self, X):
        cosines = all_cosines(X)
        targets = quantile_map(torch.from_numpy(X), Beta(5, 5))(torch.tensor(cosines)).numpy()
        distance = stats.kstest(targets, stats.beta(5, 5, loc=-1, scale=2).cdf).statistic
        assert distance < 0.005
        order = np.argsort(cosines)
        assert (np.diff(targets[order]) >= 0).all()
        ends = quantile_map(torch.from_numpy(X), Beta(5, 5))(torch.tensor([-1.0, 1.0])).numpy()
        expected = stats.beta(5, 5, loc=-1, scale=2).ppf([0.0005, 0.9995])
        np.testing.assert_allclose(ends, expected, atol=1e-5)

    def test_calibrated_is_sdc(self, X):
        settings = {"batch_size": 60, "epochs": 3, "learning_rate": 4e-4, "random_state": 5}
        sdc = SDCHasher(n_bits=12, preset="release", **settings).fit(X)
        same = MatchingHasher(n_bits=12, target="calibrated", **settings).fit(X)
        np.testing.assert_array_equal(same.decision_function(X), sdc.decision_function(X))
        centred = SDCHasher(n_bits=12, preset="release", center=True, **settings).fit(X)
        same = MatchingHasher(n_bits=12, target="calibrated", features="centred", **settings).fit(X)
        np.testing.assert_allclose(same.decision_function(X), centred.decision_function(X), atol=1e-5)

    def test_targets_are_of_different_codes(self, X):
        codes = [MatchingHasher(target=target, **QUICK).fit(X).decision_function(X) for target in MATCHES]
        assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.combinations(codes, 2))


class TestFeatures:
    def test_whitening_has_equal_variances_but_for_shrinkage(self, X):
        centred = (X - X.mean(axis=0)).astype(np.float64)
        size = np.square(centred).sum(axis=1).mean()
        for shrinkage in (1e-6, 0.3, 1.0):
            M = whitening(torch.from_numpy(X).double(), shrinkage).numpy()
            variances = np.sort(np.linalg.eigvalsh(np.cov(centred @ M.T, rowvar=False, bias=True)))
            assert variances.sum() == pytest.approx(size)
            before = np.linalg.eigvalsh(np.cov(centred, rowvar=False, bias=True))
            shrunk = before / ((1 - shrinkage) * before + shrinkage * before.mean())
            np.testing.assert_allclose(variances, np.sort(shrunk) * size / shrunk.sum(), rtol=1e-4)
        np.testing.assert_allclose(M @ M.T, np.eye(10), atol=1e-6)  # at 1 a rotation

    @pytest.mark.parametrize("features", ["centred", "whitened"])
    def test_transformed_features_are_absorbed(self, X, features, monkeypatch):
        monkeypatch.setattr(trained, "training_scale", lambda X: 1.0)  # centred features are shorter
        settings = {**QUICK, "target": "standardised", "random_state": 2}
        hasher = MatchingHasher(features=features, **settings).fit(X)
        Z = X - X.mean(axis=0)
        if features == "whitened":
            Z = Z @ whitening(torch.from_numpy(X), 0.5).numpy().T
        by_hand = MatchingHasher(**settings).fit(Z)
        # float32 inputs differ by 1e-7, which Adam's steps along the signs of small gradients amplify to 1e-3
        np.testing.assert_allclose(hasher.decision_function(X), by_hand.decision_function(Z), atol=1e-2)

    def test_rows_that_do_not_differ(self):
        with pytest.raises(ValueError, match="X: expected rows that differ"):
            MatchingHasher(features="whitened", **QUICK).fit(np.ones((80, 4)))
        with pytest.raises(ValueError, match="X: expected pairs of different cosines"):
            MatchingHasher(target="standardised", **QUICK).fit(np.ones((80, 4)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target": "magic"}, f"target: expected one of {', '.join(sorted(MATCHES))}, got 'magic'"),
        ({"features": "magic"}, f"features: expected one of {', '.join(sorted(FEATURES))}, got 'magic'"),
        ({"calibration": "magic"}, "calibration: expected a distribution"),
        ({"features": "whitened", "shrinkage": 0.0}, "shrinkage: expected a number above 0 and at most 1"),
        ({"features": "whitened", "shrinkage": 1.5}, "shrinkage: expected a number above 0 and at most 1"),
        ({"temperature": 0.0}, "temperature: expected a number above 0"),
        ({"quantization_weight": -1}, "quantization_weight: expected a finite number >= 0"),
        ({"learning_rate": -1}, "learning_rate: expected a finite number >= 0"),
        ({"weight_decay": "x"}, "weight_decay: expected a finite number >= 0"),
        ({"batch_size": 1}, "batch_size: expected a whole number >= 2"),
        ({"epochs": 0}, "epochs: expected a whole number >= 1"),
        ({"step_epoch": 0}, "step_epoch: expected a whole number >= 1"),
    ],
)
def test_bad_parameters_are_named(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        MatchingHasher(**{**QUICK, **parameters}).fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("target", MATCHES)
def test_it_learns(target):
    untrained = packaged_map(MatchingHasher(n_bits=32, target=target, epochs=1, learning_rate=0.0))
    assert packaged_map(MatchingHasher(n_bits=32, target=target, epochs=15)) > untrained + 0.1
