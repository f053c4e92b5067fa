"""Errors of the metrics, word by word: the argument, what was expected and what came."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sdclib.metrics import PairCounts, count_pairs, mean_average_precision
from sdclib.metrics.relevance import check_relevance
from tests.test_metrics_map import random_case
from tests.test_metrics_relevance import N_DATABASE, N_QUERY, ids, no_lists


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda case, counts: mean_average_precision(counts, ties="index"),
            "ties: expected codes and ground truth for 'index', got counts, which hold no order",
        ),
        (
            lambda case, counts: mean_average_precision(counts, case[1]),
            "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts",
        ),
        (
            lambda case, counts: mean_average_precision(counts, n_bits=12),
            "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts",
        ),
        (
            lambda case, counts: mean_average_precision(counts, junk=[]),
            "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts",
        ),
        (
            lambda case, counts: mean_average_precision(counts, relevant=case[2]),
            "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts",
        ),
        (
            lambda case, counts: PairCounts(counts.all, counts.relevant[1:], 300),
            "all, relevant: expected one shape (n_query, n_bits + 1), got (20, 13) and (19, 13)",
        ),
        (
            lambda case, counts: PairCounts(counts.all[0], counts.relevant[0], 300),
            "all, relevant: expected one shape (n_query, n_bits + 1), got (13,) and (13,)",
        ),
        (
            lambda case, counts: mean_average_precision(counts, top_k=301),
            "top_k: expected at most the 300 items of the database, got 301",
        ),
        (
            lambda case, counts: mean_average_precision(
                PairCounts(counts.all, counts.all * 0, 300), empty="skip"
            ),
            "relevant: expected an answer for at least one query (empty='skip'), got none",
        ),
        (
            lambda case, counts: mean_average_precision(
                PairCounts(counts.all, counts.all * 0, 300), empty="error"
            ),
            "relevant: expected an answer for every query (empty='error'), got 20 empty, first is query 0",
        ),
        *(
            (
                lambda case, counts, ties=ties: mean_average_precision(case[0], ties=ties),
                "database_codes: expected an array beside query_codes, got None",
            )
            for ties in ("expected", "index")
        ),
        *(
            (
                lambda case, counts, ties=ties: mean_average_precision(*case[:2], ties=ties),
                "relevant: expected an array beside query_codes, got None",
            )
            for ties in ("expected", "index")
        ),
    ],
)
def test_rankings(call, message):
    case = random_case(0)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(case, count_pairs(*case))


@pytest.mark.parametrize(
    ("relevant", "junk", "message"),
    [
        (
            (ids[0], np.zeros((N_DATABASE, 2))),
            None,
            "relevant: expected query and database labels of one kind (both 1-D ids, or both 2-D with as many "
            "columns), got shapes (9,) and (120, 2)",
        ),
        (
            (np.zeros((N_QUERY, 0)), np.zeros((N_DATABASE, 0))),
            None,
            "relevant: expected at least one label column, got shape (9, 0)",
        ),
        (
            ids[0],
            None,
            "relevant: expected a tuple (query labels, database labels) or a list of index arrays, got ndarray",
        ),
        (
            (*ids, ids[0]),
            None,
            "relevant: expected a tuple (query labels, database labels) or a list of index arrays, got tuple",
        ),
        (
            [*no_lists, []],
            None,
            "relevant: expected a list of 9 index arrays, one a query, got 10 in a list "
            "(a pair of label arrays must be a tuple)",
        ),
        (
            no_lists,
            3,
            "junk: expected a list of 9 index arrays, one a query, got int (a pair of label arrays must be a tuple)",
        ),
        (
            no_lists,
            {0: []},
            "junk: expected a list of 9 index arrays, one a query, got 1 in a dict "
            "(a pair of label arrays must be a tuple)",
        ),
        (
            no_lists,
            np.zeros((N_QUERY, 1), dtype=int),
            "junk: expected a list of 9 index arrays, one a query, got 9 in a ndarray "
            "(a pair of label arrays must be a tuple)",
        ),
        (
            [*no_lists[1:], [[1, 2]]],
            None,
            "relevant[8]: expected a 1-D array of whole-number indices, got int64 of shape (1, 2)",
        ),
        (
            [*no_lists[1:], [0.0]],
            None,
            "relevant[8]: expected a 1-D array of whole-number indices, got float64 of shape (1,)",
        ),
        ([[4, 120, 2], *no_lists[1:]], None, "relevant[0]: expected indices from 0 to 119, got 2 to 120"),
        ([[4, -1], *no_lists[1:]], None, "relevant[0]: expected indices from 0 to 119, got -1 to 4"),
        ([[3, 1, 3], *no_lists[1:]], None, "relevant[0]: expected every index at most once, got some twice"),
        (
            [[], [6, 4, 5], *no_lists[2:]],
            [[], [9, 5, 6], *no_lists[2:]],
            "junk: expected no item that is also relevant, got 2 for query 1, first is 5",
        ),
        (ids, [[], [7, 7], *no_lists[2:]], "junk[1]: expected every index at most once, got some twice"),
        (
            (ids[0][1:], ids[1]),
            None,
            "relevant[0] (query labels): expected labels of shape (9,) or (9, n_labels), got (8,)",
        ),
        (
            (ids[0], ids[1][1:]),
            None,
            "relevant[1] (database labels): expected labels of shape (120,) or (120, n_labels), got (119,)",
        ),
    ],
)
def test_ground_truth(relevant, junk, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_relevance(relevant, n_query=N_QUERY, n_database=N_DATABASE, junk=junk)
