"""Histograms of positive and negative pairs, and what is computed from them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sdclib.codes import pack_codes
from sdclib.metrics import (
    PairHistograms,
    count_pairs,
    intersection,
    mean_and_std,
    overlap_auc,
    pair_histograms,
)
from tests.test_metrics_oracle import distances_of


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, 230)
    prototypes = rng.random((3, 14))
    codes = (rng.random((230, 14)) < prototypes[ids]).astype(np.uint8)
    return codes[:30], codes[30:], (ids[:30], ids[30:])


def test_histograms_equal_counts_of_all_pairs(case):
    histograms = pair_histograms(*case)
    similarity = 1 - 2 * distances_of(*case[:2]) / 14
    positive = case[2][0][:, None] == case[2][1]
    for value, n_positive, n_negative in zip(
        histograms.values, histograms.positive, histograms.negative, strict=True
    ):
        at = np.isclose(similarity, value, atol=1e-12)
        assert (n_positive, n_negative) == ((at & positive).sum(), (at & ~positive).sum())
    assert (np.diff(histograms.values) > 0).all()
    assert (histograms.values[0], histograms.values[-1]) == (-1, 1)
    assert histograms.positive.sum() + histograms.negative.sum() == similarity.size
    from_counts = pair_histograms(count_pairs(*case))
    np.testing.assert_array_equal(from_counts.positive, histograms.positive)
    np.testing.assert_array_equal(from_counts.negative, histograms.negative)


def test_statistics_equal_direct_ones(case):
    histograms = pair_histograms(*case)
    similarity = (1 - 2 * distances_of(*case[:2]) / 14).ravel()
    positive = (case[2][0][:, None] == case[2][1]).ravel()
    assert overlap_auc(histograms) == pytest.approx(roc_auc_score(positive, similarity), abs=1e-12)
    assert 0.55 < overlap_auc(histograms) < 0.95
    got = mean_and_std(histograms)
    for name, values in (
        ("positive", similarity[positive]),
        ("negative", similarity[~positive]),
        ("all", similarity),
    ):
        assert getattr(got, f"{name}_mean") == pytest.approx(values.mean(), abs=1e-12)
        assert getattr(got, f"{name}_std") == pytest.approx(values.std(), abs=1e-12)


def histograms(positive, negative):
    return PairHistograms(np.linspace(-1, 1, len(positive)), np.array(positive), np.array(negative))


@pytest.mark.parametrize(
    ("positive", "negative", "overlap", "auc"),
    [
        ([0, 0, 5], [7, 0, 0], 0, 1),
        ([7, 0, 0], [0, 0, 5], 0, 0),
        ([1, 2, 1], [10, 20, 10], 1, 0.5),
        ([0, 1, 1], [1, 1, 0], 0.5, 0.875),
        ([0, 3, 1], [6, 2, 0], 0.25, 0.75 * (0.75 + 0.125) + 0.25),
    ],
)
def test_by_hand(positive, negative, overlap, auc):
    assert intersection(histograms(positive, negative)) == pytest.approx(overlap, abs=1e-15)
    assert overlap_auc(histograms(positive, negative)) == pytest.approx(auc, abs=1e-15)


@pytest.mark.parametrize("function", [intersection, overlap_auc, mean_and_std])
def test_one_kind_of_pair_alone_is_an_error(function):
    with pytest.raises(ValueError, match="at least one positive and one negative pair, got 0 positive and 3"):
        function(histograms([0, 0], [1, 2]))
    with pytest.raises(ValueError, match="got 3 positive and 0 negative"):
        function(histograms([1, 2], [0, 0]))


def test_junk_is_in_neither_histogram():
    query, database = np.array([[0, 0]]), np.array([[0, 0], [0, 1], [1, 1]])
    got = pair_histograms(query, database, (np.array([1]), np.array([1, 1, 0])), junk=[[0]])
    np.testing.assert_array_equal(got.positive, [0, 1, 0])
    np.testing.assert_array_equal(got.negative, [1, 0, 0])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="values, positive, negative: expected one shape"):
        PairHistograms(np.zeros(3), np.zeros(3, dtype=int), np.zeros(2, dtype=int))


def test_packed_codes_and_junk(case):
    query, database, (query_ids, database_ids) = case
    junk = np.arange(0, 200, 3)
    kept = np.setdiff1d(np.arange(200), junk)
    got = pair_histograms(
        pack_codes(query), pack_codes(database), case[2], n_bits=14, junk=[junk] * len(query)
    )
    expected = pair_histograms(query, database[kept], (query_ids, database_ids[kept]))
    np.testing.assert_array_equal(got.positive, expected.positive)
    np.testing.assert_array_equal(got.negative, expected.negative)
    np.testing.assert_allclose(got.values, [-1 + step / 7 for step in range(15)], atol=1e-15)


def test_statistics_are_plain_numbers_by_hand():
    got = histograms([0, 3, 1], [6, 2, 0])  # similarities -1, 0, 1
    figures = mean_and_std(got)
    assert figures.positive_mean == pytest.approx(1 / 4)
    assert figures.positive_std == pytest.approx(np.std([0, 0, 0, 1]))
    assert figures.negative_mean == pytest.approx(-6 / 8)
    assert figures.negative_std == pytest.approx(np.std([-1] * 6 + [0] * 2))
    assert figures.all_mean == pytest.approx(-5 / 12)
    assert figures.all_std == pytest.approx(np.std([-1] * 6 + [0] * 5 + [1]))
    for value in (intersection(got), overlap_auc(got), *vars(figures).values()):
        assert type(value) is float


@pytest.mark.parametrize(
    "shapes", [((3,), (3,), (2,)), ((3,), (2,), (3,)), ((2,), (3,), (3,)), ((2, 1),) * 3, ((),) * 3]
)
def test_messages_say_what_came(shapes):
    message = "values, positive, negative: expected one shape (n_bins,), got {}, {}, {}".format(*shapes)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PairHistograms(*(np.zeros(shape, dtype=int) for shape in shapes))
    message = (
        "histograms: expected at least one positive and one negative pair, got 0 positive and 3 negative"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        intersection(histograms([0, 0], [1, 2]))
