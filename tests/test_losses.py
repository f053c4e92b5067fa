import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdclib.calibration import Beta, target_quantiles
from sdclib.losses import calibration_loss, half_pairs, nt_xent_loss, pair_similarities, quantization_loss
from sdclib.losses.pairs import count_pairs_of
from tests.reference import reference_calibration_loss

BETAS = [(5, 5), (0.2, 0.2), (1, 1), (10, 10), (2, 7)]


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(3, 257),
    n_bits=st.integers(1, 64),
    shape=st.sampled_from(BETAS),
    seed=st.integers(0, 2**32 - 1),
    bias=st.sampled_from([0.0, 1.0, 5.0]),
)
def test_calibration_loss_equals_the_reference(n, n_bits, shape, seed, bias):
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((n, n_bits))
    features = rng.standard_normal((n, 9)) + bias
    targets = torch.as_tensor(target_quantiles(Beta(*shape), n // 2))
    ours = calibration_loss(torch.as_tensor(codes), torch.as_tensor(features), targets)
    assert float(ours) == pytest.approx(reference_calibration_loss(codes, features, *shape), abs=1e-6)


def test_calibration_loss_in_float32_equals_the_reference():
    rng = np.random.default_rng(1)
    codes, features = rng.standard_normal((257, 64)), rng.standard_normal((257, 32)) + 1
    targets = torch.as_tensor(target_quantiles(Beta(), 128), dtype=torch.float32)
    ours = calibration_loss(torch.tensor(codes).float(), torch.tensor(features).float(), targets)
    assert float(ours) == pytest.approx(reference_calibration_loss(codes, features, 5, 5), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 12), seed=st.integers(0, 2**32 - 1))
def test_gradients(n, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(n, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    features = torch.randn(n, 4, dtype=torch.float64, generator=generator)
    targets = torch.as_tensor(target_quantiles(Beta(), n // 2))
    assert torch.autograd.gradcheck(lambda f: calibration_loss(f, features, targets), codes)


def test_gradients_of_the_quantization_loss():
    codes = torch.randn(
        6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    assert torch.autograd.gradcheck(quantization_loss, codes)


def test_no_gradient_reaches_the_features():
    features = torch.randn(8, 4, requires_grad=True)
    codes = torch.randn(8, 4, requires_grad=True)
    calibration_loss(codes, features, torch.zeros(4)).backward()
    assert features.grad is None
    assert codes.grad is not None


def test_loss_is_zero_where_similarities_already_follow_the_target():
    angles = torch.arccos(torch.as_tensor(target_quantiles(Beta(), 16)))
    codes = torch.cat(
        [torch.tensor([[1.0, 0.0]]).double().expand(16, 2), torch.stack([angles.cos(), angles.sin()], 1)]
    )
    assert float(calibration_loss(codes, codes, angles.cos())) == pytest.approx(0, abs=1e-12)


def test_pairs_of_an_odd_batch_leave_the_last_row_out():
    first, second = half_pairs(torch.arange(5)[:, None])
    assert first.flatten().tolist() == [0, 1]
    assert second.flatten().tolist() == [2, 3]


def test_quantization_loss_by_hand():
    assert float(quantization_loss(torch.tensor([[2.0, -2.0], [3.0, 3.0]]))) == pytest.approx(0, abs=1e-6)
    assert float(quantization_loss(torch.tensor([[1.0, 0.0]]))) == pytest.approx(1 - 1 / np.sqrt(2), abs=1e-6)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="batch: expected at least two rows"):
        half_pairs(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="features: expected as many rows"):
        calibration_loss(torch.ones(4, 2), torch.ones(5, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="targets: expected shape"):
        calibration_loss(torch.ones(4, 2), torch.ones(4, 2), torch.zeros(3))


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0])
def test_nt_xent_equals_an_independent_library(n, temperature):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    rng = np.random.default_rng(n)
    first, second = (torch.tensor(rng.standard_normal((n, 16)), requires_grad=True) for _ in range(2))
    theirs = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=temperature))(first, second)
    ours = nt_xent_loss(first, second, temperature)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-8)
    for mine, other in zip(
        torch.autograd.grad(ours, (first, second)), torch.autograd.grad(theirs, (first, second)), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-8, rtol=1e-6)


def test_nt_xent_by_hand():
    first, second = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    # each code has its other view at cosine 1 and two others at cosine 0
    expected = -np.log(np.exp(1 / 0.5) / (np.exp(1 / 0.5) + 2))
    assert nt_xent_loss(first, second, 0.5).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"second: expected the shape of first, \(2, 2\), got \(1, 2\)"):
        nt_xent_loss(first, second[:1])


def test_all_pairs_by_a_loop():
    rng = np.random.default_rng(0)
    codes, features = rng.standard_normal((9, 8)), rng.standard_normal((9, 5)) + 1

    def cosine(x, i, j):
        return x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])

    pairs = [(i, j) for i in range(9) for j in range(i + 1, 9)]
    assert count_pairs_of(9, "all") == len(pairs)
    expected = [cosine(codes, i, j) for i, j in pairs]
    torch.testing.assert_close(pair_similarities(torch.tensor(codes), "all"), torch.tensor(expected))
    targets = target_quantiles(Beta(5, 5), len(pairs))
    ordered = [
        s for _, s in sorted((cosine(features, *pair), s) for pair, s in zip(pairs, expected, strict=True))
    ]
    loss = calibration_loss(torch.tensor(codes), torch.tensor(features), torch.as_tensor(targets), "all")
    assert loss.item() == pytest.approx(np.mean(np.abs(np.array(ordered) - targets)))
    with pytest.raises(ValueError, match="pairs: expected one of all, half, got 'some'"):
        pair_similarities(torch.tensor(codes), "some")
    with pytest.raises(ValueError, match="batch: expected at least two rows"):
        pair_similarities(torch.zeros(1, 3), "all")
