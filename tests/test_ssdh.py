import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import norm

from sdclib.losses.pairwise import pair_label_loss
from sdclib.methods import make_hasher
from sdclib.methods import pairwise as module
from sdclib.methods.pairwise import SSDHHasher, half_gaussians
from tests.packaged import packaged_metrics


@pytest.fixture(scope="module")
def X():
    """Three clusters, far enough apart for labels of both kinds."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((3, 12))
    return (centres[rng.integers(0, 3, 120)] + rng.standard_normal((120, 12))).astype(np.float32)


def fit_half_gaussians(X):
    """By SciPy: fit a normal distribution to each half of the distances and its mirror image."""
    distances = pdist(X.astype(float), "cosine")
    counts, edges = np.histogram(distances, bins=200, range=(0, 2))
    mode = edges[np.argmax(counts)]
    left, right = distances[distances <= mode], distances[distances > mode]
    mean_left, sigma_left = norm.fit(np.concatenate([left, 2 * mode - left]))
    mean_right, sigma_right = norm.fit(np.concatenate([right, 2 * mode - right]))
    assert mean_left == pytest.approx(mode)
    assert mean_right == pytest.approx(mode)
    return mode, sigma_left, sigma_right


@pytest.mark.parametrize("block_rows", [1, 50, 1024])
def test_half_gaussians_equal_fits_by_scipy(X, block_rows, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
    assert half_gaussians(torch.from_numpy(X)) == pytest.approx(fit_half_gaussians(X), rel=1e-5)


def test_half_gaussians_of_rows_that_are_all_alike():
    assert half_gaussians(torch.ones(5, 3)) == pytest.approx((0, 0, 0), abs=1e-3)


def loss_by_loops(h, S):
    n, n_bits = h.shape
    total = 0.0
    for i in range(n):
        for j in range(n):
            inner = sum(h[i, k] * h[j, k] for k in range(n_bits))
            total += abs(S[i, j]) * (inner / n_bits - S[i, j]) ** 2
    return total / n**2


def test_pair_label_loss_by_loops():
    rng = np.random.default_rng(0)
    h, S = np.tanh(rng.standard_normal((7, 5))), rng.integers(-1, 2, (7, 7)).astype(float)
    codes = torch.tensor(h, requires_grad=True)
    assert pair_label_loss(codes, torch.tensor(S)).item() == pytest.approx(loss_by_loops(h, S))
    assert torch.autograd.gradcheck(lambda f: pair_label_loss(f, torch.tensor(S)), codes)
    assert pair_label_loss(codes, torch.zeros(7, 7)).item() == 0
    with pytest.raises(ValueError, match=r"labels: expected shape \(7, 7\), got \(7, 6\)"):
        pair_label_loss(codes, torch.zeros(7, 6))


def test_labels_and_loss_of_a_step_by_loops(X):
    """At a learning rate of 0 the history is of the untrained head: compare it with loops over pairs."""
    alpha, beta, batch_size = 1.5, 1.0, 40
    hasher = SSDHHasher(
        5, alpha=alpha, beta=beta, batch_size=batch_size, epochs=1, learning_rate=0.0, random_state=2
    ).fit(X)
    h = np.tanh(hasher.decision_function(X).astype(float))
    mode, left, right = fit_half_gaussians(X)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(2)).numpy()
    losses, similar, dissimilar = [], [], []
    for first in range(0, len(X), batch_size):
        rows = order[first : first + batch_size]
        S = np.zeros((batch_size, batch_size))
        for i, x in enumerate(X[rows].astype(float)):
            for j, y in enumerate(X[rows].astype(float)):
                d = 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
                S[i, j] = 1 if d <= mode - alpha * left else -1 if d >= mode + beta * right else 0
        assert (np.diag(S) == 1).all()
        losses.append(loss_by_loops(h[rows], S))
        similar.append(np.mean(S == 1))
        dissimilar.append(np.mean(S == -1))
    history = hasher.history_.iloc[0]
    assert history["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert history["similar"] == pytest.approx(np.mean(similar))
    assert history["dissimilar"] == pytest.approx(np.mean(dissimilar))
    assert history["similar"] > 0.1
    assert history["dissimilar"] > 0.1


def test_pairs_follow_their_labels(X):
    hasher = SSDHHasher(16, alpha=1.0, beta=1.0).fit(X)
    mode, left, right = fit_half_gaussians(X)
    distances = pdist(X.astype(float), "cosine")
    hamming = pdist(hasher.transform(X), "hamming")
    assert hamming[distances <= mode - left].mean() < 0.1
    assert hamming[distances >= mode + right].mean() > 0.5


def test_statistics_of_many_rows_are_of_a_seeded_sample(X, monkeypatch):
    whole = half_gaussians(torch.from_numpy(X))
    looked_at = []

    def spy(features):
        looked_at.append(features.numpy())
        return whole

    monkeypatch.setattr(module, "MOST_ROWS", 50)
    monkeypatch.setattr(module, "half_gaussians", spy)
    for seed in (0, 0, 1):
        SSDHHasher(4, epochs=1, random_state=seed).fit(X)
    assert [len(rows) for rows in looked_at] == [50, 50, 50]
    assert len(np.unique(looked_at[0], axis=0)) == 50
    np.testing.assert_array_equal(looked_at[0], looked_at[1])
    assert not np.array_equal(looked_at[0], looked_at[2])


@pytest.mark.slow
def test_learns_but_gives_many_images_the_same_code():

    lsh = packaged_metrics(make_hasher("lsh", 64))["map_expected"]
    untrained = packaged_metrics(SSDHHasher(64, learning_rate=0.0, epochs=1))
    trained = packaged_metrics(SSDHHasher(64, epochs=5))
    assert trained["map_expected"] > untrained["map_expected"] + 0.1
    assert trained["map_expected"] > lsh + 0.05
    assert trained["unique_code_ratio"] < 0.8 < untrained["unique_code_ratio"]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("alpha", -0.5, "a finite number >= 0"),
        ("beta", float("inf"), "a finite number >= 0"),
        ("learning_rate", "fast", "a finite number >= 0"),
        ("batch_size", 1, "a whole number >= 2"),
        ("epochs", 2.5, "a whole number >= 1"),
        ("random_state", -1, "a whole number >= 0"),
    ],
)
def test_bad_parameters_are_named(X, parameter, value, expected):
    with pytest.raises(ValueError, match=f"{parameter}: expected {expected}, got"):
        SSDHHasher(4, **{"epochs": 1, parameter: value}).fit(X)


def test_fewer_rows_than_a_batch(X):
    with pytest.raises(ValueError, match="X: expected at least batch_size = 24 training rows, got 23"):
        SSDHHasher(4).fit(X[:23])
