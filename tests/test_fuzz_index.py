"""Index files: whatever the bytes, an index that can be searched or an error that names the file."""

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

from sdclib.search.index import TRAILER, HammingIndex
from tests.fuzzing import attacks, damaged, fuzzed, outcome, write

CODES = np.random.default_rng(1).integers(0, 2, (60, 20)).astype(np.uint8)
KINDS: dict[str, dict[str, Any]] = {"flat": {}, "ivf": {"n_lists": 1}, "hnsw": {"n_neighbors": 4}}
INDEXES = {
    kind: faiss.serialize_index_binary(HammingIndex(CODES, kind=kind, **options)._index).tobytes()
    for kind, options in KINDS.items()
}
OTHER_INDEX = faiss.serialize_index_binary(faiss.IndexBinaryHash(24, 4)).tobytes()


def index_file(data: bytes, n_bits: int = 20) -> bytes:
    """What `HammingIndex.save` makes of faiss's bytes."""
    return data + TRAILER.pack(b"SDCIDX01", n_bits, hashlib.sha256(data).digest())


def search(path: Path) -> None:
    index = outcome(lambda: HammingIndex.load(path), path, (ValueError, FileNotFoundError))
    if index is not None:
        assert index.n_database >= 0
        assert -(-index.n_bits // 8) == index._index.code_size


@pytest.mark.parametrize("kind", KINDS)
@fuzzed
@given(data=st.data())
def test_any_index(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    whole = INDEXES[kind]
    with_hash = (
        damaged(whole) | damaged(whole[:80]).map(lambda head: head + whole[80:]) | st.just(OTHER_INDEX)
    )
    content = (
        st.binary(max_size=80)
        | damaged(index_file(whole))
        | with_hash.map(index_file)
        | st.integers(0, 2**64 - 1).map(lambda n_bits: index_file(whole, n_bits))
    )
    search(write(tmp_path / "codes.index", data.draw(content)))


@pytest.mark.parametrize("kind", KINDS)
@fuzzed
@given(n=st.integers(1, 20), n_bits=st.integers(1, 20), seed=st.integers(0, 9))
def test_indexes_come_back(tmp_path: Path, kind: str, n: int, n_bits: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2, (n, n_bits)).astype(np.uint8)
    index = HammingIndex(codes, kind=kind, **KINDS[kind])
    (tmp_path / "codes.index").unlink(missing_ok=True)
    loaded = HammingIndex.load(index.save(tmp_path / "codes.index"))
    for array, expected in zip(loaded.search(codes, n), index.search(codes, n), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("at", "number"),
    [(90, 2**24), (90, 2**40), (66, 2**63), (78, 2**63), (86, int.from_bytes(b"ilod", "little"))],
)
def test_announced_lists_are_not_made_room_for(tmp_path: Path, at: int, number: int) -> None:
    data = bytearray(INDEXES["ivf"])
    width = 4 if at == 86 else 8
    data[at : at + width] = number.to_bytes(width, "little")
    path = write(tmp_path / "codes.index", index_file(bytes(data)))
    assert outcome(lambda: HammingIndex.load(path), path) is None


def test_attacks_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        path = write(tmp_path / "codes.index", index_file(pickle.dumps(attack)))
        with pytest.raises(ValueError, match=r"codes\.index: expected a binary index"):
            HammingIndex.load(path)
    assert not marker.exists()
