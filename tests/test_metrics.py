"""Metrics against brute force over tie orders, literal loops, scikit-learn and cases worked by hand."""

from __future__ import annotations

import math
import re
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sdclib.codes import pack_codes
from sdclib.evaluation import evaluate_codes, evaluate_features
from sdclib.metrics import (
    PairCounter,
    PairCounts,
    PairHistograms,
    cosine_mean_average_precision,
    cosine_pair_histograms,
    count_pairs,
    hit_rate_at_k,
    intersection,
    mean_and_std,
    mean_average_precision,
    overlap_auc,
    pair_histograms,
    precision_at_k,
    recall_at_k,
    score_mean_average_precision,
)
from sdclib.metrics import counts as counts_module
from sdclib.metrics.counts import (
    PRECISION_SUMS,
    TieGroups,
    cut_groups,
    divided_hits,
    harmonic_numbers,
    hypergeometric,
    rankings,
)
from sdclib.metrics.distances import check_code_pair, check_packed, hamming_block, pad_bytes
from sdclib.metrics.relevance import check_relevance
from tests.reference import distances_of, slow_average_precision, tie_orders

BOUNDS = ("pessimistic", "expected", "optimistic")
TIES = (*BOUNDS, "index")
DENOMINATORS = ("relevant", "retrieved", "R", "min")
AT_K = (precision_at_k, recall_at_k, hit_rate_at_k)


def random_case(seed=0, n_query=20, n_database=300, n_bits=12, n_classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, (n_query + n_database, n_bits), dtype=np.uint8)
    labels = rng.integers(0, n_classes, n_query + n_database)
    return codes[:n_query], codes[n_query:], (labels[:n_query], labels[n_query:])


def signs(codes):
    """Codes of -1 and 1, whose cosines order items as Hamming distances do; of lengths that do not matter."""
    return (2.0 * codes - 1) * 2.0 ** np.random.default_rng(len(codes)).integers(-3, 4, (len(codes), 1))


def by_scores(query, database, relevant, **options):
    """Codes by -1 times their Hamming distances, as scores."""
    distances = (np.asarray(query)[:, None] != np.asarray(database)).sum(axis=2)
    return score_mean_average_precision(-distances, relevant, **options)


def by_cosine(query, database, relevant, **options):
    return cosine_mean_average_precision(signs(query), signs(database), relevant, **options)


@st.composite
def small_cases(draw, max_items=6, max_queries=2):
    """(query codes, database codes, query ids, database ids), few enough items to try every tie order."""
    n_query, n_items = draw(st.integers(1, max_queries)), draw(st.integers(1, max_items))
    n_bits = draw(st.integers(1, 4))
    bit = st.integers(0, 1)

    def bits(n):
        return np.array(draw(st.lists(bit, min_size=n * n_bits, max_size=n * n_bits))).reshape(n, n_bits)

    ids = [np.array(draw(st.lists(bit, min_size=n, max_size=n))) for n in (n_query, n_items)]
    return bits(n_query), bits(n_items), *ids


class TestOracle:
    @pytest.mark.parametrize(
        ("denominator", "divisor"), [("relevant", 4), ("retrieved", 2), ("R", 3), ("min", 3)]
    )
    def test_by_hand(self, denominator, divisor):
        expected = (1 + 2 / 3) / divisor
        assert slow_average_precision([1, 0, 1, 1], 4, 3, denominator) == pytest.approx(expected, abs=1e-15)
        assert slow_average_precision([0, 0, 1], 1, 2, "retrieved") is None

    def test_tie_orders_keep_distances_and_are_all_different(self):
        distances = np.array([2, 0, 2, 0, 2])
        orders = [tuple(order) for order in tie_orders(distances)]
        assert len(set(orders)) == len(orders) == 2 * 6
        assert all((np.diff(distances[list(order)]) >= 0).all() for order in orders)


class TestAveragePrecision:
    @settings(max_examples=150, deadline=None)
    @given(small_cases())
    def test_equals_brute_force_over_all_tie_orders(self, case):
        query, database, query_ids, database_ids = case
        relevant = query_ids[:, None] == database_ids
        distances = distances_of(query, database)
        counts = count_pairs(query, database, (query_ids, database_ids))
        for top_k in range(1, len(database) + 1):
            for denominator in DENOMINATORS:
                options = {"top_k": top_k, "denominator": denominator, "per_query": True}
                got = {ties: mean_average_precision(counts, ties=ties, **options) for ties in BOUNDS}
                for i in range(len(query)):
                    values = [
                        slow_average_precision(relevant[i, order], relevant[i].sum(), top_k, denominator)
                        or 0.0
                        for order in tie_orders(distances[i])
                    ]
                    assert got["expected"][i] == pytest.approx(np.mean(values), abs=1e-12)
                    assert got["optimistic"][i] == pytest.approx(max(values), abs=1e-12)
                    assert got["pessimistic"][i] == pytest.approx(min(values), abs=1e-12)

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("top_k", [1, 7, 50, 299, None])
    def test_bounds_hold_and_cosines_of_signs_give_the_same(self, denominator, top_k):
        case = random_case()
        options = {"top_k": top_k, "denominator": denominator, "per_query": True}
        low, mean, high, index = (mean_average_precision(*case, ties=ties, **options) for ties in TIES)
        assert (low <= mean + 1e-14).all()
        assert (mean <= high + 1e-14).all()
        assert (low <= index + 1e-14).all()
        assert (index <= high + 1e-14).all()
        assert low.mean() < mean.mean() < high.mean()  # 13 distances for 300 items: there are ties
        for ties, values in zip(TIES, (low, mean, high, index), strict=True):
            np.testing.assert_allclose(by_cosine(*case, ties=ties, **options), values, atol=1e-14)

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("top_k", [1, 10, 100, None])
    @pytest.mark.parametrize("metric", [mean_average_precision, by_cosine, by_scores])
    @pytest.mark.parametrize("rows", [1 << 23, 700])  # all queries at once, or two at a time
    def test_index_equals_a_literal_loop_over_a_stable_order(
        self, denominator, top_k, metric, rows, monkeypatch
    ):
        monkeypatch.setattr(counts_module, "ROW_BLOCK", rows)
        query, database, (query_ids, database_ids) = random_case(7)
        query_ids[:3] = 99  # no relevant item
        database_ids = np.sort(database_ids)  # relevance depends on the index order
        values = []
        for i, distances in enumerate(distances_of(query, database)):
            order = sorted(range(len(database)), key=lambda item, d=distances: d[item])
            ranked = [database_ids[item] == query_ids[i] for item in order]
            values.append(slow_average_precision(ranked, sum(ranked), top_k or len(database), denominator))
        expected = np.array([value or np.nan for value in values])
        options = {"top_k": top_k, "ties": "index", "denominator": denominator}
        got = metric(query, database, (query_ids, database_ids), per_query=True, **options)
        np.testing.assert_allclose(got, np.nan_to_num(expected), atol=1e-12, rtol=0)
        assert got.mean() > 0
        skipped = metric(query, database, (query_ids, database_ids), empty="skip", per_query=True, **options)
        assert np.isnan(skipped[:3]).all()
        np.testing.assert_array_equal(skipped[~np.isnan(skipped)], got[~np.isnan(skipped)])

    def test_more_hits_may_lower_the_ratio_so_the_best_order_takes_fewer(self):
        # Rank 1 is a hit, 9 misses follow, then two tied items, one of them relevant, for the last place.
        counts = PairCounts(np.array([[1, 9, 2]]), np.array([[1, 0, 1]]), n_database=12)
        with_hit = (1 + 2 / 11) / 2
        expected = {"optimistic": 1, "pessimistic": with_hit, "expected": (1 + with_hit) / 2}
        for ties, value in expected.items():
            got = mean_average_precision(counts, top_k=11, ties=ties, denominator="retrieved")
            assert got == pytest.approx(value, abs=1e-14)

    @pytest.mark.parametrize("ties", TIES)
    def test_equals_scikit_learn_without_ties(self, ties):
        rng = np.random.default_rng(5)
        n_bits = 40
        database = np.tril(np.ones((n_bits, n_bits), dtype=int))[
            rng.permutation(n_bits)
        ]  # distances 1, 2, ...
        ids = rng.integers(0, 2, n_bits)
        expected = average_precision_score(ids == 1, -database.sum(axis=1))
        got = mean_average_precision(np.zeros((1, n_bits), int), database, (np.array([1]), ids), ties=ties)
        assert got == pytest.approx(expected, abs=1e-12)

    def test_denominators_by_hand(self):
        # 4 relevant items at distance 0, R = 2: precision 1 at both ranks.
        counts = PairCounts(np.array([[4, 4]]), np.array([[4, 0]]), n_database=8)
        for denominator, value in (("relevant", 1 / 2), ("R", 1), ("min", 1), ("retrieved", 1)):
            assert mean_average_precision(counts, top_k=2, denominator=denominator) == pytest.approx(
                value, abs=1e-15
            )
        assert mean_average_precision(counts, denominator="R") == pytest.approx(1 / 2, abs=1e-15)
        assert mean_average_precision(counts, denominator="min") == pytest.approx(1, abs=1e-15)

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("place", [0, 500, 1002])
    def test_equal_rows_are_tied_wherever_they_are(self, denominator, place):
        # Equal vectors, one of them relevant; one product of matrices rounds their cosines in several ways.
        row, query = np.random.default_rng(0).standard_normal((2, 33))
        database = np.tile(row, (1003, 1))
        expected = {
            "expected": sum(1 / rank for rank in range(1, 1004)) / 1003,  # 0.0075
            "optimistic": 1,
            "pessimistic": 1 / 1003,
            "index": 1 / (1 + place),
        }
        divisor = 1003 if denominator == "R" else 1
        for ties, value in expected.items():
            options = {"ties": ties, "denominator": denominator}
            got = cosine_mean_average_precision(query[None], database, [[place]], **options)
            assert got == pytest.approx(value / divisor, rel=1e-12)

    def test_short_rows_that_differ_are_not_taken_for_copies(self):
        database = 1e-9 * np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        assert cosine_mean_average_precision(np.array([[0.0, 2.0]]), database, [[1]], ties="pessimistic") == 1

    def test_copies_among_other_rows_are_tied_with_each_other_alone(self):
        rng = np.random.default_rng(1)
        database = rng.standard_normal((400, 30)).astype(np.float32)
        database[::10] = database[3]
        database[20, 5], database[40, 5] = 0.0, -0.0
        database[[20, 40], 6:] = 1
        database[20, :5] = database[40, :5] = 2
        query, ids = rng.standard_normal((5, 30)), (rng.integers(0, 2, 5), rng.integers(0, 2, 400))
        cosines = query @ database.T / np.linalg.norm(database, axis=1)
        _, ranks = np.unique(np.round(cosines, 5), return_inverse=True)
        for i, row in enumerate(-ranks.reshape(5, 400)):
            groups = [np.flatnonzero(row == value) for value in np.unique(row)]
            counts = [[[len(g) for g in groups]], [[np.sum(ids[1][g] == ids[0][i]) for g in groups]]]
            assert sorted(map(len, groups))[-2:] == [2, 39]
            for ties in BOUNDS:
                got = cosine_mean_average_precision(
                    query[i : i + 1], database, (ids[0][i : i + 1], ids[1]), top_k=200, ties=ties
                )
                expected = mean_average_precision(
                    PairCounts(*map(np.array, counts), 400), top_k=200, ties=ties
                )
                assert got == pytest.approx(expected, abs=1e-13)

    @pytest.mark.parametrize("ties", TIES)
    def test_defaults(self, ties):
        query, database, (query_ids, database_ids) = random_case(8)
        query_ids[4] = 99
        case = query, database, (query_ids, database_ids)
        defaults = {"top_k": 300, "denominator": "relevant", "empty": "zero"}
        for metric in (mean_average_precision, by_cosine, by_scores):
            each = metric(*case, ties=ties, per_query=True, **defaults)
            np.testing.assert_array_equal(metric(*case, ties=ties, per_query=True), each)
            mean = metric(*case, **({} if ties == "expected" else {"ties": ties}))
            assert mean == pytest.approx(each.mean(), abs=1e-14)
            assert type(mean) is float
            assert each[4] == 0
            assert each.shape == (20,)
            assert each.dtype == np.float64


@pytest.mark.parametrize("scores", [np.zeros(3), np.zeros((0, 3)), [["a"]], [[np.nan, 1.0]], [[1.0, np.inf]]])
def test_scores_are_checked(scores):
    with pytest.raises(ValueError, match="scores: expected finite numbers of shape"):
        score_mean_average_precision(scores, (np.zeros(1), np.zeros(2)))


class TestEmptyQueries:
    @pytest.mark.parametrize("ties", TIES)
    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("metric", [mean_average_precision, by_cosine, by_scores])
    def test_policies(self, ties, denominator, metric):
        database = np.array([[0, 0], [0, 1], [1, 1]])
        case = np.zeros((2, 2), int), database, (np.array([1, 5]), np.array([1, 0, 0]))
        options = {"top_k": 1, "ties": ties, "denominator": denominator}
        assert metric(*case, empty="zero", **options) == 0.5
        assert metric(*case, empty="skip", **options) == 1
        np.testing.assert_array_equal(metric(*case, empty="zero", per_query=True, **options), [1, 0])
        np.testing.assert_array_equal(metric(*case, empty="skip", per_query=True, **options), [1, np.nan])
        with pytest.raises(ValueError, match=r"^relevant: expected .*got 1 empty, first is query 1$"):
            metric(*case, empty="error", **options)
        nothing = case[0], case[1], (np.array([5, 5]), case[2][1])
        with pytest.raises(ValueError, match=r"^relevant: expected an answer for at least one query"):
            metric(*nothing, empty="skip", **options)

    def test_retrieved_is_empty_only_where_no_order_brings_a_hit(self):
        # Query 0: two tied items, one relevant, one place. Query 1: the relevant item is out of reach.
        counts = PairCounts(np.array([[2, 1], [2, 1]]), np.array([[1, 0], [0, 1]]), n_database=3)
        options = {"top_k": 1, "denominator": "retrieved", "empty": "skip", "per_query": True}
        np.testing.assert_array_equal(mean_average_precision(counts, **options), [0.5, np.nan])
        worst = mean_average_precision(counts, ties="pessimistic", **options)
        np.testing.assert_array_equal(worst, [0, np.nan])

    def test_figures_at_k(self):
        counts = PairCounts(np.array([[0, 2], [0, 2]]), np.array([[0, 1], [0, 0]]), n_database=2)
        for metric, value in zip(AT_K, (0.5, 1, 1), strict=True):
            assert metric(counts, k=2) == value / 2
            assert metric(counts, k=2, empty="skip") == value
            with pytest.raises(ValueError, match="got 1 empty, first is query 1"):
                metric(counts, k=2, empty="error")

    @pytest.mark.parametrize("metric", AT_K)
    @pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
    def test_bounds_at_k(self, metric, ties):
        counts = PairCounts(np.array([[2, 2], [2, 2]]), np.array([[1, 1], [0, 0]]), n_database=4)
        values = metric(counts, k=1, ties=ties, empty="skip", per_query=True)
        assert values[0] == {"optimistic": {recall_at_k: 0.5}.get(metric, 1), "pessimistic": 0}[ties]
        assert np.isnan(values[1])


class TestAtK:
    @settings(max_examples=80, deadline=None)
    @given(small_cases())
    def test_equals_brute_force_over_all_tie_orders(self, case):
        query, database, query_ids, database_ids = case
        relevant = query_ids[:, None] == database_ids
        distances = distances_of(query, database)

        def slow(metric, ranked, k):
            hits = sum(ranked[:k])
            divisor = k if metric is precision_at_k else max(sum(ranked), 1)
            return float(hits > 0) if metric is hit_rate_at_k else hits / divisor

        for k in range(1, len(database) + 1):
            for metric in AT_K:
                low, mean, high, index = (
                    metric(query, database, (query_ids, database_ids), k=k, ties=ties, per_query=True)
                    for ties in TIES
                )
                for i in range(len(query)):
                    values = [slow(metric, list(relevant[i, order]), k) for order in tie_orders(distances[i])]
                    assert mean[i] == pytest.approx(np.mean(values), abs=1e-12)
                    assert low[i] == pytest.approx(min(values), abs=1e-12)
                    assert high[i] == pytest.approx(max(values), abs=1e-12)
                    stable = np.argsort(distances[i], kind="stable")
                    assert index[i] == pytest.approx(slow(metric, list(relevant[i, stable]), k), abs=1e-12)

    def test_by_hand(self):
        # Distances 0: 1 item, a miss; 1: 4 items, 2 hits; 2: 1 item, a hit. k = 3 takes 2 of the 4.
        counts = PairCounts(np.array([[1, 4, 1]]), np.array([[0, 2, 1]]), n_database=6)
        assert precision_at_k(counts, k=3) == pytest.approx(1 / 3, abs=1e-15)
        assert recall_at_k(counts, k=3) == pytest.approx(1 / 3, abs=1e-15)
        assert hit_rate_at_k(counts, k=3) == pytest.approx(1 - 1 / 6, abs=1e-15)
        assert precision_at_k(counts, k=3, ties="optimistic") == pytest.approx(2 / 3, abs=1e-15)
        assert precision_at_k(counts, k=3, ties="pessimistic") == 0
        assert hit_rate_at_k(counts, k=3, ties="pessimistic") == 0


MEASURES = [
    *(
        (mean_average_precision, {"top_k": 30, "ties": t, "denominator": d})
        for t in TIES
        for d in DENOMINATORS
    ),
    *((metric, {"k": 2, "ties": ties}) for metric in AT_K for ties in TIES),
]


class TestEveryMeasure:
    @pytest.mark.parametrize(("metric", "options"), MEASURES)
    def test_packed_codes_counts_junk_and_means(self, metric, options):
        query, database, relevant = case = random_case(6)
        each = metric(*case, per_query=True, **options)
        assert (each.shape, each.dtype) == ((20,), np.float64)
        assert 0 < each.mean() < 1
        mean = metric(*case, **options)
        assert mean == pytest.approx(each.mean(), abs=1e-15)
        assert type(mean) is float
        packed = pack_codes(query), pack_codes(database), relevant
        assert metric(*packed, n_bits=12, **options) == mean
        with pytest.raises(ValueError, match="unused bits beyond n_bits = 11"):
            metric(*packed, n_bits=11, **options)
        if options["ties"] != "index":
            assert metric(count_pairs(*case), **options) == mean
        junk = np.arange(1, 200, 2)
        kept = np.setdiff1d(np.arange(300), junk)
        without = metric(query, database[kept], (relevant[0], relevant[1][kept]), per_query=True, **options)
        cleaned = metric(*packed, n_bits=12, junk=[junk] * 20, per_query=True, **options)
        np.testing.assert_allclose(cleaned, without, atol=1e-14)
        assert not np.array_equal(cleaned, each)


class TestJunk:
    @pytest.mark.parametrize("kind", ["ids", "labels", "lists"])
    @pytest.mark.parametrize("ties", TIES)
    def test_leaves_the_ranking_as_if_it_were_not_in_the_database(self, kind, ties):
        query, database = random_codes()
        relevant, matrix = ground_truth(kind)
        rng = np.random.default_rng(3)
        junk = rng.permutation(np.flatnonzero(~matrix.any(axis=0) | (kind != "lists")))[:40]
        kept = np.setdiff1d(np.arange(N_DATABASE), junk)
        assert 0 < junk.size < N_DATABASE
        without = [np.flatnonzero(row) for row in matrix[:, kept]]
        lists = [junk] * N_QUERY
        for denominator in DENOMINATORS:
            options = {"top_k": 25, "ties": ties, "denominator": denominator, "per_query": True}
            for metric in (mean_average_precision, by_cosine, by_scores):
                np.testing.assert_allclose(
                    metric(query, database, relevant, junk=lists, **options),
                    metric(query, database[kept], without, **options),
                    atol=1e-14,
                )

    @pytest.mark.parametrize("ties", TIES)
    @pytest.mark.parametrize("metric", [mean_average_precision, by_cosine, by_scores])
    def test_that_leaves_fewer_than_top_k(self, ties, metric):
        database = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])
        options = {"top_k": 3, "ties": ties, "denominator": "R"}
        value = metric(np.array([[0, 0]]), database, [[0]], junk=[[1, 2, 3]], **options)
        assert value == pytest.approx(1 / 3, abs=1e-15)  # one item is ranked, a hit; R is still 3
        nothing = metric(np.array([[0, 0]]), database, [[]], junk=[[0, 1, 2, 3]], **options)
        assert nothing == 0

    @pytest.mark.parametrize("metric", [mean_average_precision, by_cosine, by_scores])
    def test_is_in_no_place_of_the_ranking(self, metric):
        # By distance: two junk items at 0, one at 1, a hit and a miss at 2; the hit comes first by index.
        case = np.array([[0, 0]]), np.array([[1, 1], [0, 0], [1, 1], [0, 1], [0, 0]]), [[0]]
        for ties, value in (("expected", 3 / 4), ("index", 1), ("optimistic", 1), ("pessimistic", 1 / 2)):
            assert metric(*case, junk=[[1, 3, 4]], ties=ties) == pytest.approx(value, abs=1e-15)

    def test_of_each_query_is_its_own(self, monkeypatch):
        query, database, (query_ids, database_ids) = random_case(2, 12, 150)
        query, database = signs(query), signs(database)
        rng = np.random.default_rng(0)
        junk = [rng.choice(150, size=n, replace=False) for n in range(0, 144, 12)]
        alone = []
        for i in range(12):
            kept = np.setdiff1d(np.arange(150), junk[i])
            case = query[i : i + 1], database[kept], (query_ids[i : i + 1], database_ids[kept])
            alone.append((cosine_mean_average_precision(*case), cosine_pair_histograms(*case)))
        case = query, database, (query_ids, database_ids)
        monkeypatch.setattr(counts_module, "ROW_BLOCK", 700)  # four queries at a time
        together = cosine_mean_average_precision(*case, junk=junk, per_query=True)
        np.testing.assert_allclose(together, [value for value, _ in alone], atol=1e-15)
        histograms = cosine_pair_histograms(*case, junk=junk)
        assert (histograms.positive.dtype, histograms.negative.dtype) == (np.int64, np.int64)
        np.testing.assert_array_equal(histograms.positive, sum(h.positive for _, h in alone))
        np.testing.assert_array_equal(histograms.negative, sum(h.negative for _, h in alone))


class TestTieGroups:
    @pytest.mark.parametrize("ties", BOUNDS)
    def test_queries_with_groups_of_other_sizes_do_not_touch_each_other(self, ties):
        # The second query may have 2 hits among its last places, the first only 1; 2 would lower its ratio further.
        every, relevant = np.array([[1, 9, 4], [1, 9, 4]]), np.array([[1, 0, 1], [1, 0, 2]])
        options = {"top_k": 12, "ties": ties, "denominator": "retrieved", "per_query": True}
        together = mean_average_precision(PairCounts(every, relevant, n_database=14), **options)
        alone = [
            mean_average_precision(PairCounts(every[i : i + 1], relevant[i : i + 1], 14), **options)[0]
            for i in range(2)
        ]
        np.testing.assert_allclose(together, alone, atol=1e-14)
        if ties == "pessimistic":
            assert together[0] == pytest.approx((1 + 2 / 12) / 2, abs=1e-14)

    @pytest.mark.parametrize("before", [0, 1000, 1_000_000])
    @pytest.mark.parametrize("taken", [1, 7, 400])
    def test_closed_form_is_accurate_deep_in_the_ranking(self, before, taken):
        items, relevant, hits_before = 400, 37, before // 3
        group = TieGroups(*(np.array([v]) for v in (items, relevant, taken, before, hits_before)))
        expected = math.fsum(
            relevant / items * (hits_before + 1 + (t - 1) * (relevant - 1) / (items - 1)) / (before + t)
            for t in range(1, taken + 1)
        )
        got = float(PRECISION_SUMS["expected"](group, harmonic_numbers(before + taken))[0])
        assert got == pytest.approx(expected, rel=1e-11)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(2, 3000), st.data())
    def test_hypergeometric_equals_exact_binomials(self, items, data):
        relevant, taken = data.draw(st.integers(0, items)), data.draw(st.integers(1, items - 1))
        group = TieGroups(*(np.array([v]) for v in (items, relevant, taken, 0, 0)))
        ((rows, column, hits),) = divided_hits(group)
        probabilities = hypergeometric(column, hits)
        exact = [
            math.comb(relevant, j) * math.comb(items - relevant, taken - j) / math.comb(items, taken)
            for j in map(int, hits[0])
        ]
        np.testing.assert_array_equal(rows, [0])
        np.testing.assert_allclose(probabilities[0], exact, rtol=1e-10, atol=1e-300)
        assert sum(exact) == pytest.approx(1, abs=1e-12)

    def test_hypergeometric_of_large_groups_neither_overflows_nor_vanishes(self):
        group = TieGroups(*(np.array([v]) for v in (6000, 3000, 3000, 0, 0)))
        ((_, column, hits),) = divided_hits(group)
        probabilities = hypergeometric(column, hits)
        np.testing.assert_array_equal(hits[0], np.arange(3001))
        exact = [math.comb(3000, j) ** 2 / math.comb(6000, 3000) for j in range(1400, 1601)]
        np.testing.assert_allclose(probabilities[0, 1400:1601], exact, rtol=1e-9)
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)

    def test_chunks_cover_every_query_once(self, monkeypatch):
        options = {"top_k": 60, "denominator": "retrieved", "per_query": True}
        whole = mean_average_precision(*random_case(4), **options)
        monkeypatch.setattr(counts_module, "CHUNK", 25)
        np.testing.assert_allclose(mean_average_precision(*random_case(4), **options), whole, rtol=1e-13)

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("ties", BOUNDS)
    def test_large_divided_groups_equal_sums_over_every_number_of_hits(self, ties, denominator):
        # 3 hits among 10 nearer items in their one order, then 60 tied items, 25 of them relevant, for 20 places.
        counts = PairCounts(
            np.array([[1] * 10 + [60, 30]]), np.array([[0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 25, 12]]), 100
        )
        nearer = 1 / 2 + 2 / 5 + 3 / 9

        def precision_sum(hits, places):
            """Precisions at the places (from 1) of the hits in the tied group."""
            return sum((3 + i) / (10 + place) for i, place in enumerate(places[:hits], start=1))

        def divisor(hits):
            return {"relevant": 40, "retrieved": 3 + hits, "R": 30, "min": 30}[denominator]

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

    def test_cuts_by_hand(self):
        counts = PairCounts(
            np.array([[2, 0, 3, 4], [5, 1, 0, 3]]), np.array([[1, 0, 2, 1], [2, 0, 0, 1]]), n_database=9
        )
        whole, divided = cut_groups(counts, 5)  # between the first query's groups; and between the second's
        np.testing.assert_array_equal(whole.items, [[2, 0, 3, 0], [5, 0, 0, 0]])
        np.testing.assert_array_equal(whole.relevant, [[1, 0, 2, 0], [2, 0, 0, 0]])
        np.testing.assert_array_equal(whole.taken, whole.items)
        np.testing.assert_array_equal(whole.items_before, [[0, 2, 2, 5], [0, 5, 5, 5]])
        np.testing.assert_array_equal(divided.taken, [0, 0])
        np.testing.assert_array_equal(divided.items_before, [5, 5])
        np.testing.assert_array_equal(divided.hits_before, [3, 2])
        whole, divided = cut_groups(counts, 3)
        np.testing.assert_array_equal(whole.items, [[2, 0, 0, 0], [0, 0, 0, 0]])
        for name, values in (
            ("items", [3, 5]),
            ("relevant", [2, 2]),
            ("taken", [1, 3]),
            ("items_before", [2, 0]),
            ("hits_before", [1, 0]),
        ):
            np.testing.assert_array_equal(getattr(divided, name), values)
        np.testing.assert_array_equal(divided.fewest(), [0, 0])
        np.testing.assert_array_equal(divided.most(), [1, 2])

    def test_harmonic_numbers_are_summed_in_extended_precision(self):
        got = harmonic_numbers(4)
        assert got.dtype == np.longdouble
        np.testing.assert_allclose(got.astype(float), [0, 1, 3 / 2, 11 / 6, 25 / 12], rtol=1e-15)
        assert harmonic_numbers(0).tolist() == [0]
        one = np.longdouble(1)
        assert harmonic_numbers(3)[3] == one + one / 2 + one / 3

    @pytest.mark.parametrize(
        ("ties", "values"),
        [
            ("optimistic", [1 / 4, (1 / 4 + 2 / 5) / 2]),
            ("pessimistic", [0, 0]),
            # Query 0 has its hit at rank 4, at rank 5 or not (4 items, 2 places); query 1 has 0, 1 or 2 of 2 hits.
            ("expected", [(1 / 4 + 1 / 5) / 4, (2 * (1 / 4 + 1 / 5) + (1 / 4 + 2 / 5) / 2) / 6]),
        ],
    )
    def test_best_and_worst_orders_are_each_querys_own(self, ties, values):
        counts = PairCounts(np.array([[3, 4], [3, 4]]), np.array([[0, 1], [0, 2]]), n_database=7)
        options = {"top_k": 5, "ties": ties, "denominator": "retrieved", "per_query": True}
        np.testing.assert_allclose(mean_average_precision(counts, **options), values, atol=1e-15)


class TestRankings:
    def test_are_stable_as_deep_as_the_cut_with_all_that_is_tied_there(self):
        rng = np.random.default_rng(0)
        distances = rng.integers(0, 3, (2, 5000)).astype(np.uint16)  # enough for an unstable sort to show
        matrix = rng.integers(0, 2, (2, 5000)) == 1
        relevance = check_relevance([np.flatnonzero(row) for row in matrix], n_query=2, n_database=5000)
        found = list(rankings(lambda rows: distances[rows].copy(), relevance, 4000))
        for ranking, row, hits in zip(found, distances, matrix, strict=True):
            order = sorted(range(5000), key=row.__getitem__)  # the cut lies among the largest
            np.testing.assert_array_equal(ranking.distances, row[order])
            np.testing.assert_array_equal(ranking.relevant, hits[order])
            assert (ranking.depth, ranking.n_ranked, ranking.n_relevant) == (4000, 5000, hits.sum())

    def test_counts_by_distance_and_by_index(self):
        distances = np.array([[5, 1, 3, 1, 9, 3, 3, 8]], dtype=np.uint16)
        relevance = check_relevance([[3, 4, 5]], n_query=1, n_database=8, junk=[[7]])
        (ranking,) = rankings(lambda rows: distances[rows].copy(), relevance, 4)
        # Ranked: 1, 3 (a hit) at 1; 2, 5 (a hit), 6 at 3, the cut among them. Beyond: 0, 4 (a hit).
        counts = ranking.counts(by_index=False)
        assert (counts.all.tolist(), counts.relevant.tolist()) == ([[2, 3, 2]], [[1, 1, 1]])
        counts = ranking.counts(by_index=True)
        assert (counts.all.tolist(), counts.relevant.tolist()) == ([[1, 1, 1, 1, 3]], [[0, 1, 0, 1, 1]])
        assert counts.n_database == 8

    @pytest.mark.parametrize("metric", [mean_average_precision, by_cosine, by_scores])
    @pytest.mark.parametrize("ties", TIES)
    def test_databases_of_more_columns_than_a_block_of_pairs(self, metric, ties):
        n_database = (1 << 17) + 2
        database = np.ones((n_database, 3), dtype=np.uint8)
        database[[1, n_database - 1]] = [[0, 1, 0], [0, 0, 0]]  # the last item is the nearest
        relevant = [[n_database - 1], [1]]
        value = metric(np.zeros((2, 3), np.uint8), database, relevant, top_k=2, ties=ties, per_query=True)
        assert value.tolist() == [1, 0.5]


N_QUERY, N_DATABASE, N_BITS = 9, 120, 11


def random_codes(seed=0, n_bits=N_BITS):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (N_QUERY, n_bits)), rng.integers(0, 2, (N_DATABASE, n_bits))


def ground_truth(kind, seed=0):
    """(ground truth, the same as a boolean matrix)."""
    rng = np.random.default_rng(seed)
    if kind == "ids":
        query, database = rng.integers(-5, 5, N_QUERY), rng.integers(-5, 5, N_DATABASE)
        return (query, database), query[:, None] == database
    if kind == "many ids":
        query, database = rng.integers(0, 10**12, N_QUERY), rng.integers(0, 10**12, N_DATABASE)
        database[:N_QUERY] = query
        return (query, database), query[:, None] == database
    if kind == "labels":
        query, database = (rng.integers(0, 8, (n, 80)) == 0 for n in (N_QUERY, N_DATABASE))
        query[0] = False  # no label at all
        query[1:, 3:60] = database[:, 3:60] = False  # or nearly everything shares a label
        matrix = (query[:, None] & database[None]).any(axis=2)
        return (query.astype(int), database.astype(int)), matrix
    matrix = rng.integers(0, 6, (N_QUERY, N_DATABASE)) == 0
    matrix[2] = False
    return [rng.permutation(np.flatnonzero(row)) for row in matrix], matrix


class TestCounts:
    @pytest.mark.parametrize("with_junk", [False, True])
    @pytest.mark.parametrize("kind", ["ids", "many ids", "labels", "lists"])
    def test_equal_a_literal_loop(self, kind, with_junk, monkeypatch):
        query, database = random_codes()
        relevant, matrix = ground_truth(kind)
        assert 0 < matrix.mean() < 0.9
        ranked = np.ones(matrix.shape, dtype=bool)
        if with_junk:
            ranked = np.random.default_rng(5).integers(0, 4, matrix.shape) > 0
            ranked[4] = True
            if kind == "lists":
                ranked |= matrix
        junk = [np.flatnonzero(~row) for row in ranked] if with_junk else None
        every, hits = np.zeros((2, N_QUERY, N_BITS + 1), dtype=int)
        for (i, j), distance in np.ndenumerate(distances_of(query, database)):
            every[i, distance] += ranked[i, j]
            hits[i, distance] += matrix[i, j] & ranked[i, j]
        whole = count_pairs(query, database, relevant, junk=junk)
        monkeypatch.setattr(counts_module, "QUERY_BLOCK", 4)
        monkeypatch.setattr(counts_module, "DEVICE_BLOCK", 150)
        again = (count_pairs(query, database, relevant, junk=junk, device=device) for device in (None, "cpu"))
        for counts in (whole, *again):
            np.testing.assert_array_equal(counts.all, every)
            np.testing.assert_array_equal(counts.relevant, hits)
            assert (counts.n_query, counts.n_bits, counts.n_database) == (N_QUERY, N_BITS, N_DATABASE)

    @pytest.mark.parametrize("n_bits", [1, 63, 64, 126, 127, 128, 300])
    def test_of_other_code_lengths(self, n_bits):
        query, database = random_codes(n_bits=n_bits)
        query[0], database[0], database[1] = 0, 1, 0  # the largest and the smallest distance occur
        relevant, matrix = ground_truth("ids")
        distances = distances_of(query, database)
        counts = count_pairs(query, database, relevant)
        on_device = count_pairs(query, database, relevant, device="cpu")
        np.testing.assert_array_equal(on_device.all, counts.all)
        for i in range(N_QUERY):
            np.testing.assert_array_equal(counts.all[i], np.bincount(distances[i], minlength=n_bits + 1))
            hits = np.bincount(distances[i, matrix[i]], minlength=n_bits + 1)
            np.testing.assert_array_equal(counts.relevant[i], hits)

    def test_progress_is_shown_for_long_work_alone(self, monkeypatch, capsys):
        case = random_case()
        work = 20 * 300
        count_pairs(*case)
        assert capsys.readouterr().err == ""
        with monkeypatch.context() as patch:
            patch.setattr(counts_module, "LONG_WORK", 10)
            count_pairs(*case)
        assert "pair" in capsys.readouterr().err
        monkeypatch.setattr(counts_module, "tqdm", FakeBar)
        monkeypatch.setattr(counts_module, "ROW_BLOCK", 700)
        monkeypatch.setattr(counts_module, "QUERY_BLOCK", 7)
        features = signs(case[0]), signs(case[1]), case[2]
        for call in (
            lambda: count_pairs(*case),
            lambda: mean_average_precision(*case, ties="index"),
            lambda: cosine_mean_average_precision(*features),
            lambda: cosine_pair_histograms(*features),
        ):
            for limit, hidden in ((work - 1, False), (work, False), (work + 1, True)):
                monkeypatch.setattr(counts_module, "LONG_WORK", limit)
                call()
                bar = FakeBar.made.pop()
                shown_as = {"unit": "pair", "unit_scale": True, "leave": False, "mininterval": 1}
                assert bar.options == {"total": work, "disable": hidden, **shown_as}
                assert sum(bar.updates) == work
                assert len(bar.updates) > 1


def measured(counts):
    """Every metric that counts give."""
    protocols = [{"ties": ties, "denominator": d} for ties in BOUNDS for d in DENOMINATORS]
    figures = [mean_average_precision(counts, top_k=70, per_query=True, **more) for more in protocols]
    figures += [metric(counts, k=9, ties=ties, per_query=True) for metric in AT_K for ties in BOUNDS]
    collapse = pair_histograms(counts)
    return [*figures, intersection(collapse), overlap_auc(collapse), *vars(mean_and_std(collapse)).values()]


class TestParts:
    @pytest.mark.parametrize("with_junk", [False, True])
    @pytest.mark.parametrize("kind", ["ids", "many ids", "labels", "lists"])
    def test_are_the_whole_bit_for_bit(self, kind, with_junk, tmp_path):
        query, database = random_codes()
        relevant, matrix = ground_truth(kind)
        junk = [np.flatnonzero(~row[:60:2]) * 2 for row in matrix]
        whole = count_pairs(query, database, relevant, junk=junk if with_junk else None)
        counters = []
        for j, items in enumerate((slice(0, 1), slice(1, 50), slice(50, 120))):
            counter = PairCounter(N_QUERY, N_BITS)
            for first in (4, 0):
                rows = slice(first, first + 4 if first == 0 else N_QUERY)

                def within(lists, rows=rows, items=items):
                    inside = [
                        np.sort(x)[(np.sort(x) >= items.start) & (np.sort(x) < items.stop)] for x in lists
                    ]
                    return [indices - items.start for indices in inside[rows]]

                truth = within(relevant) if kind == "lists" else (relevant[0][rows], relevant[1][items])
                codes = [pack_codes(x) if j else x for x in (query[rows], database[items])]
                more = {"junk": within(junk)} if with_junk else {}
                counter.update(*codes, truth, first_query=first, packed=j > 0, **more)
            counters.append(PairCounter.load(counter.save(tmp_path / f"{j}.npz")))
        merged = counters.pop()
        for counter in counters:
            merged.merge(counter)
        counts = merged.compute(n_database=N_DATABASE)
        np.testing.assert_array_equal(counts.all, whole.all)
        np.testing.assert_array_equal(counts.relevant, whole.relevant)
        assert counts.n_database == whole.n_database == merged.compute().n_database
        for found, expected in zip(measured(counts), measured(whole), strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_larger_than_a_block_of_the_pass(self):
        query, database, ids = random_case(3, 70, 5000, 130)
        counts = count_pairs(query, database, ids)
        distances, matrix = distances_of(query, database), ids[0][:, None] == ids[1]
        for i in range(70):
            np.testing.assert_array_equal(counts.all[i], np.bincount(distances[i], minlength=131))
            np.testing.assert_array_equal(
                counts.relevant[i], np.bincount(distances[i, matrix[i]], minlength=131)
            )

    def test_that_are_missing_or_counted_twice_are_noticed(self, tmp_path):
        query, database, (query_ids, database_ids) = random_case()
        counter = PairCounter(20, 12)
        refused = "n_database: expected every query to have met "
        with pytest.raises(ValueError, match=f"{refused}some items, query 0 has met 0"):
            counter.compute()
        counter.update(query[:15], database, (query_ids[:15], database_ids))
        with pytest.raises(ValueError, match=f"{refused}300 items, query 15 has met 0"):
            counter.compute()
        with pytest.raises(ValueError, match=r"first_query: expected at most 15, got 16"):
            counter.update(query[15:], database, (query_ids[15:], database_ids), first_query=16)
        counter.update(query[15:], database, (query_ids[15:], database_ids), first_query=15)
        counter.merge(counter)
        with pytest.raises(ValueError, match=f"{refused}300 items, query 0 has met 600"):
            counter.compute(n_database=300)
        with pytest.raises(ValueError, match="query_codes: expected 12 bits as counted so far, got 11"):
            counter.update(query[:, 1:], database[:, 1:], (query_ids, database_ids))
        with pytest.raises(
            ValueError, match=r"other: expected counts of shape .* = \(20, 13\), got \(20, 12\)"
        ):
            counter.merge(PairCounter(20, 11))
        path = tmp_path / "none.npz"
        with pytest.raises(ValueError, match=f"{path}: expected counts that PairCounter.save wrote"):
            PairCounter.load(path)


class FakeBar:
    """Stands in for tqdm: keeps how it was made and what it was told."""

    made: ClassVar[list[FakeBar]] = []

    def __init__(self, **options):
        self.options, self.updates = options, []
        FakeBar.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def update(self, n):
        self.updates.append(n)


class TestRelevance:
    @pytest.mark.parametrize("kind", ["ids", "many ids", "labels", "lists"])
    def test_of_blocks(self, kind):
        relevant, matrix = ground_truth(kind, seed=1)
        rng = np.random.default_rng(2)
        is_junk = rng.random(matrix.shape) < 0.3
        if kind == "lists":
            is_junk &= ~matrix
        junk = [rng.permutation(np.flatnonzero(row)) for row in is_junk]
        for lists in (None, junk):
            relevance = check_relevance(relevant, n_query=N_QUERY, n_database=N_DATABASE, junk=lists)
            assert (relevance.n_query, relevance.n_database) == (N_QUERY, N_DATABASE)
            for rows in (slice(0, 9), slice(3, 5)):
                hits, junk_mask = relevance.block(rows)
                assert hits.dtype == np.bool_
                left = matrix if lists is None else matrix & ~is_junk
                np.testing.assert_array_equal(hits, left[rows])
                if lists is None:
                    assert junk_mask is None
                else:
                    np.testing.assert_array_equal(junk_mask, is_junk[rows])

    def test_shared_labels_by_tens(self):
        # Many labels a row, so that sizes, distances and shared labels are all different numbers.
        rng = np.random.default_rng(0)
        query, database = rng.integers(0, 2, (N_QUERY, 300)), rng.integers(0, 2, (N_DATABASE, 300))
        query[0], database[0] = 1, 1
        query[1], database[1] = 0, 0
        database[2] = 1 - query[2]  # the rest of a set shares nothing with it
        relevance = check_relevance((query, database), n_query=N_QUERY, n_database=N_DATABASE)
        mask = relevance.block(slice(0, N_QUERY))[0]
        np.testing.assert_array_equal(mask, query @ database.T > 0)

    @pytest.mark.parametrize("n_ids", [3, 254, 255, 256, 300])
    def test_any_number_of_ids(self, n_ids):
        query, database = np.arange(n_ids)[:, None] * 10, np.arange(n_ids)[::-1] * 10
        relevance = check_relevance((query[:, 0], database), n_query=n_ids, n_database=n_ids)
        mask = relevance.block(slice(0, n_ids))[0]
        np.testing.assert_array_equal(mask, query == database)

    def test_lists_of_any_whole_number_type_and_order(self):
        lists = [np.array([7, 0, 3], dtype=np.uint8), [], (5,), np.zeros((0, 4)), range(2)]
        relevance = check_relevance(lists, n_query=5, n_database=8, junk=([1], [], [], [], []))
        matrix = np.zeros((5, 8), dtype=bool)
        for i, indices in enumerate(([0, 3, 7], [], [5], [], [0, 1])):
            matrix[i, indices] = True
        hits, junk = relevance.block(slice(0, 5))
        np.testing.assert_array_equal(hits, matrix)
        assert np.argwhere(junk).tolist() == [[0, 1]]


class TestCodes:
    @pytest.mark.parametrize("n_bits", [1, 7, 8, 12, 24, 63, 64, 65, 100, 128, 192, 256, 300, 512, 1000])
    def test_distances(self, n_bits):
        rng = np.random.default_rng(n_bits)
        query, database = rng.integers(0, 2, (5, n_bits)), rng.integers(0, 2, (37, n_bits))
        packed = check_code_pair(query, database, None)
        assert packed[2] == n_bits
        got = hamming_block(packed[0], packed[1])
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, distances_of(query, database))
        in_any_order = [np.asfortranarray(pack_codes(codes)) for codes in (query, database)]
        again = check_code_pair(*in_any_order, n_bits)
        np.testing.assert_array_equal(hamming_block(again[0], again[1]), got)

    def test_longest(self):
        packed = np.full((1, 8192), 255, dtype=np.uint8)
        packed[0, -1] = 0b00111111  # 65,534 bits
        query, database, n_bits = check_code_pair(packed, packed * 0, 65_534)
        assert n_bits == 65_534
        assert hamming_block(query, database).tolist() == [[65_534]]
        both = np.concatenate([packed, packed * 0])
        assert mean_average_precision(packed * 0, both, [[0]], n_bits=n_bits, ties="index", junk=[[1]]) == 1

    @pytest.mark.parametrize("n_bytes", [1, 7, 8, 9, 16])
    def test_padding_adds_zeros_to_whole_words(self, n_bytes):
        packed = np.asfortranarray(np.random.default_rng(0).integers(1, 256, (5, n_bytes), dtype=np.uint8))
        padded = pad_bytes(packed)
        assert padded.shape == (5, {1: 8, 7: 8, 8: 8, 9: 16, 16: 16}[n_bytes])
        assert padded.dtype == np.uint8
        assert padded.flags.c_contiguous
        np.testing.assert_array_equal(padded[:, :n_bytes], packed)
        assert not padded[:, n_bytes:].any()

    @pytest.mark.parametrize("n_bits", [1, 8, 16, 9])
    def test_one_bit_is_a_code_and_whole_bytes_have_no_unused_bits(self, n_bits):
        full = np.packbits(np.ones((1, n_bits), dtype=np.uint8), axis=1, bitorder="little")
        np.testing.assert_array_equal(check_packed(full, "codes", n_bits), full)


def histograms(positive, negative):
    return PairHistograms(np.linspace(-1, 1, len(positive)), np.array(positive), np.array(negative))


class TestHistograms:
    @pytest.fixture
    def case(self):
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 3, 230)
        prototypes = rng.random((3, 14))
        codes = (rng.random((230, 14)) < prototypes[ids]).astype(np.uint8)
        return codes[:30], codes[30:], (ids[:30], ids[30:])

    def test_and_their_statistics_are_those_of_all_pairs(self, case):
        got = pair_histograms(*case)
        similarity = (1 - 2 * distances_of(*case[:2]) / 14).ravel()
        positive = (case[2][0][:, None] == case[2][1]).ravel()
        np.testing.assert_allclose(got.values, [-1 + step / 7 for step in range(15)], atol=1e-15)
        for value, n_positive, n_negative in zip(got.values, got.positive, got.negative, strict=True):
            at = np.isclose(similarity, value, atol=1e-12)
            assert (n_positive, n_negative) == ((at & positive).sum(), (at & ~positive).sum())
        from_counts = pair_histograms(count_pairs(*case))
        np.testing.assert_array_equal(from_counts.positive, got.positive)
        np.testing.assert_array_equal(from_counts.negative, got.negative)
        assert overlap_auc(got) == pytest.approx(roc_auc_score(positive, similarity), abs=1e-12)
        assert 0.55 < overlap_auc(got) < 0.95
        figures = mean_and_std(got)
        for name, values in (
            ("positive", similarity[positive]),
            ("negative", similarity[~positive]),
            ("all", similarity),
        ):
            assert getattr(figures, f"{name}_mean") == pytest.approx(values.mean(), abs=1e-12)
            assert getattr(figures, f"{name}_std") == pytest.approx(values.std(), abs=1e-12)
        for value in (intersection(got), overlap_auc(got), *vars(figures).values()):
            assert type(value) is float

    def test_of_packed_codes_with_junk(self, case):
        query, database, (query_ids, database_ids) = case
        kept = np.setdiff1d(np.arange(200), junk := np.arange(0, 200, 3))
        packed = pack_codes(query), pack_codes(database)
        got = pair_histograms(*packed, case[2], n_bits=14, junk=[junk] * len(query))
        expected = pair_histograms(query, database[kept], (query_ids, database_ids[kept]))
        np.testing.assert_array_equal(got.positive, expected.positive)
        np.testing.assert_array_equal(got.negative, expected.negative)

    @pytest.mark.parametrize(
        ("positive", "negative", "overlap", "auc"),
        [
            ([0, 0, 5], [7, 0, 0], 0, 1),
            ([7, 0, 0], [0, 0, 5], 0, 0),
            ([1, 2, 1], [10, 20, 10], 1, 0.5),
            ([0, 1, 1], [1, 1, 0], 0.5, 0.875),
            ([0, 3, 1], [6, 2, 0], 0.25, 0.75 * (0.75 + 0.125) + 0.25),
            ([0, 0, 0], [6, 2, 0], np.nan, np.nan),
            ([6, 2, 0], [0, 0, 0], np.nan, np.nan),
            ([0, 0, 0], [0, 0, 0], np.nan, np.nan),
        ],
    )
    def test_by_hand(self, positive, negative, overlap, auc):
        got = histograms(positive, negative)
        assert intersection(got) == pytest.approx(overlap, abs=1e-15, nan_ok=True)
        assert overlap_auc(got) == pytest.approx(auc, abs=1e-15, nan_ok=True)
        figures = vars(mean_and_std(got))
        similarities = [np.repeat([-1, 0, 1], kind) for kind in (positive, negative)]
        for name, values in zip(
            ("positive", "negative", "all"), (*similarities, np.concatenate(similarities)), strict=True
        ):
            expected = (values.mean(), values.std()) if values.size else (np.nan, np.nan)
            got_of_name = figures[f"{name}_mean"], figures[f"{name}_std"]
            assert got_of_name == pytest.approx(expected, abs=1e-12, nan_ok=True)

    def test_of_cosines_equal_numpy(self):
        rng = np.random.default_rng(0)
        query, database = rng.standard_normal((20, 6)), rng.standard_normal((300, 6))
        ids = rng.integers(0, 3, 20), rng.integers(0, 3, 300)
        got = cosine_pair_histograms(query, database, ids)
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, database)]
        cosines = unit[0] @ unit[1].T
        positive = ids[0][:, None] == ids[1]
        edges = np.linspace(-1, 1, 201)
        near_edge = (np.abs(cosines[..., None] - edges).min(axis=2) < 1e-6).sum()
        for counts, mask in ((got.positive, positive), (got.negative, ~positive)):
            assert counts.sum() == mask.sum()
            assert np.abs(counts - np.histogram(cosines[mask], edges)[0]).sum() <= 2 * near_edge
        assert near_edge < 20
        np.testing.assert_allclose(got.values, (edges[1:] + edges[:-1]) / 2, atol=1e-12)
        assert 0.5 < intersection(got) < 1

    def test_every_bin_of_cosines_holds_its_lower_edge_and_the_last_one_1_too(self):
        angles = np.arccos([-1, -0.75, -0.5, -0.25, 0.25, 0.75, 1])  # well inside bins but for -1 and 1
        case = np.array([[2.0, 0.0]]), np.column_stack([np.cos(angles), np.sin(angles)]), [[0, 2, 6]]
        got = cosine_pair_histograms(*case, n_bins=3)
        np.testing.assert_allclose(got.values, [-2 / 3, 0, 2 / 3], atol=1e-15)
        np.testing.assert_array_equal(got.positive, [2, 0, 1])
        np.testing.assert_array_equal(got.negative, [1, 2, 1])
        assert got.values.dtype == np.float64
        one = cosine_pair_histograms(*case, n_bins=1)
        assert (one.values.tolist(), one.positive.tolist(), one.negative.tolist()) == ([0], [3], [4])

    def test_of_cosines_of_more_columns_than_a_block_of_pairs(self):
        n_database = (1 << 17) + 2
        database = np.tile(np.float32([[-1, 0]]), (n_database, 1))
        database[[1, n_database - 1]] = [[1, 0.1], [1, 0]]
        got = cosine_pair_histograms(np.float32([[1, 0]]), database, [[n_database - 1]], n_bins=2)
        assert (got.positive.tolist(), got.negative.tolist()) == ([0, 1], [n_database - 2, 1])


def test_features_are_left_as_they_were_and_may_be_whole_numbers():
    query, database, relevant = random_case()
    query, database = signs(query), signs(database)
    before = query.copy(), database.copy()
    value = cosine_mean_average_precision(query, database, relevant, junk=[[3]] * 20)
    cosine_pair_histograms(query, database, relevant, junk=[[3]] * 20)
    np.testing.assert_array_equal(query, before[0])
    np.testing.assert_array_equal(database, before[1])
    whole = (8 * query).astype(int), (8 * database).astype(int), relevant
    assert cosine_mean_average_precision(*whole, junk=[[3]] * 20) == value


class TestEvaluation:
    @pytest.mark.parametrize(
        ("query_ids", "database_ids", "value", "of_pairs"),
        [
            (np.zeros(20, int), np.zeros(300, int), 1, "positive"),  # one class
            (np.arange(20), 20 + np.arange(300), 0, "negative"),  # every item of its own class
        ],
    )
    def test_one_kind_of_pair_alone(self, query_ids, database_ids, value, of_pairs):
        query, database, _ = random_case()
        relevant = query_ids, database_ids
        for metrics, _ in (
            evaluate_codes(query, database, relevant, 300),
            evaluate_features(signs(query), signs(database), relevant, 300),
        ):
            for ties in ("expected", "optimistic", "pessimistic", "authors"):
                assert metrics[f"map_{ties}"] == pytest.approx(value)
            other = {"positive": "negative", "negative": "positive"}[of_pairs]
            undefined = {name for name, figure in metrics.items() if np.isnan(figure)}
            assert undefined == {"intersection", "overlap_auc", f"{other}_mean", f"{other}_std"}
            assert metrics[f"{of_pairs}_mean"] == pytest.approx(metrics["all_mean"])

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    def test_all_kinds_of_map(self, denominator):
        case = random_case()
        options = {"top_k": 50, "denominator": denominator, "empty": "skip", "junk": [[3]] * 20}
        of_codes, of_features = (
            evaluate(*features, case[2], **options)[0]
            for evaluate, features in (
                (evaluate_codes, case[:2]),
                (evaluate_features, (signs(case[0]), signs(case[1]))),
            )
        )
        for ties in TIES:
            name = "map_authors" if ties == "index" else f"map_{ties}"
            expected = mean_average_precision(*case, ties=ties, **options)
            assert of_codes[name] == expected
            assert of_features[name] == pytest.approx(expected, abs=1e-14)
        assert evaluate_codes(*case, 50)[0]["map_expected"] == mean_average_precision(*case, top_k=50)
        features = signs(case[0]), signs(case[1]), case[2]
        by_default = cosine_mean_average_precision(*features, top_k=50)
        assert evaluate_features(*features, 50)[0]["map_expected"] == by_default

    def test_similarities_and_use_of_bits(self):
        case = random_case()
        metrics, table = evaluate_codes(*case, 100)
        expected = pair_histograms(*case)
        for name, values in (("similarity", expected.values), ("positive", expected.positive)):
            np.testing.assert_array_equal(table[name], values)
        np.testing.assert_array_equal(table["negative"], expected.negative)
        assert metrics["intersection"] == intersection(expected)
        assert metrics["overlap_auc"] == overlap_auc(expected)
        assert {name: metrics[name] for name in vars(mean_and_std(expected))} == vars(mean_and_std(expected))
        collapsed, _ = evaluate_codes(np.ones((20, 8)), np.ones((300, 8)), case[2], 100)
        assert collapsed["intersection"] == pytest.approx(1)
        assert collapsed["overlap_auc"] == pytest.approx(0.5)
        assert (collapsed["bit_balance"], collapsed["unique_code_ratio"]) == (0, 1 / 300)
        floats = evaluate_features(signs(case[0]), signs(case[1]), case[2], 100)[1]
        assert len(floats) == 200
        assert (floats["positive"].sum(), floats[["positive", "negative"]].to_numpy().sum()) == (
            expected.positive.sum(),
            20 * 300,
        )


CASE = random_case()
COUNTS = count_pairs(*CASE)
NOTHING = PairCounts(COUNTS.all, COUNTS.all * 0, 300)
BESIDE = "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts"
BYTES = np.zeros((1, 2), dtype=np.uint8)
ZEROS = np.zeros((N_DATABASE, 2), dtype=int)
ids = (np.zeros(N_QUERY, dtype=int), np.zeros(N_DATABASE, dtype=int))
no_lists = [[]] * N_QUERY


def mean(*case, **options):
    return lambda: mean_average_precision(*case, **options)


def cosine(*changed, metric=cosine_mean_average_precision, **options):
    case = [signs(CASE[0]), signs(CASE[1]), CASE[2]]
    return lambda: metric(*changed, *case[len(changed) :], **options)


def codes(query, database, n_bits=None):
    return lambda: check_code_pair(query, database, n_bits)


def relevance(relevant, junk=None):
    return lambda: check_relevance(relevant, n_query=N_QUERY, n_database=N_DATABASE, junk=junk)


def table(values, positive, negative):
    return lambda: PairHistograms(np.zeros(values), np.zeros(positive, int), np.zeros(negative, int))


def of_both(**ties):
    """Messages of codes, whatever the ties."""
    most = "expected at most the 300 items of the database, got 301"
    yield mean(CASE[0], **ties), "database_codes: expected codes of shape (n, n_bits)"
    yield mean(*CASE[:2], **ties), "relevant: expected a tuple (query labels, database labels)"
    yield mean(*CASE, **ties, top_k=301), f"top_k: {most}"
    yield mean(*CASE, **ties, top_k=0), "top_k: expected a whole number >= 1, got 0"
    yield mean(*CASE, **ties, top_k=5.0), "top_k: expected a whole number >= 1, got 5.0"
    yield mean(*CASE, **ties, denominator="hits"), "denominator: expected one of R, min, relevant, retrieved"
    yield mean(*CASE, **ties, empty="nan"), "empty: expected one of error, skip, zero, got 'nan'"
    yield mean(CASE[0][:0], *CASE[1:], **ties), "query_codes: expected codes of shape (n, n_bits), neither 0"
    yield mean(CASE[0], CASE[1][0], CASE[2], **ties), "database_codes: expected codes of shape (n, n_bits)"
    yield mean(*CASE, **ties, junk=[]), "junk: expected a list of 20 index arrays"
    for metric in AT_K:
        for options, message in (
            ({"k": 301}, f"k: {most}"),
            ({"k": None}, "k: expected a whole number >= 1, got None"),
            ({"k": 0}, "k: expected a whole number >= 1, got 0"),
            ({"k": 1, "empty": "drop"}, "empty: expected one of error, skip, zero, got 'drop'"),
        ):
            yield lambda metric=metric, options=options: metric(*CASE, **ties, **options), message


MESSAGES = [
    *of_both(ties="expected"),
    *of_both(ties="index"),
    (mean(COUNTS, ties="index"), "ties: expected codes and ground truth for 'index', got counts"),
    (mean(COUNTS, CASE[1]), BESIDE),
    (mean(COUNTS, n_bits=12), BESIDE),
    (mean(COUNTS, junk=[]), BESIDE),
    (mean(COUNTS, relevant=CASE[2]), BESIDE),
    (mean(COUNTS, top_k=301), "top_k: expected at most the 300 items of the database, got 301"),
    (mean(NOTHING, empty="skip"), "relevant: expected an answer for at least one query (empty='skip')"),
    (mean(NOTHING, empty="error"), "relevant: expected an answer for every query (empty='error'), got 20"),
    (mean(*CASE, ties="best"), "ties: expected one of expected, index, optimistic, pessimistic, got"),
    (lambda: recall_at_k(*CASE, k=1, ties="best"), "ties: expected one of expected, index"),
    (lambda: PairCounts(COUNTS.all, COUNTS.relevant[1:], 300), "all, relevant: expected one shape"),
    (lambda: PairCounts(COUNTS.all[0], COUNTS.all[0], 300), "all, relevant: expected one shape (n_query, "),
    (table(3, 3, 2), "values, positive, negative: expected one shape (n_bins,), got (3,), (3,), (2,)"),
    (table(3, 2, 3), "values, positive, negative: expected one shape (n_bins,), got (3,), (2,), (3,)"),
    (table(*[(2, 1)] * 3), "values, positive, negative: expected one shape (n_bins,), got (2, 1)"),
    # Features.
    (cosine(ties="best"), "ties: expected one of expected, index, optimistic, pessimistic, got 'best'"),
    (cosine(top_k=301), "top_k: expected at most the 300 items of the database, got 301"),
    (cosine(denominator="hits"), "denominator: expected one of R, min, relevant, retrieved, got 'hits'"),
    (cosine(empty="drop"), "empty: expected one of error, skip, zero, got 'drop'"),
    (cosine(CASE[0][0]), "query: expected a 2D array"),
    (cosine(CASE[0] * 0), "query: expected no all-zero row"),
    (cosine(signs(CASE[0]), np.ones((300, 7))), "database: expected 12 features a row, got 7"),
    (cosine(signs(CASE[0]), np.ones((0, 12))), "database: expected at least one row"),
    (cosine(signs(CASE[0]), signs(CASE[1]), (CASE[2][0], CASE[2][1][1:])), "relevant[1] (database labels):"),
    (cosine(metric=cosine_pair_histograms, n_bins=0), "n_bins: expected a whole number >= 1, got 0"),
    (cosine(CASE[0][0], metric=cosine_pair_histograms), "query: expected a 2D array"),
    # Codes.
    (codes(BYTES[:, :1], BYTES, 8), "database_codes: expected packed codes, uint8 of shape (n, 1) with n"),
    (codes(BYTES, BYTES[:, :1], 8), "query_codes: expected packed codes, uint8 of shape (n, 1) with n >="),
    (codes(BYTES, BYTES.astype(int), 11), "database_codes: expected packed codes, uint8 of shape (n, 2)"),
    (codes(BYTES[:0], BYTES, 11), "query_codes: expected packed codes, uint8 of shape (n, 2) with n >= 1"),
    (codes(BYTES[0], BYTES, 11), "query_codes: expected packed codes, uint8 of shape (n, 2) with n >= 1"),
    (codes(BYTES + 8, BYTES, 11), "query_codes: expected unused bits beyond n_bits = 11 to be 0, got some"),
    (codes(BYTES, BYTES + 8, 11), "database_codes: expected unused bits beyond n_bits = 11 to be 0, got"),
    (codes([[1]], [[1]], 2.0), "n_bits: expected a whole number >= 1, got 2.0"),
    (codes(BYTES, BYTES, 0), "n_bits: expected a whole number >= 1, got 0"),
    (codes([[1, 0]], [[1, 0, 1]]), "database_codes: expected 2 bits as in query_codes, got 3"),
    (codes([[1, 2]], [[1, 0]]), "query_codes: expected only 0 and 1, got other values (dtype int64)"),
    (codes([[1, 0]], [[1, 2]]), "database_codes: expected only 0 and 1, got other values (dtype int64)"),
    (codes(*[np.zeros((1, 8192), np.uint8)] * 2, 65_535), "query_codes: expected at most 65534 bits, got"),
    # Ground truth.
    (relevance((ids[0], ZEROS)), "relevant: expected query and database labels of one kind (both 1-D ids,"),
    (relevance((np.zeros((N_QUERY, 3)), ZEROS)), "relevant: expected query and database labels of one"),
    (relevance((ZEROS[:N_QUERY, :0], ZEROS[:, :0])), "relevant: expected at least one label column, got"),
    (relevance((ZEROS[:N_QUERY] + 2, ZEROS)), "relevant[0] (query labels): expected 0/1 label vectors"),
    (relevance((ids[0] + 0.5, ids[1])), "relevant[0] (query labels): expected whole-number ids"),
    (relevance((ids[0][1:], ids[1])), "relevant[0] (query labels): expected labels of shape (9,) or"),
    (relevance((ids[0], ids[1][1:])), "relevant[1] (database labels): expected labels of shape (120,) or"),
    (relevance((*ids, ids[0])), "relevant: expected a tuple (query labels, database labels) or a list of"),
    (relevance([*no_lists, []]), "relevant: expected a list of 9 index arrays, one a query, got 10 in a"),
    (relevance(no_lists, 3), "junk: expected a list of 9 index arrays, one a query, got int (a pair of"),
    (relevance(no_lists, {0: []}), "junk: expected a list of 9 index arrays, one a query, got 1 in a dict"),
    (relevance(no_lists, ZEROS[:N_QUERY]), "junk: expected a list of 9 index arrays, one a query, got 9"),
    (relevance([*no_lists[1:], [[1, 2]]]), "relevant[8]: expected a 1-D array of whole-number indices,"),
    (relevance([*no_lists[1:], [0.0]]), "relevant[8]: expected a 1-D array of whole-number indices, got"),
    (relevance([[4, 120, 2], *no_lists[1:]]), "relevant[0]: expected indices from 0 to 119, got 2 to 120"),
    (
        relevance(ids[0]),
        "relevant: expected a tuple (query labels, database labels) or a list of index arrays, got ndarray",
    ),
    (relevance([[4, -1], *no_lists[1:]]), "relevant[0]: expected indices from 0 to 119, got -1 to 4"),
    (relevance([[3, 1, 3], *no_lists[1:]]), "relevant[0]: expected every index at most once, got some"),
    (relevance(ids, [[], [7, 7], *no_lists[2:]]), "junk[1]: expected every index at most once, got some"),
    (
        relevance([[], [6, 4, 5], *no_lists[2:]], [[], [9, 5, 6], *no_lists[2:]]),
        "junk: expected no item that is also relevant, got 2 for query 1, first is 5",
    ),
]


@pytest.mark.parametrize(("call", "message"), MESSAGES)
def test_messages_name_the_argument_and_what_came(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()
