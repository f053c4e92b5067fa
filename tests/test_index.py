"""HammingIndex and recall: exact and approximate search, re-scoring, ties, files that are whole or damaged."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdclib.codes import pack_codes
from sdclib.search.index import GROUPED, MAGIC, TRAILER, HammingIndex
from sdclib.search.recall import hamming_recall, neighbour_recall
from tests.fuzzing import attacks, damaged, fuzzed, outcome, write
from tests.reference import distances_of

KINDS: dict[str, dict[str, Any]] = {
    "flat": {},
    "ivf": {"n_lists": 9, "n_probe": 9},
    "hnsw": {"ef_search": 200},
}


def random_codes(n_bits: int = 20, n_query: int = 15, n_database: int = 600) -> Any:
    rng = np.random.default_rng(n_bits)
    codes = rng.integers(0, 2, (n_query + n_database, n_bits), dtype=np.uint8)
    return codes[:n_query], codes[n_query:]


def exact(query: Any, database: Any, k: int) -> Any:
    """Distances and items, ties by index."""
    every = distances_of(query, database)
    items = np.argsort(every, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(every, items, axis=1), items


def equal(found: Any, expected: Any) -> None:
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("n_bits", [5, 8, 20, 64, 100])
def test_flat_search_is_a_stable_ranking(n_bits: int) -> None:
    query, database = random_codes(n_bits)
    for k in (1, 30, 600):
        found = HammingIndex(database).search(query, k)
        equal(found, exact(query, database, k))
        assert [array.dtype for array in found] == [np.int32, np.int64]
        packed = HammingIndex(pack_codes(database), n_bits=n_bits)
        equal(packed.search(pack_codes(query), k, packed=True), found)


def test_ivf_that_visits_every_list_is_exact_and_one_that_does_not_may_find_too_few() -> None:
    query, database = random_codes(16)
    index = HammingIndex(database, kind="ivf", n_lists=10, n_probe=1)
    distances, indices = index.search(query, 500)
    missing = indices == -1
    assert missing.any()
    assert (distances[missing] == 17).all()
    assert (distances[~missing] <= 16).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()  # at the end
    scores, items = index.search_continuous(2.0 * query - 1, 500, n_candidates=500)
    assert (items < 0).any()
    assert ((scores == -np.inf) == (items < 0)).all()
    index.n_probe = 99
    assert index.n_probe == 10
    equal(index.search(query, 50)[:1], exact(query, database, 50)[:1])
    with pytest.raises(AttributeError, match="ef_search: expected an index of kind 'hnsw', got 'ivf'"):
        _ = index.ef_search


@pytest.mark.parametrize("copies", [1, 20])
@pytest.mark.parametrize("n_bits", [4, 16])
def test_hnsw_finds_all_items_of_a_code(copies: int, n_bits: int) -> None:
    query, database = random_codes(n_bits, n_query=40, n_database=1000)
    database = np.random.default_rng(0).permutation(np.repeat(database, copies, axis=0))
    index = HammingIndex(database, kind="hnsw")
    assert (index.ef_search, index.n_database) == (64, 1000 * copies)
    index.ef_search = 300
    found, expected = index.search(query, 100), exact(query, database, 100)
    assert hamming_recall(found[0], expected[0], 100) > 0.99
    equal(found[:1], [np.take_along_axis(distances_of(query, database), found[1], axis=1)])
    order = np.lexsort(found[::-1], axis=1)
    assert (order == np.arange(100)).all()  # ties by index
    assert n_bits == 16 or (found[1] == expected[1]).all()  # 16 codes at most: the graph holds them all


@pytest.mark.parametrize("kind", KINDS)
def test_rescore(kind: str) -> None:
    query, database = random_codes(20)
    database[300:] = database[:300]
    rng = np.random.default_rng(0)
    index = HammingIndex(database, kind=kind, **KINDS[kind])
    _, candidates = index.search(query, 40)
    candidates[0, -3:] = -1
    floats = rng.standard_normal((15, 7)), rng.standard_normal((600, 7))
    continuous = rng.standard_normal((15, 20))
    for (vectors, references), kept in ((floats, floats[1]), ((continuous, 2.0 * database - 1), None)):
        scores, indices = index.rescore(candidates, vectors, kept)
        assert (scores.dtype, indices.dtype) == (np.float32, np.int64)
        units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, references)]
        cosines = np.take_along_axis(units[0] @ units[1].T, candidates, axis=1)
        cosines[candidates < 0] = -np.inf
        np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1), atol=1e-5)  # of sums in float32
        equal([np.sort(indices, axis=1)], [np.sort(candidates, axis=1)])
        assert (indices[0, -3:] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bits", [5, 20, 64])
def test_search_by_continuous_codes_is_a_stable_ranking_by_cosine(
    kind: str, n_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, database = random_codes(n_bits)
    database[300:] = database[:300]
    index = HammingIndex(database, kind=kind, **KINDS[kind])
    query = np.random.default_rng(1).standard_normal((9, n_bits)).astype(np.float32)
    # a sum in one order for all rows, so that equal codes tie
    products = np.stack([(query * (2.0 * code - 1)).sum(axis=1) for code in database], axis=1)
    cosines = products / np.linalg.norm(query, axis=1, keepdims=True) / np.sqrt(n_bits)
    order = np.argsort(-cosines, axis=1, kind="stable")
    monkeypatch.setattr("sdclib.search.index.DEVICE_BLOCK", 9 * 170)  # four parts of the database
    for k in (1, 37, 600):
        scores, items = index.search_continuous(query, k)
        assert (scores.dtype, items.dtype) == (np.float32, np.int64)
        np.testing.assert_allclose(scores, np.take_along_axis(cosines, order[:, :k], axis=1), atol=1e-6)
        equal([items], [order[:, :k]])
        on_device, items = index.search_continuous(query, k, device="cpu")
        np.testing.assert_allclose(on_device, scores, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(cosines, items, axis=1), scores, atol=1e-6)
        assert all(len(set(row)) == k for row in items)
    # all items are candidates, and then those of a search
    equal(index.search_continuous(query, 40, n_candidates=600)[1:], [order[:, :40]])
    scores, items = index.search_continuous(query, 20, n_candidates=50)
    candidates = index.search(query >= 0, 50)[1]
    assert all(set(row) <= set(near) for row, near in zip(items, candidates, strict=True))
    best = -np.sort(-np.take_along_axis(cosines, candidates, axis=1), axis=1)[:, :20]
    np.testing.assert_allclose(scores, best, atol=1e-6)


@pytest.mark.parametrize("d", [37, 1280])
def test_equal_rows_tie_in_rescoring_and_in_recall(d: int) -> None:
    database = np.tile(np.random.default_rng(0).standard_normal((5, d)).astype(np.float32), (60, 1))
    query, candidates = database[2:4], np.tile(np.arange(300), (2, 1))
    index = HammingIndex(np.ones((300, 8), dtype=np.uint8))
    scores, indices = index.rescore(candidates, query, database)
    assert (scores[:, :60] == scores[:, :1]).all()
    equal(indices[:, :60], [np.arange(2, 300, 5), np.arange(3, 300, 5)])
    true, others = indices[:, :10], indices[:, 30:40]
    assert neighbour_recall(others, true) == 0
    assert neighbour_recall(others, true, query, database) == 1
    others[0, 4], others[1, 7] = 0, -1  # another vector, and none
    assert neighbour_recall(others, true, query, database) == pytest.approx(18 / 20)


def test_recall_by_hand() -> None:
    assert neighbour_recall([[5, 1, 9], [2, 3, 7]], [[1, 9], [3, 2]]) == pytest.approx(3 / 4)
    assert neighbour_recall([[-1, 4]], [[4, 8]]) == pytest.approx(1 / 2)
    # Two nearest at 3: whatever lies at 3 or nearer counts; 9 stands for what was not found.
    assert hamming_recall([[2, 3, 9], [4, 9, 9]], [[2, 3, 3], [1, 4, 4]], 2) == pytest.approx(3 / 4)
    for make, name in (
        (lambda: neighbour_recall([[1]], [[1, 2]]), "found"),
        (lambda: neighbour_recall([[1]], [1]), "neighbours"),
        (lambda: neighbour_recall([[1]], [[1]], np.ones((2, 3)), np.ones((2, 3))), "query"),
        (lambda: hamming_recall([[1]], [[1]], 2), "exact"),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda q, d: HammingIndex(d + 1), "database_codes: expected only 0 and 1"),
        (lambda q, d: HammingIndex(d, n_bits=20), "database_codes: expected packed codes"),
        (lambda q, d: HammingIndex(d, kind="lsh"), "kind: expected one of flat, hnsw, ivf, got 'lsh'"),
        (lambda q, d: HammingIndex(d, kind="ivf", n_lists=601), "n_lists: expected at most the 600"),
        (lambda q, d: HammingIndex(d, kind="ivf", n_probe=0), "n_probe"),
        (lambda q, d: HammingIndex(d, kind="hnsw", n_neighbors=1), "n_neighbors"),
        (lambda q, d: HammingIndex(d, kind="hnsw", ef_search=0), "ef_search"),
        (lambda q, d: HammingIndex(d).search(q, 601), "k: expected at most the 600 items .* got 601"),
        (lambda q, d: HammingIndex(d).search(q[:, 1:], 5), "query_codes: expected 20 bits .* got 19"),
        (lambda q, d: HammingIndex(d).search(q, 5, packed=True), "query_codes: expected packed codes"),
        (lambda q, d: HammingIndex(d).rescore([[0]] * 15, q[:, 1:]), "query: expected 20 features"),
        (lambda q, d: HammingIndex(d).rescore([[0]] * 14, q), r"indices: expected whole numbers .*\(15, k\)"),
        (lambda q, d: HammingIndex(d).rescore([[600]] * 15, q), "indices: expected -1 to 599, got 600"),
        (lambda q, d: HammingIndex(d).rescore([[0]] * 15, q, d[:9]), r"database: expected shape .*\(9, 20\)"),
        (lambda q, d: HammingIndex(d).rescore([[0]] * 15, q, 0.0 * d), "database: expected no all-zero row"),
        (lambda q, d: HammingIndex(d).search_continuous(q[:, 1:], 5), "query: expected 20 features"),
        (
            lambda q, d: HammingIndex(d).search_continuous(q, 5, n_candidates=4),
            "n_candidates: .* >= 5, got 4",
        ),
        (
            lambda q, d: HammingIndex(d).search_continuous(q, 5, n_candidates=9, device="cpu"),
            "device: expected none beside n_candidates, got 'cpu'",
        ),
    ],
)
def test_clear_errors(make: Any, message: str) -> None:
    query, database = random_codes()
    query[:, 0] = 1  # no zero vector among the float queries
    with pytest.raises(ValueError, match=message):
        make(query, database)


# Files


@pytest.mark.parametrize("kind", KINDS)
@fuzzed
@given(n=st.integers(1, 40), n_bits=st.integers(1, 20), seed=st.integers(0, 9))
def test_indexes_come_back(tmp_path: Path, kind: str, n: int, n_bits: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2, (n, n_bits)).astype(np.uint8)
    index = HammingIndex(codes, kind=kind, **KINDS[kind] | ({"n_lists": 1} if kind == "ivf" else {}))
    continuous = codes - 0.4
    scores, found = index.rescore(
        index.search(codes, n)[1], continuous
    )  # makes a map of items, which is saved
    path = index.save(tmp_path / "codes.index")
    assert [file.name for file in tmp_path.iterdir()] == ["codes.index"]
    for copy in (HammingIndex.load(path), pickle.loads(pickle.dumps(index))):
        assert repr(copy) == repr(index) == f"HammingIndex(kind={kind!r}, n_database={n}, n_bits={n_bits})"
        equal(copy.search(codes, n), index.search(codes, n))
        equal(copy.rescore(found, continuous), (scores, found))
    distinct = len(np.unique(codes, axis=0)) if kind == "hnsw" else n
    assert faiss.read_index_binary(str(path)).ntotal == distinct  # faiss itself reads the file


CODES = np.random.default_rng(1).integers(0, 2, (60, 5)).astype(np.uint8)
INDEXES = {
    kind: HammingIndex(CODES, kind=kind, n_lists=1, n_neighbors=4).__getstate__()[: -TRAILER.size]
    for kind in KINDS
}
OTHER_INDEX = faiss.serialize_index_binary(faiss.IndexBinaryHash(24, 4)).tobytes()


def index_file(data: bytes, n_bits: int = 5, magic: bytes = MAGIC) -> bytes:
    """What `HammingIndex.save` makes of its content."""
    return data + TRAILER.pack(magic, n_bits, hashlib.sha256(data).digest())


@pytest.mark.parametrize("kind", KINDS)
@fuzzed
@given(data=st.data())
def test_any_bytes(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    whole, magic = INDEXES[kind], GROUPED if kind == "hnsw" else MAGIC
    with_hash = (
        damaged(whole) | damaged(whole[:80]).map(lambda head: head + whole[80:]) | st.just(OTHER_INDEX)
    )
    content = data.draw(
        st.binary(max_size=80)
        | damaged(index_file(whole, magic=magic))
        | st.tuples(with_hash, st.just(5) | st.integers(0, 2**64 - 1), st.sampled_from([MAGIC, GROUPED])).map(
            lambda parts: index_file(*parts)
        )
    )
    path = write(tmp_path / "codes.index", content)
    index = outcome(lambda: HammingIndex.load(path), path)
    if index is not None:
        assert -(-index.n_bits // 8) == index._index.code_size


@pytest.mark.skipif(not hasattr(faiss, "set_deserialization_loop_limit"), reason="faiss has no limits")
@pytest.mark.parametrize(("at", "number"), [(88, 2**24), (88, 2**40), (66, 2**63), (76, 2**63)])
def test_announced_lists_are_not_made_room_for(tmp_path: Path, at: int, number: int) -> None:
    data = bytearray(INDEXES["ivf"])
    data[at : at + 8] = number.to_bytes(8, "little")
    path = write(tmp_path / "codes.index", index_file(bytes(data)))
    with pytest.raises(ValueError, match=r"codes\.index: expected a binary index of faiss .*limit"):
        HammingIndex.load(path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = HammingIndex(random_codes()[1]).save(tmp_path / "codes.index")
    content, marker = path.read_bytes(), tmp_path / "owned"
    for bad, message in (
        (content[:-100], "cut short"),
        (b"", "got 0 bytes"),
        (content[:900] + bytes([content[900] ^ 1]) + content[901:], "SHA-256"),
        *((index_file(pickle.dumps(attack)), "expected a binary index") for attack in attacks(marker)),
        (index_file(INDEXES["flat"], 9), "expected codes of 9 bits"),
        (index_file(OTHER_INDEX, 24), "expected an index flat, ivf, hnsw, got IndexBinaryHash"),
        (index_file(INDEXES["hnsw"][:-8] + bytes(8), magic=GROUPED), "expected"),
        (
            index_file(INDEXES["hnsw"][:-488] + bytes(480) + INDEXES["hnsw"][-8:], magic=GROUPED),
            "expected items of all",
        ),
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"codes\.index: .*{message}"):
            HammingIndex.load(path)
    assert not marker.exists()
    with pytest.raises(FileNotFoundError):
        HammingIndex.load(tmp_path / "none.index")
