"""Ways to store vectors in few bytes, against plain loops."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from sdclib.methods import make_hasher
from sdclib.metrics import mean_average_precision
from sdclib.search.compare import FLOAT, compare, decisions, is_possible, make_quantizer, quantizer_factory
from sdclib.search.index import HammingIndex
from sdclib.search.recall import neighbour_recall, recalls
from tests.command import rows

METHODS = ("int8", "pq", "opq", "rabitq", "itq", "lsh")
LENGTHS = [16, 72, 80]


@pytest.fixture(scope="module")
def parts():
    X = np.concatenate([rows(700), rows(700, seed=1) + 1])
    order = np.random.default_rng(0).permutation(len(X))
    labels = np.repeat([0, 1], 700)[order]
    X = X[order].astype(np.float32)
    return X[100:], X[:100], X[100:], (labels[:100], labels[100:])


@pytest.fixture(scope="module")
def measured(parts):
    train, query, database, relevant = parts
    options = {"ks": (1, 10), "depths": (50, len(database)), "top_k": 200}
    return compare(train, query, database, methods=METHODS, n_bits=LENGTHS, relevant=relevant, **options)


def cosines(query, database):
    unit = [x / np.linalg.norm(x.astype(float), axis=1, keepdims=True) for x in (query, database)]
    return unit[0] @ unit[1].T


def value(scores, method, n_bits, query, goal, k, depth=0):
    same = (scores["method"] == method) & (scores["query"] == query) & (scores["goal"] == goal)
    row = scores[same & (scores["k"] == k) & (scores["depth"] == depth) & (scores["n_bits"] == n_bits)]
    assert len(row) == 1
    return row["value"].iloc[0]


def test_lengths_and_kinds_of_query_are_those_that_there_are(measured):
    scores, costs = measured
    kinds = scores.groupby(["method", "query"])["n_bits"].unique().map(lambda bits: sorted(bits.dropna()))
    assert kinds.to_dict() == {
        (FLOAT, "float"): [],
        ("int8", "float"): [192],
        ("pq", "float"): [16, 72, 80],
        ("opq", "float"): [16, 72, 80],
        ("rabitq", "float"): [72, 80],
        ("itq", "codes"): [16],
        ("itq", "float"): [16],
        **{("lsh", kind): LENGTHS for kind in ("codes", "float")},
    }
    assert (scores["n_bytes"] == scores["n_bits"].fillna(8 * 96) / 8).all()
    assert costs.set_index(["method", "n_bits"])["fit_seconds"].notna().sum() == len(costs) - 1


def test_codes_score_as_the_index_and_the_metrics_say(parts, measured):
    train, query, database, relevant = parts
    every = measured[0][(measured[0]["goal"] == "neighbours") & (measured[0]["depth"] == len(database))]
    assert set(every["value"]) == {1}  # re-scoring everything finds everything
    hasher = make_hasher("itq", 16).fit(train)
    codes, query_codes = hasher.transform(database), hasher.transform(query)
    expected = mean_average_precision(query_codes, codes, relevant, top_k=200)
    assert value(measured[0], "itq", 16, "codes", "classes", 200) == pytest.approx(expected)
    index, nearest = HammingIndex(codes), np.argsort(-cosines(query, database), axis=1)[:, :10]
    for kind, found in {
        "codes": index.search(query_codes, 50)[1],
        "float": index.search_continuous(hasher.decision_function(query), 50)[1],
    }.items():
        alone = neighbour_recall(found, nearest, query, database)
        rescored = neighbour_recall(index.rescore(found, query, database)[1], nearest, query, database)
        assert value(measured[0], "itq", 16, kind, "neighbours", 10) == pytest.approx(alone)
        assert value(measured[0], "itq", 16, kind, "neighbours", 10, 50) == pytest.approx(rescored)


@pytest.mark.parametrize("method", ["int8", "pq", "opq", "rabitq"])
def test_quantizers_score_as_the_index_does(parts, measured, method):
    train, query, database, relevant = parts
    train, query, database = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, query, database))
    n_bits = 192 if method == "int8" else 72
    index = make_quantizer(method, 24, n_bits // 8)
    index.train(train[np.random.default_rng(0).permutation(len(train))])
    index.add(database)
    order = index.search(query, len(database))[1]
    nearest = np.argsort(-cosines(query, database), axis=1)[:, :10]
    hits = [np.isin(found, true).mean() for found, true in zip(order[:, :10], nearest, strict=True)]
    assert value(measured[0], method, n_bits, "float", "neighbours", 10) == pytest.approx(np.mean(hits))
    same = relevant[0][:, None] == relevant[1][order[:, :200]]
    precision = np.cumsum(same, axis=1) / np.arange(1, 201)
    totals = np.array([(relevant[1] == label).sum() for label in relevant[0]])
    expected = np.mean((precision * same).sum(axis=1) / totals)
    # ties of the quantizers are in faiss's order here, in all orders there
    assert value(measured[0], method, n_bits, "float", "classes", 200) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("n_features", [24, 29])
def test_every_factory_makes_an_index_of_so_many_bytes(n_features):
    for method, n_bytes in (("int8", n_features), ("pq", 5), ("opq", 5), ("rabitq", 10)):
        index = faiss.index_factory(n_features, quantizer_factory(method, n_features, n_bytes))
        assert index.sa_code_size() == n_bytes


def test_an_item_counts_if_it_is_as_near_as_a_neighbour():
    query, database = np.eye(2), np.array([[1.0, 0], [2, 0], [1, 1], [0, 1]])
    found, truth = np.array([[1, 3, 0, -1], [2, -1, -1, -1]]), np.array([[1.0, 1, 0.5], [1, 0.7071, 0]])
    shares = recalls(found, truth, query, database, ks=(1, 2), depths=(1, 3))
    assert {place: list(share) for place, share in shares.items()} == {
        (1, 0): [1, 0],
        (1, 1): [1, 0],
        (1, 3): [1, 0],
        (2, 0): [0.5, 0.5],
        (2, 3): [1, 0.5],
    }


def test_decisions_are_the_best_of_each_goal_and_size(measured):
    scores, costs = measured
    table = decisions(scores, costs, k=10, depth=50)
    goals = set(zip(table["goal"], table["depth"], strict=True))
    assert goals == {("classes", 0), ("neighbours", 0), ("neighbours", 50)}
    rivals = scores[(scores["method"] != FLOAT) & ((scores["goal"] == "classes") | (scores["k"] == 10))]
    best = rivals.groupby(["goal", "depth", "n_bytes"])["value"].max()
    assert all(row.value == best[row.goal, row.depth, row.n_bytes] for row in table.itertuples())
    assert table["fit_seconds"].notna().all()


def test_what_is_possible_is_said_before():
    train = np.zeros((300, 24), dtype=np.float32)
    assert [bits for bits in (8, 12, 64, 72, 88, 96) if is_possible("rabitq", bits, train)] == [72, 88]
    assert [bits for bits in (8, 12, 64, 192, 200) if is_possible("pq", bits, train)] == [8, 64, 192]
    assert not is_possible("pq", 8, train[:200])
    assert [bits for bits in (24, 25) if is_possible("itq", bits, train)] == [24]
    assert is_possible("lsh", 500, train)
