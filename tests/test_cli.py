"""The command `sdc`: fit, search and export, its errors, and vectors in a .csv."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import pytest

import sdclib.cli
from sdclib.cli import main
from sdclib.data.embeddings import nearest_neighbours
from sdclib.methods import ITQHasher, NeighbourSDCHasher, SDCHasher
from sdclib.search.encoding import load_hasher
from sdclib.search.export import to_faiss
from sdclib.search.index import HammingIndex
from study.provenance import PROJECT_ROOT
from tests.command import model_folder, rows, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path)


# Fit


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


def test_columns_of_a_table(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame(rows(), columns=[f"x{i}" for i in range(24)]).assign(target=1, text="a")
    table.to_csv(folder / "data.csv", index=False)
    options = [folder / "data.csv", "--out", folder / "new", "--method", "itq", "--n-bits", 8]
    assert run("fit", *options) == 0
    assert "data.csv: took the 24 columns x0, x1, x2, ..., x22, x23 for features, left target" in caplog.text
    assert run("fit", *options, "--columns", "x1?,x3") == 0
    assert load_hasher(folder / "new").n_features_in_ == 11
