"""Mean average precision against brute force over tie orders, scikit-learn and a literal loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import average_precision_score

from sdclib.codes import pack_codes
from sdclib.metrics import PairCounts, count_pairs, mean_average_precision
from tests.test_metrics_oracle import (
    DENOMINATORS,
    distances_of,
    slow_average_precision,
    small_cases,
    tie_orders,
)

TIES = ("pessimistic", "expected", "optimistic")


def random_case(seed, n_query=20, n_database=300, n_bits=12, n_classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, (n_query + n_database, n_bits), dtype=np.uint8)
    labels = rng.integers(0, n_classes, n_query + n_database)
    return codes[:n_query], codes[n_query:], (labels[:n_query], labels[n_query:])


@settings(max_examples=150, deadline=None)
@given(small_cases())
def test_equals_brute_force_over_all_tie_orders(case):
    query, database, query_ids, database_ids = case
    relevant = query_ids[:, None] == database_ids
    distances = distances_of(query, database)
    counts = count_pairs(query, database, (query_ids, database_ids))
    for top_k in range(1, len(database) + 1):
        for denominator in DENOMINATORS:
            got = {
                ties: mean_average_precision(
                    counts, top_k=top_k, ties=ties, denominator=denominator, per_query=True
                )
                for ties in TIES
            }
            for i in range(len(query)):
                values = [
                    slow_average_precision(relevant[i, order], relevant[i].sum(), top_k, denominator) or 0.0
                    for order in tie_orders(distances[i])
                ]
                assert got["expected"][i] == pytest.approx(np.mean(values), abs=1e-12)
                assert got["optimistic"][i] == pytest.approx(max(values), abs=1e-12)
                assert got["pessimistic"][i] == pytest.approx(min(values), abs=1e-12)


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("top_k", [1, 7, 50, 299, None])
def test_bounds_hold_on_larger_cases(denominator, top_k):
    query, database, relevant = random_case(0)
    low, mean, high = (
        mean_average_precision(
            query, database, relevant, top_k=top_k, ties=ties, denominator=denominator, per_query=True
        )
        for ties in TIES
    )
    index = mean_average_precision(
        query, database, relevant, top_k=top_k, ties="index", denominator=denominator, per_query=True
    )
    assert (low <= mean + 1e-14).all()
    assert (mean <= high + 1e-14).all()
    assert (low <= index + 1e-14).all()
    assert (index <= high + 1e-14).all()
    assert low.mean() < mean.mean() < high.mean()  # 13 distances for 300 items: there are ties


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_expected_is_the_mean_over_shuffled_databases(denominator):
    query, database, relevant = random_case(3, n_query=3, n_database=60, n_bits=6)
    expected = mean_average_precision(query, database, relevant, top_k=20, denominator=denominator)
    rng = np.random.default_rng(0)
    sampled = []
    for _ in range(600):
        order = rng.permutation(len(database))
        shuffled = (relevant[0], relevant[1][order])
        sampled.append(
            mean_average_precision(
                query, database[order], shuffled, top_k=20, ties="index", denominator=denominator
            )
        )
    error = np.std(sampled) / np.sqrt(len(sampled))
    assert abs(np.mean(sampled) - expected) < 4 * error
    assert error < 0.01


def test_more_hits_may_lower_the_ratio_so_the_best_order_takes_fewer():
    # Rank 1 is a hit, 9 misses follow, then two tied items, one of them relevant, for the last place.
    counts = PairCounts(np.array([[1, 9, 2]]), np.array([[1, 0, 1]]), n_database=12)
    got = {
        ties: mean_average_precision(counts, top_k=11, ties=ties, denominator="retrieved") for ties in TIES
    }
    with_hit = (1 + 2 / 11) / 2
    assert got["optimistic"] == pytest.approx(1, abs=1e-14)
    assert got["pessimistic"] == pytest.approx(with_hit, abs=1e-14)
    assert got["expected"] == pytest.approx((1 + with_hit) / 2, abs=1e-14)


@pytest.mark.parametrize("ties", [*TIES, "index"])
def test_equals_scikit_learn_without_ties(ties):
    rng = np.random.default_rng(5)
    n_bits = 40
    database = np.tril(np.ones((n_bits, n_bits), dtype=int))[rng.permutation(n_bits)]  # distances 1, ..., 40
    query = np.zeros((1, n_bits), dtype=int)
    ids = rng.integers(0, 2, n_bits)
    got = mean_average_precision(query, database, (np.array([1]), ids), ties=ties)
    assert got == pytest.approx(average_precision_score(ids == 1, -database.sum(axis=1)), abs=1e-12)


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("top_k", [1, 10, 100, None])
def test_index_equals_a_literal_loop_over_a_stable_order(denominator, top_k):
    query, database, (query_ids, database_ids) = random_case(7)
    query_ids[:3] = 99  # no relevant item
    database_ids[:] = np.where(database_ids == 2, 98, database_ids)  # relevance depends on the index order
    database_ids = np.sort(database_ids)
    values = []
    for i, distances in enumerate(distances_of(query, database)):
        order = sorted(range(len(database)), key=lambda item, d=distances: d[item])
        ranked = [database_ids[item] == query_ids[i] for item in order]
        value = slow_average_precision(ranked, sum(ranked), top_k or len(database), denominator)
        values.append(0.0 if value is None else value)
    got = mean_average_precision(
        query,
        database,
        (query_ids, database_ids),
        top_k=top_k,
        ties="index",
        denominator=denominator,
        empty="zero",
        per_query=True,
    )
    np.testing.assert_allclose(got, values, atol=1e-12, rtol=0)
    assert got.mean() > 0


def test_index_depends_on_the_order_and_expected_does_not():
    query, database, (query_ids, database_ids) = random_case(11, n_bits=6)
    order = np.argsort(database_ids != query_ids[0], kind="stable")  # the first query's items first
    results = {
        ties: [
            mean_average_precision(
                query[:1], database[o], (query_ids[:1], database_ids[o]), top_k=50, ties=ties
            )
            for o in (order, order[::-1])
        ]
        for ties in ("index", "expected", "optimistic")
    }
    assert results["index"][0] > results["index"][1] + 0.05
    assert results["expected"][0] == results["expected"][1]
    assert results["index"][0] == pytest.approx(results["optimistic"][0], abs=1e-12)


@pytest.mark.parametrize("ties", [*TIES, "index"])
@pytest.mark.parametrize("n_bits", [1, 9, 64, 130])
def test_packed_codes_give_the_same(ties, n_bits):
    query, database, relevant = random_case(2, n_bits=n_bits)
    plain = mean_average_precision(query, database, relevant, top_k=30, ties=ties)
    packed = mean_average_precision(
        pack_codes(query), pack_codes(database), relevant, top_k=30, ties=ties, n_bits=n_bits
    )
    assert packed == plain


def test_counts_give_the_same_as_codes():
    query, database, relevant = random_case(2)
    counts = count_pairs(query, database, relevant)
    for ties in TIES:
        assert mean_average_precision(counts, top_k=9, ties=ties) == mean_average_precision(
            query, database, relevant, top_k=9, ties=ties
        )


def test_denominator_relevant_is_not_capped_at_top_k():
    # 4 relevant items at distance 0, R = 2: precision 1 at both ranks, divided by 4, not by min(2, 4).
    counts = PairCounts(np.array([[4, 4]]), np.array([[4, 0]]), n_database=8)
    assert mean_average_precision(counts, top_k=2, denominator="relevant") == pytest.approx(0.5, abs=1e-15)
    assert mean_average_precision(counts, top_k=2, denominator="R") == pytest.approx(1, abs=1e-15)
    assert mean_average_precision(counts, denominator="R") == pytest.approx(0.5, abs=1e-15)


class TestEmptyQueries:
    query = np.array([[0, 0], [0, 0]])
    database = np.array([[0, 0], [0, 1], [1, 1]])
    relevant = (np.array([1, 5]), np.array([1, 0, 0]))  # nothing is relevant to the second query

    @pytest.mark.parametrize("ties", [*TIES, "index"])
    @pytest.mark.parametrize("denominator", DENOMINATORS)
    def test_policies(self, ties, denominator):
        def value(empty, **more):
            return mean_average_precision(
                self.query,
                self.database,
                self.relevant,
                top_k=1,
                ties=ties,
                denominator=denominator,
                empty=empty,
                **more,
            )

        assert value("zero") == 0.5
        assert value("skip") == 1
        np.testing.assert_array_equal(value("zero", per_query=True), [1, 0])
        np.testing.assert_array_equal(value("skip", per_query=True), [1, np.nan])
        with pytest.raises(ValueError, match=r"relevant: expected an answer.*got 1 empty, first is query 1"):
            value("error")

    def test_retrieved_is_empty_only_where_no_order_brings_a_hit(self):
        # Query 0: two tied items, one relevant, one place. Query 1: the relevant item is out of reach.
        counts = PairCounts(np.array([[2, 1], [2, 1]]), np.array([[1, 0], [0, 1]]), n_database=3)
        expected = mean_average_precision(
            counts, top_k=1, denominator="retrieved", empty="skip", per_query=True
        )
        np.testing.assert_array_equal(expected, [0.5, np.nan])
        worst = mean_average_precision(
            counts, top_k=1, ties="pessimistic", denominator="retrieved", empty="skip", per_query=True
        )
        np.testing.assert_array_equal(worst, [0, np.nan])

    def test_skip_without_any_other_query(self):
        with pytest.raises(ValueError, match="expected an answer for at least one query"):
            mean_average_precision(
                self.query[1:], self.database, (np.array([5]), self.relevant[1]), empty="skip"
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 301}, r"top_k: expected at most the 300 items of the database, got 301"),
        ({"top_k": 0}, r"top_k: expected a whole number >= 1, got 0"),
        ({"top_k": 5.0}, r"top_k: expected a whole number >= 1, got 5.0"),
        ({"ties": "best"}, r"ties: expected one of expected, index, optimistic, pessimistic, got 'best'"),
        ({"denominator": "min"}, r"denominator: expected one of R, relevant, retrieved, got 'min'"),
        ({"empty": "nan"}, r"empty: expected one of error, skip, zero, got 'nan'"),
        ({"database_codes": np.zeros((0, 12))}, r"database_codes: expected codes of shape .* got \(0, 12\)"),
        ({"query_codes": np.zeros((0, 12))}, r"query_codes: expected codes of shape .* got \(0, 12\)"),
        (
            {"database_codes": np.zeros((300, 13))},
            r"database_codes: expected 12 bits as in query_codes, got 13",
        ),
        ({"query_codes": np.full((20, 12), 2)}, r"query_codes: expected only 0 and 1"),
        ({"query_codes": np.zeros(12)}, r"query_codes: expected codes of shape \(n, n_bits\).* got \(12,\)"),
        (
            {"n_bits": 64},
            r"query_codes: expected packed codes, uint8 of shape \(n, 8\).* got uint8 of shape \(20, 12\)",
        ),
        ({"relevant": None}, r"relevant: expected an array beside query_codes, got None"),
    ],
)
@pytest.mark.parametrize("ties", ["expected", "index"])
def test_clear_errors(change, message, ties):
    query, database, relevant = random_case(0)
    arguments = {
        "query_codes": query,
        "database_codes": database,
        "relevant": relevant,
        "ties": ties,
    } | change
    with pytest.raises(ValueError, match=message):
        mean_average_precision(**arguments)


def test_counts_hold_no_order_and_stand_alone():
    query, database, relevant = random_case(0)
    counts = count_pairs(query, database, relevant)
    with pytest.raises(ValueError, match="ties: expected codes"):
        mean_average_precision(counts, ties="index")
    with pytest.raises(ValueError, match="query_codes: expected nothing else"):
        mean_average_precision(counts, database, relevant)
    with pytest.raises(ValueError, match="top_k: expected at most the 300 items"):
        mean_average_precision(counts, top_k=301)
    with pytest.raises(ValueError, match="all, relevant: expected one shape"):
        PairCounts(counts.all, counts.relevant[:, 1:], 300)


@pytest.mark.parametrize("ties", [*TIES, "index"])
@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_packed_codes_with_junk_equal_a_database_without_it(ties, denominator):
    query, database, (query_ids, database_ids) = random_case(6)
    junk = np.arange(1, 200, 2)
    kept = np.setdiff1d(np.arange(300), junk)
    options = {"top_k": 40, "ties": ties, "denominator": denominator}
    value = mean_average_precision(
        pack_codes(query),
        pack_codes(database),
        (query_ids, database_ids),
        n_bits=12,
        junk=[junk] * 20,
        **options,
    )
    without = mean_average_precision(query, database[kept], (query_ids, database_ids[kept]), **options)
    assert value == pytest.approx(without, abs=1e-14)
    assert type(value) is float


def test_defaults_are_exact_ties_all_relevant_items_and_zero_for_an_empty_query():
    query, database, (query_ids, database_ids) = random_case(8)
    query_ids[4] = 99
    case = query, database, (query_ids, database_ids)
    spelled = mean_average_precision(
        *case, top_k=300, ties="expected", denominator="relevant", empty="zero", per_query=True
    )
    assert mean_average_precision(*case) == pytest.approx(spelled.mean(), abs=1e-14)  # float64, 20 terms
    np.testing.assert_array_equal(mean_average_precision(*case, per_query=True), spelled)
    assert spelled[4] == 0
    assert spelled.shape == (20,)
    assert spelled.dtype == np.float64
