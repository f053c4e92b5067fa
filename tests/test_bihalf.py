import numpy as np
import pytest
import torch

from sdclib.methods import make_hasher
from sdclib.methods.pairwise import BiHalfHasher, bihalf_codes
from tests.packaged import packaged_metrics


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((100, 12)) + 0.4).astype(np.float32)


def half_half(u):
    """Bit by bit: the floor(n / 2) rows with the largest values, the first of equal ones first, are +1."""
    b = np.full(u.shape, -1.0)
    for k in range(u.shape[1]):
        ranked = sorted(range(len(u)), key=lambda i: (-u[i, k], i))
        for i in ranked[: len(u) // 2]:
            b[i, k] = 1
    return b


@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_codes_are_half_half(n):
    rng = np.random.default_rng(n)
    u = rng.standard_normal((n, 9)).astype(np.float32) + 2  # no sign would split these in half
    u[:, 0] = np.round(u[:, 0])  # with ties
    u[:, 1] = 0.5
    x = torch.tensor(u, requires_grad=True)
    codes = bihalf_codes(x)
    np.testing.assert_array_equal(codes.detach().numpy(), half_half(u))
    np.testing.assert_array_equal(codes.detach().numpy().sum(axis=0), np.full(9, 0 if n % 2 == 0 else -1))
    weights = torch.tensor(rng.standard_normal(u.shape), dtype=torch.float32)
    (codes * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def reference_training(X, n_bits, *, seed, batch_size, epochs, lr, momentum, decay, gamma):
    """Train in NumPy, gradients by hand as the paper has them; starts, and orders its rows, as the library does."""
    torch.manual_seed(seed)
    start = torch.nn.Linear(X.shape[1], n_bits)
    shuffle = torch.Generator().manual_seed(seed)
    W, c = start.weight.detach().numpy().astype(float), start.bias.detach().numpy().astype(float)
    speed_W, speed_c = np.zeros_like(W), np.zeros_like(c)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(len(X), generator=shuffle).numpy()
        epoch_losses = []
        for first in range(0, len(X) - batch_size + 1, batch_size):
            x = X[order[first : first + batch_size]].astype(float)
            u = x @ W.T + c
            b = half_half(u)
            N = batch_size // 2
            g, loss = np.zeros_like(u), 0.0
            for i in range(N):
                j = N + i
                s = b[i] @ b[j] / n_bits
                t = x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])
                loss += (s - t) ** 2 / N
                # d cos / d b_i = (b_j - s b_i) / K for vectors of length sqrt(K)
                g[i] += 2 * (s - t) / N * (b[j] - s * b[i]) / n_bits
                g[j] += 2 * (s - t) / N * (b[i] - s * b[j]) / n_bits
            gradient = g + gamma * (u - b) / (batch_size * n_bits)
            speed_W = momentum * speed_W + gradient.T @ x + decay * W
            speed_c = momentum * speed_c + gradient.sum(axis=0) + decay * c
            W, c = W - lr * speed_W, c - lr * speed_c
            epoch_losses.append(loss)
        losses.append(np.mean(epoch_losses))
    return W, c, losses


@pytest.mark.parametrize("batch_size", [8, 9])
def test_training_equals_the_gradients_of_the_paper(X, batch_size):
    settings = {"batch_size": batch_size, "epochs": 4, "momentum": 0.9}
    W, c, losses = reference_training(X, 6, seed=2, lr=0.02, decay=0.01, gamma=3.0, **settings)
    hasher = BiHalfHasher(
        6, learning_rate=0.02, weight_decay=0.01, gamma=3.0, random_state=2, **settings
    ).fit(X)
    np.testing.assert_allclose(hasher.history_["similarity_loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(hasher.decision_function(X), X @ W.T + c, atol=1e-4)
    np.testing.assert_allclose(
        hasher.history_["loss"],
        hasher.history_["similarity_loss"] + 3 / 2 * hasher.history_["distance"],
        rtol=1e-5,
    )


def test_learning_rate_falls_by_steps(X):
    rates = BiHalfHasher(4, epochs=3, step_epoch=2).fit(X).history_["learning_rate"]
    assert rates.tolist() == pytest.approx([1e-4, 1e-4, 1e-5])
    constant = BiHalfHasher(4, epochs=3, step_epoch=None).fit(X).history_["learning_rate"]
    assert constant.tolist() == pytest.approx([1e-4] * 3)


@pytest.mark.slow
def test_learns_by_the_pull_to_half_half_codes():

    lsh = packaged_metrics(make_hasher("lsh", 64))["map_expected"]
    untrained = packaged_metrics(BiHalfHasher(64, learning_rate=0.0, epochs=1))
    settings = {"learning_rate": 0.01, "epochs": 6, "step_epoch": None}
    trained = packaged_metrics(BiHalfHasher(64, **settings))
    assert untrained["map_expected"] < lsh
    assert trained["map_expected"] > lsh + 0.2
    # hashed by sign, and one by one, bits are nearly half-half all the same
    assert untrained["bit_balance"] < 0.6 < 0.8 < trained["bit_balance"]  # 0.56 and 0.92
    # without the pull of gamma, signs do not follow the half-half codes that the loss sees
    free = packaged_metrics(BiHalfHasher(64, gamma=0.0, **settings))
    assert free["map_expected"] < lsh
    assert free["bit_balance"] < 0.6


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("gamma", -1, "a finite number >= 0"),
        ("learning_rate", -1, "a finite number >= 0"),
        ("momentum", "0.9", "a finite number >= 0"),
        ("weight_decay", float("nan"), "a finite number >= 0"),
        ("batch_size", 1, "a whole number >= 2"),
        ("epochs", 0, "a whole number >= 1"),
        ("step_epoch", 0, "a whole number >= 1"),
        ("random_state", 1.5, "a whole number >= 0"),
    ],
)
def test_bad_parameters_are_named(X, parameter, value, expected):
    with pytest.raises(ValueError, match=f"{parameter}: expected {expected}, got"):
        BiHalfHasher(4, **{"epochs": 1, parameter: value}).fit(X)


def test_fewer_rows_than_a_batch(X):
    with pytest.raises(ValueError, match="X: expected at least batch_size = 32 training rows, got 31"):
        BiHalfHasher(4).fit(X[:31])
