"""NSH: the soft sort and the loss against their definitions, and that the method learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdclib import load_features
from sdclib.evaluation import evaluate_codes
from sdclib.extract.views import load_views
from sdclib.losses.contrastive import soft_sort, sorted_nce_loss
from sdclib.methods import make_hasher
from sdclib.methods.contrastive import NSHHasher


def reference_soft_sort(scores, temperature):
    order = sorted(scores, reverse=True)
    rows = [[np.exp(-abs(high - score) / temperature) for score in scores] for high in order]
    return np.array([np.array(row) / sum(row) for row in rows])


def reference_sorted_nce(similarity, first, second, n_positives, temperature, sort_temperature):
    losses = []
    for i in range(len(first)):
        unit = first / np.linalg.norm(first, axis=1, keepdims=True)
        in_order = reference_soft_sort(similarity[i], sort_temperature) @ unit
        cosines = [e @ second[i] / np.linalg.norm(e) / np.linalg.norm(second[i]) for e in in_order]
        far = sum(np.exp(cosine / temperature) for cosine in cosines[n_positives:])
        for cosine in cosines[:n_positives]:
            near = np.exp(cosine / temperature)
            losses.append(-np.log(near / (near + far)))
    return np.mean(losses)


def batch(n, n_bits=8, size=5, seed=0):
    """Similarities with ties, as of codes, and latent vectors."""
    rng = np.random.default_rng(seed)
    codes = rng.choice([-1.0, 1.0], (2, n, n_bits))
    return codes[0] @ codes[1].T / (2 * n_bits) + 0.5, *rng.standard_normal((2, n, size))


class TestSoftSort:
    @pytest.mark.parametrize("temperature", [0.02, 1 / 8, 2.0])
    def test_equals_the_definition(self, temperature):
        similarity, _, _ = batch(7)
        ours = soft_sort(torch.as_tensor(similarity), temperature)
        assert ours.shape == (7, 7, 7)
        for i in range(7):
            np.testing.assert_allclose(ours[i], reference_soft_sort(similarity[i], temperature), atol=1e-12)

    def test_sorts_exactly_when_cold_and_not_at_all_when_hot(self):
        scores = torch.randn(4, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        cold = soft_sort(scores, 1e-6)
        torch.testing.assert_close(
            (cold @ scores.unsqueeze(-1)).squeeze(-1), scores.sort(dim=1, descending=True).values
        )
        torch.testing.assert_close(cold.sum(dim=1), torch.ones(4, 20, dtype=torch.float64))
        torch.testing.assert_close(
            soft_sort(scores, 1e8), torch.full((4, 20, 20), 1 / 20, dtype=torch.float64)
        )

    def test_equal_scores_share_their_ranks(self):
        expected = torch.tensor([[0.5, 0, 0.5], [0.5, 0, 0.5], [0, 1, 0]])
        torch.testing.assert_close(soft_sort(torch.tensor([1.0, 0.0, 1.0]), 0.01), expected)


class TestLoss:
    @pytest.mark.parametrize("n_positives", [1, 2, 5])
    @pytest.mark.parametrize(("temperature", "sort_temperature"), [(0.1, 1 / 8), (0.5, 0.02), (1.0, 3.0)])
    def test_equals_the_definition(self, n_positives, temperature, sort_temperature):
        arrays = batch(9, seed=n_positives)
        ours = sorted_nce_loss(
            *map(torch.as_tensor, arrays),
            n_positives=n_positives,
            temperature=temperature,
            sort_temperature=sort_temperature,
        )
        expected = reference_sorted_nce(*arrays, n_positives, temperature, sort_temperature)
        assert float(ours) == pytest.approx(expected, rel=1e-9)

    def test_float32_is_accurate_enough(self):
        arrays = batch(50, n_bits=64, size=64)
        ours = sorted_nce_loss(*(torch.as_tensor(array, dtype=torch.float32) for array in arrays))
        assert float(ours) == pytest.approx(reference_sorted_nce(*arrays, 2, 0.1, 1 / 64), rel=1e-4)

    def test_gradients_reach_latent_vectors_and_similarities(self):
        generator = torch.Generator().manual_seed(0)
        similarity, first, second = (
            torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
            for shape in ((6, 6), (6, 4), (6, 4))
        )
        assert torch.autograd.gradcheck(
            lambda s, x, y: sorted_nce_loss(s, x, y, sort_temperature=0.5), (similarity, first, second)
        )
        sorted_nce_loss(similarity, first, second, sort_temperature=0.5).backward()
        assert all(tensor.grad.abs().min() > 0 for tensor in (similarity, first, second))

    def test_codes_that_rank_as_the_latent_vectors_have_the_least_loss(self):
        rng = np.random.default_rng(0)
        centres = np.repeat(rng.standard_normal((10, 16)), 2, axis=0)  # ten pairs of like images
        first, second = (
            torch.as_tensor(centres + 0.1 * rng.standard_normal(centres.shape)) for _ in range(2)
        )
        alike = torch.as_tensor(np.kron(np.eye(10), np.ones((2, 2))))
        wrong = alike.roll(2, dims=1)
        losses = [
            float(sorted_nce_loss(similarity, first, second, sort_temperature=0.1))
            for similarity in (alike, torch.full_like(alike, 0.5), wrong)
        ]
        assert losses[0] < 0.1
        assert losses[1] == pytest.approx(np.log(19))  # all ranks alike: one positive, 18 negatives
        assert losses[2] > losses[1]

    def test_shapes_that_do_not_fit(self):
        similarity, first, second = map(torch.as_tensor, batch(4))
        with pytest.raises(ValueError, match=r"second: expected the shape of first, \(4, 5\), got \(3, 5\)"):
            sorted_nce_loss(similarity, first, second[:3])
        with pytest.raises(ValueError, match=r"code_similarity: expected shape \(4, 4\), got \(4, 3\)"):
            sorted_nce_loss(similarity[:, :3], first, second)
        for n_positives in (0, 4):
            with pytest.raises(
                ValueError, match=f"n_positives: expected 1 to 3 of 4 images, got {n_positives}"
            ):
                sorted_nce_loss(similarity, first, second, n_positives=n_positives)


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 24))[rng.integers(0, 5, 120)] + 0.5 * rng.standard_normal((120, 24))
    return X.astype(np.float32), (X + 0.2 * rng.standard_normal((3, 120, 24))).astype(np.float32)


def quick(**parameters):
    return NSHHasher(**{"n_bits": 12, "epochs": 2, "hidden_features": 16, "latent_features": 8, **parameters})


class TestHasher:
    def test_history_and_head(self, toy):
        X, views = toy
        hasher = quick(quantization_weight=0.25).fit(X, views=views)
        assert [tuple(p.shape) for p in hasher.head_.parameters()] == [(16, 24), (16,), (12, 16), (12,)]
        history = hasher.history_
        np.testing.assert_allclose(  # means of float32 over few batches, each rounded at 6e-8
            history["loss"], history["contrastive_loss"] + 0.25 * history["quantization_loss"], rtol=1e-5
        )

    def test_first_loss_is_that_of_the_untrained_heads(self, toy):
        """One batch of all rows, no step: the terms follow from the codes as they come out."""
        X, views = toy
        settings = {"learning_rate": 0.0, "batch_size": 120, "epochs": 1, "n_positives": 119}
        hasher = quick(**settings).fit(X, views=views[[0, 0]])
        squashed = np.tanh(
            hasher.head_(torch.from_numpy(views[0])).detach().numpy()
        )  # both views are the same
        expected = np.mean((squashed - np.where(squashed >= 0, 1, -1)) ** 2)
        assert hasher.history_["quantization_loss"][0] == pytest.approx(expected, rel=1e-5)

    def test_views_and_bad_parameters_are_named(self, toy):
        X, views = toy
        with pytest.raises(ValueError, match="views: nsh learns from augmented views"):
            quick().fit(X)
        for name, value, message in [
            ("n_positives", 0, "n_positives: expected a whole number >= 1"),
            ("n_positives", 50, "n_positives: expected 1 to 49 of 50 images, got 50"),
            ("temperature", 0.0, "temperature: expected a finite number"),
            ("sort_temperature", -1.0, "sort_temperature: expected a finite number"),
            ("quantization_weight", -1.0, "quantization_weight: expected a finite number >= 0"),
            ("hidden_features", 0, "hidden_features: expected a whole number >= 1"),
            ("latent_features", 2.5, "latent_features: expected a whole number >= 1"),
            ("learning_rate", float("nan"), "learning_rate: expected a finite number >= 0"),
            ("batch_size", 1, "batch_size: expected a whole number >= 2"),
            ("epochs", 0, "epochs: expected a whole number >= 1"),
        ]:
            with pytest.raises(ValueError, match=message):
                quick(**{name: value}).fit(X, views=views)


@pytest.mark.slow
def test_learns_on_the_packaged_set():
    data, views = load_features("cifar10-embedded"), load_views("cifar10-embedded").features

    def precision(hasher):
        codes = hasher.transform(data.query[::2]), hasher.transform(data.database)
        labels = data.query_labels[::2], data.database_labels
        return evaluate_codes(*codes, labels, data.top_k)[0]["map_expected"]

    def train(**parameters):
        widths = {"hidden_features": 256, "latent_features": 256}
        return NSHHasher(32, **widths, **parameters).fit(data.train, views=views)

    start = precision(train(learning_rate=0.0, epochs=1))
    trained = train(learning_rate=2e-4, epochs=4)
    assert trained.history_["loss"].is_monotonic_decreasing
    assert precision(trained) > start + 0.05
    # by 0.07 to 0.14 over four seeds
    assert precision(trained) > precision(make_hasher("lsh", 32).fit(data.train)) + 0.02
