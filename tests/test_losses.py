import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdclib.losses import calibration_loss, half_pairs, nt_xent_loss, pair_similarities, quantization_loss
from sdclib.losses.calibration import Beta, ranking_loss, target_quantiles
from sdclib.losses.contrastive import (
    bernoulli_kl_loss,
    code_alignment_loss,
    coding_rate,
    image_weights,
    mutual_attention,
    sorted_nce_loss,
    weighted_contrastive_loss,
)
from sdclib.losses.pairs import count_pairs_of
from sdclib.losses.pairwise import cosine_classification_loss, pair_label_loss, pair_similarity_loss
from tests.reference import reference_calibration_loss

BETAS = [(5, 5), (0.2, 0.2), (1, 1), (10, 10), (2, 7)]


def cosine(rows, i, j):
    return float(rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]))


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

    pairs = [(i, j) for i in range(9) for j in range(i + 1, 9)]
    assert count_pairs_of(9, "all") == len(pairs)
    expected = [cosine(codes, i, j) for i, j in pairs]
    torch.testing.assert_close(
        pair_similarities(torch.tensor(codes), "all"), torch.tensor(expected, dtype=torch.float64)
    )
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


def pair_of_views(seed=0, n=6, size=5):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.standard_normal((n, size))) for _ in range(2))


def tokens_of_views(seed=0):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.standard_normal((3, 4, 5))) for _ in range(2))


CLASS_TARGETS = torch.tensor([[1, -1, 1, 1, -1], [-1, 1, 1, -1, -1], [1, 1, -1, -1, 1]])
LABELS = torch.tensor([0, 1, 0, 1, 1, 0])  # of three classes, the last does not occur
DEFAULTS = [
    (bernoulli_kl_loss, pair_of_views(), {}),
    (calibration_loss, (*pair_of_views(), torch.tensor([-0.5, 0.0, 0.5]).double()), {"pairs": "half"}),
    (code_alignment_loss, pair_of_views(), {}),
    (coding_rate, pair_of_views()[:1], {"distortion": 0.05}),
    (cosine_classification_loss, (pair_of_views()[0], LABELS, CLASS_TARGETS), {"scale": 8, "margin": 0.2}),
    (image_weights, tokens_of_views(), {"temperature": 0.2}),
    (nt_xent_loss, pair_of_views(), {"temperature": 0.3}),
    (pair_label_loss, (pair_of_views()[0], torch.eye(6)), {}),
    (pair_similarities, pair_of_views()[:1], {"pairs": "half"}),
    (pair_similarity_loss, pair_of_views(), {}),
    (quantization_loss, pair_of_views()[:1], {}),
    (ranking_loss, pair_of_views(), {"temperature": 0.1}),
    (
        sorted_nce_loss,
        (torch.eye(6).double(), *pair_of_views()),
        {"n_positives": 2, "temperature": 0.1, "sort_temperature": 1 / 64},
    ),
    (
        weighted_contrastive_loss,
        (*pair_of_views(), torch.rand(6, 6, generator=torch.Generator().manual_seed(0)).double()),
        {"temperature": 0.3},
    ),
]


@pytest.mark.parametrize(
    ("loss", "arguments", "defaults"), DEFAULTS, ids=lambda case: getattr(case, "__name__", "")
)
def test_defaults_and_types(loss, arguments, defaults):
    value = loss(*arguments)
    torch.testing.assert_close(value, loss(*arguments, **defaults), rtol=0, atol=0)
    assert value.dtype == torch.float64
    single = [a.float() if a.is_floating_point() else a for a in arguments]
    assert loss(*single).dtype == torch.float32
    torch.testing.assert_close(loss(*single), value.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("type_of_codes", [torch.float32, torch.float64])
@pytest.mark.parametrize("type_of_labels", [torch.uint8, torch.bool, torch.float64])
def test_classification_is_in_the_type_of_the_codes(type_of_codes, type_of_labels):
    codes = pair_of_views()[0].to(type_of_codes)
    vectors = torch.nn.functional.one_hot(LABELS, 3)
    expected = cosine_classification_loss(codes, LABELS, CLASS_TARGETS.to(type_of_codes))
    loss = cosine_classification_loss(codes, vectors.to(type_of_labels), CLASS_TARGETS.double())
    assert loss.dtype == type_of_codes
    torch.testing.assert_close(loss, expected)


def test_pairs_of_equal_similarity_stay_in_the_order_of_the_batch():
    rng = np.random.default_rng(0)
    n_pairs = 300
    codes = torch.tensor(rng.standard_normal((2 * n_pairs, 3)))
    targets = torch.as_tensor(target_quantiles(Beta(), n_pairs))
    features = torch.eye(4).double()[:2].repeat(n_pairs, 1)  # rows i and n_pairs + i are alike: a cosine of 1
    in_order = np.abs([cosine(codes, i, n_pairs + i) for i in range(n_pairs)] - targets.numpy()).mean()
    assert calibration_loss(codes, features, targets).item() == pytest.approx(in_order)

    positive = torch.as_tensor(rng.integers(0, 2, n_pairs) == 1)
    order = sorted(range(n_pairs), key=lambda i: bool(positive[i]))
    similarities = np.array([cosine(codes, i, n_pairs + i) for i in order])
    labelled = calibration_loss(codes, features, targets, positive=positive)
    assert labelled.item() == pytest.approx(np.abs(similarities - targets.numpy()).mean())


def test_rows_of_length_zero_do_not_spread_nan():
    codes = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert quantization_loss(codes).item() == pytest.approx(1 - (0 + 7 / 5) / 2 / np.sqrt(2), abs=1e-6)
    tiny = torch.tensor([[1e-7, 0.0]])  # short, yet not zero
    assert quantization_loss(tiny).item() == pytest.approx(1 - 1 / np.sqrt(2), abs=1e-6)


def test_ranking_of_two_pairs_is_the_cost_of_their_order():
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).double()  # s = 0.6 and 0
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]).double()  # t = -1 and 1
    assert ranking_loss(codes, features, 0.5).item() == pytest.approx(0.5 * np.log(1 + np.exp(0.6 / 0.5)))


@pytest.mark.parametrize("loss", [ranking_loss, pair_similarity_loss])
def test_no_gradient_reaches_features_that_want_one(loss):
    codes, features = (rows.requires_grad_() for rows in pair_of_views())
    loss(codes, features).backward()
    assert features.grad is None
    assert codes.grad.abs().sum() > 0


def test_messages_say_what_came():
    four, five = torch.ones(4, 2), torch.ones(5, 2)
    rows = r"^features: expected as many rows as {} \(4\), got 5$"
    with pytest.raises(ValueError, match=rows.format("continuous_codes")):
        calibration_loss(four, five, torch.zeros(2))
    with pytest.raises(ValueError, match=rows.format("continuous_codes")):
        calibration_loss(four, five, torch.zeros(2), positive=torch.ones(2))
    with pytest.raises(ValueError, match=rows.format("continuous_codes")):
        ranking_loss(four, five)
    with pytest.raises(ValueError, match=rows.format("codes")):
        pair_similarity_loss(four, five)
    with pytest.raises(ValueError, match=r"^targets: expected shape \(2,\), got \(3,\)$"):
        calibration_loss(four, four, torch.zeros(3))
    for pairs in ("half", "all"):
        with pytest.raises(ValueError, match=r"^batch: expected at least two rows to make a pair, got 1$"):
            pair_similarities(torch.ones(1, 3), pairs)
        assert pair_similarities(torch.ones(2, 3), pairs).tolist() == pytest.approx([1])
    with pytest.raises(ValueError, match=r"^pairs: expected one of all, half, got 'none'$"):
        count_pairs_of(4, "none")
    counts = [count_pairs_of(2), count_pairs_of(5), count_pairs_of(5, "all")]
    assert counts == [1, 2, 10]
    assert all(isinstance(count, int) for count in counts)
    message = r"^second: expected the shape of first, \(4, 2\), got \(5, 2\)$"
    for loss in (bernoulli_kl_loss, code_alignment_loss, nt_xent_loss, mutual_attention):
        with pytest.raises(ValueError, match=message):
            loss(four, five)
    with pytest.raises(ValueError, match=message):
        weighted_contrastive_loss(four, five, torch.eye(4))
    with pytest.raises(ValueError, match=message):
        sorted_nce_loss(torch.eye(4), four, five)
    with pytest.raises(ValueError, match=r"^distortion: expected a number > 0, got 0$"):
        coding_rate(four, 0)
