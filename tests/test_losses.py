"""Losses against their definitions, written once more as loops; calibration distributions against densities."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from sdclib.losses import calibration_loss, half_pairs, nt_xent_loss, pair_similarities, quantization_loss
from sdclib.losses.calibration import (
    Beta,
    Binomial,
    Empirical,
    TruncatedGaussian,
    TruncatedLaplace,
    matching_loss,
    parse_calibration,
    positive_pairs,
    ranking_loss,
    target_quantiles,
)
from sdclib.losses.contrastive import (
    bernoulli_kl_loss,
    code_alignment_loss,
    coding_rate,
    image_weights,
    mutual_attention,
    soft_sort,
    sorted_nce_loss,
    weighted_contrastive_loss,
)
from sdclib.losses.pairs import count_pairs_of
from sdclib.losses.pairwise import cosine_classification_loss, pair_label_loss, pair_similarity_loss
from tests import reference
from tests.reference import cosine, half_cosines

BETAS = [(5, 5), (0.2, 0.2), (1, 1), (10, 10), (2, 7)]


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


# The losses once more.


def cosines(rows, pairs):
    if pairs == "half":
        return half_cosines(rows)
    return np.array([cosine(x, y) for x, y in itertools.combinations(rows, 2)])


def calibration(codes, features, targets, positive, pairs="half"):
    s, t = cosines(codes, pairs), cosines(features, pairs)
    order = sorted(range(len(s)), key=lambda i: (positive[i], t[i], i))
    return np.mean([abs(s[i] - target) for i, target in zip(order, targets, strict=True)])


def ranking(codes, features, temperature, positive=0, pairs="half"):
    s, t = cosines(codes, pairs), cosines(features, pairs) + 9 * positive
    costs = [
        temperature * np.log(1 + np.exp(-(s[i] - s[j]) / temperature))
        for i, j in np.ndindex(len(s), len(s))
        if t[i] > t[j] + 1e-12
    ]
    return np.mean(costs) if costs else 0.0


def classification(codes, y, targets, scale, margin):
    total = 0.0
    for code, row in zip(codes, y, strict=True):
        logits = [scale * (cosine(code, t) - margin * of) for t, of in zip(targets, row, strict=True)]
        shares = np.log(softmax(np.array(logits)))
        total -= sum(of * share for of, share in zip(row, shares, strict=True)) / max(row.sum(), 1)
    return total / len(codes)


def in_order(scores, temperature):
    rows = [softmax(-np.abs(high - scores) / temperature) for high in sorted(scores, reverse=True)]
    return np.array(rows)


def sorted_nce(similarity, first, second, n_positives, temperature, sort_temperature, as_released=False):
    losses = []
    for i in range(len(first)):
        unit = first / np.linalg.norm(first, axis=1, keepdims=True)
        ranked = in_order(similarity[i], sort_temperature) @ unit
        if as_released:  # softmax of softmax, of inner products
            products = ranked @ second[i] / np.linalg.norm(second[i]) / temperature
            lists = [np.array([near, *products[n_positives:]]) for near in products[:n_positives]]
            losses += [-np.log(softmax(softmax(values))[0]) for values in lists]
            continue
        exponentials = [np.exp(cosine(e, second[i]) / temperature) for e in ranked]
        far = sum(exponentials[n_positives:])
        losses += [-np.log(near / (near + far)) for near in exponentials[:n_positives]]
    return np.mean(losses)


def attention(first, second):
    seen_first, seen_second = np.empty_like(first), np.empty_like(second)
    for n, token in np.ndindex(first.shape[:2]):
        weights = softmax(np.array([cosine(x, second[n, token]) for x in first[n]]))
        seen_first[n, token] = weights @ first[n]
        weights = softmax(np.array([cosine(first[n, token], y) for y in second[n]]))
        seen_second[n, token] = weights @ second[n]
    return seen_first, seen_second


def weights_of_images(first, second, temperature):
    n = len(first)
    similarity = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        similarity[i, j] = np.mean([max(cosine(x, y) for y in second[j]) for x in first[i]])
    rows = [softmax(row / temperature) for row in similarity]
    return np.array([row / row[i] for i, row in enumerate(rows)])


def weighted_contrastive(first, second, weights, temperature):
    total, n_bits = 0.0, first.shape[1]
    for code, row in zip(first, weights, strict=True):
        predicted = softmax(np.array([code @ other / n_bits / temperature for other in second]))
        total -= sum(row * np.log(predicted))
    return total / len(first)


# What they are compared on: arrays for n rows.


def normal(*shapes):
    """Make arrays of normal numbers; "n" in a shape stands for the rows, "n/2" for half of them."""
    return lambda rng, n: tuple(
        rng.standard_normal([{"n": n, "n/2": n // 2}.get(size, size) for size in shape]) for shape in shapes
    )


def with_last(make, last):
    return lambda rng, n: (*make(rng, n), last(rng, n))


def tokens(rng, n):
    return tuple(rng.standard_normal((2, n, 4, 6)))


def similarities_and_latents(rng, n):
    codes = rng.choice([-1.0, 1.0], (2, n, 8))  # few different similarities: there are ties
    return codes[0] @ codes[1].T / 16 + 0.5, *rng.standard_normal((2, n, 5))


def with_classes(rng, n):
    return (
        rng.standard_normal((n, 5)),
        (rng.random((n, 3)) < 0.4).astype(float),
        rng.choice([-1.0, 1.0], (3, 5)),
    )


CODES_AND_FEATURES = normal(("n", 5), ("n", 9))
VIEWS = normal(("n", 7), ("n", 7))

# Loss, its definition, its arguments, how many of them have a gradient, settings; the first setting is the default.
LOSSES = {
    "matching": (
        matching_loss,
        lambda codes, targets: np.abs(half_cosines(codes) - targets).mean(),
        normal(("n", 5), ("n/2",)),
        1,
        [{}],
    ),
    "ranking": (ranking_loss, ranking, CODES_AND_FEATURES, 1, [{"temperature": 0.1}, {"temperature": 0.5}]),
    "quantization": (
        quantization_loss,
        lambda codes: np.mean([1 - cosine(f, np.where(f >= 0, 1, -1)) for f in codes]),
        normal(("n", 6)),
        1,
        [{}],
    ),
    "pair similarity": (
        pair_similarity_loss,
        lambda codes, features: np.mean((half_cosines(codes) - half_cosines(features)) ** 2),
        CODES_AND_FEATURES,
        1,
        [{}],
    ),
    "pair similarities": (
        pair_similarities,
        cosines,
        normal(("n", 5)),
        1,
        [{"pairs": "half"}, {"pairs": "all"}],
    ),
    "pair label": (
        pair_label_loss,
        reference.pair_label,
        with_last(normal(("n", 5)), lambda rng, n: rng.integers(-1, 2, (n, n)).astype(float)),
        1,
        [{}],
    ),
    "classification": (
        cosine_classification_loss,
        classification,
        with_classes,
        1,
        [{"scale": 8, "margin": 0.2}, {"scale": 4, "margin": 0.3}],
    ),
    "nt-xent": (nt_xent_loss, reference.nt_xent, VIEWS, 2, [{"temperature": 0.3}, {"temperature": 1.0}]),
    "soft sort": (
        lambda scores, temperature: soft_sort(scores, temperature),
        lambda scores, temperature: np.array([in_order(row, temperature) for row in scores]),
        normal(("n", 7)),
        1,
        [{"temperature": 0.5}, {"temperature": 1 / 8}, {"temperature": 2.0}],
    ),
    "sorted nce": (
        sorted_nce_loss,
        sorted_nce,
        similarities_and_latents,
        0,
        [
            {"n_positives": 2, "temperature": 0.1, "sort_temperature": 1 / 64},
            {"n_positives": 1, "temperature": 0.5, "sort_temperature": 0.02},
            {"n_positives": 5, "temperature": 1.0, "sort_temperature": 3.0},
            {"n_positives": 2, "temperature": 0.3, "sort_temperature": 1 / 64, "as_released": True},
        ],
    ),
    "mutual attention": (mutual_attention, attention, tokens, 2, [{}]),
    "image weights": (
        image_weights,
        weights_of_images,
        tokens,
        2,
        [{"temperature": 0.2}, {"temperature": 1.0}],
    ),
    "weighted contrastive": (
        weighted_contrastive_loss,
        weighted_contrastive,
        with_last(VIEWS, lambda rng, n: rng.random((n, n))),
        2,
        [{"temperature": 0.3}, {"temperature": 1.0}],
    ),
    # away from 0 the bits are constant, so differences see what the gradient is to be: that of the logits alone
    "code alignment": (code_alignment_loss, reference.code_alignment, VIEWS, 2, [{}]),
    "coding rate": (
        coding_rate,
        reference.coding_rate,
        normal(("n", 7)),  # more bits than rows, and fewer
        1,
        [{"distortion": 0.05}, {"distortion": 1.0}],
    ),
    "bernoulli kl": (bernoulli_kl_loss, reference.bernoulli_kl, VIEWS, 0, [{}]),
}


def tensors(arrays, dtype=torch.float64):
    return [torch.tensor(array, dtype=dtype) for array in arrays]


@pytest.mark.parametrize("n", [6, 9, 16])  # images are compared eight at a time: fewer, more, and two blocks
@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_their_definitions(name, n):
    loss, definition, make, _, options = LOSSES[name]
    arrays = make(np.random.default_rng(n), n)
    for setting in options:
        expected = definition(*arrays, **setting)
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
            found = loss(*tensors(arrays, dtype), **setting)
            for one, other in (
                zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
            ):
                assert one.dtype == dtype
                np.testing.assert_allclose(one.numpy(), other, rtol=tolerance, atol=tolerance * 0.01)
    if name != "soft sort":
        torch.testing.assert_close(
            loss(*tensors(arrays)), loss(*tensors(arrays), **options[0]), rtol=0, atol=0
        )


@pytest.mark.parametrize("n", [4, 9])
@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name][3]])
def test_gradients(name, n):
    loss, _, make, n_moving, options = LOSSES[name]
    arguments = tensors(make(np.random.default_rng(n), n))
    moving = [argument.requires_grad_() for argument in arguments[:n_moving]]
    for setting in options:
        assert torch.autograd.gradcheck(
            lambda *moved, setting=setting: loss(*moved, *arguments[n_moving:], **setting), moving
        )


class TestCalibration:
    @settings(max_examples=150, deadline=None)
    @given(
        n=st.integers(3, 257),
        n_bits=st.integers(1, 64),
        shape=st.sampled_from(BETAS),
        seed=st.integers(0, 2**32 - 1),
        bias=st.sampled_from([0.0, 1.0, 5.0]),
    )
    def test_equals_the_papers_algorithm(self, n, n_bits, shape, seed, bias):
        rng = np.random.default_rng(seed)
        codes = rng.standard_normal((n, n_bits))
        features = rng.standard_normal((n, 9)) + bias
        gaps = np.diff(np.sort(cosines(features, "half")))
        assume(gaps.min(initial=1) > 1e-6)  # single precision puts closer ones in another order
        targets = target_quantiles(Beta(*shape), n // 2)
        by_scipy = 2 * stats.beta(*shape).ppf((2 * np.arange(1, n // 2 + 1) - 1) / (2 * (n // 2))) - 1
        expected = calibration(codes, features, by_scipy, np.zeros(n // 2))
        for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
            ours = calibration_loss(*tensors((codes, features, targets), dtype))
            assert ours.dtype == dtype
            assert float(ours) == pytest.approx(expected, abs=tolerance)

    @pytest.mark.parametrize("pairs", ["half", "all"])
    @pytest.mark.parametrize("labelled", [False, True])
    def test_of_all_pairs_and_with_labels(self, pairs, labelled):
        rng = np.random.default_rng(0)
        codes, features = rng.standard_normal((9, 8)), rng.standard_normal((9, 5)) + 1
        n_pairs = count_pairs_of(9, pairs)
        targets = rng.uniform(-1, 1, n_pairs)
        positive = rng.integers(0, 2, n_pairs) == 1
        codes, features, targets = tensors((codes, features, targets))
        options = {"pairs": pairs} | ({"positive": torch.tensor(positive)} if labelled else {})
        ours = calibration_loss(codes, features, targets, **options)
        expected = calibration(codes.numpy(), features.numpy(), targets.numpy(), positive * labelled, pairs)
        assert ours.item() == pytest.approx(expected)
        codes.requires_grad_()
        assert torch.autograd.gradcheck(lambda f: calibration_loss(f, features, targets, **options), codes)

    def test_pairs_of_equal_similarity_stay_in_the_order_of_the_batch(self):
        rng = np.random.default_rng(0)
        n_pairs = 300
        codes = torch.tensor(rng.standard_normal((2 * n_pairs, 3)))
        targets = torch.as_tensor(target_quantiles(Beta(), n_pairs))
        features = (
            torch.eye(4).double()[:2].repeat(n_pairs, 1)
        )  # rows i and n_pairs + i are alike: a cosine of 1
        similarities = half_cosines(codes.numpy())
        expected = np.abs(similarities - targets.numpy()).mean()
        assert calibration_loss(codes, features, targets).item() == pytest.approx(expected)
        positive = torch.as_tensor(rng.integers(0, 2, n_pairs) == 1)
        order = sorted(range(n_pairs), key=lambda i: bool(positive[i]))
        expected = np.abs(similarities[order] - targets.numpy()).mean()
        labelled = calibration_loss(codes, features, targets, positive=positive)
        assert labelled.item() == pytest.approx(expected)

    def test_positive_pairs(self):
        assert positive_pairs(torch.tensor([3, 1, 2, 3, 3, 2])).tolist() == [True, False, True]
        ids = torch.tensor([3, 1, 3, 1])
        assert positive_pairs(ids, "all").tolist() == [False, True, False, False, True, False]
        vectors = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 1], [0, 1, 0]], dtype=torch.uint8)
        assert positive_pairs(vectors).tolist() == [True, False]
        many = torch.ones((2, 256), dtype=torch.uint8)  # 256 labels in common are not 0
        assert positive_pairs(many).tolist() == [True]


class TestByHand:
    def test_pairs_of_an_odd_batch_leave_the_last_row_out(self):
        first, second = half_pairs(torch.arange(5)[:, None])
        assert first.flatten().tolist() == [0, 1]
        assert second.flatten().tolist() == [2, 3]
        counts = [count_pairs_of(2), count_pairs_of(5), count_pairs_of(5, "all")]
        assert counts == [1, 2, 10]
        assert all(isinstance(count, int) for count in counts)
        for pairs in ("half", "all"):
            assert pair_similarities(torch.ones(2, 3), pairs).tolist() == pytest.approx([1])

    def test_quantization(self):
        assert float(quantization_loss(torch.tensor([[2.0, -2.0], [3.0, 3.0]]))) == pytest.approx(0, abs=1e-6)
        for row in ([1.0, 0.0], [1e-7, 0.0]):  # short, yet not zero
            expected = 1 - 1 / np.sqrt(2)
            assert float(quantization_loss(torch.tensor([row]))) == pytest.approx(expected, abs=1e-6)
        codes = torch.tensor([[0.0, 0.0], [3.0, 4.0]])  # a row of length zero does not spread NaN
        expected = 1 - (0 + 7 / 5) / 2 / np.sqrt(2)
        assert quantization_loss(codes).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("n", [1, 2, 7, 64])
    @pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0])
    def test_nt_xent_equals_an_independent_library(self, n, temperature):
        losses = pytest.importorskip("pytorch_metric_learning.losses")
        first, second = (views.requires_grad_() for views in tensors(VIEWS(np.random.default_rng(n), n)))
        theirs = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=temperature))(first, second)
        ours = nt_xent_loss(first, second, temperature)
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-8)
        gradients = (torch.autograd.grad(loss, (first, second)) for loss in (ours, theirs))
        for mine, other in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-8, rtol=1e-6)

    def test_matching_of_all_pairs(self):
        codes, targets = normal(("n", 5), (15,))(RNG(0), 6)
        found = matching_loss(*tensors((codes, targets)), "all")
        assert found.item() == pytest.approx(np.abs(cosines(codes, "all") - targets).mean())

    @pytest.mark.parametrize("pairs", ["half", "all"])
    def test_ranking_with_labels_puts_positive_pairs_above_negative_ones(self, pairs):
        codes, features = CODES_AND_FEATURES(RNG(0), 12)
        features[1], features[7] = features[0], features[6]  # two pairs with equal t: of no order
        positive = RNG(1).integers(0, 2, count_pairs_of(12, pairs)) == 1
        found = ranking_loss(*tensors((codes, features)), 0.2, pairs, torch.tensor(positive))
        assert found.item() == pytest.approx(ranking(codes, features, 0.2, positive, pairs))

    def test_two_pairs_have_one_order(self):
        codes, features = CODES_AND_FEATURES(RNG(0), 4)
        found = ranking_loss(*tensors((codes, features)), 0.2)
        assert found.item() == pytest.approx(ranking(codes, features, 0.2))

    def test_a_single_pair_has_no_order(self):
        codes = torch.ones((2, 3), requires_grad=True)
        loss = ranking_loss(codes, torch.ones((2, 3)))
        loss.backward()
        assert loss.item() == 0
        assert (codes.grad == 0).all()

    @pytest.mark.parametrize("loss", [ranking_loss, pair_similarity_loss, calibration_loss])
    def test_no_gradient_reaches_features_that_want_one(self, loss):
        arguments = tensors(CODES_AND_FEATURES(np.random.default_rng(0), 8))
        codes, features = (rows.requires_grad_() for rows in arguments)
        loss(codes, features, *([torch.zeros(4)] if loss is calibration_loss else [])).backward()
        assert features.grad is None
        assert codes.grad.abs().sum() > 0

    @pytest.mark.parametrize("type_of_codes", [torch.float32, torch.float64])
    @pytest.mark.parametrize("type_of_labels", [torch.uint8, torch.bool, torch.float64])
    def test_classification_is_in_the_type_of_the_codes(self, type_of_codes, type_of_labels):
        codes, _, targets = tensors(with_classes(np.random.default_rng(0), 6), type_of_codes)
        ids = torch.tensor([0, 1, 0, 1, 1, 0])  # of three classes, the last does not occur
        expected = cosine_classification_loss(codes, ids, targets)
        vectors = torch.nn.functional.one_hot(ids, 3).to(type_of_labels)
        for class_targets in (targets.double(), targets.long()):
            loss = cosine_classification_loss(codes, vectors, class_targets)
            assert loss.dtype == type_of_codes
            torch.testing.assert_close(loss, expected)

    def test_gradients_of_sorted_nce_reach_latent_vectors_and_similarities(self):
        moving = [tensor.requires_grad_() for tensor in tensors(normal((6, 6), (6, 4), (6, 4))(RNG(0), 6))]
        assert torch.autograd.gradcheck(
            lambda s, x, y: sorted_nce_loss(s, x, y, sort_temperature=0.5), moving
        )
        sorted_nce_loss(*moving, sort_temperature=0.5).backward()
        assert all(tensor.grad.abs().min() > 0 for tensor in moving)

    def test_a_coding_rate_needs_no_particular_length(self):
        line, spread = torch.tensor([[1.0] * 5, [-2.0] * 5]).double(), torch.eye(5).double()
        assert float(coding_rate(line, 0.1)) == pytest.approx(np.log(1 + 5 / 0.1) / 2)
        assert float(coding_rate(7 * spread, 0.1)) == pytest.approx(5 / 2 * np.log(1 + 1 / 0.1))

    def test_kl_draws_each_view_to_where_the_other_is(self):
        a = torch.tensor([[0.3, -2.0, 1.0]], dtype=torch.float64, requires_grad=True)
        b = torch.tensor([[1.3, -1.0, -4.0]], dtype=torch.float64, requires_grad=True)
        bernoulli_kl_loss(a, b).backward()
        for moving, fixed in ((a, b), (b, a)):
            p = moving.detach().sigmoid()
            torch.testing.assert_close(moving.grad, p * (1 - p) * (moving - fixed).detach() / 2)
        assert float(bernoulli_kl_loss(a, a).detach()) == pytest.approx(0, abs=1e-12)

    def test_kl_of_bits_that_are_all_but_certain(self):
        a, b = torch.full((2, 3), 300.0, requires_grad=True), torch.full((2, 3), -300.0)
        loss = bernoulli_kl_loss(a, b)
        # p is 1, and log(1 / q) = log(1 + exp(300)), for three bits
        assert float(loss.detach()) == pytest.approx(3 * 300, rel=1e-6)
        loss.backward()
        assert torch.isfinite(a.grad).all()

    def test_a_logit_of_0_is_a_bit_of_1(self):
        loss = code_alignment_loss(torch.tensor([[2.0]]), torch.tensor([[0.0]]))
        assert loss.item() == pytest.approx((np.log(1 + np.exp(-2)) + np.log(2)) / 2)


RNG = np.random.default_rng
FOUR, FIVE = torch.ones(4, 2), torch.ones(5, 2)
UNLIKE = "second: expected the shape of first, (4, 2), got (5, 2)"
ROWS = "features: expected as many rows as codes (4), got 5"
CODES, Y, TARGETS = tensors(with_classes(RNG(0), 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *(
            (lambda loss=loss, more=more: loss(FOUR, FIVE, *more), ROWS)
            for loss, *more in ((calibration_loss, torch.zeros(2)), (ranking_loss,), (pair_similarity_loss,))
        ),
        (lambda: calibration_loss(FOUR, FOUR, torch.zeros(3)), "targets: expected shape (2,), got (3,)"),
        (
            lambda: calibration_loss(FOUR, FOUR, torch.zeros(2), positive=torch.ones(3)),
            "positive: expected shape (2,), got (3,)",
        ),
        (lambda: ranking_loss(FOUR, FOUR, positive=torch.ones(3)), "positive: expected shape (2,), got (3,)"),
        (lambda: matching_loss(FOUR, torch.zeros(3)), "targets: expected shape (2,), got (3,)"),
        (lambda: half_pairs(torch.ones(1, 3)), "batch: expected at least two rows to make a pair, got 1"),
        (
            lambda: pair_similarities(torch.ones(1, 3), "all"),
            "batch: expected at least two rows to make a pair, got 1",
        ),
        (lambda: pair_similarities(FOUR, "some"), "pairs: expected one of all, half, got 'some'"),
        *(
            (lambda loss=loss: loss(FOUR, FIVE), UNLIKE)
            for loss in (bernoulli_kl_loss, code_alignment_loss, nt_xent_loss, mutual_attention)
        ),
        (lambda: weighted_contrastive_loss(FOUR, FIVE, torch.eye(4)), UNLIKE),
        (
            lambda: weighted_contrastive_loss(FOUR, FOUR, torch.eye(4)[:2]),
            "weights: expected shape (4, 4), got (2, 4)",
        ),
        (lambda: sorted_nce_loss(torch.eye(4), FOUR, FIVE), UNLIKE),
        (
            lambda: sorted_nce_loss(torch.eye(4)[:, :3], FOUR, FOUR),
            "code_similarity: expected shape (4, 4), got (4, 3)",
        ),
        *(
            (
                lambda n=n: sorted_nce_loss(torch.eye(4), FOUR, FOUR, n_positives=n),
                f"n_positives: expected 1 to 3 of 4 images, got {n}",
            )
            for n in (0, 4)
        ),
        *(
            (lambda d=d: coding_rate(FOUR, d), f"distortion: expected a number > 0, got {d}")
            for d in (0, -1.0, float("nan"))
        ),
        (lambda: pair_label_loss(FOUR, torch.ones(4, 3)), "labels: expected shape (4, 4), got (4, 3)"),
        (
            lambda: cosine_classification_loss(CODES, Y, torch.ones(3, 6)),
            "class_targets: expected 5 bits a class, got 6",
        ),
        (
            lambda: cosine_classification_loss(CODES, Y[:4], TARGETS),
            "labels: expected shape (5,) or (5, 3), got (4, 3)",
        ),
    ],
)
def test_messages_of_losses(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


DISTRIBUTIONS = [
    Beta(5, 5),
    Beta(0.2, 0.2),
    Beta(5, 2),
    TruncatedGaussian(0, 0.3),
    TruncatedGaussian(0.4, 2.0),
    TruncatedGaussian(-1.5, 0.8),
    TruncatedLaplace(0, 0.2),
    TruncatedLaplace(0.1, 0.4),
    TruncatedLaplace(-0.3, 3.0),
    Binomial(16),
    Binomial(1),
]
DENSITIES = {
    "beta": lambda d: lambda v: stats.beta.pdf((v + 1) / 2, d.alpha, d.beta),
    "truncated_gaussian": lambda d: stats.norm(d.mean, d.std).pdf,
    "truncated_laplace": lambda d: lambda v: np.exp(-abs(v - d.mean) / d.scale),
}


class TestDistributions:
    @pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
    def test_quantiles_are_ascending_and_stay_in_range(self, distribution):
        q = distribution.quantile(np.linspace(0, 1, 1001))
        assert (q[0], q[-1]) == pytest.approx((-1, 1))
        assert (np.diff(q) >= 0).all()
        few = distribution.quantile(np.float32([[0, 0.25, 0.5], [0.5, 0.75, 1]]))
        np.testing.assert_array_equal(few, [q[[0, 250, 500]], q[[500, 750, 1000]]])
        assert few.dtype == np.float64

    @pytest.mark.parametrize("distribution", [d for d in DISTRIBUTIONS if d.name in DENSITIES], ids=str)
    def test_quantiles_have_the_mass_of_the_density_below_them(self, distribution):
        density = DENSITIES[distribution.name](distribution)
        mean = getattr(distribution, "mean", 0)

        def mass(high):
            bend = [mean] if -1 < mean < high else None
            return integrate.quad(density, -1, high, points=bend, limit=200)[0]

        for u in (0.05, 0.3, 0.5, 0.9):
            assert mass(float(distribution.quantile(u))) / mass(1) == pytest.approx(u, abs=1e-7)

    @pytest.mark.parametrize("kind", [TruncatedGaussian, TruncatedLaplace])
    def test_no_rounding_leaves_the_range(self, kind):
        # SciPy's quantiles at the ends are beyond -1 and 1 by an ulp or two for many of these.
        for mean in np.linspace(-2, 2, 33):
            for spread in (0.5, 1.0, 3.0):
                ends = kind(mean, spread).quantile([0, 1e-300, 1 - 1e-16, 1])
                np.testing.assert_allclose(ends, [-1, -1, 1, 1], atol=1e-9)
                assert np.abs(ends).max() <= 1

    @pytest.mark.parametrize("sign", [-1, 1])
    def test_truncated_laplace_however_far_away_its_mean(self, sign):
        found = TruncatedLaplace(sign * 3, 0.05).quantile(0.5)  # an exponential tail that starts at 1
        assert found == pytest.approx(sign * (1 - 0.05 * np.log(2)), abs=1e-6)

    def test_binomial_is_the_similarity_of_fair_bits(self):
        u, shares = np.linspace(0.02, 0.98, 25), [math.comb(16, k) / 2**16 for k in range(17)]
        expected = np.linspace(-1, 1, 17)[np.searchsorted(np.cumsum(shares), u)]
        np.testing.assert_allclose(Binomial(16).quantile(u), expected)
        assert Binomial(16).quantile([0, 1]).tolist() == [-1, 1]
        assert Binomial(1).quantile([0, 0.4, 0.6, 1]).tolist() == [-1, -1, 1, 1]

    def test_target_quantiles_are_the_middles(self):
        np.testing.assert_allclose(target_quantiles(Beta(1, 1), 4), [-0.75, -0.25, 0.25, 0.75])
        for n in (1, 2, 7):
            u = np.array([(2 * i - 1) / (2 * n) for i in range(1, n + 1)])
            expected = 2 * stats.beta.ppf(u, 2, 5) - 1
            np.testing.assert_allclose(target_quantiles(Beta(2, 5), n), expected, rtol=1e-12)
        assert target_quantiles(Beta(5, 5), 100_000).std() == pytest.approx(0.3015, abs=1e-4)  # as documented

    def test_defaults_are_those_of_the_paper_and_its_ablation(self):
        assert [str(kind()) for kind in (Beta, TruncatedGaussian, TruncatedLaplace, Binomial)] == [
            "beta(5, 5)",
            "truncated_gaussian(0, 0.3)",
            "truncated_laplace(0, 0.2)",
            "binomial(64)",
        ]

    @given(st.floats(0.1, 20), st.floats(0.1, 20))
    def test_what_prints_is_read_back(self, alpha, beta):
        distribution = parse_calibration(f"beta({alpha:.10g}, {beta:.10g})")
        assert parse_calibration(str(distribution)) == distribution

    def test_blanks_and_ten_digits(self):
        assert parse_calibration("  truncated_gaussian \t( -0.25 ,0.5)\n") == TruncatedGaussian(-0.25, 0.5)
        assert str(Beta(1 / 3, 12345.678912)) == "beta(0.3333333333, 12345.67891)"

    def test_what_is_a_distribution_already_is_returned_as_it_is(self):
        class Own:
            def quantile(self, u):
                return u

        class WithoutMethod:
            quantile = 3

        for distribution in (Beta(2, 3), Empirical([0.5]), Own()):
            assert parse_calibration(distribution) is distribution
        with pytest.raises(
            ValueError, match=r"^calibration: expected a name or an object with quantile\(u\)"
        ):
            parse_calibration(WithoutMethod())


class TestEmpirical:
    def test_gives_back_what_it_was_given(self):
        similarities = np.random.default_rng(0).uniform(-0.3, 0.8, 501).astype(np.float32)
        distribution = Empirical(similarities)
        assert distribution.similarities.dtype == np.float64
        np.testing.assert_array_equal(distribution.similarities, sorted(similarities.astype(float)))
        u = np.float32([[0, 0.25], [0.6, 1]])
        np.testing.assert_array_equal(
            distribution.quantile(u), np.quantile(distribution.similarities, u.astype(float))
        )
        assert str(distribution) == "empirical"
        assert Empirical([0]).quantile([0.2, 0.7]).tolist() == [0, 0]

    def test_rounding_beyond_the_range_is_cut_off(self):
        distribution = Empirical(np.array([1 + 1e-6, 0.5, -1 - 1e-6]))
        assert distribution.similarities.tolist() == [-1, 0.5, 1]

    @pytest.mark.parametrize(
        "bad", [[0.5, 1 + 2e-6], [0.5, -1 - 2e-6], [np.nan], 0.0, [], np.zeros((2, 3)), np.zeros((0, 3))]
    )
    def test_what_are_no_similarities(self, bad):
        message = (
            f"similarities: expected numbers in [-1, 1] of shape (n,), n >= 1, got shape {np.shape(bad)}"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Empirical(bad)


KNOWN = (
    "a distribution such as beta(5, 5), truncated_gaussian(0, 0.3), truncated_laplace(0, 0.2), binomial(64)"
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Beta(0, 1), "Beta: expected alpha to be finite and > 0, got 0"),
        (lambda: Beta(1, np.inf), "Beta: expected beta to be finite and > 0, got inf"),
        (lambda: TruncatedGaussian(0, 0), "TruncatedGaussian: expected std to be finite and > 0, got 0"),
        (lambda: TruncatedGaussian(-np.inf), "TruncatedGaussian: expected mean to be finite, got -inf"),
        (lambda: TruncatedLaplace(0, -1), "TruncatedLaplace: expected scale to be finite and > 0, got -1"),
        (lambda: TruncatedLaplace(np.nan), "TruncatedLaplace: expected mean to be finite, got nan"),
        (lambda: Binomial(2.5), "Binomial: expected n_bits to be a whole number >= 1, got 2.5"),
        (lambda: Binomial(0), "Binomial: expected n_bits to be finite and > 0, got 0"),
        *(
            (
                lambda kind=kind, u=u: kind.quantile(u),
                "u: expected probabilities in [0, 1], got values outside or NaN",
            )
            for kind, u in ((Beta(), -0.1), (Beta(), [0, 2]), (Beta(), np.nan), (Empirical([0]), 2))
        ),
        *(
            (lambda name=name: parse_calibration(name), f"calibration: expected {KNOWN}, got {name!r}")
            for name in ("gamma(1, 2)", "beta(5", "beta", "beta(5)(5)")
        ),
        (
            lambda: parse_calibration("gamma(1)", name="positive"),
            f"positive: expected {KNOWN}, got 'gamma(1)'",
        ),
        (lambda: parse_calibration(5), "calibration: expected a name or an object with quantile(u), got 5"),
        (
            lambda: parse_calibration("beta(a, b)"),
            "calibration: expected values like beta(5, 5), got 'beta(a, b)' (could not convert string to float: 'a')",
        ),
        (
            lambda: parse_calibration("beta(5, 5, 5)"),
            "calibration: expected values like beta(5, 5), got 'beta(5, 5, 5)' "
            "(Beta.__init__() takes from 1 to 3 positional arguments but 4 were given)",
        ),
        (
            lambda: parse_calibration("binomial(2.5)"),
            "calibration: expected values like binomial(64), got 'binomial(2.5)' "
            "(Binomial: expected n_bits to be a whole number >= 1, got 2.5)",
        ),
    ],
)
def test_messages_of_distributions(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
