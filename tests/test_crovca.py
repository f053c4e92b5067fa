import numpy as np
import pytest
import torch

from sdclib import load_features
from sdclib.extract.views import load_views
from sdclib.losses.contrastive import code_alignment_loss, coding_rate
from sdclib.methods import contrastive as module
from sdclib.methods import make_hasher
from sdclib.methods.contrastive import CroVCAHasher
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
    return CroVCAHasher(n_bits, **{"batch_size": 30, **parameters})


def reference_alignment(first, second):
    """Cross-entropy, bit by bit from the probabilities."""
    total = 0.0
    for z, other in ((first, second), (second, first)):
        for i, k in np.ndindex(z.shape):
            p = 1 / (1 + np.exp(-z[i, k]))
            total -= np.log(p) if other[i, k] >= 0 else np.log(1 - p)
    return total / 2 / first.size


def reference_rate(codes, distortion):
    """Coding rate by the singular values of the directions."""
    n, n_bits = codes.shape
    directions = np.array([row / np.sqrt((row**2).sum()) for row in codes])
    singular = np.linalg.svd(directions, compute_uv=False)
    return sum(np.log(1 + n_bits / (n * distortion) * value**2) / 2 for value in singular)


@pytest.mark.parametrize(("n", "n_bits"), [(1, 1), (4, 7), (13, 3)])
def test_alignment_equals_a_loop_over_bits(n, n_bits):
    rng = np.random.default_rng(n)
    first, second = 2 * rng.standard_normal((2, n, n_bits))
    second[0, 0] = 0  # a logit of 0 is a 1
    ours = code_alignment_loss(torch.tensor(first), torch.tensor(second))
    assert float(ours) == pytest.approx(reference_alignment(first, second), abs=1e-12)


def test_alignment_gradient_and_shapes():
    rng = np.random.default_rng(0)
    first, second = torch.tensor(rng.standard_normal((2, 5, 3)))
    # away from 0 the bits are constant, so differences see what the gradient is to be: that of the logits alone
    assert torch.autograd.gradcheck(code_alignment_loss, (first.requires_grad_(), second.requires_grad_()))
    with pytest.raises(ValueError, match=r"second: expected the shape of first, \(2, 3\), got \(1, 3\)"):
        code_alignment_loss(torch.zeros(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize(("n", "n_bits"), [(1, 5), (6, 6), (40, 9), (9, 40), (256, 64)])
@pytest.mark.parametrize("distortion", [0.05, 1.0])
def test_coding_rate_equals_that_by_singular_values(n, n_bits, distortion):
    codes = np.random.default_rng(n).standard_normal((n, n_bits)) + 0.5
    expected = reference_rate(codes, distortion)
    assert float(coding_rate(torch.tensor(codes), distortion)) == pytest.approx(expected, rel=1e-10)
    assert float(coding_rate(torch.tensor(codes).float(), distortion)) == pytest.approx(expected, rel=1e-5)
    assert float(coding_rate(torch.tensor(7 * codes), distortion)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "n_bits"), [(8, 4), (3, 8)])
def test_coding_rate_reaches_its_bounds(n, n_bits):
    line = torch.outer(torch.tensor([1.0, -2, 3, 0.5, -1, 2, 7, 1]).double()[:n], torch.ones(n_bits).double())
    assert float(coding_rate(line, 0.1)) == pytest.approx(np.log(1 + n_bits / 0.1) / 2)
    m = min(n, n_bits)
    spread = torch.eye(n_bits).double()[torch.arange(n) % n_bits]
    assert float(coding_rate(spread, 0.1)) == pytest.approx(m / 2 * np.log(1 + n_bits / m / 0.1))


@pytest.mark.parametrize(("n", "n_bits"), [(7, 3), (3, 7)])
def test_coding_rate_gradient_and_errors(n, n_bits):
    codes = torch.tensor(np.random.default_rng(0).standard_normal((n, n_bits)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: coding_rate(z, 0.3), codes)
    for distortion in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="distortion: expected a number > 0"):
            coding_rate(codes, distortion)


def test_first_step_equals_a_reference(X, views):
    n, n_bits = 24, 7
    start = quick(
        n_bits, epochs=1, batch_size=n, random_state=5, learning_rate=0, rate_weight=0.6, distortion=0.2
    )
    hasher = start.fit(X[:n], views=views[:2, :n])
    W1, c1, W2, c2, scale, shift = (w.detach().double().numpy() for w in hasher.head_.parameters())
    assert W1.shape == (12, 12)
    assert W1.std() == pytest.approx(0.02, rel=0.2)
    assert not c1.any()
    assert not c2.any()
    logits = []
    for view in views[:2, :n].astype(float):
        h = np.maximum(view @ W1.T, 0) @ W2.T
        logits.append(scale * (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-5) + shift)
    rate = sum(reference_rate(z, 0.2) for z in logits) / 2
    alignment = reference_alignment(*logits)
    history = hasher.history_.iloc[0]
    assert history["alignment_loss"] == pytest.approx(alignment, rel=1e-4)
    assert history["coding_rate"] == pytest.approx(rate, rel=1e-4)
    loss = alignment - 0.6 * (n + n_bits) / (n * n_bits) * rate
    assert history["loss"] == pytest.approx(loss, abs=1e-4 * rate)


def test_learning_rate_falls_along_half_a_cosine(X, views, monkeypatch):
    seen = []

    def spy(loss, optimizer):
        assert isinstance(optimizer, torch.optim.AdamW)
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]))
        step(loss, optimizer)

    step = module.gradient_step
    monkeypatch.setattr(module, "gradient_step", spy)
    history = quick(epochs=4, learning_rate=0.01, weight_decay=0.02).fit(X, views=views).history_
    rates, decays = zip(*seen, strict=True)
    phase = np.pi * np.arange(12) / 12
    np.testing.assert_allclose(rates, 1e-6 + (0.01 - 1e-6) * (1 + np.cos(phase)) / 2, rtol=1e-6)
    assert set(decays) == {0.02}
    np.testing.assert_allclose(history["learning_rate"], rates[::3])


@pytest.mark.slow
def test_learns_on_real_views():
    data = load_features("cifar10-embedded")
    views = load_views("cifar10-embedded").features
    untrained = CroVCAHasher(64, epochs=1, learning_rate=0).fit(data.train, views=views)
    trained = CroVCAHasher(64).fit(data.train, views=views)
    before, after = packaged_map(untrained), packaged_map(trained)
    assert after > before + 0.1
    assert after > packaged_map(make_hasher("lsh", 64).fit(data.train)) + 0.1
    # without the rate bits repeat each other
    without = CroVCAHasher(64, rate_weight=0).fit(data.train, views=views).history_
    assert trained.history_["coding_rate"].iloc[-1] > without["coding_rate"].iloc[-1] + 5
    assert trained.history_["alignment_loss"].iloc[-1] > without["alignment_loss"].iloc[-1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_features": 0}, "hidden_features: expected a whole number >= 1, got 0"),
        ({"rate_weight": -0.1}, "rate_weight: expected a finite number >= 0, got -0.1"),
        ({"distortion": 0}, "distortion: expected a number > 0, got 0"),
        ({"learning_rate": None}, "learning_rate: expected a finite number >= 0, got None"),
        ({"weight_decay": -1}, "weight_decay: expected a finite number >= 0, got -1"),
        ({"batch_size": 1}, "batch_size: expected a whole number >= 2, got 1"),
        ({"batch_size": 91}, "X: expected at least batch_size = 91 training rows, got 90"),
        ({"epochs": 0}, "epochs: expected a whole number >= 1, got 0"),
    ],
)
def test_bad_parameters_are_named(X, views, parameters, message):
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(X, views=views)


def test_views_are_asked_for(X, views):
    with pytest.raises(ValueError, match="views: crovca learns from augmented views"):
        quick().fit(X)
    with pytest.raises(ValueError, match=r"views: expected features of shape \(n_views, 90, 12\)"):
        quick().fit(X, views=views[:1])
