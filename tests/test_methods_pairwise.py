"""GreedyHash, Bi-half, SSDH and TBH: their steps written once more in NumPy."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.special import expit
from scipy.stats import norm
from torch import nn

from sdclib.losses.pairwise import pair_similarity_loss
from sdclib.methods import make_hasher, trained
from sdclib.methods import pairwise as module
from sdclib.methods.neighbours import smooth_over_neighbours
from sdclib.methods.pairwise import (
    BiHalfHasher,
    GreedyHashHasher,
    SSDHHasher,
    TBHHasher,
    bernoulli_bits,
    bihalf_codes,
    code_graph,
    half_gaussians,
)
from tests.reference import cosine, pair_label

pytestmark = pytest.mark.filterwarnings("ignore:.*the codes of the training rows collapse")


@pytest.fixture(autouse=True)
def unscaled(monkeypatch):
    """Take features as they are, so that definitions need no scale."""
    monkeypatch.setattr(trained, "training_scale", lambda lengths: 1.0)


@pytest.fixture(scope="module")
def X():
    """Three clusters, far enough apart for pairs of both kinds."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((3, 12))
    return (centres[rng.integers(0, 3, 120)] + rng.standard_normal((120, 12))).astype(np.float32)


def batches(n, batch_size, *, seed, epochs):
    """Rows of each batch, epoch by epoch, in the order in which the library draws them."""
    shuffle = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(n, generator=shuffle).numpy()
        yield [order[first : first + batch_size] for first in range(0, n - batch_size + 1, batch_size)]


def half_half(u):
    """Bit by bit: the floor(n / 2) rows with the largest values, the first of equal ones first, are +1."""
    b = np.full(u.shape, -1.0)
    for k in range(u.shape[1]):
        ranked = sorted(range(len(u)), key=lambda i: (-u[i, k], i))
        b[ranked[: len(u) // 2], k] = 1
    return b


def by_gradients(X, n_bits, *, seed, batch_size, epochs, lr, momentum, decay, binarise, further):
    """Train a linear head in NumPy by the gradients of the papers; the start is drawn as the library does.

    `binarise` makes codes of the head's output, through which the gradient passes unchanged; `further` gives a further
    term of the loss and its gradient.
    """
    torch.manual_seed(seed)
    start = nn.Linear(X.shape[1], n_bits)
    W, c = start.weight.detach().numpy().astype(float), start.bias.detach().numpy().astype(float)
    speed_W, speed_c = np.zeros_like(W), np.zeros_like(c)
    history = []
    for epoch in batches(len(X), batch_size, seed=seed, epochs=epochs):
        losses = []
        for rows in epoch:
            x = X[rows].astype(float)
            h = x @ W.T + c
            b = binarise(h)
            N = batch_size // 2
            gradient, similarity = np.zeros_like(h), 0.0
            for i in range(N):
                j = N + i
                s, t = b[i] @ b[j] / n_bits, cosine(x[i], x[j])
                similarity += (s - t) ** 2 / N
                # d cos / d b_i = (b_j - s b_i) / K for vectors of length sqrt(K)
                gradient[i] += 2 * (s - t) / N * (b[j] - s * b[i]) / n_bits
                gradient[j] += 2 * (s - t) / N * (b[i] - s * b[j]) / n_bits
            term, slope = further(h, b)
            gradient += slope
            speed_W = momentum * speed_W + gradient.T @ x + decay * W
            speed_c = momentum * speed_c + gradient.sum(axis=0) + decay * c
            W, c = W - lr * speed_W, c - lr * speed_c
            losses.append((similarity, term))
        history.append(np.mean(losses, axis=0))
    return X @ W.T + c, np.array(history)


def cubed(h, b):
    gap = np.abs(h) - 1
    return 0.3 * np.mean(np.abs(gap) ** 3), 0.3 * 3 * gap**2 * np.sign(gap) * np.sign(h) / h.size


def squared(u, b):
    return 1.5 * np.mean((u - b) ** 2), 3 * (u - b) / u.size


@pytest.mark.parametrize("batch_size", [8, 9])
@pytest.mark.parametrize(
    ("kind", "own", "lr", "binarise", "further"),
    [
        (GreedyHashHasher, {"penalty_weight": 0.3}, 0.02, lambda h: np.where(h >= 0, 1.0, -1.0), cubed),
        (BiHalfHasher, {"gamma": 3.0}, 0.02, half_half, squared),
    ],
)
def test_training_equals_the_gradients_of_the_papers(X, batch_size, kind, own, lr, binarise, further):
    X = X[:100] / 4
    settings = {"batch_size": batch_size, "epochs": 4, "momentum": 0.9}
    codes, losses = by_gradients(
        X, 6, seed=2, lr=lr, decay=0.01, binarise=binarise, further=further, **settings
    )
    hasher = kind(6, learning_rate=lr, weight_decay=0.01, random_state=2, **own, **settings).fit(X)
    np.testing.assert_allclose(hasher.decision_function(X), codes, atol=1e-4)
    np.testing.assert_allclose(hasher.history_["similarity_loss"], losses[:, 0], rtol=1e-4)
    np.testing.assert_allclose(hasher.history_["loss"], losses.sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_bihalf_codes(n):
    rng = np.random.default_rng(n)
    u = rng.standard_normal((n, 9)).astype(np.float32) + 2  # no sign would split these in half
    u[:, 0] = np.round(u[:, 0])  # with ties
    u[:, 1] = 0.5
    x = torch.tensor(u, requires_grad=True)
    codes = bihalf_codes(x)
    np.testing.assert_array_equal(codes.detach().numpy(), half_half(u))
    weights = torch.tensor(rng.standard_normal(u.shape), dtype=torch.float32)
    (codes * weights).sum().backward()
    assert torch.equal(x.grad, weights)


class TestSSDH:
    @staticmethod
    def fit_half_gaussians(X):
        """By SciPy: fit a normal distribution to each half of the distances and its mirror image."""
        distances = pdist(X.astype(float), "cosine")
        counts, edges = np.histogram(distances, bins=200, range=(0, 2))
        mode = edges[np.argmax(counts)]
        left, right = distances[distances <= mode], distances[distances > mode]
        fits = [norm.fit(np.concatenate([half, 2 * mode - half])) for half in (left, right)]
        assert [mean for mean, _ in fits] == pytest.approx([mode, mode])
        return mode, fits[0][1], fits[1][1]

    @pytest.mark.parametrize("block_rows", [1, 50, 1024])
    def test_half_gaussians_equal_fits_by_scipy(self, X, block_rows, monkeypatch):
        monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
        assert half_gaussians(torch.from_numpy(X)) == pytest.approx(self.fit_half_gaussians(X), rel=1e-5)
        assert half_gaussians(torch.ones(5, 3)) == pytest.approx((0, 0, 0), abs=1e-3)

    def test_labels_and_loss_of_a_step_by_loops(self, X):
        """At a learning rate of 0 the history is of the untrained head."""
        alpha, beta, batch_size = 1.5, 1.0, 40
        settings = {"alpha": alpha, "beta": beta, "batch_size": batch_size, "epochs": 1, "random_state": 2}
        hasher = SSDHHasher(5, learning_rate=0.0, **settings).fit(X)
        h = np.tanh(hasher.decision_function(X).astype(float))
        mode, left, right = self.fit_half_gaussians(X)
        found = []
        (epoch,) = batches(len(X), batch_size, seed=2, epochs=1)
        for rows in epoch:
            S = np.zeros((batch_size, batch_size))
            for i, j in np.ndindex(S.shape):
                d = 1 - cosine(X[rows[i]].astype(float), X[rows[j]].astype(float))
                S[i, j] = 1 if d <= mode - alpha * left else -1 if d >= mode + beta * right else 0
            assert (np.diag(S) == 1).all()
            found.append((pair_label(h[rows], S), np.mean(S == 1), np.mean(S == -1)))
        history = hasher.history_[["loss", "similar", "dissimilar"]].iloc[0]
        assert history.tolist() == pytest.approx(np.mean(found, axis=0), rel=1e-4)
        assert history["similar"] > 0.1 < history["dissimilar"]

    def test_statistics_of_many_rows_are_of_a_seeded_sample(self, X, monkeypatch):
        whole, looked_at = half_gaussians(torch.from_numpy(X)), []
        monkeypatch.setattr(module, "MOST_ROWS", 50)
        monkeypatch.setattr(module, "half_gaussians", lambda x: looked_at.append(x.numpy()) or whole)
        for seed in (0, 0, 1):
            SSDHHasher(4, epochs=1, random_state=seed).fit(X)
        assert [len(np.unique(rows, axis=0)) for rows in looked_at] == [50, 50, 50]
        np.testing.assert_array_equal(looked_at[0], looked_at[1])
        assert not np.array_equal(looked_at[0], looked_at[2])


class TestTBH:
    small = functools.partial(TBHHasher, hidden_features=32, latent_features=16)

    @staticmethod
    def graph_by_loops(bits):
        A = np.empty((len(bits), len(bits)))
        for i, j in np.ndindex(A.shape):
            A[i, j] = (1 - sum(bits[i] != bits[j]) / bits.shape[1]) ** 1.4
        D = np.diag(A.sum(axis=1) ** -0.5)
        return D @ A @ D

    def test_code_graph_by_loops(self):
        rng = np.random.default_rng(0)
        bits = rng.integers(0, 2, (9, 5)).astype(float)
        bits[3] = 1 - bits[2]  # opposite codes are no neighbours
        graph = code_graph(torch.tensor(bits)).numpy()
        np.testing.assert_allclose(graph, self.graph_by_loops(bits), atol=1e-12)
        assert graph[2, 3] == 0
        assert np.linalg.eigvalsh(graph)[-1] == pytest.approx(1)  # a convolution: its largest eigenvalue is 1
        inside = torch.tensor(0.1 + 0.8 * rng.random((4, 6)), requires_grad=True)
        assert torch.autograd.gradcheck(code_graph, inside)
        at_corners = torch.tensor(bits, requires_grad=True)
        code_graph(at_corners).square().sum().backward()
        assert at_corners.grad.isfinite().all()

    def test_bits_and_their_gradient(self):
        rng = np.random.default_rng(0)
        f, weights = rng.standard_normal((2, 6, 5))
        f[0, 0] = 0
        logits = torch.tensor(f, requires_grad=True)
        bits = bernoulli_bits(logits, stochastic=False)
        np.testing.assert_array_equal(bits.detach().numpy(), f >= 0)
        (bits * torch.tensor(weights)).sum().backward()
        np.testing.assert_allclose(logits.grad.numpy(), expit(f) * (1 - expit(f)) * weights)
        torch.manual_seed(0)
        logits = torch.tensor([-6.0, -1.0, 0.0, 2.0])
        drawn = bernoulli_bits(logits.expand(20_000, 4))
        assert set(drawn.unique().tolist()) == {0, 1}
        np.testing.assert_allclose(drawn.mean(dim=0), expit(logits.numpy()), atol=0.015)

    @pytest.mark.parametrize("stochastic", [False, True])
    def test_losses_of_a_step_by_numpy(self, X, stochastic):
        """At a learning rate of 0 the history is of the start: compare it with the formulas in NumPy."""
        n_bits, n_hidden, n_latent, weight, seed = 6, 32, 16, 7.0, 5
        hasher = self.small(
            n_bits,
            adversarial_weight=weight,
            stochastic=stochastic,
            learning_rate=0.0,
            epochs=1,
            random_state=seed,
            batch_size=len(X),
        ).fit(X)
        torch.manual_seed(seed)
        first, last = nn.Linear(12, n_hidden), nn.Linear(n_hidden, n_bits)
        to_latent, convolution = nn.Linear(n_hidden, n_latent), nn.Linear(n_latent, n_latent)
        decode_1, decode_2 = nn.Linear(n_latent, n_hidden), nn.Linear(n_hidden, 12)
        q, r = nn.Linear(n_bits, 1), nn.Linear(n_latent, 1)
        u = torch.rand(len(X), n_bits).numpy() if stochastic else 0.5
        tosses = torch.rand(len(X), n_bits).numpy() >= 0.5
        uniform = torch.rand(len(X), n_latent).numpy()

        def linear(layer, x):
            return x @ layer.weight.detach().numpy().astype(float).T + layer.bias.detach().numpy()

        ((order,),) = batches(len(X), len(X), seed=seed, epochs=1)
        x = X[order].astype(float)
        y = np.maximum(linear(first, x), 0)
        np.testing.assert_allclose(hasher.decision_function(X[order]), linear(last, y), atol=1e-5)
        b = (expit(linear(last, y)) >= u).astype(float)
        z = expit(self.graph_by_loops(b) @ linear(convolution, expit(linear(to_latent, y))))
        reconstruction = 0.5 * np.sum((linear(decode_2, np.maximum(linear(decode_1, z), 0)) - x) ** 2)
        fooling = -np.mean(np.log(expit(linear(q, b)))) - np.mean(np.log(expit(linear(r, z))))
        critics = -np.mean(np.log(expit(linear(q, tosses))) + np.log(1 - expit(linear(q, b))))
        critics -= np.mean(np.log(expit(linear(r, uniform))) + np.log(1 - expit(linear(r, z))))
        history = hasher.history_.iloc[0]
        assert history["reconstruction"] == pytest.approx(reconstruction, rel=1e-4)
        assert history["loss"] - history["reconstruction"] == pytest.approx(weight * fooling, rel=1e-2)
        assert history["critic_loss"] == pytest.approx(critics, rel=1e-4)

    def test_critics_learn_and_the_encoder_minds_them(self, X):
        settings = {"n_bits": 8, "epochs": 40, "learning_rate": 3e-3, "batch_size": 30}
        ignored = self.small(adversarial_weight=0.0, **settings).fit(X)
        critic_loss = ignored.history_["critic_loss"]
        # the least on the way: an encoder that moves on may take ground from the critics again
        assert critic_loss.min() < critic_loss.iloc[0] - 0.1
        minded = self.small(adversarial_weight=10.0, **settings).fit(X)
        assert minded.history_["critic_loss"].iloc[-1] != critic_loss.iloc[-1]
        assert np.abs(minded.decision_function(X) - ignored.decision_function(X)).max() > 0.1


@pytest.mark.parametrize("method", ["greedyhash", "bihalf"])
def test_a_teacher_takes_the_place_of_the_features_in_the_similarities(X, method):
    settings = {"learning_rate": 0.0, "batch_size": len(X), "epochs": 1, "n_neighbors": 7, "n_steps": 2}
    hasher = make_hasher(method, 6, **settings).fit(X)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    continuous = torch.from_numpy(hasher.decision_function(X))[order]
    codes = bihalf_codes(continuous) if method == "bihalf" else continuous.sign()
    teacher = torch.from_numpy(smooth_over_neighbours(X - X.mean(axis=0), 7, 2))
    expected = float(pair_similarity_loss(codes, teacher[order]))
    assert hasher.history_["similarity_loss"][0] == pytest.approx(expected, abs=1e-5)
    assert abs(expected - float(pair_similarity_loss(codes, torch.from_numpy(X)[order]))) > 0.01
