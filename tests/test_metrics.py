"""Metrics against brute force over tie orders, literal loops, scikit-learn and cases worked by hand."""

from __future__ import annotations

import math
import os
import re

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
from sdclib.metrics.counts import PRECISION_SUMS, TieGroups, divided_hits, harmonic_numbers, hypergeometric
from sdclib.metrics.distances import check_code_pair, hamming_block
from sdclib.metrics.relevance import check_relevance
from tests.reference import distances_of, slow_average_precision, tie_orders

BOUNDS = ("pessimistic", "expected", "optimistic")
TIES = (*BOUNDS, "index")
DENOMINATORS = ("relevant", "retrieved", "R", "min")
AT_K = {"precision": precision_at_k, "recall": recall_at_k, "hit rate": hit_rate_at_k}
MEASURES = (*DENOMINATORS, *AT_K)


def random_case(seed=0, n_query=20, n_database=300, n_bits=12, n_classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, (n_query + n_database, n_bits), dtype=np.uint8)
    labels = rng.integers(0, n_classes, n_query + n_database)
    return codes[:n_query], codes[n_query:], (labels[:n_query], labels[n_query:])


def signs(codes):
    """Codes of -1 and 1, whose cosines order items as Hamming distances do; of lengths that do not matter."""
    return (2.0 * codes - 1) * 2.0 ** np.random.default_rng(len(codes)).integers(-3, 4, (len(codes), 1))


def by_cosine(query, database, relevant, **options):
    return cosine_mean_average_precision(signs(query), signs(database), relevant, **options)


def by_scores(query, database, relevant, **options):
    return score_mean_average_precision(-distances_of(query, database), relevant, **options)


RANKINGS = (mean_average_precision, by_cosine, by_scores)


def measure(name, *case, cut, **options):
    """A measure of codes: average precision by its denominator, or a figure at k."""
    if name in AT_K:
        return AT_K[name](*case, k=cut, **options)
    return mean_average_precision(*case, top_k=cut, denominator=name, **options)


def slow_measure(name, ranked, cut):
    """The same of one ranking, the relevance of the items in order."""
    hits, n_relevant = sum(ranked[:cut]), sum(ranked)
    if name in AT_K:
        return {"precision": hits / cut, "recall": hits / max(n_relevant, 1), "hit rate": hits > 0}[name]
    return slow_average_precision(ranked, n_relevant, cut, name) or 0.0


@st.composite
def small_cases(draw):
    """Codes and ids, few enough items to try every tie order."""
    n_query, n_items, n_bits = draw(st.integers(1, 2)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    query, database = (rng.integers(0, 2, (n, n_bits)) for n in (n_query, n_items))
    return query, database, (rng.integers(0, 2, n_query), rng.integers(0, 2, n_items))


def test_the_reference_agrees_with_scikit_learn_and_a_case_by_hand():
    ranked = np.random.default_rng(5).integers(0, 2, 40)
    expected = average_precision_score(ranked, -np.arange(40))
    assert slow_average_precision(ranked, ranked.sum(), 40, "relevant") == pytest.approx(expected, abs=1e-12)
    for denominator, divisor in (("relevant", 4), ("retrieved", 2), ("R", 3), ("min", 3)):
        value = slow_average_precision([1, 0, 1, 1], 4, 3, denominator)
        assert value == pytest.approx((1 + 2 / 3) / divisor, abs=1e-15)
    assert slow_average_precision([0, 0, 1], 1, 2, "retrieved") is None
    assert sorted(tie_orders(np.array([2, 0, 2]))) == [[1, 0, 2], [1, 2, 0]]


class TestEveryMeasure:
    @settings(max_examples=150, deadline=None)
    @given(small_cases())
    def test_equals_brute_force_over_all_tie_orders(self, case):
        query, database, (query_ids, database_ids) = case
        counts = count_pairs(*case)
        relevant, distances = query_ids[:, None] == database_ids, distances_of(query, database)
        for cut in range(1, len(database) + 1):
            for name in MEASURES:
                found = [measure(name, counts, cut=cut, ties=ties, per_query=True) for ties in BOUNDS]
                found.append(measure(name, *case, cut=cut, ties="index", per_query=True))
                for i, got in enumerate(np.transpose(found)):
                    orders = [*tie_orders(distances[i]), np.argsort(distances[i], kind="stable")]
                    *values, stable = (slow_measure(name, list(relevant[i, order]), cut) for order in orders)
                    expected = min(values), np.mean(values), max(values), stable
                    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("ties", TIES)
    @pytest.mark.parametrize("name", MEASURES)
    def test_takes_packed_codes_counts_and_junk(self, name, ties):
        query, database, relevant = case = random_case(6)
        options = {"cut": 2 if name in AT_K else 30, "ties": ties}
        each = measure(name, *case, per_query=True, **options)
        assert (each.shape, each.dtype) == ((20,), np.float64)
        assert 0 < each.mean() < 1
        mean = measure(name, *case, **options)
        assert mean == pytest.approx(each.mean(), abs=1e-15)
        assert type(mean) is float
        packed = pack_codes(query), pack_codes(database), relevant
        assert measure(name, *packed, n_bits=12, **options) == mean
        if ties != "index":
            assert measure(name, count_pairs(*case), **options) == mean
        junk = np.arange(1, 200, 2)
        kept = np.setdiff1d(np.arange(300), junk)
        without = query, database[kept], (relevant[0], relevant[1][kept])
        cleaned = measure(name, *packed, n_bits=12, junk=[junk] * 20, per_query=True, **options)
        np.testing.assert_allclose(cleaned, measure(name, *without, per_query=True, **options), atol=1e-14)
        assert not np.array_equal(cleaned, each)

    @pytest.mark.parametrize("ties", TIES)
    @pytest.mark.parametrize("ranking", RANKINGS)
    def test_defaults(self, ranking, ties):
        case = random_case(8)
        case[2][0][4] = 99  # no relevant item
        options = {"top_k": 300, "denominator": "relevant", "empty": "zero", "per_query": True}
        each = ranking(*case, ties=ties, **options)
        np.testing.assert_array_equal(ranking(*case, ties=ties, per_query=True), each)
        assert ranking(*case, **({} if ties == "expected" else {"ties": ties})) == pytest.approx(each.mean())
        assert each[4] == 0

    @pytest.mark.parametrize("name", AT_K)
    def test_defaults_at_k(self, name):
        case = random_case(8)
        assert AT_K[name](*case, k=5) == AT_K[name](*case, k=5, ties="expected", empty="zero")


class TestRankings:
    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("top_k", [1, 10, 299, None])
    @pytest.mark.parametrize("rows", [1 << 23, 700, 1])  # all queries at once, two at a time, one
    def test_by_cosine_and_by_score_are_those_of_codes(self, denominator, top_k, rows, monkeypatch):
        monkeypatch.setattr(counts_module, "ROW_BLOCK", rows)
        query, database, (query_ids, database_ids) = random_case(7)
        query_ids[:3] = 99  # no relevant item
        database_ids = np.sort(database_ids)  # relevance depends on the index order
        case = query, database, (query_ids, database_ids)
        options = {"top_k": top_k, "denominator": denominator, "per_query": True, "empty": "skip"}
        expected = [mean_average_precision(*case, ties=ties, **options) for ties in TIES]
        assert np.nanmean(expected[0]) < np.nanmean(expected[1]) < np.nanmean(expected[2])
        for ranking in (by_cosine, by_scores):
            found = [ranking(*case, ties=ties, **options) for ties in TIES]
            np.testing.assert_allclose(found, expected, atol=1e-13)
        for i, distances in enumerate(distances_of(query, database)):
            order = sorted(range(300), key=distances.__getitem__)
            ranked = database_ids[order] == query_ids[i]
            value = slow_average_precision(ranked, ranked.sum(), top_k or 300, denominator)
            value = np.nan if value is None or i < 3 else value
            assert expected[3][i] == pytest.approx(value, abs=1e-12, nan_ok=True)

    @pytest.mark.parametrize("place", [0, 500, 1002])
    def test_equal_rows_are_tied_wherever_they_are(self, place):
        # Equal vectors, one of them relevant; one product of matrices rounds their cosines in several ways.
        row, query = np.random.default_rng(0).standard_normal((2, 33))
        database = np.tile(row, (1003, 1))
        mean = sum(1 / rank for rank in range(1, 1004)) / 1003
        for ties, value in zip(TIES, (1 / 1003, mean, 1, 1 / (1 + place)), strict=True):
            got = cosine_mean_average_precision(query[None], database, [[place]], ties=ties)
            assert got == pytest.approx(value, rel=1e-12)

    def test_copies_are_tied_with_each_other_alone(self):
        rng = np.random.default_rng(1)
        database = rng.standard_normal((400, 30)).astype(np.float32)
        database[::10] = database[3]
        database[20], database[40] = 2, 2
        database[20, 5], database[40, 5] = 0.0, -0.0
        query, ids = rng.standard_normal((5, 30)), (rng.integers(0, 2, 5), rng.integers(0, 2, 400))
        scores = np.round(query @ database.T / np.linalg.norm(database, axis=1), 5)
        for ties in TIES:
            got = cosine_mean_average_precision(query, database, ids, top_k=200, ties=ties)
            expected = score_mean_average_precision(scores, ids, top_k=200, ties=ties)
            assert got == pytest.approx(expected, abs=1e-13)
        short = 1e-9 * np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # whose lengths say nothing
        assert cosine_mean_average_precision(np.array([[0.0, 2.0]]), short, [[1]], ties="pessimistic") == 1

    def test_scores_of_any_kind_of_numbers(self):
        ids = np.array([0]), np.array([1, 1, 0, 0])
        for scores in (np.array([[0, 7, 255, 9]], np.uint8), np.array([[False, False, True, True]])):
            assert score_mean_average_precision(scores, ids) == 1

    def test_features_are_left_as_they_were_and_may_be_whole_numbers(self):
        query, database, relevant = random_case()
        features = signs(query), signs(database)
        before = [array.copy() for array in features]
        value = cosine_mean_average_precision(*features, relevant, junk=[[3]] * 20)
        cosine_pair_histograms(*features, relevant, junk=[[3]] * 20)
        for array, old in zip(features, before, strict=True):
            np.testing.assert_array_equal(array, old)
        whole = ((8 * array).astype(int) for array in features)
        assert cosine_mean_average_precision(*whole, relevant, junk=[[3]] * 20) == value


class TestEmptyQueries:
    @pytest.mark.parametrize("ties", TIES)
    @pytest.mark.parametrize("denominator", DENOMINATORS)
    @pytest.mark.parametrize("ranking", RANKINGS)
    def test_policies(self, ties, denominator, ranking):
        database = np.array([[0, 0], [0, 1], [1, 1]])
        case = np.zeros((2, 2), int), database, (np.array([1, 5]), np.array([1, 0, 0]))
        options = {"top_k": 1, "ties": ties, "denominator": denominator}
        for empty, mean, each in (("zero", 0.5, [1, 0]), ("skip", 1, [1, np.nan])):
            assert ranking(*case, empty=empty, **options) == mean
            np.testing.assert_array_equal(ranking(*case, empty=empty, per_query=True, **options), each)
        with pytest.raises(ValueError, match=r"^relevant: expected .*got 1 empty, first is query 1$"):
            ranking(*case, empty="error", **options)
        nothing = case[0], case[1], (np.array([5, 5]), case[2][1])
        with pytest.raises(ValueError, match=r"^relevant: expected an answer for at least one query"):
            ranking(*nothing, empty="skip", **options)

    def test_retrieved_is_empty_only_where_no_order_brings_a_hit(self):
        # Query 0: two tied items, one relevant, one place. Query 1: the relevant item is out of reach.
        counts = PairCounts(np.array([[2, 1], [2, 1]]), np.array([[1, 0], [0, 1]]), n_database=3)
        for ties, value in zip(BOUNDS, (0, 0.5, 1), strict=True):
            found = measure("retrieved", counts, cut=1, ties=ties, empty="skip", per_query=True)
            np.testing.assert_array_equal(found, [value, np.nan])

    @pytest.mark.parametrize(("name", "values"), [("precision", (0, 0.5, 1)), ("recall", (0, 0.25, 0.5))])
    def test_at_k(self, name, values):
        counts = PairCounts(np.array([[2, 2], [2, 2]]), np.array([[1, 1], [0, 0]]), n_database=4)
        for ties, value in zip(BOUNDS, values, strict=True):
            found = measure(name, counts, cut=1, ties=ties, empty="skip", per_query=True)
            np.testing.assert_array_equal(found, [value, np.nan])
            assert measure(name, counts, cut=1, ties=ties) == value / 2


class TestTieGroups:
    @pytest.mark.parametrize("ties", BOUNDS)
    def test_of_other_queries_and_chunks_do_not_matter(self, ties, monkeypatch):
        counts = count_pairs(*random_case(4))
        options = {"cut": 60, "ties": ties, "per_query": True}
        whole = measure("retrieved", counts, **options)
        rows = [slice(i, i + 1) for i in range(20)]
        alone = [PairCounts(counts.all[row], counts.relevant[row], 300) for row in rows]
        expected = [measure("retrieved", one, **options)[0] for one in alone]
        np.testing.assert_allclose(whole, expected, atol=1e-14)
        monkeypatch.setattr(counts_module, "CHUNK", 25)
        np.testing.assert_allclose(measure("retrieved", counts, **options), whole, rtol=1e-13)

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

    @pytest.mark.parametrize(
        ("items", "relevant", "taken"),
        [(2, 1, 1), (9, 9, 4), (50, 0, 7), (3000, 2100, 1500), (6000, 3000, 3000)],
    )
    def test_hypergeometric_equals_exact_binomials(self, items, relevant, taken):
        group = TieGroups(*(np.array([v]) for v in (items, relevant, taken, 0, 0)))
        ((rows, column, hits),) = divided_hits(group)
        lowest = max(0, taken - (items - relevant))
        assert (rows.tolist(), hits[0].tolist()) == ([0], [*range(lowest, min(relevant, taken) + 1)])
        every = math.comb(items, taken)
        step = 1 + len(hits[0]) // 40
        exact = [
            math.comb(relevant, j) * math.comb(items - relevant, taken - j) / every
            for j in map(int, hits[0, ::step])
        ]
        probabilities = hypergeometric(column, hits)[0]
        np.testing.assert_allclose(probabilities[::step], exact, rtol=1e-9, atol=1e-300)
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)


N_QUERY, N_DATABASE, N_BITS = 9, 120, 11
KINDS = ("ids", "many ids", "labels", "lists")


def random_codes(n_bits=N_BITS):
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (N_QUERY, n_bits)), rng.integers(0, 2, (N_DATABASE, n_bits))


def ground_truth(kind):
    """(ground truth, the same as a boolean matrix)."""
    rng = np.random.default_rng(0)
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


def some_junk(kind, matrix):
    """Junk of each query, and the matrix of what is ranked: of query 4 all, of lists nothing that is relevant."""
    ranked = np.random.default_rng(5).integers(0, 4, matrix.shape) > 0
    ranked[3], ranked[4] = False, True
    if kind == "lists":
        ranked |= matrix
    return [np.random.default_rng(1).permutation(np.flatnonzero(~row)) for row in ranked], ranked


class TestJunk:
    @pytest.mark.parametrize("kind", KINDS)
    def test_leaves_the_ranking_as_if_it_were_not_in_the_database(self, kind, monkeypatch):
        monkeypatch.setattr(counts_module, "ROW_BLOCK", 700)  # some queries at a time
        query, database = random_codes()
        relevant, matrix = ground_truth(kind)
        junk, ranked = some_junk(kind, matrix)
        ranked[3, 0], junk[3] = True, junk[3][junk[3] > 0]
        for ranking in RANKINGS:
            for ties in TIES:
                options = {"top_k": 25, "ties": ties, "denominator": "min", "per_query": True}
                found = ranking(query, database, relevant, junk=junk, **options)
                for i, kept in enumerate(ranked):
                    options["top_k"] = min(25, kept.sum())
                    truth = [np.flatnonzero(matrix[i, kept])]
                    alone = ranking(query[i : i + 1], database[kept], truth, **options)
                    assert found[i] == pytest.approx(alone[0], abs=1e-14)

    @pytest.mark.parametrize("ties", TIES)
    @pytest.mark.parametrize("ranking", RANKINGS)
    def test_that_leaves_fewer_than_top_k(self, ties, ranking):
        database = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])
        options = {"top_k": 3, "ties": ties, "denominator": "R"}
        value = ranking(np.array([[0, 0]]), database, [[0]], junk=[[1, 2, 3]], **options)
        assert value == pytest.approx(1 / 3, abs=1e-15)  # one item is ranked, a hit; R is still 3
        assert ranking(np.array([[0, 0]]), database, [[]], junk=[[0, 1, 2, 3]], **options) == 0

    def test_is_in_no_histogram_of_codes(self):
        query, database, relevant = random_case()
        junk = [np.setdiff1d(np.arange(9), np.flatnonzero(relevant[1] == label)) for label in relevant[0]]
        found = pair_histograms(pack_codes(query), pack_codes(database), relevant, n_bits=12, junk=junk)
        expected = pair_histograms(count_pairs(query, database, relevant, junk=junk))
        np.testing.assert_array_equal(found.negative, expected.negative)
        np.testing.assert_array_equal(found.positive, expected.positive)

    def test_is_in_no_histogram_of_cosines(self, monkeypatch):
        relevant, matrix = ground_truth("ids")
        junk, ranked = some_junk("ids", matrix)
        features = [np.random.default_rng(n).standard_normal((n, 6)) for n in (N_QUERY, N_DATABASE)]
        monkeypatch.setattr(counts_module, "ROW_BLOCK", 3 * N_DATABASE)  # several blocks
        got = cosine_pair_histograms(*features, relevant, junk=junk)
        alone = []
        for i, kept in enumerate(ranked):
            truth = [np.flatnonzero(matrix[i, kept])]
            if kept.any():
                alone.append(cosine_pair_histograms(features[0][i : i + 1], features[1][kept], truth))
        np.testing.assert_array_equal(got.positive, sum(h.positive for h in alone))
        np.testing.assert_array_equal(got.negative, sum(h.negative for h in alone))
        assert (got.positive.dtype, got.negative.dtype) == (np.int64, np.int64)


def counted(distances, matrix, n_bits):
    """Items of a kind at each distance, by NumPy."""
    return [np.bincount(row[kind], minlength=n_bits + 1) for row, kind in zip(distances, matrix, strict=True)]


class TestCounts:
    @pytest.mark.parametrize("with_junk", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_equal_those_of_numpy(self, kind, with_junk, monkeypatch):
        query, database = random_codes()
        relevant, matrix = ground_truth(kind)
        assert 0 < matrix.mean() < 0.9
        junk, ranked = some_junk(kind, matrix) if with_junk else (None, np.ones_like(matrix))
        whole = count_pairs(query, database, relevant, junk=junk)
        monkeypatch.setattr(counts_module, "QUERY_BLOCK", 4)
        monkeypatch.setattr(counts_module, "DEVICE_BLOCK", 150)
        again = (count_pairs(query, database, relevant, junk=junk, device=device) for device in (None, "cpu"))
        for counts in (whole, *again):
            distances = distances_of(query, database)
            np.testing.assert_array_equal(counts.all, counted(distances, ranked, N_BITS))
            np.testing.assert_array_equal(counts.relevant, counted(distances, ranked & matrix, N_BITS))
            assert (counts.n_query, counts.n_bits, counts.n_database) == (N_QUERY, N_BITS, N_DATABASE)

    @pytest.mark.parametrize("n_bits", [1, 7, 8, 24, 63, 64, 65, 128, 300, 1000])
    def test_of_other_code_lengths_and_more_items_than_a_block(self, n_bits):
        query, database, ids = random_case(n_bits, N_QUERY, 5000, n_bits)
        query[0], database[0], database[1] = 0, 1, 0  # the largest and the smallest distance occur
        distances, matrix = distances_of(query, database), ids[0][:, None] == ids[1]
        packed = check_code_pair(
            *(np.asfortranarray(pack_codes(codes)) for codes in (query, database)), n_bits
        )
        np.testing.assert_array_equal(hamming_block(*packed[:2]), distances)
        for device in (None, "cpu"):
            counts = count_pairs(query, database, ids, device=device)
            np.testing.assert_array_equal(counts.all, counted(distances, matrix | True, n_bits))
            np.testing.assert_array_equal(counts.relevant, counted(distances, matrix, n_bits))

    def test_of_the_longest_codes(self):
        packed = np.full((1, 8192), 255, dtype=np.uint8)
        packed[0, -1] = 0b00111111  # 65,534 bits
        both = np.concatenate([packed, packed * 0])
        assert mean_average_precision(packed * 0, both, [[0]], n_bits=65_534, ties="index", junk=[[1]]) == 1
        assert count_pairs(packed, both, [[0]], n_bits=65_534).all[0, [0, -1]].tolist() == [1, 1]

    def test_progress_is_shown_for_long_work_alone(self, monkeypatch, capsys):
        case = random_case()
        features = signs(case[0]), signs(case[1]), case[2]
        for pairs, shown in ((6000, True), (6001, False)):
            monkeypatch.setattr(counts_module, "LONG_WORK", pairs)
            for call in (
                lambda: count_pairs(*case),
                lambda: mean_average_precision(*case, ties="index"),
                lambda: cosine_pair_histograms(*features),
            ):
                call()
                assert ("pair" in capsys.readouterr().err) == shown


def measured(counts):
    """Every metric that counts give."""
    options = {"per_query": True, "cut": 70}
    figures = [measure(name, counts, ties=ties, **options) for name in MEASURES for ties in BOUNDS]
    collapse = pair_histograms(counts)
    return [*figures, intersection(collapse), overlap_auc(collapse), *vars(mean_and_std(collapse)).values()]


class TestParts:
    @pytest.mark.parametrize("with_junk", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_are_the_whole_bit_for_bit(self, kind, with_junk, tmp_path):
        query, database = random_codes()
        relevant, matrix = ground_truth(kind)
        junk = some_junk(kind, matrix)[0] if with_junk else None
        whole = count_pairs(query, database, relevant, junk=junk)

        def within(lists, rows, items):
            inside = [indices[(indices >= items.start) & (indices < items.stop)] for indices in lists[rows]]
            return [indices - items.start for indices in inside]

        merged = PairCounter(N_QUERY, N_BITS)
        for j, items in enumerate((slice(0, 1), slice(1, 50), slice(50, 120))):
            counter = PairCounter(N_QUERY, N_BITS)
            for rows in (slice(4, N_QUERY), slice(0, 4)):
                labels = (
                    within(relevant, rows, items)
                    if kind == "lists"
                    else (relevant[0][rows], relevant[1][items])
                )
                codes = [pack_codes(x) if j else x for x in (query[rows], database[items])]
                more = {"junk": within(junk, rows, items)} if with_junk else {}
                counter.update(*codes, labels, first_query=rows.start, packed=j > 0, **more)
            merged.merge(PairCounter.load(counter.save(tmp_path / f"{j}.npz")))
        counts = merged.compute(n_database=N_DATABASE)
        assert counts.n_database == whole.n_database == merged.compute().n_database
        for found, expected in zip(measured(counts), measured(whole), strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_add_up_in_one_counter(self):
        query, database, (query_ids, database_ids) = case = random_case()
        counter = PairCounter(20, 12)
        for items in (slice(0, 100), slice(100, 300)):
            counter.update(query, database[items], (query_ids, database_ids[items]))
        counts, whole = counter.compute(), count_pairs(*case)
        np.testing.assert_array_equal(counts.all, whole.all)
        np.testing.assert_array_equal(counts.relevant, whole.relevant)

    def test_may_be_as_small_as_can_be(self):
        counter = PairCounter(1, 1)
        counter.update([[1]], [[0]], ([3], [3]))
        assert counter.compute(n_database=1).relevant.tolist() == [[0, 1]]

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"all": np.ones((2, 4), np.int32)}, "int32 of shape (2, 4)"),
            ({"relevant": np.zeros((2, 5), np.int64)}, "int64 of shape (2, 5)"),
            ({"relevant": np.full((2, 4), -1)}, "counts that no pairs have"),
            ({"relevant": np.full((2, 4), 2)}, "counts that no pairs have"),
            ({"n_database": np.array([4, 3])}, "counts that no pairs have"),
        ],
    )
    def test_in_a_file_are_checked(self, changed, reason, tmp_path):
        arrays = {
            "all": np.ones((2, 4), int),
            "relevant": np.ones((2, 4), int),
            "n_database": np.array([4, 5]),
        }
        np.savez(tmp_path / "good.npz", **arrays)
        assert PairCounter.load(tmp_path / "good.npz").n_bits == 3
        np.savez(tmp_path / "bad.npz", **arrays | changed)
        with pytest.raises(ValueError, match=re.escape(f"PairCounter.save wrote ({reason})")):
            PairCounter.load(tmp_path / "bad.npz")

    def test_in_a_file_run_no_code(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        np.savez(
            tmp_path / "trap.npz", **dict.fromkeys(("all", "relevant", "n_database"), np.array([Trap()]))
        )
        with pytest.raises(ValueError, match="expected counts that PairCounter"):
            PairCounter.load(tmp_path / "trap.npz")
        assert not (tmp_path / "ran").exists()

    def test_that_are_missing_or_counted_twice_are_noticed(self, tmp_path):
        query, database, (query_ids, database_ids) = random_case()
        counter = PairCounter(20, 12)
        rest = query[15:], database, (query_ids[15:], database_ids)

        def refuses(call, message):
            with pytest.raises(ValueError, match=message):
                call()

        refused = "n_database: expected every query to have met "
        refuses(counter.compute, f"{refused}some items, query 0 has met 0")
        counter.update(query[:15], database, (query_ids[:15], database_ids))
        refuses(counter.compute, f"{refused}300 items, query 15 has met 0")
        refuses(lambda: counter.update(*rest, first_query=16), "first_query: expected at most 15, got 16")
        counter.update(*rest, first_query=15)
        counter.merge(counter)
        refuses(lambda: counter.compute(n_database=300), f"{refused}300 items, query 0 has met 600")
        shorter = query[:, 1:], database[:, 1:], (query_ids, database_ids)
        refuses(lambda: counter.update(*shorter), "query_codes: expected 12 bits as counted so far, got 11")
        refuses(
            lambda: counter.merge(PairCounter(20, 11)),
            r"other: expected counts .* \(20, 13\), got \(20, 12\)",
        )
        path = tmp_path / "none.npz"
        refuses(lambda: PairCounter.load(path), f"{path}: expected counts that PairCounter.save wrote")


class TestRelevance:
    def test_lists_of_any_whole_number_type_and_order(self):
        lists = [np.array([7, 0, 3], dtype=np.uint8), [], (5,), np.zeros((0, 4)), range(2)]
        relevance = check_relevance(lists, n_query=5, n_database=8, junk=([1], [], [], [], []))
        hits, junk = relevance.block(slice(0, 5))
        assert [np.flatnonzero(row).tolist() for row in hits] == [[0, 3, 7], [], [5], [], [0, 1]]
        assert np.argwhere(junk).tolist() == [[0, 1]]


class TestHistograms:
    def test_and_their_statistics_are_those_of_all_pairs(self):
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 3, 230)
        codes = (rng.random((230, 14)) < rng.random((3, 14))[ids]).astype(np.uint8)
        case = codes[:30], codes[30:], (ids[:30], ids[30:])
        got = pair_histograms(*case)
        distances = distances_of(*case[:2]).ravel()
        similarity, positive = 1 - distances / 7, (ids[:30, None] == ids[30:]).ravel()
        np.testing.assert_allclose(got.values, [-1 + step / 7 for step in range(15)], atol=1e-15)
        for found, kind in ((got.positive, positive), (got.negative, ~positive)):
            np.testing.assert_array_equal(found, np.bincount(14 - distances[kind], minlength=15))
        assert overlap_auc(got) == pytest.approx(roc_auc_score(positive, similarity), abs=1e-12)
        assert 0.55 < overlap_auc(got) < 0.95
        figures = vars(mean_and_std(got))
        kinds = {"positive": positive, "negative": ~positive, "all": positive | True}
        for name, kind in kinds.items():
            assert figures[f"{name}_mean"] == pytest.approx(similarity[kind].mean(), abs=1e-12)
            assert figures[f"{name}_std"] == pytest.approx(similarity[kind].std(), abs=1e-12)
        assert {type(value) for value in (intersection(got), overlap_auc(got), *figures.values())} == {float}

    @pytest.mark.parametrize(
        ("positive", "negative", "overlap", "auc"),
        [
            ([0, 0, 5], [7, 0, 0], 0, 1),
            ([1, 2, 1], [10, 20, 10], 1, 0.5),
            ([0, 3, 1], [6, 2, 0], 0.25, 0.75 * (0.75 + 0.125) + 0.25),
            ([0, 0, 0], [6, 2, 0], np.nan, np.nan),
        ],
    )
    def test_by_hand(self, positive, negative, overlap, auc):
        got = PairHistograms(np.array([-1, 0, 1]), np.array(positive), np.array(negative))
        assert intersection(got) == pytest.approx(overlap, abs=1e-15, nan_ok=True)
        assert overlap_auc(got) == pytest.approx(auc, abs=1e-15, nan_ok=True)

    def test_of_cosines_equal_numpy(self):
        rng = np.random.default_rng(0)
        query, database = rng.standard_normal((20, 6)), rng.standard_normal((300, 6))
        ids = rng.integers(0, 3, 20), rng.integers(0, 3, 300)
        got = cosine_pair_histograms(query, database, ids)
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, database)]
        cosines, positive = unit[0] @ unit[1].T, ids[0][:, None] == ids[1]
        edges = np.linspace(-1, 1, 201)
        near_edge = (np.abs(cosines[..., None] - edges).min(axis=2) < 1e-6).sum()
        assert near_edge < 20
        for counts, mask in ((got.positive, positive), (got.negative, ~positive)):
            assert counts.sum() == mask.sum()
            assert np.abs(counts - np.histogram(cosines[mask], edges)[0]).sum() <= 2 * near_edge
        np.testing.assert_allclose(got.values, (edges[1:] + edges[:-1]) / 2, atol=1e-12)

    def test_every_bin_of_cosines_holds_its_lower_edge_and_the_last_one_1_too(self):
        angles = np.arccos([-1, -0.75, -0.5, -0.25, 0.25, 0.75, 1])  # well inside bins but for -1 and 1
        case = np.array([[2.0, 0.0]]), np.column_stack([np.cos(angles), np.sin(angles)]), [[0, 2, 6]]
        got = cosine_pair_histograms(*case, n_bins=3)
        np.testing.assert_allclose(got.values, [-2 / 3, 0, 2 / 3], atol=1e-15)
        assert (got.positive.tolist(), got.negative.tolist()) == ([2, 0, 1], [1, 2, 1])
        one = cosine_pair_histograms(*case, n_bins=1)
        assert (one.values.tolist(), one.positive.tolist(), one.negative.tolist()) == ([0], [3], [4])


class TestEvaluation:
    @pytest.mark.parametrize(
        ("query_ids", "database_ids", "value", "kind", "other"),
        [
            (np.zeros(20, int), np.zeros(300, int), 1, "positive", "negative"),  # one class
            (np.arange(20), 20 + np.arange(300), 0, "negative", "positive"),  # every item of its own class
        ],
    )
    def test_one_kind_of_pair_alone(self, query_ids, database_ids, value, kind, other):
        query, database, _ = random_case()
        relevant = query_ids, database_ids
        for metrics, _ in (
            evaluate_codes(query, database, relevant, 300),
            evaluate_features(signs(query), signs(database), relevant, 300),
        ):
            for ties in ("expected", "optimistic", "pessimistic", "authors"):
                assert metrics[f"map_{ties}"] == pytest.approx(value)
            undefined = {name for name, figure in metrics.items() if np.isnan(figure)}
            assert undefined == {"intersection", "overlap_auc", f"{other}_mean", f"{other}_std"}
            assert metrics[f"{kind}_mean"] == pytest.approx(metrics["all_mean"])

    @pytest.mark.parametrize(
        "options", [{}, *({"denominator": d, "empty": "skip", "junk": [[3]] * 20} for d in DENOMINATORS)]
    )
    def test_all_kinds_of_map(self, options):
        query, database, relevant = case = random_case()
        of_codes, _ = evaluate_codes(*case, 50, **options)
        of_features, _ = evaluate_features(signs(query), signs(database), relevant, 50, **options)
        for ties in TIES:
            name = "map_authors" if ties == "index" else f"map_{ties}"
            expected = mean_average_precision(*case, ties=ties, top_k=50, **options)
            assert of_codes[name] == expected
            assert of_features[name] == pytest.approx(expected, abs=1e-14)

    def test_similarities_and_use_of_bits(self):
        query, database, relevant = case = random_case()
        metrics, table = evaluate_codes(*case, 100)
        expected = pair_histograms(*case)
        for name, values in zip(table, (expected.values, expected.positive, expected.negative), strict=True):
            np.testing.assert_array_equal(table[name], values)
        assert metrics["intersection"] == intersection(expected)
        assert metrics["overlap_auc"] == overlap_auc(expected)
        assert {name: metrics[name] for name in vars(mean_and_std(expected))} == vars(mean_and_std(expected))
        collapsed, _ = evaluate_codes(np.ones((20, 8)), np.ones((300, 8)), relevant, 100)
        assert collapsed["intersection"] == pytest.approx(1)
        assert collapsed["overlap_auc"] == pytest.approx(0.5)
        assert (collapsed["bit_balance"], collapsed["unique_code_ratio"]) == (0, 1 / 300)
        floats = evaluate_features(signs(query), signs(database), relevant, 100)[1]
        assert (len(floats), floats["positive"].sum()) == (200, expected.positive.sum())


CASE = random_case()
COUNTS = count_pairs(*CASE)
FEATURES = signs(CASE[0]), signs(CASE[1]), CASE[2]
BESIDE = "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts"
AT_MOST = "expected at most the 300 items of the database, got 301"
ONE_OF_TIES = "ties: expected one of expected, index, optimistic, pessimistic, got 'best'"
BYTES = np.zeros((1, 2), dtype=np.uint8)
ZEROS = np.zeros((N_DATABASE, 2), dtype=int)
ids = (np.zeros(N_QUERY, dtype=int), np.zeros(N_DATABASE, dtype=int))
no_lists = [[]] * N_QUERY


def mean(*case, **options):
    return lambda: mean_average_precision(*case, **options)


def cosine(*changed, metric=cosine_mean_average_precision, **options):
    return lambda: metric(*changed, *FEATURES[len(changed) :], **options)


def codes(query, database, n_bits=None):
    return lambda: check_code_pair(query, database, n_bits)


def relevance(relevant, junk=None):
    return lambda: check_relevance(relevant, n_query=N_QUERY, n_database=N_DATABASE, junk=junk)


def scores(values):
    return lambda: score_mean_average_precision(values, (np.zeros(1), np.zeros(2)))


MESSAGES = [
    (mean(CASE[0]), "database_codes: expected codes of shape (n, n_bits)"),
    (mean(*CASE[:2]), "relevant: expected a tuple (query labels, database labels)"),
    (mean(CASE[0][:0], *CASE[1:]), "query_codes: expected codes of shape (n, n_bits), neither 0"),
    (mean(*CASE, junk=[]), "junk: expected a list of 20 index arrays"),
    (mean(COUNTS, ties="index"), "ties: expected codes and ground truth for 'index', got counts"),
    (mean(COUNTS, CASE[1]), BESIDE),
    (mean(COUNTS, n_bits=12), BESIDE),
    (mean(COUNTS, junk=[]), BESIDE),
    (mean(*CASE, ties="best"), ONE_OF_TIES),
    (lambda: recall_at_k(*CASE, k=1, ties="best"), ONE_OF_TIES),
    (lambda: recall_at_k(*CASE, k=None), "k: expected a whole number >= 1, got None"),
    (lambda: hit_rate_at_k(*CASE, k=301, ties="index"), f"k: {AT_MOST}"),
    (
        lambda: precision_at_k(*CASE, k=1, empty="drop"),
        "empty: expected one of error, skip, zero, got 'drop'",
    ),
    (lambda: PairCounts(COUNTS.all, COUNTS.relevant[1:], 300), "all, relevant: expected one shape"),
    (lambda: PairCounter(0, 1), "n_query: expected a whole number >= 1, got 0"),
    (lambda: PairCounter(1, 0), "n_bits: expected a whole number >= 1, got 0"),
    (lambda: PairCounter(1, 1).compute(n_database=0), "n_database: expected a whole number >= 1, got 0"),
    (
        lambda: PairHistograms(ZEROS[0], ZEROS[0], ZEROS),
        "values, positive, negative: expected one shape (n_bins,)",
    ),
    *(
        (ranking(*more, **option), message)
        for ranking, *more in ((mean, *CASE), (mean, COUNTS), (cosine,))
        for option, message in (
            ({"top_k": 301}, f"top_k: {AT_MOST}"),
            ({"top_k": 5.0}, "top_k: expected a whole number >= 1, got 5.0"),
            ({"denominator": "hits"}, "denominator: expected one of R, min, relevant, retrieved, got 'hits'"),
            ({"empty": "nan"}, "empty: expected one of error, skip, zero, got 'nan'"),
        )
    ),
    # Features and scores.
    (cosine(ties="best"), ONE_OF_TIES),
    (cosine(CASE[0] * 0), "query: expected no all-zero row"),
    (cosine(FEATURES[0], np.ones((300, 7))), "database: expected 12 features a row, got 7"),
    (cosine(*FEATURES[:2], (CASE[2][0], CASE[2][1][1:])), "relevant[1] (database labels):"),
    (cosine(metric=cosine_pair_histograms, n_bins=0), "n_bins: expected a whole number >= 1, got 0"),
    *(
        (scores(values), "scores: expected finite numbers of shape")
        for values in (np.zeros(3), np.zeros((0, 3)), [["a"]], [[np.nan, 1.0]], [[1.0, np.inf]])
    ),
    # Codes.
    (codes(BYTES, BYTES[:, :1], 8), "query_codes: expected packed codes, uint8 of shape (n, 1) with n >="),
    (codes(BYTES, BYTES.astype(int), 11), "database_codes: expected packed codes, uint8 of shape (n, 2)"),
    (codes(BYTES[:0], BYTES, 11), "query_codes: expected packed codes, uint8 of shape (n, 2) with n >= 1"),
    (codes(BYTES[0], BYTES, 11), "query_codes: expected packed codes, uint8 of shape (n, 2) with n >= 1"),
    (codes(BYTES, BYTES + 8, 11), "database_codes: expected unused bits beyond n_bits = 11 to be 0, got"),
    (codes([[1]], [[1]], 2.0), "n_bits: expected a whole number >= 1, got 2.0"),
    (codes([[1, 0]], [[1, 0, 1]]), "database_codes: expected 2 bits as in query_codes, got 3"),
    (codes([[1, 0]], [[1, 2]]), "database_codes: expected only 0 and 1, got other values (dtype int64)"),
    (codes(*[np.zeros((1, 8192), np.uint8)] * 2, 65_535), "query_codes: expected at most 65534 bits, got"),
    # Ground truth.
    (relevance((ids[0], ZEROS)), "relevant: expected query and database labels of one kind (both 1-D ids,"),
    (relevance((ZEROS[:N_QUERY, :0], ZEROS[:, :0])), "relevant: expected at least one label column, got"),
    (relevance((ZEROS[:N_QUERY] + 2, ZEROS)), "relevant[0] (query labels): expected 0/1 label vectors"),
    (relevance((ids[0], ids[1][1:])), "relevant[1] (database labels): expected labels of shape (120,) or"),
    (relevance((*ids, ids[0])), "relevant: expected a tuple (query labels, database labels) or a list of"),
    (
        relevance(ids[0]),
        "relevant: expected a tuple (query labels, database labels) or a list of index arrays",
    ),
    (relevance([*no_lists, []]), "relevant: expected a list of 9 index arrays, one a query, got 10 in list"),
    (relevance(no_lists, 3), "junk: expected a list of 9 index arrays, one a query, got int (a pair of"),
    (relevance([*no_lists[1:], [[1, 2]]]), "relevant[8]: expected a 1-D array of whole-number indices,"),
    (relevance([*no_lists[1:], [0.0]]), "relevant[8]: expected a 1-D array of whole-number indices, got"),
    (relevance([[4, 120, 2], *no_lists[1:]]), "relevant[0]: expected indices from 0 to 119, got 2 to 120"),
    (relevance([[4, -1], *no_lists[1:]]), "relevant[0]: expected indices from 0 to 119, got -1 to 4"),
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
