"""Methods without gradient steps against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from sdclib.methods import make_hasher
from sdclib.methods.closed_form import ITQHasher, LSHHasher, PCAHHasher, RotationHasher, SHHasher, SignHasher
from sdclib.methods.neighbours import smooth_over_neighbours
from tests.packaged import packaged_map
from tests.reference import cosine


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((200, 12)) @ np.diag(np.linspace(3, 0.5, 12)) + 1.5).astype(np.float32)


def principal_components(X):
    """Eigenvectors of the covariance, one a row, largest variance first, the largest entry of each positive."""
    centred = X.astype(np.float64) - X.astype(np.float64).mean(axis=0)
    variances, vectors = np.linalg.eigh(centred.T @ centred / (len(X) - 1))
    rows = vectors.T[np.argsort(-variances)]
    return np.array([row if row[np.abs(row).argmax()] > 0 else -row for row in rows])


@pytest.mark.parametrize("n_bits", [16, 64])
def test_all_beat_random_projections(n_bits):
    random = packaged_map(make_hasher("lsh", n_bits))
    for kind in (PCAHHasher, SHHasher, RotationHasher):
        assert packaged_map(kind(n_bits=n_bits)) > random + 0.02


@pytest.mark.parametrize(
    ("kind", "n_bits", "message"),
    [
        (SignHasher, 13, "the 12 features, got 13"),
        (RotationHasher, 13, "the 12 features, got 13"),
        (PCAHHasher, 13, r"min\(n_samples, n_features\) = 12, got 13"),
        (ITQHasher, 13, r"min\(n_samples, n_features\) = 12, got 13"),
        (PCAHHasher, 8, r"min\(n_samples, n_features\) = 5, got 8"),
    ],
)
def test_more_bits_than_there_can_be_are_named(X, kind, n_bits, message):
    with pytest.raises(ValueError, match=f"n_bits: expected at most {message}"):
        kind(n_bits=n_bits).fit(X[: 5 if n_bits == 8 else None])


def test_sign_and_lsh(X):
    np.testing.assert_array_equal(SignHasher(n_bits=10).fit(X).transform(X), X[:, :10] >= 0)
    centred = SignHasher(n_bits=12, center=True).fit(X).decision_function(X)
    np.testing.assert_allclose(centred.mean(axis=0), 0, atol=1e-5)
    # the share of differing bits estimates the angle (Goemans and Williamson)
    codes = LSHHasher(n_bits=20_000, random_state=0).fit(X).transform(X[:2])
    angle = np.arccos(cosine(X[0], X[1]))
    assert np.mean(codes[0] != codes[1]) == pytest.approx(angle / np.pi, abs=0.015)


def test_itq_by_neighbours_is_itq_on_the_ridge_regression_to_the_teacher(X):
    hasher = make_hasher("neighbour-itq", 3, n_neighbors=4, n_steps=2, ridge=0.5).fit(X)
    centred = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    teacher = smooth_over_neighbours(centred, 4, 2)
    scaled = centred / np.sqrt((centred**2).mean())
    linear = np.linalg.solve(scaled.T @ scaled + 0.5 * np.eye(X.shape[1]), scaled.T @ teacher)
    student = (scaled @ linear).astype(np.float32)
    expected = make_hasher("itq", 3).fit(student).decision_function(student)
    found = hasher.decision_function(X)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_rotation_of_itq_is_a_fixed_point_of_the_alternation(X):
    hasher = ITQHasher(n_bits=12, n_iterations=200).fit(X)
    V = PCA(12).fit_transform(X.astype(np.float64))
    VR = hasher.decision_function(X).astype(np.float64)
    # same subspace, rotated: V R = VR for an orthogonal R
    R, _ = orthogonal_procrustes(V, VR)
    np.testing.assert_allclose(V @ R, VR, atol=1e-3)
    # and the best rotation towards the signs of VR is the one there is
    signs = np.where(VR >= 0, 1.0, -1.0)
    best, _ = orthogonal_procrustes(V, signs)
    error = np.linalg.norm(signs - VR) ** 2
    assert np.linalg.norm(signs - V @ best) ** 2 == pytest.approx(error, rel=1e-4)


def test_pcah_projects_on_the_eigenvectors_of_the_covariance(X):
    hasher = PCAHHasher(n_bits=8).fit(X)
    W = principal_components(X)[:8]
    np.testing.assert_allclose(hasher.projection_, W.T, atol=1e-4)
    np.testing.assert_allclose(hasher.decision_function(X), (X - X.mean(axis=0)) @ W.T, atol=1e-3)


class TestSH:
    @pytest.mark.parametrize("n_bits", [1, 6, 12, 40])
    def test_equals_the_sinusoids_of_the_smallest_eigenvalues(self, X, n_bits):
        W = principal_components(X)[: min(n_bits, 12)]
        V = (X - X.astype(np.float64).mean(axis=0)) @ W.T
        low, high = V.min(axis=0), V.max(axis=0)
        # every eigenfunction that varies along one component: the others' factors are sin(pi / 2)
        found = sorted(
            ((mode * math.pi / (high[i] - low[i])) ** 2, i)
            for i in range(len(W))
            for mode in range(1, 3 * n_bits)
        )
        expected = np.empty((30, n_bits))
        for k, (eigenvalue, i) in enumerate(found[:n_bits]):
            expected[:, k] = np.sin(np.pi / 2 + math.sqrt(eigenvalue) * (V[:30, i] - low[i]))
        ours = SHHasher(n_bits=n_bits).fit(X).decision_function(X[:30])
        np.testing.assert_allclose(ours, expected, atol=1e-4 * n_bits)

    def test_blocks_of_rows_are_the_whole(self, X, monkeypatch):
        whole = SHHasher(n_bits=20).fit(X)
        monkeypatch.setattr("sdclib.methods.closed_form.ENCODE_ROWS", 33)
        blocks = SHHasher(n_bits=20).fit(X)
        np.testing.assert_allclose(blocks.omega_, whole.omega_, rtol=1e-12)
        np.testing.assert_allclose(blocks.decision_function(X), whole.decision_function(X), atol=1e-6)

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:sklearn")
    def test_training_rows_without_spread(self):
        same = SHHasher(n_bits=2).fit(np.ones((3, 4)))
        assert same.transform(np.ones((3, 4))).all()


class TestRotation:
    def test_columns_are_orthonormal_and_the_whole_rotation_keeps_distances(self, X):
        Q = RotationHasher(n_bits=7).fit(X).projection_
        np.testing.assert_allclose(Q.T @ Q, np.eye(7), atol=1e-6)
        rotated = RotationHasher(n_bits=12).fit(X).decision_function(X)
        before = np.linalg.norm(X[:, None] - X, axis=2)
        np.testing.assert_allclose(np.linalg.norm(rotated[:, None] - rotated, axis=2), before, atol=1e-3)

    def test_centring(self, X):
        np.testing.assert_allclose(
            RotationHasher(n_bits=7).fit(X).decision_function(X).mean(axis=0), 0, atol=1e-4
        )
        plain = RotationHasher(n_bits=7, center=False).fit(X)
        np.testing.assert_allclose(plain.decision_function(X), X @ plain.projection_, atol=1e-5)

    def test_a_shorter_code_is_the_start_of_a_longer_one(self, X):
        long = RotationHasher(n_bits=12, random_state=3).fit(X).decision_function(X)
        short = RotationHasher(n_bits=5, random_state=3).fit(X).decision_function(X)
        np.testing.assert_allclose(short, long[:, :5], atol=1e-4)
        other = RotationHasher(n_bits=5, random_state=4).fit(X).decision_function(X)
        assert np.abs(other - short).max() > 0.1

    def test_is_uniform(self):
        # QR alone gives the same determinant every time, and entries of one sign more often
        Q = np.array(
            [RotationHasher(n_bits=3, random_state=s).fit(np.eye(3)).projection_ for s in range(400)]
        )
        determinants = np.linalg.det(Q)
        assert 160 < np.sum(determinants > 0) < 240
        np.testing.assert_allclose(Q.mean(axis=0), 0, atol=0.1)
        np.testing.assert_allclose((Q**2).mean(axis=0), 1 / 3, atol=0.06)
