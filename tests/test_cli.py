"""The command `sdc`, and what it is made of: encoding in blocks, bit order, recall, the report."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

import sdclib.cli
from sdclib.cli import main
from sdclib.codes import binarize, pack_codes
from sdclib.embeddings import nearest_neighbours
from sdclib.encoding import encode, load_hasher, pack_bits, pack_precision, take_rows
from sdclib.export import to_faiss
from sdclib.index import HammingIndex
from sdclib.methods import ITQHasher, NeighbourSDCHasher, SDCHasher
from sdclib.provenance import PROJECT_ROOT
from sdclib.recall import hamming_recall, neighbour_recall
from sdclib.report import FLOAT, collapse_table, measure_embeddings, shortest_codes
from sdclib.vectors import read_vectors


def rows(n: int = 300, d: int = 24, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((6, d)) * 2
    return (centres[rng.integers(0, 6, n)] + rng.standard_normal((n, d)) + 0.5).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Vectors in data.npy and query.npy, and ITQ of 20 bits in model."""
    np.save(tmp_path / "data.npy", rows())
    np.save(tmp_path / "query.npy", rows(17, seed=1))
    ITQHasher(20).fit(rows()).save(tmp_path / "model")
    return tmp_path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


# Fit and encode


@pytest.mark.filterwarnings("error::UserWarning")
def test_fit_is_the_same_as_in_python(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--n-bits", 12, "--set", "epochs=2", "--set", "batch_size=64", "--seed", 3, "--quiet"]
    assert run("fit", folder / "data.npy", "--out", folder / "new", *options) == 0
    assert "sdc, 12 bits, learned from 300 of 300 vectors" in capsys.readouterr().out
    loaded = load_hasher(folder / "new")
    assert isinstance(loaded, SDCHasher)
    assert loaded.preset == "release"
    expected = SDCHasher(12, "release", epochs=2, batch_size=64, random_state=3).fit(rows())
    np.testing.assert_array_equal(loaded.pack(rows()), expected.pack(rows()))


def test_fit_by_the_preset_best(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--n-bits", 12, "--set", "epochs=1", "--set", "batch_size=64", "--quiet"]
    assert run("fit", folder / "data.npy", "--out", folder / "new", "--preset", "best", *options) == 0
    assert "neighbour-sdc, 12 bits" in capsys.readouterr().out
    loaded = load_hasher(folder / "new")
    assert isinstance(loaded, NeighbourSDCHasher)
    assert (loaded.n_bits, loaded.epochs) == (12, 1)


def test_fit_on_a_sample(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            "fit",
            folder / "data.npy",
            "--out",
            folder / "new",
            "--method",
            "itq",
            "--n-bits",
            8,
            "--max-train",
            50,
        )
        == 0
    )
    assert "learned from 50 of 300 vectors" in capsys.readouterr().out
    chosen = np.sort(np.random.default_rng(0).choice(300, 50, replace=False))
    np.testing.assert_array_equal(
        load_hasher(folder / "new").pack(rows()), ITQHasher(8).fit(rows()[chosen]).pack(rows())
    )


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
    monkeypatch.setattr("sdclib.encoding.READ_BYTES", 1 << 20)
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


# Search


def test_search_finds_what_the_index_finds(folder: Path) -> None:
    out = folder / "found.npz"
    assert (
        run(
            "search",
            folder / "model",
            folder / "data.npy",
            folder / "query.npy",
            "--k",
            7,
            "--out",
            out,
            "--quiet",
        )
        == 0
    )
    found = np.load(out)
    hasher = load_hasher(folder / "model")
    index = HammingIndex(hasher.transform(rows()))
    distances, indices = index.search(hasher.transform(rows(17, seed=1)), 7)
    assert sorted(found.files) == ["distances", "indices"]
    np.testing.assert_array_equal(found["indices"], indices)
    np.testing.assert_array_equal(found["distances"], distances)


def test_search_with_rescoring_and_with_codes(folder: Path) -> None:
    data, query = folder / "data.npy", folder / "query.npy"
    assert run("encode", folder / "model", data, "--out", folder / "codes.npy", "--quiet") == 0
    options = ["--k", 5, "--rescore", 300, "--out", folder / "found.npz", "--codes", folder / "codes.npy"]
    assert run("search", folder / "model", data, query, *options) == 0
    found = np.load(folder / "found.npz")
    assert sorted(found.files) == ["indices", "scores"]
    # All rows are candidates, so the neighbours are the exact ones.
    true = nearest_neighbours(rows(17, seed=1), rows(), 5)
    np.testing.assert_array_equal(np.sort(found["indices"], axis=1), true)
    assert (np.diff(found["scores"], axis=1) <= 0).all()


@pytest.mark.filterwarnings("error::UserWarning")
def test_search_by_a_trained_head_with_codes(folder: Path) -> None:
    model, data, codes = folder / "sdc", folder / "data.npy", folder / "codes.npy"
    SDCHasher(12, "release", epochs=2).fit(rows()).save(model)
    assert run("encode", model, data, "--out", codes, "--quiet") == 0
    options = ["--out", folder / "found.npz", "--codes", codes, "--quiet"]
    assert run("search", model, data, folder / "query.npy", *options) == 0


def test_codes_of_other_order_or_model_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, query, codes = folder / "data.npy", folder / "query.npy", folder / "codes.npy"
    search = ["search", folder / "model", data, query, "--out", folder / "found.npz", "--codes", codes]
    assert run("encode", folder / "model", data, "--out", codes, "--bit-order", "big", "--quiet") == 0
    assert run(*search) == 2
    assert (
        "expected the codes of the database by this model, bit order little, got bit order big"
        in capsys.readouterr().err
    )
    np.save(codes, np.zeros((300, 3), dtype=np.uint8))
    assert run(*search) == 2
    assert "bit order little, got others" in capsys.readouterr().err
    np.save(codes, np.zeros((299, 3), dtype=np.uint8))
    assert run(*search) == 2
    assert "expected packed codes, uint8 of shape (300, 3), got uint8 of (299, 3)" in capsys.readouterr().err
    assert not (folder / "found.npz").exists()


# Export


def test_export_writes_a_head_and_an_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model, data = folder / "model", folder / "data.npy"
    head, index = folder / "new" / "head.onnx", folder / "new" / "codes.faiss"
    options = ["--onnx", head, "--packed", "sdc", "--faiss", index, "--database", data, "--quiet"]
    assert run("export", model, *options) == 0
    shown = capsys.readouterr().out
    assert f"{index}: 300 codes of 20 bits, bit order little\n" in shown
    assert f"{head}: from 24 features to 20 continuous codes and packed codes (sdc)\n" in shown
    # What a program without this library does: head, then search.
    session = runtime.InferenceSession(str(head), providers=["CPUExecutionProvider"])
    _, packed = session.run(None, {"features": rows(17, seed=1)})
    distances, _ = faiss.read_index_binary(str(index)).search(packed, 5)
    hasher = load_hasher(model)
    expected, _ = HammingIndex(hasher.transform(rows())).search(hasher.transform(rows(17, seed=1)), 5)
    np.testing.assert_array_equal(distances, expected)


def test_export_one_of_both(folder: Path) -> None:
    pytest.importorskip("onnx")
    assert run("export", folder / "model", "--onnx", folder / "head.onnx") == 0
    options = ["--faiss", folder / "codes.faiss", "--database", folder / "data.npy", "--quiet"]
    assert run("export", folder / "model", *options) == 0
    written = faiss.read_index_binary(str(folder / "codes.faiss"))
    expected = to_faiss(load_hasher(folder / "model"), rows())
    np.testing.assert_array_equal(
        faiss.serialize_index_binary(written), faiss.serialize_index_binary(expected)
    )


# Errors


def damaged(folder: Path) -> None:
    bad = rows()
    bad[41, 2] = np.nan
    np.save(folder / "nan.npy", bad)
    np.save(folder / "wide.npy", rows(d=25))
    np.save(folder / "few.npy", rows(99))
    np.savez(folder / "two.npz", a=rows(), b=rows())
    (folder / "text.txt").write_text("1 2 3")
    (folder / "nothing").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "hasher.json").write_text('{"method": "none"}')
    (folder / "half").mkdir()
    (folder / "half" / "hasher.json").write_text((folder / "model" / "hasher.json").read_text())


ERRORS = [
    ("fit none.npy --out new", "none.npy: expected a file of vectors, found none"),
    ("fit text.txt --out new", "text.txt: expected a file .npy, .*, got .txt"),
    (
        "fit nan.npy --out new",
        "nan.npy: expected finite values, got NaN or infinity in 1 row.*first in row 41",
    ),
    ("fit two.npz --out new", "two.npz: expected vectors under one of .* say which by key"),
    ("fit two.npz --key c --out new", "key: expected one of a, b in .*two.npz, got 'c'"),
    ("fit data.npy --method no --out new", "--method: expected one of bihalf, .*, got 'no'"),
    ("fit data.npy --method cibhash --out new", "--method: cibhash .* learns from augmented views"),
    ("fit data.npy --preset no --out new", "--preset: expected one of best, paper, .*, got 'no'"),
    ("fit data.npy --method itq --preset paper --out new", "--preset: expected none for method 'itq'"),
    ("fit data.npy --set epochs --out new", "--set: expected NAME=VALUE, got 'epochs'"),
    ("fit data.npy --set epoch=3 --out new", "parameters of method 'sdc': expected one of .*, got 'epoch'"),
    ("fit data.npy --set epochs=no --out new", "epochs: expected a whole number >= 1, got 'no'"),
    ("fit data.npy --n-bits 0 --out new", "--n-bits: expected a whole number >= 1, got 0"),
    ("fit data.npy --n-bits 25 --method itq --out new", "n_bits: expected at most .* = 24, got 25"),
    ("encode nothing data.npy --out new", "nothing: expected a folder that .* wrote, found no hasher.json"),
    ("encode other data.npy --out new", "hasher.json: method: expected one of .*, got 'none'"),
    ("encode half data.npy --out new", "half: expected a fitted itq, could not read it"),
    ("encode model wide.npy --out new", "wide.npy: expected 24 features a row, got 25"),
    ("encode model nan.npy --out new", "nan.npy: expected finite values"),
    (
        "encode model data.npy --bit-order middle --out new",
        "--bit-order: expected one of big, little, got 'middle'",
    ),
    (
        "encode model data.npy --precision int8 --out new",
        "--precision: expected one of binary, sdc, ubinary, got 'int8'",
    ),
    (
        "encode model data.npy --precision binary --bit-order big --out new",
        "--bit-order: expected none beside --precision, got 'big'",
    ),
    ("fit data.npy --train-rows 0 --out new", "--train-rows: expected a whole number >= 1, got 0"),
    ("export model", "--onnx, --faiss: expected at least one of them, got none"),
    ("export model --faiss new", "--database: expected with --faiss, and only with it"),
    ("export model --onnx new --database data.npy", "--database: expected with --faiss, and only"),
    ("export model --faiss new --database data.npy --packed sdc", "--packed: expected with --onnx only"),
    ("export nothing --onnx new", "nothing: expected a folder that .* wrote, found no hasher.json"),
    ("export model --onnx new --packed int8", "--packed: expected one of binary, sdc, ubinary, got 'int8'"),
    ("export model --onnx new --opset 3", "--opset: expected a whole number >= 17, got 3"),
    ("export model --onnx new --opset 999", "opset: expected at most .* got 999"),
    ("export model --onnx new --faiss new2 --database none.npy", "none.npy: expected a file of vectors"),
    ("export model --onnx new --faiss new2 --database nan.npy", "nan.npy: expected finite values, .*row 41"),
    ("export model --onnx new --faiss new2 --database wide.npy", "wide.npy: expected 24 features a row"),
    ("search model data.npy wide.npy --out new", "wide.npy: expected 24 features a row, got 25"),
    (
        "search model data.npy query.npy --k 301 --out new",
        "--k: expected at most the 300 vectors of the database, got 301",
    ),
    (
        "search model data.npy query.npy --rescore 301 --out new",
        "--rescore: expected at most the 300 vectors",
    ),
    (
        "search model data.npy query.npy --rescore 5 --out new",
        "--rescore: expected a whole number >= 10, got 5",
    ),
    ("search model data.npy query.npy --codes none.npy --out new", "none.npy: missing or damaged .npy"),
    ("report few.npy --out new", "few.npy: expected shape .* n >= 100, got"),
    ("report nan.npy --out new", "nan.npy: expected finite values, .*first in row 41"),
    ("report data.npy --methods no --out new", "methods: expected one of .*, got 'no'"),
    ("report data.npy --k 240 --out new", "k: expected fewer than the 240 vectors of the database, got 240"),
]


@pytest.mark.parametrize(("line", "message"), ERRORS, ids=[line for line, _ in ERRORS])
def test_bad_input_gives_one_line_and_status_2(
    line: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(folder)
    monkeypatch.chdir(folder)
    assert main([*line.split(), "--quiet"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert re.match(rf"sdc {line.split()[0]}: error: .*{message}", shown.err), shown.err
    assert not list(folder.glob("new*"))


def test_an_output_that_cannot_be_written_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "taken").mkdir()
    assert run("encode", folder / "model", folder / "data.npy", "--out", folder / "taken", "--quiet") == 2
    assert "taken" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["data.npy", "model", "query.npy", "taken"]


def test_arguments_that_cannot_be_parsed_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for line, status in (("fit", 2), ("no", 2), ("", 2), ("encode --n x", 2), ("report --help", 0)):
        with pytest.raises(SystemExit) as stopped:
            main(line.split())
        assert stopped.value.code == status
    assert "--max-vectors" in capsys.readouterr().out


def test_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sdclib.cli, "load_hasher", interrupt)
    assert run("encode", folder / "model", folder / "data.npy", "--out", folder / "new") == 130


def test_the_entry_point_is_this_function() -> None:
    path = PROJECT_ROOT / "pyproject.toml"
    if not path.is_file():
        pytest.skip("not a checkout")
    module, _, function = tomllib.loads(path.read_text())["project"]["scripts"]["sdc"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


# Vectors in a .csv


def test_csv(tmp_path: Path) -> None:
    values = rows(20, d=3)
    table = pd.DataFrame(values, columns=["x", "y", "z"]).assign(whole=range(20), label="cat", id=range(20))
    table.to_csv(tmp_path / "mine.csv", index=False)
    read = read_vectors(tmp_path / "mine.csv")
    np.testing.assert_allclose(read.vectors, np.column_stack([values, np.arange(20)]), rtol=1e-6)
    assert read.ids == tuple(map(str, range(20)))
    assert read.labels is not None
    assert read.labels.tolist() == ["cat"] * 20


def test_csv_that_is_not_as_described(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    for text, message in (
        ("1.5,2\n3,4\n", "mine.csv: expected names of the columns in the first line, got numbers"),
        ("x,name\n1,a\n", r"mine.csv: expected numbers in column 'name', got \['a'\]"),
        ("", "mine.csv: damaged .csv"),
        ("label\n3\n", "mine.csv: expected vectors under one of"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_vectors(path)
    path.write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match=r"key: expected none for .*, got 'x'"):
        read_vectors(path, key="x")


# Recall


def test_recall_by_hand() -> None:
    assert neighbour_recall([[5, 1, 9], [2, 3, 7]], [[1, 9], [3, 2]]) == pytest.approx(3 / 4)
    assert neighbour_recall([[-1, 4]], [[4, 8]]) == pytest.approx(1 / 2)
    # Two nearest at 3: whatever lies at 3 or nearer counts; 9 stands for what was not found.
    assert hamming_recall([[2, 3, 9], [4, 9, 9]], [[2, 3, 3], [1, 4, 4]], 2) == pytest.approx(3 / 4)
    for make, message in (
        (lambda: neighbour_recall([[1]], [[1, 2]]), r"found: expected shape \(1, at least 2\), got \(1, 1\)"),
        (lambda: neighbour_recall([[1]], [1]), r"neighbours: expected shape \(n_query, k\)"),
        (lambda: hamming_recall([[1]], [[1]], 2), r"exact: expected shape \(n_query, at least 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


# Report


class Page(HTMLParser):
    """Tags, what they point at, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag == "img":
            assert len(dict(attrs).get("alt") or "") > 20

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_page(tmp_path: Path) -> None:
    np.save(tmp_path / "a & b.npy", rows(400))
    out = tmp_path / "report.html"
    options = ["--n-bits", 8, 16, 32, "--methods", "sdc", "itq", "sign", "--epochs", 1, "--quiet"]
    assert run("report", tmp_path / "a & b.npy", "--out", out, *options) == 0
    text = out.read_text()
    page = Page(text)
    assert page.tags.count("img") == 2
    assert page.tags.count("table") == 3
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    for words in ("Short codes for a & b.npy", "400 vectors of 24 values", "80 are queries and 320 the database",
                  "Recall@10", "SDC, 100 re-scored", "32 bits", "epochs 1", "MB a million vectors"):  # fmt: skip
        assert words in page.text, words


def test_report_figures_are_right() -> None:
    report = measure_embeddings(rows(400), n_bits=[8, 24, 32], methods=["itq", "rotation"], depth=320, seed=2)
    assert report.sizes == {
        "n_vectors": 400,
        "n_features": 24,
        "n_query": 80,
        "n_database": 320,
        "n_train": 320,
    }
    recall = report.recall.set_index(["label", "n_bits", "depth"])["recall"]
    # All of the database re-scored is the exact search; no closed form is longer than there are dimensions.
    assert (recall.xs(320, level="depth") == 1).all()
    assert recall.xs(0, level="depth").between(0.05, 0.95).all()
    assert sorted(report.recall["n_bits"].unique()) == [8, 24]
    assert recall["ITQ", 24, 0] > recall["ITQ", 8, 0]
    order = np.random.default_rng(2).permutation(400)
    query, database = rows(400)[order[:80]], rows(400)[order[80:]]
    hasher = ITQHasher(24, random_state=2).fit(database)
    _, found = HammingIndex(hasher.transform(database)).search(hasher.transform(query), 10)
    assert recall["ITQ", 24, 0] == neighbour_recall(found, nearest_neighbours(query, database, 10))
    table = collapse_table(report)
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, database)]
    cosines = units[0].astype(float) @ units[1].T
    assert table.loc[FLOAT, "mean"] == pytest.approx(cosines.mean(), abs=0.005)
    assert list(table.index) == [FLOAT, "ITQ", "Random rotation"]
    assert table.loc["ITQ", "neighbour_mean"] > table.loc["ITQ", "mean"] + 0.2
    assert report.speed["bytes_per_vector"].tolist() == [96, 1, 3, 1, 3]


def test_shortest_codes() -> None:
    report = measure_embeddings(rows(400), n_bits=[8, 24], methods=["itq"], depth=320)
    shortest = shortest_codes(report, 0.99)
    assert shortest.loc["ITQ", 320] == 8
    assert pd.isna(shortest.loc["ITQ", 0])


def test_report_refuses() -> None:
    for more, message in (
        ({"n_bits": []}, "n_bits, methods: expected at least one of each"),
        ({"shown_bits": 7}, r"shown_bits: expected one of n_bits \[8\], got 7"),
        ({"depth": 3}, "depth: expected a whole number >= 10, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            measure_embeddings(rows(), **{"n_bits": [8], "methods": ["itq"], **more})
    sample = rows(500)
    sample[:] = np.nan
    with pytest.raises(ValueError, match=r"vectors \(a sample of 200 rows\): expected finite"):
        measure_embeddings(sample, max_vectors=200)
