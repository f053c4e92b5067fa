import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr

from sdclib import load_features
from sdclib.extract.views import load_views
from sdclib.losses.contrastive import bernoulli_kl_loss
from sdclib.methods import contrastive as module
from sdclib.methods import make_hasher
from sdclib.methods.contrastive import CIBHashHasher
from tests.packaged import packaged_map


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 12))
    return (centres[rng.integers(0, 4, 90)] + 0.5 * rng.standard_normal((90, 12)) + 0.4).astype(np.float32)


@pytest.fixture(scope="module")
def views(X):
    rng = np.random.default_rng(1)
    kept = rng.random((3, *X.shape)) < 0.8
    return (X * kept + 0.05 * rng.standard_normal(kept.shape)).astype(np.float32)


def quick(n_bits=10, **parameters):
    return CIBHashHasher(n_bits, **{"epochs": 2, "batch_size": 30, "hidden_features": 16, **parameters})


def reference_kl(first, second):
    """Symmetric divergence, bit by bit from the probabilities."""
    total = 0.0
    for a, b in zip(first, second, strict=True):
        for p, q in zip(expit(a), expit(b), strict=True):
            total += rel_entr(p, q) + rel_entr(1 - p, 1 - q) + rel_entr(q, p) + rel_entr(1 - q, 1 - p)
    return total / 2 / len(first)


def reference_nt_xent(codes, temperature):
    """NT-Xent of the codes of both views one below the other, by loops; also its gradient by differences."""

    def loss(z):
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        n, total = len(z), 0.0
        for i in range(n):
            similarities = [np.exp(z[i] @ z[j] / temperature) for j in range(n) if j != i]
            total -= np.log(np.exp(z[i] @ z[(i + n // 2) % n] / temperature) / sum(similarities))
        return total / n

    gradient = np.zeros_like(codes)
    for position in np.ndindex(codes.shape):
        step = np.zeros_like(codes)
        step[position] = 1e-6
        gradient[position] = (loss(codes + step) - loss(codes - step)) / 2e-6
    return loss(codes), gradient


@pytest.mark.parametrize(("n", "n_bits"), [(1, 1), (3, 8), (17, 5)])
def test_kl_equals_a_loop_over_bits(n, n_bits):
    rng = np.random.default_rng(n)
    first, second = 3 * rng.standard_normal((2, n, n_bits))
    expected = reference_kl(first, second)
    assert float(bernoulli_kl_loss(torch.tensor(first), torch.tensor(second))) == pytest.approx(expected)
    in_float32 = bernoulli_kl_loss(torch.tensor(first).float(), torch.tensor(second).float())
    assert float(in_float32) == pytest.approx(expected, rel=1e-5)
    assert float(bernoulli_kl_loss(torch.tensor(first), torch.tensor(first))) == pytest.approx(0, abs=1e-12)


def test_kl_draws_each_view_to_where_the_other_is():
    a = torch.tensor([[0.3, -2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[1.3, -1.0, -4.0]], dtype=torch.float64, requires_grad=True)
    bernoulli_kl_loss(a, b).backward()
    for moving, fixed in ((a, b), (b, a)):
        own, other = moving.detach().numpy()[0], fixed.detach().numpy()[0]

        def one_way(logits, other=other):
            p, q = expit(logits), expit(other)
            return (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum() / 2

        differences = [(one_way(own + e) - one_way(own - e)) / 2e-6 for e in 1e-6 * np.eye(3)]
        np.testing.assert_allclose(moving.grad.numpy()[0], differences, atol=1e-7)


def test_kl_of_bits_that_are_all_but_certain():
    a, b = torch.full((2, 3), 300.0, requires_grad=True), torch.full((2, 3), -300.0)
    loss = bernoulli_kl_loss(a, b)
    # p is 1, and log(1 / q) = log(1 + exp(300)), for three bits
    assert float(loss.detach()) == pytest.approx(3 * 300, rel=1e-6)
    loss.backward()
    assert torch.isfinite(a.grad).all()


def test_kl_of_shapes_that_differ():
    with pytest.raises(ValueError, match=r"second: expected the shape of first, \(2, 3\), got \(3, 2\)"):
        bernoulli_kl_loss(torch.zeros(2, 3), torch.zeros(3, 2))


def test_first_step_equals_a_reference(X, views, monkeypatch):
    X, pair = X[:12], views[:2, :12]
    gradients = []

    def spy(loss, optimizer):
        optimizer.zero_grad()
        loss.backward()
        gradients.append([w.grad.double().numpy() for w in optimizer.param_groups[0]["params"]])
        optimizer.step()

    monkeypatch.setattr(module, "gradient_step", spy)
    hasher = quick(
        6, epochs=1, batch_size=12, learning_rate=0, stochastic=False, kl_weight=0.4, temperature=0.7
    )
    history = hasher.fit(X, views=pair).history_.iloc[0]
    W1, c1, W2, c2 = (w.detach().double().numpy() for w in hasher.head_.parameters())
    hidden = np.maximum(np.concatenate(pair).astype(float) @ W1.T + c1, 0)
    logits = hidden @ W2.T + c2
    codes = np.where(logits >= 0, 1.0, -1.0)
    contrastive, code_gradient = reference_nt_xent(codes, 0.7)
    first, second = np.split(logits, 2)
    kl = reference_kl(first, second)
    assert history["contrastive_loss"] == pytest.approx(contrastive, rel=1e-5)
    assert history["kl_loss"] == pytest.approx(kl, rel=1e-4)
    assert history["loss"] == pytest.approx(contrastive + 0.4 * kl, rel=1e-5)
    # through the sign to the probabilities, and so with the sigmoid's slope to the logits
    p = expit(logits)
    difference = np.concatenate([first - second, second - first])
    logit_gradient = p * (1 - p) * (code_gradient + 0.4 * difference / 2 / len(X))
    np.testing.assert_allclose(gradients[0][2], logit_gradient.T @ hidden, atol=1e-5)
    np.testing.assert_allclose(gradients[0][3], logit_gradient.sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("stochastic", [True, False])
def test_bits_are_drawn_with_their_probabilities(X, monkeypatch, stochastic):
    drawn = []

    def spy(first, second, temperature):
        assert set(first.detach().unique().tolist()) <= {-1, 1}
        drawn.append(torch.stack([first, second]).detach().numpy())
        return (first * second).mean()

    monkeypatch.setattr(module, "nt_xent_loss", spy)
    same = np.repeat(4 * X[:1], 30, axis=0)
    hasher = quick(epochs=200, learning_rate=0, stochastic=stochastic).fit(same, views=np.stack([same, same]))
    logits = hasher.decision_function(same)[0]
    p = expit(logits.astype(float)) if stochastic else (logits >= 0).astype(float)
    bits = np.stack(drawn, axis=1) > 0
    n = bits[0, ..., 0].size
    # six standard deviations, for each view by itself and for bits that are 1 in both: they are drawn apart
    for share, probability in [(bits.mean(axis=(1, 2)), p), (bits.all(axis=0).mean(axis=(0, 1)), p**2)]:
        assert (np.abs(share - probability) <= 6 * np.sqrt(probability * (1 - probability) / n)).all()


@pytest.mark.slow
def test_learns_on_real_views():
    data = load_features("cifar10-embedded")
    views = load_views("cifar10-embedded").features
    untrained = CIBHashHasher(64, epochs=1, learning_rate=0).fit(data.train, views=views)
    trained = CIBHashHasher(64, epochs=4).fit(data.train, views=views)
    assert trained.history_["loss"].is_monotonic_decreasing
    before, after = packaged_map(untrained), packaged_map(trained)
    assert after > before + 0.1
    assert after > packaged_map(make_hasher("lsh", 64).fit(data.train)) + 0.1


def test_more_than_two_views_are_all_used(X, views, monkeypatch):
    seen = set()

    def spy(views):
        first, second = torch.randperm(len(views))[:2].tolist()
        seen.update((first, second))
        return views[first], views[second]

    monkeypatch.setattr(module, "draw_views", spy)
    quick(epochs=10).fit(X, views=views)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_features": 0}, "hidden_features: expected a whole number >= 1, got 0"),
        ({"temperature": 0}, "temperature: expected a number > 0, got 0"),
        ({"temperature": -0.3}, "temperature: expected a finite number >= 0, got -0.3"),
        ({"kl_weight": -1}, "kl_weight: expected a finite number >= 0, got -1"),
        ({"learning_rate": "fast"}, "learning_rate: expected a finite number >= 0, got 'fast'"),
        ({"batch_size": 1}, "batch_size: expected a whole number >= 2, got 1"),
        ({"batch_size": 91}, "X: expected at least batch_size = 91 training rows, got 90"),
        ({"epochs": 0}, "epochs: expected a whole number >= 1, got 0"),
    ],
)
def test_bad_parameters_are_named(X, views, parameters, message):
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(X, views=views)


def test_views_are_asked_for(X, views):
    with pytest.raises(ValueError, match="views: cibhash learns from augmented views"):
        quick().fit(X)
    with pytest.raises(ValueError, match=r"views: expected features of shape \(n_views, 90, 12\)"):
        quick().fit(X, views=views[:1])
