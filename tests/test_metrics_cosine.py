"""Rankings of float features by cosine, and histograms of cosines, against literal loops."""

from __future__ import annotations

import numpy as np
import pytest

from sdclib.metrics import (
    cosine_mean_average_precision,
    cosine_pair_histograms,
    intersection,
    mean_average_precision,
    pair_histograms,
)
from sdclib.metrics import ranking as cosine_module
from tests.test_metrics_oracle import DENOMINATORS, check_progress, slow_average_precision


def random_case(seed=0, n_query=12, n_database=150):
    rng = np.random.default_rng(seed)
    # Small whole numbers with norms 2: cosines are exact in float32, and many are equal.
    features = np.zeros((n_query + n_database, 8), dtype=np.float32)
    for row in features:
        row[rng.choice(8, 4, replace=False)] = rng.choice([-1, 1], 4)
    ids = rng.integers(0, 4, n_query + n_database)
    return features[:n_query], features[n_query:], (ids[:n_query], ids[n_query:])


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("top_k", [1, 20, None])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_equals_a_literal_loop(denominator, top_k, in_blocks, monkeypatch):
    if in_blocks:
        monkeypatch.setattr(cosine_module, "COSINE_BLOCK", 400)
    query, database, (query_ids, database_ids) = random_case()
    query_ids[0] = 9
    values = []
    for vector, label in zip(query, query_ids, strict=True):
        cosines = database @ vector / 4
        order = sorted(range(len(database)), key=lambda item, c=cosines: -c[item])
        assert len(np.unique(cosines)) < 12  # many ties
        ranked = [database_ids[item] == label for item in order]
        values.append(slow_average_precision(ranked, sum(ranked), top_k or len(database), denominator))
    got = cosine_mean_average_precision(
        query,
        database,
        (query_ids, database_ids),
        top_k=top_k,
        denominator=denominator,
        empty="skip",
        per_query=True,
    )
    if denominator == "R":
        values[0] = None  # no relevant item: empty under every denominator
    expected = np.array([np.nan if value is None else value for value in values])
    np.testing.assert_allclose(got, expected, atol=1e-12, rtol=0)
    mean = cosine_mean_average_precision(
        query, database, (query_ids, database_ids), top_k=top_k, denominator=denominator
    )
    assert mean == pytest.approx(np.nan_to_num(expected).mean(), abs=1e-12)


def test_lengths_of_vectors_do_not_matter():
    query, database, relevant = random_case()
    scale = 2.0 ** np.random.default_rng(1).integers(-3, 4, (len(database), 1))
    assert cosine_mean_average_precision(
        4 * query, database * scale, relevant, top_k=30
    ) == cosine_mean_average_precision(query, database, relevant, top_k=30)


def test_signs_give_the_hamming_ranking():
    rng = np.random.default_rng(3)
    query, database = rng.integers(0, 2, (10, 16)), rng.integers(0, 2, (90, 16))
    relevant = (rng.integers(0, 3, 10), rng.integers(0, 3, 90))
    assert cosine_mean_average_precision(
        2.0 * query - 1, 2.0 * database - 1, relevant, top_k=25
    ) == mean_average_precision(query, database, relevant, top_k=25, ties="index")
    # 16 bits give 17 similarities; 17 bins around them are [-17/16, -15/16) and so on, here by rounding down.
    floats = cosine_pair_histograms(2.0 * query - 1, 2.0 * database - 1, relevant, n_bins=16)
    codes = pair_histograms(query, database, relevant)
    for kind in ("positive", "negative"):
        exact = getattr(codes, kind)
        np.testing.assert_array_equal(
            getattr(floats, kind), [*exact[:15], exact[15] + exact[16]]
        )  # the last bin holds 1 too


def test_junk_leaves_the_ranking():
    query, database, (query_ids, database_ids) = random_case()
    junk = np.arange(5, 60)
    kept = np.setdiff1d(np.arange(len(database)), junk)
    with_junk = cosine_mean_average_precision(
        query, database, (query_ids, database_ids), top_k=40, junk=[junk] * len(query)
    )
    assert with_junk == cosine_mean_average_precision(
        query, database[kept], (query_ids, database_ids[kept]), top_k=40
    )
    histograms = cosine_pair_histograms(query, database, (query_ids, database_ids), junk=[junk] * len(query))
    expected = cosine_pair_histograms(query, database[kept], (query_ids, database_ids[kept]))
    np.testing.assert_array_equal(histograms.positive, expected.positive)
    np.testing.assert_array_equal(histograms.negative, expected.negative)
    everything = [np.arange(len(database))] * len(query)
    assert cosine_mean_average_precision(query, database, (query_ids, database_ids), junk=everything) == 0


def test_histograms_equal_numpy():
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


@pytest.mark.parametrize("function", [cosine_mean_average_precision, cosine_pair_histograms])
def test_clear_errors(function):
    query, database, relevant = random_case()
    with pytest.raises(ValueError, match="database: expected 8 features a row, got 7"):
        function(query, database[:, :7], relevant)
    with pytest.raises(ValueError, match="database: expected at least one row"):
        function(query, database[:0], relevant)
    with pytest.raises(ValueError, match="query: expected no all-zero row"):
        function(query * 0, database, relevant)
    with pytest.raises(ValueError, match=r"relevant\[1\].*expected labels of shape \(150,\)"):
        function(query, database, (relevant[0], relevant[1][1:]))


def test_clear_errors_of_options():
    case = random_case()
    with pytest.raises(ValueError, match="top_k: expected at most the 150 items"):
        cosine_mean_average_precision(*case, top_k=151)
    with pytest.raises(ValueError, match="denominator: expected one of"):
        cosine_mean_average_precision(*case, denominator="hits")
    with pytest.raises(ValueError, match="empty: expected one of"):
        cosine_mean_average_precision(*case, empty="drop")
    with pytest.raises(ValueError, match="n_bins: expected a whole number >= 1, got 0"):
        cosine_pair_histograms(*case, n_bins=0)


def test_progress(monkeypatch):
    case = random_case()
    monkeypatch.setattr(cosine_module, "COSINE_BLOCK", 700)
    for function in (cosine_mean_average_precision, cosine_pair_histograms):
        check_progress(cosine_module, monkeypatch, 12 * 150, lambda function=function: function(*case))


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_junk_that_leaves_fewer_than_top_k(denominator):
    query, database = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    # Ranked: item 1 (a hit), item 0, item 3 (a hit); item 2, nearest of all, is junk.
    value = cosine_mean_average_precision(
        query, database, [[1, 3]], junk=[[2]], top_k=4, denominator=denominator
    )
    divisor = {"relevant": 2, "retrieved": 2, "R": 4}[denominator]
    assert value == pytest.approx((1 + 2 / 3) / divisor, abs=1e-15)
    assert type(value) is float


def test_junk_of_each_query_is_its_own(monkeypatch):
    query, database, (query_ids, database_ids) = random_case(2)
    rng = np.random.default_rng(0)
    junk = [rng.choice(150, size=n, replace=False) for n in range(0, 144, 12)]
    alone = []
    for i in range(12):
        kept = np.setdiff1d(np.arange(150), junk[i])
        case = query[i : i + 1], database[kept], (query_ids[i : i + 1], database_ids[kept])
        alone.append((cosine_mean_average_precision(*case), cosine_pair_histograms(*case)))
    case = query, database, (query_ids, database_ids)
    monkeypatch.setattr(cosine_module, "COSINE_BLOCK", 700)  # four queries at a time
    together = cosine_mean_average_precision(*case, junk=junk, per_query=True)
    np.testing.assert_allclose(together, [value for value, _ in alone], atol=1e-15)
    histograms = cosine_pair_histograms(*case, junk=junk)
    assert len(histograms.values) == 200
    assert (histograms.positive.dtype, histograms.negative.dtype) == (np.int64, np.int64)
    np.testing.assert_array_equal(histograms.positive, sum(h.positive for _, h in alone))
    np.testing.assert_array_equal(histograms.negative, sum(h.negative for _, h in alone))


def test_every_bin_holds_its_lower_edge_and_the_last_one_1_too():
    angles = np.arccos(
        [-1, -0.75, -0.5, -0.25, 0.25, 0.75, 1]
    )  # with cosines well inside bins but for -1 and 1
    database = np.column_stack([np.cos(angles), np.sin(angles)])
    relevant = [np.array([0, 2, 6])]
    got = cosine_pair_histograms(np.array([[2.0, 0.0]]), database, relevant, n_bins=3)
    np.testing.assert_allclose(got.values, [-2 / 3, 0, 2 / 3], atol=1e-15)
    np.testing.assert_array_equal(got.positive, [2, 0, 1])
    np.testing.assert_array_equal(got.negative, [1, 2, 1])
    assert got.values.dtype == np.float64
    one = cosine_pair_histograms(np.array([[2.0, 0.0]]), database, relevant, n_bins=1)
    assert (one.values.tolist(), one.positive.tolist(), one.negative.tolist()) == ([0], [3], [4])


def test_defaults_and_integer_features():
    query, database, relevant = random_case(4)
    value = cosine_mean_average_precision(query, database, relevant)
    spelled = cosine_mean_average_precision(
        query.astype(int), database.astype(int), relevant, top_k=150, denominator="relevant", empty="zero"
    )
    assert value == spelled
    query_ids = relevant[0].copy()
    query_ids[0] = 9
    with pytest.raises(ValueError, match=r"^relevant: expected an answer.*got 1 empty, first is query 0$"):
        cosine_mean_average_precision(query, database, (query_ids, relevant[1]), empty="error")


def test_databases_of_more_columns_than_a_block_of_pairs():
    n_database = (1 << 17) + 2
    database = np.tile(np.float32([[-1, 0]]), (n_database, 1))
    database[[1, n_database - 1]] = [[1, 0.1], [1, 0]]  # the last item is the nearest
    value = cosine_mean_average_precision(np.float32([[1, 0]]), database, [[n_database - 1]], top_k=2)
    assert value == 1
    got = cosine_pair_histograms(np.float32([[1, 0]]), database, [[n_database - 1]], n_bins=2)
    assert (got.positive.tolist(), got.negative.tolist()) == ([0, 1], [n_database - 2, 1])


def test_features_are_left_as_they_were():
    query, database, relevant = random_case()
    before = query.copy(), database.copy()
    cosine_mean_average_precision(query, database, relevant, junk=[[3]] * 12)
    cosine_pair_histograms(query, database, relevant, junk=[[3]] * 12)
    np.testing.assert_array_equal(query, before[0])
    np.testing.assert_array_equal(database, before[1])


def test_names_of_arguments_in_messages():
    query, database, relevant = random_case()
    for options, message in (
        ({"denominator": "hits"}, "denominator: expected one of R, relevant, retrieved, got 'hits'"),
        ({"empty": "drop"}, "empty: expected one of error, skip, zero, got 'drop'"),
        ({"top_k": 0}, "top_k: expected a whole number >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            cosine_mean_average_precision(query, database, relevant, **options)
    with pytest.raises(ValueError, match=r"^query: expected a 2D array"):
        cosine_pair_histograms(query[0], database, relevant)
