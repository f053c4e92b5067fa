import numpy as np
import pytest
import torch
from torch import nn

from sdclib.methods.pairwise import TBHHasher, bernoulli_bits, code_graph
from tests.packaged import packaged_metrics

SMALL = {"hidden_features": 32, "latent_features": 16, "batch_size": 50}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((4, 12))
    return (centres[rng.integers(0, 4, 200)] + rng.standard_normal((200, 12))).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, dtype=float)))


def graph_by_loops(bits):
    n, n_bits = bits.shape
    A = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            A[i, j] = (1 - sum(bits[i] != bits[j]) / n_bits) ** 1.4
    D = np.diag(A.sum(axis=1) ** -0.5)
    return D @ A @ D


def test_code_graph_by_loops():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (9, 5)).astype(float)
    bits[3] = 1 - bits[2]  # opposite codes are no neighbours
    graph = code_graph(torch.tensor(bits)).numpy()
    np.testing.assert_allclose(graph, graph_by_loops(bits), atol=1e-12)
    assert graph[2, 3] == 0
    # a convolution: its largest eigenvalue is 1
    assert np.linalg.eigvalsh(graph)[-1] == pytest.approx(1)
    inside = torch.tensor(0.1 + 0.8 * rng.random((4, 6)), requires_grad=True)
    assert torch.autograd.gradcheck(code_graph, inside)
    at_corners = torch.tensor(bits, requires_grad=True)
    code_graph(at_corners).square().sum().backward()
    assert at_corners.grad.isfinite().all()


def test_bits_and_their_gradient():
    rng = np.random.default_rng(0)
    f = rng.standard_normal((6, 5))
    f[0, 0] = 0
    logits = torch.tensor(f, requires_grad=True)
    bits = bernoulli_bits(logits, stochastic=False)
    np.testing.assert_array_equal(bits.detach().numpy(), f >= 0)
    weights = rng.standard_normal(f.shape)
    (bits * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), sigmoid(f) * (1 - sigmoid(f)) * weights)


def test_drawn_bits_have_the_probabilities_of_their_logits():
    torch.manual_seed(0)
    logits = torch.tensor([-6.0, -1.0, 0.0, 2.0])
    bits = bernoulli_bits(logits.expand(20_000, 4))
    assert set(bits.unique().tolist()) == {0, 1}
    np.testing.assert_allclose(bits.mean(dim=0), sigmoid(logits), atol=0.015)


@pytest.mark.parametrize("stochastic", [False, True])
def test_losses_of_a_step_by_numpy(X, stochastic):
    """At a learning rate of 0 the history is of the start: compare it with the formulas in NumPy."""
    n_bits, n_hidden, n_latent, weight, seed = 6, 32, 16, 7.0, 5
    hasher = TBHHasher(
        n_bits,
        adversarial_weight=weight,
        stochastic=stochastic,
        learning_rate=0.0,
        epochs=1,
        random_state=seed,
        **{**SMALL, "batch_size": len(X)},
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
        return x @ layer.weight.detach().numpy().astype(float).T + layer.bias.detach().numpy().astype(float)

    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed)).numpy()
    x = X[order].astype(float)
    y = np.maximum(linear(first, x), 0)
    np.testing.assert_allclose(hasher.decision_function(X[order]), linear(last, y), atol=1e-5)
    b = (sigmoid(linear(last, y)) >= u).astype(float)
    z = sigmoid(graph_by_loops(b) @ linear(convolution, sigmoid(linear(to_latent, y))))
    reconstruction = 0.5 * np.sum((linear(decode_2, np.maximum(linear(decode_1, z), 0)) - x) ** 2)
    fooling = -np.mean(np.log(sigmoid(linear(q, b)))) - np.mean(np.log(sigmoid(linear(r, z))))
    critics = -np.mean(np.log(sigmoid(linear(q, tosses))) + np.log(1 - sigmoid(linear(q, b))))
    critics -= np.mean(np.log(sigmoid(linear(r, uniform))) + np.log(1 - sigmoid(linear(r, z))))
    history = hasher.history_.iloc[0]
    assert history["reconstruction"] == pytest.approx(reconstruction, rel=1e-4)
    assert history["loss"] - history["reconstruction"] == pytest.approx(weight * fooling, rel=1e-2)
    assert history["critic_loss"] == pytest.approx(critics, rel=1e-4)


def test_critics_learn_and_the_encoder_minds_them(X):
    settings = {**SMALL, "n_bits": 8, "epochs": 40, "learning_rate": 3e-3}
    ignored = TBHHasher(adversarial_weight=0.0, **settings).fit(X)
    critic_loss = ignored.history_["critic_loss"]
    # the least on the way: an encoder that moves on may take ground from the critics again
    assert critic_loss.min() < critic_loss.iloc[0] - 0.1
    minded = TBHHasher(adversarial_weight=10.0, **settings).fit(X)
    assert minded.history_["critic_loss"].iloc[-1] != critic_loss.iloc[-1]
    assert np.abs(minded.decision_function(X) - ignored.decision_function(X)).max() > 0.1


def test_reconstruction_is_better_than_the_mean(X):
    hasher = TBHHasher(16, epochs=80, learning_rate=5e-3, **SMALL).fit(X)
    spread = 0.5 * 50 * X.var(axis=0).sum()  # what the mean, the best constant, would leave
    assert hasher.history_["reconstruction"].iloc[-1] < 0.6 * spread


def test_drawn_bits_are_drawn_from_the_seed(X):
    settings = {**SMALL, "n_bits": 8, "epochs": 2}
    drawn, again = (TBHHasher(stochastic=True, **settings).fit(X).decision_function(X) for _ in range(2))
    np.testing.assert_array_equal(drawn, again)
    assert not np.array_equal(drawn, TBHHasher(**settings).fit(X).decision_function(X))


@pytest.mark.slow
def test_learns_but_few_different_codes():
    # a smaller network at a larger learning rate than the default, to see it in seconds
    settings = {"hidden_features": 256, "latent_features": 128, "batch_size": 200}
    untrained = packaged_metrics(TBHHasher(64, learning_rate=0.0, epochs=1, **settings))
    trained = packaged_metrics(TBHHasher(64, learning_rate=5e-3, epochs=15, **settings))
    assert trained["map_expected"] > untrained["map_expected"] + 0.03  # 0.04 to 0.11 over four seeds
    assert trained["unique_code_ratio"] < 0.3 < 0.9 < untrained["unique_code_ratio"]


def test_only_the_hash_head_is_kept(X):
    head = TBHHasher(9, epochs=1, **SMALL).fit(X).head_
    assert {name: tuple(weight.shape) for name, weight in head.state_dict().items()} == {
        "0.weight": (32, 12),
        "0.bias": (32,),
        "2.weight": (9, 32),
        "2.bias": (9,),
    }


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("hidden_features", 0, "a whole number >= 1"),
        ("latent_features", 1.5, "a whole number >= 1"),
        ("adversarial_weight", -1, "a finite number >= 0"),
        ("learning_rate", float("nan"), "a finite number >= 0"),
        ("batch_size", 1, "a whole number >= 2"),
        ("epochs", 0, "a whole number >= 1"),
        ("random_state", "0", "a whole number >= 0"),
    ],
)
def test_bad_parameters_are_named(X, parameter, value, expected):
    with pytest.raises(ValueError, match=f"{parameter}: expected {expected}, got"):
        TBHHasher(4, **{**SMALL, "epochs": 1, parameter: value}).fit(X)


def test_fewer_rows_than_a_batch(X):
    with pytest.raises(ValueError, match="X: expected at least batch_size = 400 training rows, got 200"):
        TBHHasher(4).fit(X)
