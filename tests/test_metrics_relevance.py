"""Ground truth in its three forms, junk lists, counting in blocks, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdclib.metrics import count_pairs, mean_average_precision, precision_at_k
from sdclib.metrics import counts as counting_module
from sdclib.metrics import ranking as order_module
from sdclib.metrics.relevance import IndexLists, blocks, check_relevance
from tests.test_metrics_oracle import check_progress, distances_of

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


def slow_counts(distances, matrix, ranked, n_bits=N_BITS):
    shape = (len(distances), n_bits + 1)
    every, relevant = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    for (i, j), distance in np.ndenumerate(distances):
        if ranked[i, j]:
            every[i, distance] += 1
            relevant[i, distance] += matrix[i, j]
    return every, relevant


@pytest.mark.parametrize("with_junk", [False, True])
@pytest.mark.parametrize("kind", ["ids", "many ids", "labels", "lists"])
def test_counts_equal_a_literal_loop(kind, with_junk, monkeypatch):
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
    expected = slow_counts(distances_of(query, database), matrix & ranked, ranked)
    whole = count_pairs(query, database, relevant, junk=junk)
    monkeypatch.setattr(counting_module, "blocks", lambda n, m: blocks(n, m, max_columns=50, size=100))
    in_blocks = count_pairs(query, database, relevant, junk=junk)
    for counts in (whole, in_blocks):
        np.testing.assert_array_equal(counts.all, expected[0])
        np.testing.assert_array_equal(counts.relevant, expected[1])
        assert (counts.n_query, counts.n_bits, counts.n_database) == (N_QUERY, N_BITS, N_DATABASE)
    relevance = check_relevance(relevant, n_query=N_QUERY, n_database=N_DATABASE, junk=junk)
    np.testing.assert_array_equal(relevance.n_relevant(), expected[1].sum(axis=1))
    np.testing.assert_array_equal(relevance.n_ranked(), ranked.sum(axis=1))


@pytest.mark.parametrize("n_bits", [1, 63, 64, 126, 127, 128, 300])
def test_counts_of_other_code_lengths(n_bits):
    query, database = random_codes(n_bits=n_bits)
    query[0], database[0], database[1] = 0, 1, 0  # the largest and the smallest distance occur
    relevant, matrix = ground_truth("ids")
    every, hits = slow_counts(distances_of(query, database), matrix, np.ones_like(matrix), n_bits)
    counts = count_pairs(query, database, relevant)
    np.testing.assert_array_equal(counts.all, every)
    np.testing.assert_array_equal(counts.relevant, hits)
    assert every[0, -1] > 0 < every[0, 0]


@pytest.mark.parametrize("kind", ["ids", "labels", "lists"])
@pytest.mark.parametrize("ties", ["expected", "index"])
def test_junk_leaves_the_ranking_as_if_it_were_not_in_the_database(kind, ties):
    query, database = random_codes()
    relevant, matrix = ground_truth(kind)
    junk = np.random.default_rng(3).permutation(np.flatnonzero(~matrix.any(axis=0) | (kind != "lists")))[:40]
    junk = junk[~matrix[:, junk].any(axis=0)] if kind == "lists" else junk
    kept = np.setdiff1d(np.arange(N_DATABASE), junk)
    assert 0 < junk.size < N_DATABASE
    without = [np.flatnonzero(row) for row in matrix[:, kept]]
    for denominator in ("relevant", "retrieved", "R"):
        options = {"top_k": 25, "ties": ties, "denominator": denominator, "per_query": True}
        np.testing.assert_allclose(
            mean_average_precision(query, database, relevant, junk=[junk] * N_QUERY, **options),
            mean_average_precision(query, database[kept], without, **options),
            atol=1e-14,
        )
    np.testing.assert_allclose(
        precision_at_k(query, database, relevant, k=25, ties=ties, junk=[junk] * N_QUERY, per_query=True),
        precision_at_k(query, database[kept], without, k=25, ties=ties, per_query=True),
        atol=1e-14,
    )


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic", "index"])
def test_junk_that_leaves_fewer_than_top_k(ties):
    database = np.array([[0], [0], [1], [1]])
    value = mean_average_precision(
        np.array([[0]]), database, [[0]], junk=[[1, 2, 3]], top_k=3, ties=ties, denominator="R"
    )
    assert value == pytest.approx(1 / 3, abs=1e-15)  # one item is ranked, a hit; R is still 3


@pytest.mark.parametrize("ties", ["expected", "index"])
def test_junk_is_in_no_place_of_the_ranking(ties):
    # By distance: two junk items at 0, one at 1, a hit and a miss at 2; the hit comes first by index.
    database = np.array([[1, 1], [0, 0], [1, 1], [0, 1], [0, 0]])
    value = mean_average_precision(np.array([[0, 0]]), database, [[0]], junk=[[1, 3, 4]], ties=ties)
    assert value == pytest.approx({"expected": 3 / 4, "index": 1}[ties], abs=1e-15)


def test_value_of_a_ranking_without_hits():
    hits = np.zeros(3, dtype=bool)
    for denominator in ("relevant", "retrieved", "R"):
        options = {"top_k": 3, "denominator": denominator}
        assert order_module.average_precision_of_hits(hits, n_relevant=0, **options) == (0, True)
        reached = order_module.average_precision_of_hits(hits, n_relevant=2, **options)
        assert reached == (0, denominator == "retrieved")


@pytest.mark.parametrize("kind", ["ids", "labels", "lists"])
def test_index_order_in_blocks_of_queries(kind, monkeypatch):
    query, database = random_codes()
    relevant, _ = ground_truth(kind)
    options = {"ties": "index", "top_k": 30, "per_query": True}
    whole = mean_average_precision(query, database, relevant, **options)
    monkeypatch.setattr(order_module, "ROW_BLOCK", 2 * N_DATABASE)
    np.testing.assert_array_equal(mean_average_precision(query, database, relevant, **options), whole)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 500))
def test_blocks_cover_every_entry_once(n_rows, n_columns, max_columns, size):
    seen = np.zeros((n_rows, n_columns), dtype=int)
    for rows, columns in blocks(n_rows, n_columns, max_columns=max_columns, size=size):
        part = seen[rows, columns]
        assert part.shape[1] <= max_columns
        assert part.size <= size or part.shape[0] == 1
        assert part.shape == (rows.stop - rows.start, columns.stop - columns.start)
        seen[rows, columns] += 1
    assert (seen == 1).all()


ids = (np.zeros(N_QUERY, dtype=int), np.zeros(N_DATABASE, dtype=int))
no_lists = [[]] * N_QUERY


@pytest.mark.parametrize(
    ("relevant", "junk", "message"),
    [
        (
            (ids[0][1:], ids[1]),
            None,
            r"relevant\[0\] \(query labels\): expected labels of shape \(9,\).*got \(8,\)",
        ),
        (
            (ids[0], ids[1][1:]),
            None,
            r"relevant\[1\] \(database labels\): expected labels of shape \(120,\).*\(119,\)",
        ),
        (
            (ids[0], np.zeros((N_DATABASE, 2))),
            None,
            r"relevant: expected query and database labels of one kind",
        ),
        (
            (np.zeros((N_QUERY, 3)), np.zeros((N_DATABASE, 2))),
            None,
            r"relevant: expected query and database labels of one kind.*\(9, 3\) and \(120, 2\)",
        ),
        (
            (np.full((N_QUERY, 2), 2), np.zeros((N_DATABASE, 2))),
            None,
            r"query labels\): expected 0/1 label vectors",
        ),
        ((ids[0] + 0.5, ids[1]), None, r"query labels\): expected whole-number ids"),
        (
            (np.zeros((N_QUERY, 0)), np.zeros((N_DATABASE, 0))),
            None,
            r"relevant: expected at least one label column",
        ),
        (
            list(ids),
            None,
            r"relevant: expected a list of 9 index .* got 2 in a list .*must be a tuple",
        ),
        (ids[0], None, r"relevant: expected a tuple .* or a list of index arrays, got ndarray"),
        ([[120], *no_lists[1:]], None, r"relevant\[0\]: expected indices from 0 to 119, got 120 to 120"),
        ([*no_lists[1:], [-1]], None, r"relevant\[8\]: expected indices from 0 to 119, got -1 to -1"),
        ([[3, 3], *no_lists[1:]], None, r"relevant\[0\]: expected every index at most once"),
        (
            [[0.5], *no_lists[1:]],
            None,
            r"relevant\[0\]: expected a 1-D array of whole-number indices, got float64",
        ),
        (
            [[4, 5], *no_lists[1:]],
            [[5], *no_lists[1:]],
            r"junk: expected no item that is also .*, got 1 for query 0",
        ),
        (ids, no_lists[1:], r"junk: expected a list of 9 index arrays, one a query, got 8 in a list"),
        (ids, 3, r"junk: expected a list of 9 index arrays, one a query, got int"),
        (ids, [[500], *no_lists[1:]], r"junk\[0\]: expected indices from 0 to 119, got 500"),
    ],
)
@pytest.mark.parametrize("ties", ["expected", "index"])
def test_clear_errors(relevant, junk, message, ties):
    query, database = random_codes()
    with pytest.raises(ValueError, match=message):
        mean_average_precision(query, database, relevant, junk=junk, ties=ties)


def test_progress_bar_only_for_long_work(capsys, monkeypatch):
    query, database = random_codes()
    count_pairs(query, database, ids)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(counting_module, "LONG_WORK", 10)
    count_pairs(query, database, ids)
    assert "pair" in capsys.readouterr().err


def test_progress_counts_every_pair(monkeypatch):
    query, database = random_codes()
    monkeypatch.setattr(counting_module, "blocks", lambda n, m: blocks(n, m, max_columns=50, size=100))
    check_progress(
        counting_module, monkeypatch, N_QUERY * N_DATABASE, lambda: count_pairs(query, database, ids)
    )


@pytest.mark.parametrize("kind", ["ids", "many ids", "labels", "lists"])
def test_relevance_of_blocks_and_of_items(kind):
    relevant, matrix = ground_truth(kind, seed=1)
    rng = np.random.default_rng(2)
    is_junk = (
        (rng.integers(0, 3, matrix.shape) == 0) & ~matrix
        if kind == "lists"
        else rng.random(matrix.shape) < 0.3
    )
    junk = [rng.permutation(np.flatnonzero(row)) for row in is_junk]
    for lists in (None, junk):
        relevance = check_relevance(relevant, n_query=N_QUERY, n_database=N_DATABASE, junk=lists)
        assert (relevance.n_query, relevance.n_database) == (N_QUERY, N_DATABASE)
        for rows, columns in (
            (slice(0, 9), slice(0, 120)),
            (slice(3, 5), slice(17, 90)),
            (slice(8, 9), slice(119, 120)),
        ):
            hits, junk_mask = relevance.block(rows, columns)
            assert hits.dtype == np.bool_
            if lists is None:
                assert junk_mask is None
                np.testing.assert_array_equal(hits, matrix[rows, columns])
            else:
                np.testing.assert_array_equal(junk_mask, is_junk[rows, columns])
                np.testing.assert_array_equal(hits, (matrix & ~is_junk)[rows, columns])
        for i in range(N_QUERY):
            items = rng.permutation(np.flatnonzero(~is_junk[i]))
            np.testing.assert_array_equal(relevance.of(i, items), matrix[i, items])
        left = matrix if lists is None else matrix & ~is_junk
        np.testing.assert_array_equal(relevance.n_relevant(), left.sum(axis=1))
        ranked = np.full(N_QUERY, N_DATABASE) if lists is None else (~is_junk).sum(axis=1)
        np.testing.assert_array_equal(relevance.n_ranked(), ranked)
        for numbers in (relevance.n_relevant(), relevance.n_ranked()):
            assert numbers.dtype == np.int64


def test_numbers_of_relevant_items_are_summed_over_blocks():
    n_database = (1 << 17) + 3  # more columns than a block holds
    database = np.zeros(n_database, dtype=int)
    database[[0, 5, n_database - 2, n_database - 1]] = 7
    relevance = check_relevance((np.array([7, 8]), database), n_query=2, n_database=n_database)
    assert relevance.n_relevant().tolist() == [4, 0]


@pytest.mark.parametrize("ties", ["expected", "index"])
def test_databases_of_more_columns_than_a_block(ties):
    n_database = (1 << 17) + 2
    database = np.ones((n_database, 3), dtype=np.uint8)
    database[[1, n_database - 1]] = [[0, 1, 0], [0, 0, 0]]  # the last item is the nearest
    query, relevant = np.zeros((2, 3), dtype=np.uint8), [[n_database - 1], [1]]
    value = mean_average_precision(query, database, relevant, top_k=2, ties=ties, per_query=True)
    assert value.tolist() == [1, 0.5]


def test_shared_labels_by_tens():
    # Many labels a row, so that sizes, distances and shared labels are all different numbers.
    rng = np.random.default_rng(0)
    query, database = rng.integers(0, 2, (N_QUERY, 300)), rng.integers(0, 2, (N_DATABASE, 300))
    query[0], database[0] = 1, 1
    query[1], database[1] = 0, 0
    database[2] = 1 - query[2]  # the rest of a set shares nothing with it
    relevance = check_relevance((query, database), n_query=N_QUERY, n_database=N_DATABASE)
    np.testing.assert_array_equal(
        relevance.block(slice(0, N_QUERY), slice(0, N_DATABASE))[0], query @ database.T > 0
    )


@pytest.mark.parametrize("n_ids", [3, 254, 255, 256, 300])
def test_any_number_of_ids(n_ids):
    query, database = np.arange(n_ids)[:, None] * 10, np.arange(n_ids)[::-1] * 10
    relevance = check_relevance((query[:, 0], database), n_query=n_ids, n_database=n_ids)
    mask = relevance.block(slice(0, n_ids), slice(0, n_ids))[0]
    np.testing.assert_array_equal(mask, query == database)


def test_lists_of_any_whole_number_type_and_order():
    lists = [np.array([7, 0, 3], dtype=np.uint8), [], (5,), np.zeros((0, 4)), range(2)]
    relevance = check_relevance(lists, n_query=5, n_database=8, junk=([1], [], [], [], []))
    matrix = np.zeros((5, 8), dtype=bool)
    for i, indices in enumerate(([0, 3, 7], [], [5], [], [0, 1])):
        matrix[i, indices] = True
    np.testing.assert_array_equal(relevance.block(slice(0, 5), slice(0, 8))[0], matrix)
    assert relevance.n_relevant().tolist() == [3, 0, 1, 0, 2]
    assert relevance.n_ranked().tolist() == [7, 8, 8, 8, 8]
    stored = relevance.lists
    assert isinstance(stored, IndexLists)
    assert (stored.values.dtype, stored.offsets.dtype) == (np.int64, np.int64)
    assert stored.values.tolist() == [0, 3, 7, 5, 0, 1]
    assert stored.offsets.tolist() == [0, 3, 3, 4, 4, 6]


def test_default_blocks_are_bounded():
    assert list(blocks(3, 5)) == [(slice(0, 3), slice(0, 5))]
    rows, columns = next(iter(blocks(10**6, 10**6)))
    assert (rows, columns) == (slice(0, 2**19 // 2**17), slice(0, 2**17))
    rows, columns = next(iter(blocks(10**6, 10, size=5)))
    assert (rows, columns) == (slice(0, 1), slice(0, 10))


def test_first_and_last_item_may_be_listed():
    relevance = check_relevance([[119, 0], *no_lists[1:]], n_query=N_QUERY, n_database=N_DATABASE)
    assert np.flatnonzero(relevance.block(slice(0, 1), slice(0, 120))[0]).tolist() == [0, 119]
