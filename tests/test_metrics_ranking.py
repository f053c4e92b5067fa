"""Precision, recall and hit rate at k, against brute force over tie orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from sdclib.codes import pack_codes
from sdclib.metrics import (
    PairCounts,
    count_pairs,
    hit_rate_at_k,
    precision_at_k,
    recall_at_k,
)
from tests.test_metrics_oracle import distances_of, small_cases, tie_orders

AT_K = (precision_at_k, recall_at_k, hit_rate_at_k)


def slow_at_k(metric, ranked, k):
    hits = sum(ranked[:k])
    if metric is precision_at_k:
        return hits / k
    if metric is recall_at_k:
        return hits / sum(ranked) if any(ranked) else 0.0
    return float(hits > 0)


@settings(max_examples=80, deadline=None)
@given(small_cases())
def test_at_k_equals_brute_force_over_all_tie_orders(case):
    query, database, query_ids, database_ids = case
    relevant = query_ids[:, None] == database_ids
    distances = distances_of(query, database)
    counts = count_pairs(query, database, (query_ids, database_ids))
    for k in range(1, len(database) + 1):
        for metric in AT_K:
            low, mean, high = (
                metric(counts, k=k, ties=ties, per_query=True)
                for ties in ("pessimistic", "expected", "optimistic")
            )
            index = metric(query, database, (query_ids, database_ids), k=k, ties="index", per_query=True)
            for i in range(len(query)):
                values = [
                    slow_at_k(metric, list(relevant[i, order]), k) for order in tie_orders(distances[i])
                ]
                assert mean[i] == pytest.approx(np.mean(values), abs=1e-12)
                assert low[i] == pytest.approx(min(values), abs=1e-12)
                assert high[i] == pytest.approx(max(values), abs=1e-12)
                stable = np.argsort(distances[i], kind="stable")
                assert index[i] == pytest.approx(slow_at_k(metric, list(relevant[i, stable]), k), abs=1e-12)


def test_by_hand():
    # Distances 0: 1 item, a miss; 1: 4 items, 2 hits; 2: 1 item, a hit. k = 3 takes 2 of the 4.
    counts = PairCounts(np.array([[1, 4, 1]]), np.array([[0, 2, 1]]), n_database=6)
    assert precision_at_k(counts, k=3) == pytest.approx(1 / 3, abs=1e-15)
    assert recall_at_k(counts, k=3) == pytest.approx(1 / 3, abs=1e-15)
    assert hit_rate_at_k(counts, k=3) == pytest.approx(1 - 1 / 6, abs=1e-15)
    assert precision_at_k(counts, k=3, ties="optimistic") == pytest.approx(2 / 3, abs=1e-15)
    assert precision_at_k(counts, k=3, ties="pessimistic") == 0
    assert hit_rate_at_k(counts, k=3, ties="pessimistic") == 0


def random_case(n_bits=10):
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, (215, n_bits), dtype=np.uint8)
    ids = rng.integers(0, 3, 215)
    return codes[:15], codes[15:], (ids[:15], ids[15:])


def test_policies_for_queries_without_relevant_items():
    counts = PairCounts(np.array([[0, 2], [0, 2]]), np.array([[0, 1], [0, 0]]), n_database=2)
    for metric, value in zip(AT_K, (0.5, 1, 1), strict=True):
        assert metric(counts, k=2) == value / 2
        assert metric(counts, k=2, empty="skip") == value
        with pytest.raises(ValueError, match="got 1 empty, first is query 1"):
            metric(counts, k=2, empty="error")


@pytest.mark.parametrize("metric", AT_K)
@pytest.mark.parametrize("ties", ["expected", "index"])
def test_clear_errors_at_k(metric, ties):
    case = random_case()
    with pytest.raises(ValueError, match=r"^k: expected at most the 200 items of the database, got 201"):
        metric(*case, k=201, ties=ties)
    with pytest.raises(ValueError, match=r"^k: expected a whole number >= 1, got 0"):
        metric(*case, k=0, ties=ties)
    with pytest.raises(ValueError, match="ties: expected one of"):
        metric(*case, k=1, ties="random")
    with pytest.raises(ValueError, match="empty: expected one of"):
        metric(*case, k=1, ties=ties, empty="drop")


def case_with_junk():
    """Codes, ground truth and junk of a case; then the same with every query's junk taken out, as lists."""
    query, database, relevant = random_case()
    junk = np.arange(3, 90, 2)
    kept = np.setdiff1d(np.arange(len(database)), junk)
    return (
        (query, database, relevant),
        [junk] * len(query),
        (query, database[kept], (relevant[0], relevant[1][kept])),
    )


METRICS = [
    (precision_at_k, {"k": 7}),
    (precision_at_k, {"k": 7, "ties": "index"}),
    (precision_at_k, {"k": 7, "ties": "optimistic"}),
    (recall_at_k, {"k": 7}),
    (recall_at_k, {"k": 7, "ties": "index"}),
    (hit_rate_at_k, {"k": 2}),
    (hit_rate_at_k, {"k": 2, "ties": "index"}),
]


@pytest.mark.parametrize(("metric", "options"), METRICS)
def test_packed_codes_and_junk(metric, options):
    case, junk, without = case_with_junk()
    query, database, relevant = case
    value = metric(*case, **options)
    assert 0 < np.mean(value) < 1
    packed = metric(pack_codes(query), pack_codes(database), relevant, n_bits=10, **options)
    np.testing.assert_array_equal(packed, value)
    cleaned = metric(*case, junk=junk, **options)
    np.testing.assert_allclose(cleaned, metric(*without, **options), atol=1e-14)
    assert not np.array_equal(cleaned, value)
    with pytest.raises(ValueError, match="unused bits beyond n_bits = 9"):
        metric(pack_codes(query), pack_codes(database), relevant, n_bits=9, **options)


@pytest.mark.parametrize(("metric", "options"), METRICS)
def test_values_of_queries_and_their_mean(metric, options):
    case = random_case()
    each = metric(*case, per_query=True, **options)
    assert each.shape[0] == 15
    assert each.dtype == np.float64
    mean = metric(*case, **options)
    np.testing.assert_allclose(mean, each.mean(axis=0), atol=1e-15)
    assert type(mean) is float


def test_deepest_cut():
    query, database, relevant = random_case()
    share = np.mean([(relevant[1] == label).mean() for label in relevant[0]])
    for ties in ("expected", "optimistic", "pessimistic", "index"):
        assert precision_at_k(query, database, relevant, k=200, ties=ties) == pytest.approx(share, abs=1e-14)
        assert recall_at_k(query, database, relevant, k=200, ties=ties) == pytest.approx(1, abs=1e-14)
        assert hit_rate_at_k(query, database, relevant, k=200, ties=ties) == 1


@pytest.mark.parametrize("metric", AT_K)
@pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
def test_bounds_of_a_query_without_relevant_items(metric, ties):
    counts = PairCounts(np.array([[2, 2], [2, 2]]), np.array([[1, 1], [0, 0]]), n_database=4)
    values = metric(counts, k=1, ties=ties, empty="skip", per_query=True)
    assert values[0] == {"optimistic": {recall_at_k: 0.5}.get(metric, 1), "pessimistic": 0}[ties]
    assert np.isnan(values[1])
