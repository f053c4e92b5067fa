"""Encoding in Python: order of bits, precision, blocks of a memory map, bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info, threadpool_limits

from sdclib.codes import binarize, pack_codes
from sdclib.data.vectors import load_npy
from sdclib.methods import ITQHasher, SDCHasher
from sdclib.search.encoding import PRECISIONS, encode, pack_bits, pack_precision, take_rows
from tests.command import rows

BLOCK = 4 * 24 * 70  # bytes of 70 rows


@pytest.fixture(scope="module")
def hasher() -> ITQHasher:
    return ITQHasher(20).fit(rows())


@pytest.fixture
def mapped(tmp_path: Path) -> NDArray[np.float32]:
    np.save(tmp_path / "data.npy", rows())
    vectors = load_npy(tmp_path / "data.npy")
    assert isinstance(vectors, np.memmap)
    return vectors


# Packing


def test_codes_are_packed_in_the_orders_of_faiss_numpy_and_sentence_transformers() -> None:
    values = rows(50, d=32)
    values[3, 5] = 0  # a zero is a one for faiss and here, but not where x > 0 is asked
    packed = np.zeros((50, 4), dtype=np.uint8)
    faiss.fvecs2bitvecs(faiss.swig_ptr(np.ascontiguousarray(values)), faiss.swig_ptr(packed), 32, 50)
    bits = binarize(values)
    for little in (pack_bits(bits), pack_precision(bits), pack_codes(bits)):
        np.testing.assert_array_equal(little, packed)
    big, ubinary = (
        pack_bits(bits, "big"),
        np.packbits(values > 0).reshape(50, -1),
    )  # as its documentation has it
    assert np.argwhere(big != ubinary).tolist() == [[3, 0]]
    code = np.array([[1, 0, 0, 0, 0, 0, 1, 0, 1]])  # nine bits: the last byte has seven that no code uses
    for precision, expected in {"sdc": [1 + 64, 1], "ubinary": [128 + 2, 128], "binary": [2, 0]}.items():
        assert pack_precision(code, precision).tolist() == [expected]
    assert pack_precision(code, "binary").dtype == np.int8
    with pytest.raises(ValueError, match="precision: expected one of binary, sdc, ubinary, got 'int8'"):
        pack_precision(code, "int8")
    with pytest.raises(ValueError, match="bit_order: expected one of big, little"):
        pack_bits(code, "middle")


# Blocks


@pytest.mark.parametrize("precision", [None, *PRECISIONS])
def test_encode_in_blocks_of_a_memory_map(
    hasher: ITQHasher, mapped: NDArray[np.float32], precision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    continuous_codes = hasher._continuous_codes

    def counted(block: NDArray[np.float32]) -> NDArray[np.float32]:
        read.append(len(block))
        return continuous_codes(block)

    monkeypatch.setattr(hasher, "_continuous_codes", counted)
    codes = encode(hasher, mapped, block_bytes=BLOCK, precision=precision)
    assert sorted(read) == [20, 70, 70, 70, 70]
    expected = pack_precision(hasher.transform(rows()), precision or "sdc")
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == expected.dtype
    one_by_one = encode(hasher, mapped[:5], block_bytes=1, precision=precision)
    np.testing.assert_array_equal(one_by_one, expected[:5])


def test_products_of_a_block_are_of_one_thread_and_blocks_of_many(
    hasher: ITQHasher, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The last bits of a sum depend on how many threads share it, and codes must not."""
    continuous_codes, seen, together = hasher._continuous_codes, set(), Barrier(2, timeout=60)

    def looked_at(block: NDArray[np.float32]) -> NDArray[np.float32]:
        together.wait()
        seen.add((torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())))
        return continuous_codes(block)

    monkeypatch.setattr(hasher, "_continuous_codes", looked_at)
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    with threadpool_limits(2):
        torch.set_num_threads(2)
        before = threadpool_info()
        codes = encode(hasher, rows()[:280], block_bytes=BLOCK)
        assert {number for numbers in seen for number in numbers} == {1}
        assert torch.get_num_threads() == 2
        assert threadpool_info() == before
    monkeypatch.undo()
    np.testing.assert_array_equal(codes, hasher.pack(rows()[:280]))


WHOLE = np.round(rows() * 100)
KINDS: dict[str, Any] = {
    **{kind: WHOLE.astype(kind) for kind in ("float16", "float64", ">f4", "int32")},
    "fortran": np.asfortranarray(WHOLE),
    "every second": WHOLE[::2],
    "read-only": np.broadcast_to(WHOLE, WHOLE.shape),
    "tensor": torch.tensor(WHOLE, requires_grad=True),
    "frame": pd.DataFrame(WHOLE).convert_dtypes(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_encode_other_arrays(hasher: ITQHasher, kind: str) -> None:
    codes = encode(hasher, KINDS[kind], block_bytes=BLOCK)
    np.testing.assert_array_equal(codes, hasher.pack(WHOLE[:: 300 // len(codes)]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38, 0.0])
def test_encode_refuses_what_transform_refuses(hasher: ITQHasher, value: float) -> None:
    bad = rows()
    bad[250] = value
    with pytest.raises(ValueError, match="X: expected ") as refused:
        hasher.transform(bad[210:])
    with pytest.raises(ValueError, match="mine, rows from 210 on: ") as found:
        encode(hasher, bad, block_bytes=BLOCK, name="mine")
    assert str(refused.value).removeprefix("X: ").partition(", got")[0] in str(found.value)


def test_parameters_set_after_the_fit_do_not_change_codes() -> None:
    hasher = ITQHasher(20).fit(rows())
    expected = encode(hasher, rows())
    np.testing.assert_array_equal(encode(hasher.set_params(n_bits=5), rows()), expected)


def test_encode_refuses(hasher: ITQHasher) -> None:
    for values, more, message in (
        (np.empty((0, 24)), {}, r"vectors: expected vectors of shape \(n, d\), neither 0, got \(0, 24\)"),
        (rows(d=5), {}, "vectors: expected 24 features a row, got 5"),
        (sparse.csr_array(rows()), {}, "vectors: expected a dense array, got a sparse one"),
        (rows(), {"precision": "binary", "bit_order": "big"}, "bit_order: expected none beside precision"),
    ):
        with pytest.raises(ValueError, match=message):
            encode(hasher, values, **more)
    with pytest.raises(NotFittedError):
        encode(ITQHasher(8), rows())


@pytest.mark.filterwarnings("error")
def test_a_read_only_map_gives_no_warning(mapped: NDArray[np.float32]) -> None:
    hasher = SDCHasher(8, "release", epochs=1, batch_size=64).fit(mapped)
    expected = hasher.pack(rows())
    for codes in (hasher.pack(mapped), encode(hasher, mapped)):
        np.testing.assert_array_equal(codes, expected)


def test_rows_of_a_map_are_copied(mapped: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdclib.search.encoding.READ_BYTES", 1 << 20)
    chosen = np.arange(0, 300, 7)
    taken = take_rows(mapped, chosen)
    np.testing.assert_array_equal(taken, rows()[chosen])
    assert (type(taken), taken.dtype) == (np.ndarray, np.float32)
    copied = np.load(mapped.filename, mmap_mode="c")  # changes that are in memory alone are kept
    copied[14] = 3
    for _ in range(2):
        assert (take_rows(copied, [14, 15])[0] == 3).all()


LARGE = """
import re, sys
from pathlib import Path
from sdclib.cli import main
from sdclib.methods import LSHHasher

def peak():  # of this program; what getrusage says begins with what its parent had
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6

vectors, model, codes = sys.argv[1:]
imports = peak()
options = ["--method", "lsh", "--n-bits", "8", "--train-rows", "20", "--quiet"]
assert main(["fit", vectors, "--out", model, *options]) == 0
fit = peak()
assert main(["encode", model, vectors, "--out", codes, "--quiet"]) == 0
print(imports, fit - imports, peak() - imports)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_memory_is_bounded_whatever_the_file_has(tmp_path: Path) -> None:
    # 2 GB, of which one page a row is on the disk.
    n, d, path = 2048, 1 << 18, tmp_path / "large.npy"
    file = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    file[:, 0] = [1 if row % 3 else -1 for row in range(n)]
    file.flush()
    assert path.stat().st_size > 2e9
    arguments = [sys.executable, "-c", LARGE, path, tmp_path / "model", tmp_path / "codes.npy"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True, env=one_thread)
    assert "learned from 20 of 2,048 vectors" in ran.stdout
    _, of_fit, of_all = map(float, ran.stdout.splitlines()[-1].split())
    assert of_fit < 250
    assert of_all < 400
    codes = np.load(tmp_path / "codes.npy")
    assert codes.shape == (n, 1)
    assert len(np.unique(codes)) == 2
    assert (codes[::3] == codes[0]).all()
