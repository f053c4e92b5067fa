"""Encoding, by the command `sdc` and in Python: bit order, precision, blocks of a memory map, bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from sdclib.codes import binarize, pack_codes
from sdclib.data.vectors import read_vectors
from sdclib.methods import ITQHasher
from sdclib.search.encoding import encode, load_hasher, pack_bits, pack_precision, take_rows
from tests.command import model_folder, rows, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path)


@pytest.mark.parametrize("order", ["little", "big"])
def test_encode_packs_in_either_order(folder: Path, order: Any) -> None:
    assert (
        run(
            "encode",
            folder / "model",
            folder / "data.npy",
            "--out",
            folder / "codes.npy",
            "--bit-order",
            order,
            "--quiet",
        )
        == 0
    )
    codes = np.load(folder / "codes.npy")
    bits = load_hasher(folder / "model").transform(rows())
    np.testing.assert_array_equal(codes, np.packbits(bits, axis=1, bitorder=order))
    assert (codes.dtype, codes.shape) == (np.uint8, (300, 3))
    np.testing.assert_array_equal(pack_bits(bits, order), codes)
    if order == "little":
        np.testing.assert_array_equal(codes, pack_codes(bits))


def test_little_is_the_order_of_faiss_and_big_that_of_a_plain_packbits() -> None:
    values = rows(50, d=32)
    values[3, 5] = 0  # a zero is a one for faiss and here, but not where x > 0 is asked
    reals = np.ascontiguousarray(values)
    packed = np.zeros((50, 4), dtype=np.uint8)
    faiss.fvecs2bitvecs(faiss.swig_ptr(reals), faiss.swig_ptr(packed), 32, 50)
    np.testing.assert_array_equal(pack_bits(binarize(values), "little"), packed)
    big = pack_bits(binarize(values), "big")
    other = np.packbits(values > 0, axis=-1)
    assert np.argwhere(big != other).tolist() == [[3, 0]]
    assert big[3, 0] - other[3, 0] == 1 << (7 - 5)


@pytest.mark.parametrize("precision", ["sdc", "ubinary", "binary"])
def test_encode_by_precision(folder: Path, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = folder / "codes.npy", folder / "model"
    assert run("encode", model, folder / "data.npy", "--out", out, "--precision", precision, "--quiet") == 0
    assert f"300 codes of 20 bits in 3 bytes, {precision}" in capsys.readouterr().out
    codes, bits = np.load(out), load_hasher(model).transform(rows())
    np.testing.assert_array_equal(codes, pack_precision(bits, precision))
    assert codes.dtype == (np.int8 if precision == "binary" else np.uint8)


def test_encode_in_blocks_of_a_memory_map(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    hasher = load_hasher(folder / "model")
    continuous_codes = hasher._continuous_codes

    def counted(block: NDArray[np.float32]) -> NDArray[np.float32]:
        read.append(len(block))
        return continuous_codes(block)

    monkeypatch.setattr(hasher, "_continuous_codes", counted)
    vectors = read_vectors(folder / "data.npy").vectors
    assert isinstance(vectors, np.memmap)
    codes = encode(hasher, vectors, block_bytes=4 * 24 * 70)
    assert read == [70, 70, 70, 70, 20]
    np.testing.assert_array_equal(codes, hasher.pack(rows()))
    np.testing.assert_array_equal(encode(hasher, vectors, block_bytes=1)[:5], hasher.pack(rows())[:5])
    bad = rows()
    bad[145, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"vectors, rows from 140 on: expected finite values, .*first in row 5"
    ):
        encode(hasher, bad, block_bytes=4 * 24 * 70)
    with pytest.raises(
        ValueError, match=r"vectors: expected vectors of shape \(n, d\), neither 0, got \(0, 24\)"
    ):
        encode(hasher, np.empty((0, 24)))
    with pytest.raises(NotFittedError):
        encode(ITQHasher(8), rows())


@pytest.mark.parametrize(
    "kind", ["float16", "float64", ">f4", "int32", "fortran", "every second", "read-only"]
)
def test_encode_other_arrays(folder: Path, kind: str) -> None:
    hasher = load_hasher(folder / "model")
    values: NDArray[Any] = np.round(rows() * 100)
    if kind == "fortran":
        values = np.asfortranarray(values)
    elif kind == "every second":
        values = values[::2]
    elif kind == "read-only":
        values.flags.writeable = False
    else:
        values = values.astype(kind)
    expected = hasher.pack(values)
    np.testing.assert_array_equal(encode(hasher, values, block_bytes=4 * 24 * 70), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38, 0.0])
def test_encode_refuses_what_transform_refuses(folder: Path, value: float) -> None:
    hasher = load_hasher(folder / "model")
    bad = rows()
    bad[250] = value
    with pytest.raises(ValueError, match="X: expected ") as refused:
        hasher.transform(bad[210:])
    with pytest.raises(ValueError, match="vectors, rows from 210 on: ") as found:
        encode(hasher, bad, block_bytes=4 * 24 * 70)
    what = str(refused.value).removeprefix("X: ").partition(", got")[0]
    assert what in str(found.value)


def test_rows_of_a_map_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = read_vectors(folder / "data.npy").vectors
    monkeypatch.setattr("sdclib.search.encoding.READ_BYTES", 1 << 20)
    chosen = np.arange(0, 300, 7)
    taken = take_rows(vectors, chosen)
    np.testing.assert_array_equal(taken, rows()[chosen])
    assert (type(taken), taken.dtype) == (np.ndarray, np.float32)
    copied = np.load(folder / "data.npy", mmap_mode="c")  # changes that are in memory alone are kept
    copied[14] = 3
    assert (take_rows(copied, [14, 15])[0] == 3).all()
    assert (take_rows(copied, [14])[0] == 3).all()


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
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n, d)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for row in range(n):
            file.seek(start + 4 * d * row)
            file.write(np.float32(1 if row % 3 else -1).tobytes())
        file.truncate(start + 4 * d * n)
    assert path.stat().st_size > 2e9
    arguments = [path, tmp_path / "model", tmp_path / "codes.npy"]
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert "learned from 20 of 2,048 vectors" in ran.stdout
    _, of_fit, of_all = map(float, ran.stdout.splitlines()[-1].split())
    assert of_fit < 250
    assert of_all < 400
    codes = np.load(tmp_path / "codes.npy")
    assert codes.shape == (n, 1)
    assert len(np.unique(codes)) == 2
    assert (codes[::3] == codes[0]).all()
