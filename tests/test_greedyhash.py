import numpy as np
import pytest
import torch

from sdclib.losses.pairwise import pair_similarity_loss
from sdclib.methods import make_hasher
from sdclib.methods.pairwise import GreedyHashHasher
from sdclib.methods.trained import straight_through_sign
from tests.packaged import packaged_map


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((100, 12)) + 0.4).astype(np.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_straight_through_sign(dtype):
    x = torch.tensor([[-3.7, -1e-30, -0.0], [0.0, 1e-30, 1e6]], dtype=dtype, requires_grad=True)
    signs = straight_through_sign(x)
    assert signs.dtype == dtype
    assert signs.tolist() == [[-1, -1, 1], [1, 1, 1]]
    weights = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, 7.0]], dtype=dtype)
    (signs * weights).sum().backward()
    assert torch.equal(x.grad, weights)
    assert straight_through_sign(torch.tensor(torch.nan)).isnan()


@pytest.mark.parametrize("n", [2, 7, 32])
def test_pair_similarity_loss_equals_a_loop_over_pairs(n):
    rng = np.random.default_rng(n)
    codes, features = rng.standard_normal((n, 5)), rng.standard_normal((n, 9)) + 1
    total = 0.0
    for i in range(n // 2):
        b, c, x, y = codes[i], codes[n // 2 + i], features[i], features[n // 2 + i]
        s = b @ c / np.linalg.norm(b) / np.linalg.norm(c)
        t = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        total += (s - t) ** 2
    code_tensor = torch.tensor(codes, requires_grad=True)
    feature_tensor = torch.tensor(features, requires_grad=True)
    loss = pair_similarity_loss(code_tensor, feature_tensor)
    assert float(loss.detach()) == pytest.approx(total / (n // 2), abs=1e-12)
    loss.backward()
    assert code_tensor.grad is not None
    assert feature_tensor.grad is None
    fixed = torch.tensor(features)
    assert torch.autograd.gradcheck(lambda f: pair_similarity_loss(f, fixed), code_tensor)


def test_pair_similarity_loss_of_rows_that_do_not_fit():
    with pytest.raises(ValueError, match="features: expected as many rows as codes"):
        pair_similarity_loss(torch.ones(4, 2), torch.ones(5, 2))
    with pytest.raises(ValueError, match="batch: expected at least two rows"):
        pair_similarity_loss(torch.ones(1, 2), torch.ones(1, 2))


def reference_training(X, n_bits, *, seed, batch_size, epochs, lr, momentum, decay, weight):
    """Train in NumPy with gradients by hand; starts, and orders its rows, as the library does."""
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
            h = x @ W.T + c
            b = np.where(h >= 0, 1.0, -1.0)
            N = batch_size // 2
            gradient, loss = np.zeros_like(h), 0.0
            for i in range(N):
                j = N + i
                s = b[i] @ b[j] / n_bits
                t = x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])
                loss += (s - t) ** 2 / N
                # d cos / d b_i = (b_j - s b_i) / K for vectors of length sqrt(K), and the sign hands it on
                gradient[i] += 2 * (s - t) / N * (b[j] - s * b[i]) / n_bits
                gradient[j] += 2 * (s - t) / N * (b[i] - s * b[j]) / n_bits
            gap = np.abs(h) - 1
            loss += weight * np.mean(np.abs(gap) ** 3)
            gradient += weight * 3 * gap**2 * np.sign(gap) * np.sign(h) / h.size
            speed_W = momentum * speed_W + gradient.T @ x + decay * W
            speed_c = momentum * speed_c + gradient.sum(axis=0) + decay * c
            W, c = W - lr * speed_W, c - lr * speed_c
            epoch_losses.append(loss)
        losses.append(np.mean(epoch_losses))
    return W, c, losses


def test_training_equals_gradient_descent_by_hand(X):
    settings = {"batch_size": 8, "epochs": 4, "momentum": 0.9}
    W, c, losses = reference_training(X, 6, seed=2, lr=0.05, decay=0.01, weight=0.3, **settings)
    hasher = GreedyHashHasher(
        6, learning_rate=0.05, weight_decay=0.01, penalty_weight=0.3, random_state=2, **settings
    ).fit(X)
    np.testing.assert_allclose(hasher.history_["loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(hasher.decision_function(X), X @ W.T + c, atol=1e-4)
    np.testing.assert_allclose(
        hasher.history_["loss"],
        hasher.history_["similarity_loss"] + 0.3 * hasher.history_["penalty"],
        rtol=1e-5,
    )


def test_learning_rate_is_constant_unless_a_step_is_asked_for(X):
    constant = GreedyHashHasher(4, epochs=4).fit(X).history_["learning_rate"]
    assert constant.tolist() == pytest.approx([1e-4] * 4)
    stepped = GreedyHashHasher(4, epochs=4, step_epoch=2).fit(X).history_["learning_rate"]
    assert stepped.tolist() == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


@pytest.mark.slow
def test_learns_though_slowly_at_the_authors_learning_rate():
    untrained = packaged_map(GreedyHashHasher(64, learning_rate=0.0, epochs=1))
    lsh = packaged_map(make_hasher("lsh", 64))
    # the authors' learning rate, with these features and a tenth of their steps, hardly moves the codes
    default = GreedyHashHasher(64)
    assert abs(packaged_map(default) - untrained) < 0.06
    assert default.history_["loss"].iloc[-1] < 0.9 * default.history_["loss"].iloc[0]
    # a hundred times as large, a fraction of the epochs is enough to leave random projections far behind
    assert packaged_map(GreedyHashHasher(64, learning_rate=0.01, epochs=10)) > lsh + 0.1


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("penalty_weight", -0.1, "a finite number >= 0"),
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
        GreedyHashHasher(4, **{"epochs": 1, parameter: value}).fit(X)


def test_fewer_rows_than_a_batch(X):
    with pytest.raises(ValueError, match="X: expected at least batch_size = 32 training rows, got 31"):
        GreedyHashHasher(4).fit(X[:31])
