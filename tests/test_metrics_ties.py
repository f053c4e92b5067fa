"""Groups of tied items that the cut divides: sums of precision over their orders, by formulas and by counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdclib.metrics import PairCounts, mean_average_precision
from sdclib.metrics import counts as ties_module
from tests.test_metrics_map import TIES, random_case
from tests.test_metrics_oracle import DENOMINATORS


@pytest.mark.parametrize("ties", TIES)
def test_queries_with_tie_groups_of_other_sizes_do_not_touch_each_other(ties):
    # The second query may have 2 hits among its last places, the first only 1; 2 would lower its ratio further.
    every, relevant = np.array([[1, 9, 4], [1, 9, 4]]), np.array([[1, 0, 1], [1, 0, 2]])
    options = {"top_k": 12, "ties": ties, "denominator": "retrieved", "per_query": True}
    together = mean_average_precision(PairCounts(every, relevant, n_database=14), **options)
    alone = [
        mean_average_precision(PairCounts(every[i : i + 1], relevant[i : i + 1], n_database=14), **options)[0]
        for i in range(2)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-14)
    if ties == "pessimistic":
        assert together[0] == pytest.approx((1 + 2 / 12) / 2, abs=1e-14)


@pytest.mark.parametrize("before", [0, 1000, 1_000_000])
@pytest.mark.parametrize("taken", [1, 7, 400])
def test_closed_form_is_accurate_deep_in_the_ranking(before, taken):
    items, relevant, hits_before = 400, 37, before // 3
    counts = PairCounts(
        np.array([[before, items, 5]]), np.array([[hits_before, relevant, 0]]), n_database=before + items + 5
    )
    top_k = before + taken
    whole, divided = ties_module.cut_groups(counts, top_k)
    group = (
        divided
        if taken < items
        else whole.__class__(
            *(np.array([v]) for v in (items, relevant, taken)),
            whole.items_before[:, 1],
            whole.hits_before[:, 1],
        )
    )
    harmonic = ties_module.harmonic_numbers(top_k)
    places = range(1, taken + 1)
    expected = math.fsum(
        relevant / items * (hits_before + 1 + (t - 1) * (relevant - 1) / (items - 1)) / (before + t)
        for t in places
    )
    got = float(ties_module.PRECISION_SUMS["expected"](group, harmonic)[0])
    assert got == pytest.approx(expected, rel=1e-11)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 3000), st.data())
def test_hypergeometric_equals_exact_binomials(items, data):
    relevant = data.draw(st.integers(0, items))
    taken = data.draw(st.integers(1, items - 1))
    group = ties_module.TieGroups(*(np.array([v]) for v in (items, relevant, taken, 0, 0)))
    ((rows, hits, probabilities),) = ties_module.divided_hits(group)
    exact = [
        math.comb(relevant, j) * math.comb(items - relevant, taken - j) / math.comb(items, taken)
        for j in map(int, hits[0])
    ]
    np.testing.assert_array_equal(rows, [0])
    np.testing.assert_allclose(probabilities[0], exact, rtol=1e-10, atol=1e-300)
    assert sum(exact) == pytest.approx(1, abs=1e-12)


def test_hypergeometric_chunks_cover_every_query_once(monkeypatch):
    query, database, relevant = random_case(4)
    whole = mean_average_precision(
        query, database, relevant, top_k=60, denominator="retrieved", per_query=True
    )
    monkeypatch.setattr(ties_module, "CHUNK", 25)
    chunked = mean_average_precision(
        query, database, relevant, top_k=60, denominator="retrieved", per_query=True
    )
    np.testing.assert_allclose(chunked, whole, rtol=1e-13)


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("ties", TIES)
def test_large_divided_groups_equal_sums_over_every_number_of_hits(ties, denominator):
    # 3 hits among 10 nearer items in their one order, then 60 tied items, 25 of them relevant, for 20 places.
    counts = PairCounts(
        np.array([[1] * 10 + [60, 30]]), np.array([[0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 25, 12]]), n_database=100
    )
    nearer = 1 / 2 + 2 / 5 + 3 / 9

    def precision_sum(hits, places):
        """Precisions at the places (from 1) of the hits in the tied group."""
        return sum((3 + i) / (10 + place) for i, place in enumerate(places[:hits], start=1))

    def divisor(hits):
        return {"relevant": 40, "retrieved": 3 + hits, "R": 30}[denominator]

    best = [(nearer + precision_sum(h, range(1, h + 1))) / divisor(h) for h in range(21)]
    worst = [(nearer + precision_sum(h, range(21 - h, 21))) / divisor(h) for h in range(21)]
    mean = 0.0
    for h in range(21):
        probability = math.comb(25, h) * math.comb(35, 20 - h) / math.comb(60, 20)
        # With h of 20 places taken by hits, place t holds one with h / 20; then (t - 1)(h - 1) / 19 came before.
        expected = sum(h / 20 * (4 + (t - 1) * (h - 1) / 19) / (10 + t) for t in range(1, 21))
        mean += probability * (nearer + expected) / divisor(h)
    expected = {"optimistic": max(best), "pessimistic": min(worst), "expected": mean}[ties]
    got = mean_average_precision(counts, top_k=30, ties=ties, denominator=denominator)
    assert got == pytest.approx(expected, abs=1e-13)


def test_cut_groups_by_hand():
    counts = PairCounts(
        np.array([[2, 0, 3, 4], [5, 1, 0, 3]]), np.array([[1, 0, 2, 1], [2, 0, 0, 1]]), n_database=9
    )
    whole, divided = ties_module.cut_groups(
        counts, 5
    )  # between the first query's groups; and between the second's
    np.testing.assert_array_equal(whole.items, [[2, 0, 3, 0], [5, 0, 0, 0]])
    np.testing.assert_array_equal(whole.relevant, [[1, 0, 2, 0], [2, 0, 0, 0]])
    np.testing.assert_array_equal(whole.taken, whole.items)
    np.testing.assert_array_equal(whole.items_before, [[0, 2, 2, 5], [0, 5, 5, 5]])
    np.testing.assert_array_equal(divided.taken, [0, 0])
    np.testing.assert_array_equal(divided.items_before, [5, 5])
    np.testing.assert_array_equal(divided.hits_before, [3, 2])
    whole, divided = ties_module.cut_groups(counts, 3)
    np.testing.assert_array_equal(whole.items, [[2, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(divided.items, [3, 5])
    np.testing.assert_array_equal(divided.relevant, [2, 2])
    np.testing.assert_array_equal(divided.taken, [1, 3])
    np.testing.assert_array_equal(divided.items_before, [2, 0])
    np.testing.assert_array_equal(divided.hits_before, [1, 0])
    np.testing.assert_array_equal(divided.fewest(), [0, 0])
    np.testing.assert_array_equal(divided.most(), [1, 2])


def test_harmonic_numbers():
    got = ties_module.harmonic_numbers(4)
    assert got.dtype == np.longdouble
    np.testing.assert_allclose(got.astype(float), [0, 1, 3 / 2, 11 / 6, 25 / 12], rtol=1e-15)
    assert ties_module.harmonic_numbers(0).tolist() == [0]


def test_harmonic_numbers_are_summed_in_extended_precision():
    one = np.longdouble(1)
    assert ties_module.harmonic_numbers(3)[3] == one + one / 2 + one / 3


@pytest.mark.parametrize(
    ("ties", "values"),
    [
        ("optimistic", [1 / 4, (1 / 4 + 2 / 5) / 2]),
        ("pessimistic", [0, 0]),
        # Query 0 has its hit at rank 4, at rank 5 or not (4 items, 2 places); query 1 has 0, 1 or 2 of 2 hits.
        ("expected", [(1 / 4 + 1 / 5) / 4, (2 * (1 / 4 + 1 / 5) + (1 / 4 + 2 / 5) / 2) / 6]),
    ],
)
def test_best_and_worst_orders_are_each_querys_own(ties, values):
    counts = PairCounts(np.array([[3, 4], [3, 4]]), np.array([[0, 1], [0, 2]]), n_database=7)
    options = {"top_k": 5, "ties": ties, "denominator": "retrieved", "per_query": True}
    np.testing.assert_allclose(mean_average_precision(counts, **options), values, atol=1e-15)


def test_hypergeometric_of_large_groups_neither_overflows_nor_vanishes():
    group = ties_module.TieGroups(*(np.array([v]) for v in (6000, 3000, 3000, 0, 0)))
    ((_, hits, probabilities),) = ties_module.divided_hits(group)
    np.testing.assert_array_equal(hits[0], np.arange(3001))
    middle = slice(1400, 1601)  # C(6000, 3000) has 1804 digits; whole numbers of any size do not mind
    exact = [math.comb(3000, j) ** 2 / math.comb(6000, 3000) for j in range(1400, 1601)]
    np.testing.assert_allclose(probabilities[0, middle], exact, rtol=1e-9)
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
