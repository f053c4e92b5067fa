"""HammingIndex: exact search, approximate search, re-scoring, files."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from sdclib.codes import pack_codes
from sdclib.search.index import HammingIndex
from tests.test_metrics_oracle import distances_of

KINDS = ("flat", "ivf", "hnsw")


def random_codes(n_bits=20, n_query=15, n_database=600):
    rng = np.random.default_rng(n_bits)
    codes = rng.integers(0, 2, (n_query + n_database, n_bits), dtype=np.uint8)
    return codes[:n_query], codes[n_query:]


@pytest.mark.parametrize("n_bits", [5, 8, 20, 64, 100])
@pytest.mark.parametrize("k", [1, 30, 600])
def test_flat_search_is_a_stable_ranking(n_bits, k):
    query, database = random_codes(n_bits)
    index = HammingIndex(database)
    distances, indices = index.search(query, k)
    expected = np.argsort(distances_of(query, database), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(
        distances, np.take_along_axis(distances_of(query, database), expected, axis=1)
    )
    assert (distances.dtype, indices.dtype) == (np.int32, np.int64)
    packed = HammingIndex(pack_codes(database), n_bits=n_bits).search(pack_codes(query), k, packed=True)
    np.testing.assert_array_equal(packed[1], indices)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_search(kind):
    query, database = random_codes(32)
    index = HammingIndex(database, kind=kind, n_lists=12, n_probe=6, ef_search=200)
    distances, indices = index.search(query, 10)
    every = distances_of(query, database)
    np.testing.assert_array_equal(distances, np.take_along_axis(every, indices, axis=1))
    assert (np.diff(distances, axis=1) >= 0).all()
    best = np.sort(every, axis=1)[:, :10]
    assert (distances <= best[:, -1:]).mean() > 0.6
    ties = np.diff(distances, axis=1) == 0
    assert (np.diff(indices, axis=1)[ties] > 0).all()


def test_ivf_that_visits_every_list_is_exact_and_one_that_does_not_may_find_too_few():
    query, database = random_codes(16)
    exact = HammingIndex(database, kind="ivf", n_lists=10, n_probe=10).search(query, 50)
    np.testing.assert_array_equal(exact[0], HammingIndex(database).search(query, 50)[0])
    distances, indices = HammingIndex(database, kind="ivf", n_lists=10, n_probe=1).search(query, 500)
    missing = indices == -1
    assert missing.any()
    assert (distances[missing] == 17).all()
    assert (distances[~missing] <= 16).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()  # at the end


@pytest.mark.parametrize("kind", KINDS)
def test_rescore(kind):
    query, database = random_codes(20)
    rng = np.random.default_rng(0)
    index = HammingIndex(database, kind=kind)
    _, candidates = index.search(query, 40)
    candidates[0, -3:] = -1
    floats = {"query": rng.standard_normal((15, 7)), "database": rng.standard_normal((600, 7))}
    continuous = rng.standard_normal((15, 20))
    for vectors, references, given in (
        (floats["query"], floats["database"], (floats["query"], floats["database"])),
        (continuous, 2.0 * database - 1, (continuous,)),
    ):
        scores, indices = index.rescore(candidates, *given)
        assert (scores.dtype, indices.dtype) == (np.float32, np.int64)
        for i in range(15):
            expected = {
                int(item): references[item]
                @ vectors[i]
                / np.linalg.norm(references[item])
                / np.linalg.norm(vectors[i])
                for item in candidates[i]
                if item >= 0
            }
            kept = indices[i][indices[i] >= 0]
            assert set(map(int, kept)) == set(expected)
            # cosines in float32, sums of up to 20 products
            np.testing.assert_allclose(scores[i, : len(kept)], [expected[int(j)] for j in kept], atol=1e-5)
            assert (np.diff(scores[i, : len(kept)]) <= 0).all()
        assert (scores[0, -3:] == -np.inf).all()
        assert (indices[0, -3:] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bits", [12, 64])
def test_save_and_load(kind, n_bits, tmp_path):
    query, database = random_codes(n_bits)
    index = HammingIndex(database, kind=kind, n_lists=9, n_probe=3, ef_search=33)
    path = index.save(tmp_path / "codes.index")
    assert [file.name for file in tmp_path.iterdir()] == ["codes.index"]
    loaded = HammingIndex.load(path)
    assert repr(loaded) == repr(index) == f"HammingIndex(kind='{kind}', n_database=600, n_bits={n_bits})"
    for got, expected in zip(loaded.search(query, 25), index.search(query, 25), strict=True):
        np.testing.assert_array_equal(got, expected)
    candidates = index.search(query, 25)[1]
    continuous = np.random.default_rng(0).standard_normal((15, n_bits))
    np.testing.assert_array_equal(
        loaded.rescore(candidates, continuous)[1], index.rescore(candidates, continuous)[1]
    )
    assert faiss.read_index_binary(str(path)).ntotal == 600  # faiss itself reads the file


def test_damaged_files(tmp_path):
    path = HammingIndex(random_codes()[1]).save(tmp_path / "codes.index")
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"codes\.index: expected a file of HammingIndex.save, .*cut short"):
        HammingIndex.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="got 0 bytes without its end mark"):
        HammingIndex.load(path)
    for place in (0, 10, len(content) // 2, len(content) - 10):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"codes\.index: damaged, its content does not match"):
            HammingIndex.load(path)
    with pytest.raises(FileNotFoundError):
        HammingIndex.load(tmp_path / "none.index")


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    query, database = random_codes()
    path = HammingIndex(database).save(tmp_path / "codes.index")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        HammingIndex(database[:10]).save(path)
    assert HammingIndex.load(path).search(query, 5)[0].shape == (15, 5)
    assert [file.name for file in tmp_path.iterdir()] == ["codes.index"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda q, d: HammingIndex(d[:0]), r"database_codes: expected codes of shape .* got \(0, 20\)"),
        (lambda q, d: HammingIndex(d + 1), "database_codes: expected only 0 and 1"),
        (
            lambda q, d: HammingIndex(d, n_bits=20),
            r"database_codes: expected packed codes, uint8 of shape \(n, 3\)",
        ),
        (lambda q, d: HammingIndex(d, kind="lsh"), "kind: expected one of flat, hnsw, ivf, got 'lsh'"),
        (lambda q, d: HammingIndex(d, kind="ivf", n_lists=601), "n_lists: expected at most the 600 items"),
        (lambda q, d: HammingIndex(d, kind="ivf", n_probe=0), "n_probe: expected a whole number >= 1, got 0"),
        (
            lambda q, d: HammingIndex(d, kind="hnsw", n_neighbors=1),
            "n_neighbors: expected a whole number >= 2",
        ),
        (
            lambda q, d: HammingIndex(d).search(q, 601),
            "k: expected at most the 600 items of the database, got 601",
        ),
        (lambda q, d: HammingIndex(d).search(q, 0), "k: expected a whole number >= 1, got 0"),
        (
            lambda q, d: HammingIndex(d).search(q[:, 1:], 5),
            "query_codes: expected 20 bits as in the index, got 19",
        ),
        (lambda q, d: HammingIndex(d).search(q, 5, packed=True), "query_codes: expected packed codes"),
        (
            lambda q, d: HammingIndex(d).rescore([[0]] * 15, q[:, 1:]),
            "query: expected 20 features a row, got 19",
        ),
        (
            lambda q, d: HammingIndex(d).rescore([[0]] * 14, q),
            r"indices: expected whole numbers .*\(15, k\)",
        ),
        (
            lambda q, d: HammingIndex(d).rescore([[600]] * 15, q),
            "indices: expected -1 to 599, got 600 to 600",
        ),
        (
            lambda q, d: HammingIndex(d).rescore([[0]] * 15, q, d[:9]),
            r"database: expected shape .*\(9, 20\)",
        ),
    ],
)
def test_clear_errors(make, message):
    query, database = random_codes()
    query[:, 0] = 1  # no zero vector among the float queries
    with pytest.raises(ValueError, match=message):
        make(query, database)


def test_an_index_that_has_rescored_comes_back(tmp_path: Path) -> None:
    """Re-scoring by the codes in an "ivf" index makes a map of its items, which is saved too."""
    codes = np.random.default_rng(3).integers(0, 2, (50, 16)).astype(np.uint8)
    index = HammingIndex(codes, kind="ivf", n_lists=4, n_probe=4)
    query = codes[:5] - 0.4
    scores, _ = index.rescore(index.search(codes[:5], 7)[1], query)
    loaded = HammingIndex.load(index.save(tmp_path / "codes.index"))
    assert loaded.n_database == 50
    np.testing.assert_array_equal(loaded.rescore(loaded.search(codes[:5], 7)[1], query)[0], scores)
