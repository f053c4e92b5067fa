"""The command `sdc`: what each command writes is what the library computes; what it refuses, and in which words."""

from __future__ import annotations

import importlib
import re
import shutil
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
from sdclib.methods import METHODS, ITQHasher, NeighbourSDCHasher, SDCHasher, make_hasher
from sdclib.search.defaults import VECTOR_METHODS
from sdclib.search.encoding import load_hasher, pack_precision
from sdclib.search.export import to_faiss
from sdclib.search.index import HammingIndex
from study.provenance import PROJECT_ROOT
from tests.command import model_folder, rows

QUERY = rows(17, seed=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors, a model of them, and what cannot be used."""
    folder = model_folder(tmp_path_factory.mktemp("whole"))
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
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which commands run."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sdc(line: str) -> int:
    return main([*line.split(), "--quiet"])


# Fit


@pytest.mark.filterwarnings("error::UserWarning")
def test_fit_is_the_same_as_in_python(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sdc("fit data.npy --out new --n-bits 12 --set epochs=2 --set batch_size=64 --seed 3") == 0
    assert "sdc, 12 bits, learned from 300 of 300 vectors" in capsys.readouterr().out
    loaded = load_hasher(folder / "new")
    expected = SDCHasher(12, "release", epochs=2, batch_size=64, random_state=3).fit(rows())
    np.testing.assert_array_equal(loaded.pack(rows()), expected.pack(rows()))
    short = "--set epochs=1 --set batch_size=64"
    for goal, more, kind in (("classes", short, NeighbourSDCHasher), ("neighbours", "", ITQHasher)):
        assert sdc(f"fit data.npy --out {goal} --n-bits 12 --goal {goal} {more}") == 0
        assert isinstance(load_hasher(goal), kind)


def test_codes_that_collapse_are_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("positive.npy", np.abs(rows()) + 1)
    assert sdc("fit positive.npy --method sign --n-bits 12 --out model") == 0
    error = capsys.readouterr().err
    assert error.startswith("sdc fit: warning: sign: the codes of the training rows collapse: 1 codes for")
    assert error.count("\n") == 1


def test_fit_on_a_sample(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sdc("fit data.npy --out new --method itq --n-bits 8 --max-train 50") == 0
    assert "learned from 50 of 300 vectors" in capsys.readouterr().out
    chosen = np.sort(np.random.default_rng(0).choice(300, 50, replace=False))
    expected = ITQHasher(8).fit(rows()[chosen])
    np.testing.assert_array_equal(load_hasher(folder / "new").pack(rows()), expected.pack(rows()))


def test_columns_of_a_table(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame(rows(), columns=[f"x{i}" for i in range(24)]).assign(target=1, text="a")
    table.to_csv("table.csv", index=False)
    assert sdc("fit table.csv --out new --method itq --n-bits 8") == 0
    assert "table.csv: took the 24 columns x0, x1, x2, ..., x22, x23 for features, left target" in caplog.text
    assert sdc("fit table.csv --out new --method itq --n-bits 8 --columns x1?,x3") == 0
    assert load_hasher("new").n_features_in_ == 11


def test_methods_that_learn_from_vectors_alone_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    hashers = {method: make_hasher(method, 16) for method in METHODS}
    assert [m for m, h in hashers.items() if not (h.needs_views or h.needs_labels)] == list(VECTOR_METHODS)
    for command in ("fit", "report"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        words = set(re.findall(r"[\w-]+", capsys.readouterr().out))
        assert words & METHODS.keys() == set(VECTOR_METHODS)


# Encode and search


@pytest.mark.parametrize(
    ("option", "precision"), [("", "sdc"), ("--bit-order big", "ubinary"), ("--precision binary", "binary")]
)
def test_encode(folder: Path, option: str, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sdc(f"encode model data.npy --out codes.npy {option}") == 0
    assert "300 codes of 20 bits in 3 bytes each, " in capsys.readouterr().out
    codes, expected = np.load("codes.npy"), pack_precision(load_hasher("model").transform(rows()), precision)
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == expected.dtype


@pytest.mark.parametrize("ids", [False, True])
def test_search_finds_what_the_index_finds(folder: Path, ids: bool) -> None:
    hasher = load_hasher("model")
    expected = HammingIndex(hasher.transform(rows())).search(hasher.transform(QUERY), 7)
    if ids:
        Path("data_ids.txt").write_text("".join(f"item {i}\n" for i in range(300)))
        Path("query_ids.txt").write_text("".join(f"wanted {i}\n" for i in range(17)))
    for out in ("found.npz", "found.csv", "found.parquet", "found.txt --format csv"):
        assert sdc(f"search model data.npy query.npy --k 7 --out {out}") == 0
    found = np.load("found.npz")
    assert set(found.files) == {"indices", "distances"} | ({"ids", "query_ids"} if ids else set())
    for array, name in zip(expected, ("distances", "indices"), strict=True):
        np.testing.assert_array_equal(found[name], array)
    assert Path("found.csv").read_text() == Path("found.txt").read_text()
    columns = {"query": np.repeat(range(17), 7), "rank": [*range(1, 8)] * 17}
    columns |= {"neighbour": expected[1].ravel(), "distance": expected[0].ravel()}
    if ids:
        assert found["query_ids"].tolist() == [f"wanted {i}" for i in range(17)]
        columns |= {"neighbour_id": found["ids"].ravel(), "query_id": found["query_ids"].repeat(7)}
        assert found["ids"][3].tolist() == [f"item {i}" for i in found["indices"][3]]
    for table in (pd.read_csv("found.csv"), pd.read_parquet("found.parquet")):
        assert {name: list(table[name]) for name in table} == {name: list(columns[name]) for name in columns}


@pytest.mark.filterwarnings("error::UserWarning")
def test_search_with_float_queries_and_rescoring(folder: Path) -> None:
    hasher = load_hasher(folder / "model")
    index, continuous = HammingIndex(hasher.transform(rows())), hasher.decision_function(QUERY)
    by_floats = index.search_continuous(continuous, 20)
    for options, (scores, items) in {
        "--float-query": by_floats,
        "--float-query --rescore 20": index.rescore(by_floats[1], QUERY, rows()),
        "--rescore 20": index.rescore(index.search(hasher.transform(QUERY), 20)[1], QUERY, rows()),
    }.items():
        assert sdc(f"search model data.npy query.npy --k 5 {options} --out found.npz") == 0
        with np.load("found.npz") as found:
            np.testing.assert_array_equal(found["indices"], items[:, :5])
            np.testing.assert_allclose(found["scores"], scores[:, :5], atol=1e-6)
    assert sdc("search model data.npy query.npy --k 5 --rescore 9 --out found.csv") == 0
    assert "score" in pd.read_csv("found.csv")


def test_search_with_codes(folder: Path) -> None:
    SDCHasher(12, "release", epochs=2).fit(rows()).save("sdc")
    for model in ("model", "sdc"):
        assert sdc(f"encode {model} data.npy --out codes.npy") == 0
        options = "--k 5 --rescore 300 --codes codes.npy"
        assert sdc(f"search {model} data.npy query.npy {options} --out found.npz") == 0
        # All rows are candidates, so the neighbours are the exact ones.
        found = np.sort(np.load("found.npz")["indices"], axis=1)
        np.testing.assert_array_equal(found, nearest_neighbours(QUERY, rows(), 5))


def test_codes_of_other_order_or_model_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sdc("encode model data.npy --out big.npy --bit-order big") == 0
    np.save("zero.npy", np.zeros((300, 3), dtype=np.uint8))
    np.save("short.npy", np.zeros((299, 3), dtype=np.uint8))
    for codes, message in (
        ("big.npy", "bit order little, got bit order big"),
        ("zero.npy", "got others"),
        ("short.npy", r"expected packed codes, uint8 of shape \(300, 3\), got uint8 of \(299, 3\)"),
    ):
        assert sdc(f"search model data.npy query.npy --out found.npz --codes {codes}") == 2
        assert re.search(f"{codes}: .*{message}", capsys.readouterr().err)
    assert not Path("found.npz").exists()


# Export


def test_export_writes_a_head_and_an_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    line = "export model --onnx new/head.onnx --packed sdc --faiss new/codes.faiss --database data.npy"
    assert sdc(line) == 0
    shown = capsys.readouterr().out
    assert "codes.faiss: 300 codes of 20 bits, bit order little\n" in shown
    assert "head.onnx: from 24 features to 20 continuous codes and packed codes (sdc)\n" in shown
    # What a program without this library does: head, then search.
    session = runtime.InferenceSession("new/head.onnx", providers=["CPUExecutionProvider"])
    _, packed = session.run(None, {"features": QUERY})
    index = faiss.read_index_binary("new/codes.faiss")
    hasher = load_hasher("model")
    expected, _ = HammingIndex(hasher.transform(rows())).search(hasher.transform(QUERY), 5)
    np.testing.assert_array_equal(index.search(packed, 5)[0], expected)
    same = faiss.serialize_index_binary(to_faiss(hasher, rows()))
    np.testing.assert_array_equal(faiss.serialize_index_binary(index), same)
    assert sdc("export model --onnx alone.onnx") == 0


# Errors

ERRORS = [
    ("fit none.npy --out new", "none.npy: expected a file of vectors, found none"),
    ("fit text.txt --out new", "text.txt: expected a file .npy, .*, got .txt"),
    ("fit nan.npy --out new", "nan.npy: expected finite values, .*first in row 41"),
    ("fit two.npz --key c --out new", "--?key: expected one of a, b in .*two.npz, got 'c'"),
    ("fit data.npy --method no --out new", "--method: expected one of bihalf, .*, got 'no'"),
    ("fit data.npy --method cibhash --out new", "--method: cibhash .* learns from augmented views"),
    ("fit data.npy --set order_by=labels --out new", "--method: sdc with these settings learns from labels"),
    ("fit data.npy --preset no --out new", "--preset: expected one of best, paper, .*, got 'no'"),
    ("fit data.npy --preset paper --out new", "--preset: expected one without a contrastive term .*'paper'"),
    ("fit data.npy --method itq --preset paper --out new", "--preset: expected none for method 'itq'"),
    ("fit data.npy --goal classes --method itq --out new", "--method: expected none beside --goal"),
    ("fit data.npy --set epochs --out new", "--set: expected NAME=VALUE, got 'epochs'"),
    ("fit data.npy --set epoch=3 --out new", "--set: expected one of .*, got 'epoch'"),
    ("fit data.npy --set epochs=no --out new", "--set epochs: expected a whole number >= 1, got 'no'"),
    ("fit data.npy --set batch_size=500 --out new", "data.npy: expected .*--set batch_size = 500"),
    (
        "fit data.npy --set epochs=1 --set epochs=2 --out new",
        "--set: expected every parameter once, got epochs",
    ),
    ("fit data.npy --set n_bits=16 --out new", "--set: .* got n_bits; use --n-bits"),
    ("fit data.npy --set random_state=1 --out new", "--set: .* got random_state; use --seed"),
    ("fit data.npy --set progress=false --out new", "--set: .* got progress; use --quiet"),
    ("fit data.npy --seed -1 --out new", "--seed: expected a whole number >= 0, got -1"),
    ("fit data.npy --n-bits 25 --method itq --out new", "--n-bits: expected at most .* 24, got 25"),
    ("fit data.npy --train-rows 0 --out new", "--train-rows: expected a whole number >= 1, got 0"),
    ("encode nothing data.npy --out new", "nothing: expected a folder that .* wrote, found no hasher.json"),
    ("encode other data.npy --out new", "hasher.json: method: expected one of .*, got 'none'"),
    ("encode half data.npy --out new", "half: expected a fitted itq, could not read it"),
    ("encode model wide.npy --out new", "wide.npy: expected 24 features a row, got 25"),
    ("encode model data.npy --precision sdc --bit-order big --out new", "--bit-order: expected none beside"),
    ("encode model data.npy --out nothing", "nothing: Is a directory"),
    ("export model", "--onnx, --faiss, --lancedb, --pgvector: expected at least one of them, got none"),
    ("export model --faiss new", "--database: expected with --faiss, --lancedb or --pgvector, and only"),
    ("export model --onnx new --database data.npy", "--database: expected with --faiss, --lancedb or"),
    ("export model --pgvector nothing --database data.npy", "nothing: expected the name of a new folder"),
    ("export model --faiss new --database data.npy --vectors", "--vectors: expected with --lancedb or --pg"),
    ("export model --faiss new --database data.npy --packed sdc", "--packed: expected with --onnx only"),
    (
        "export model --onnx new --faiss new --database data.npy",
        "--(onnx|faiss): expected a file that is not",
    ),
    ("export model --onnx new --opset 999", "--opset: expected at most .* got 999"),
    ("export model --onnx new --faiss new2 --database nan.npy", "nan.npy: expected finite values, .*row 41"),
    ("search model data.npy wide.npy --out new", "wide.npy: expected 24 features a row, got 25"),
    ("search model data.npy query.npy --k 301 --out new", "--k: expected at most the 300 vectors .* got 301"),
    ("search model data.npy query.npy --rescore 301 --out new", "--rescore: expected at most the 300"),
    ("search model data.npy query.npy --codes none.npy --out new", "none.npy: missing or damaged .npy"),
    ("report few.npy --out new", "few.npy: expected shape .* n >= 100, got"),
    ("report data.npy --methods itq --n-bits 25 --out new", "--n-bits: expected at most .* 24, .*got 25"),
    (
        "report data.npy --k 240 --out new",
        "--k: expected at most the 239 other vectors of the database, got 240",
    ),
    ("report data.npy --rescore 3 --out new", "--rescore: expected a whole number >= 10, got 3"),
    ("report data.npy --max-vectors 9 --out new", "--max-vectors: expected a whole number >= 100, got 9"),
    ("report data.npy --max-train 1 --out new", "--max-train: expected a whole number >= 2, got 1"),
    ("report data.npy --methods sdc --epochs 0 --out new", "--epochs: expected a whole number >= 1, got 0"),
]
# An output that is an input, or another output.
ERRORS += [
    (line, f"--{line.split()[-2].strip('-')}: expected a file that ")
    for line in (
        "fit data.npy --out data.npy",
        "encode model data.npy --out ./model/../data.npy",
        "encode model data.npy --out model/hasher.json",
        "encode model data.npy --out data_ids.txt",
        "search model data.npy query.npy --out query.npy",
        "search model data.npy query.npy --codes nan.npy --out nan.npy",
        "export model --database data.npy --faiss data.npy",
        "export model --database data.npy --lancedb model",
        "report data.npy --out data.npy",
    )
]


@pytest.mark.parametrize(("line", "message"), ERRORS, ids=[line for line, _ in ERRORS])
def test_bad_input_gives_one_line_and_status_2(
    line: str, message: str, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(whole)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert sdc(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert re.match(rf"sdc {line.split()[0]}: error: (\S*/)?{message}", shown.err), shown.err
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_an_input_by_another_name_is_no_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.npy").symlink_to("data.npy")
    Path("hard.npy").hardlink_to("data.npy")
    for out in ("link.npy", "hard.npy"):
        assert sdc(f"encode model data.npy --out {out}") == 2
        assert "--out: expected a file that is not data.npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "arguments are required: COMMAND"),
        ("no", "choice: 'no'"),
        ("fit", "arguments are required: EMBEDDINGS, --out"),
        ("fit data.npy --out new --n-bits x", "--n-bits: invalid int value: 'x'"),
        ("fit data.npy --out new --goal best", "--goal: invalid choice: 'best' .*classes.*neighbours"),
        ("encode model shards --out new --engine dask", "--engine: invalid choice: 'dask' .*local.*ray"),
        ("encode model data.npy --out new --bit-order no", "--bit-order: invalid choice: 'no' .*little.*big"),
        ("encode model data.npy --out new --precision int8", "--precision: invalid choice: 'int8' .*ubinary"),
        ("search model data.npy query.npy --out new --format json", "--format: invalid choice: 'json' .*csv"),
        ("export model --onnx new --packed int8", "--packed: invalid choice: 'int8' .*sdc.*ubinary"),
        ("report data.npy --out new --methods itq cibhash", "--methods: invalid choice: 'cibhash' .*itq"),
    ],
)
def test_arguments_that_cannot_be_parsed(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2
    assert re.search(rf"error: .*{message}", capsys.readouterr().err)


def test_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sdclib.cli, "load_hasher", interrupt)
    assert sdc("encode model data.npy --out new") == 130


def test_the_entry_point_is_this_function() -> None:
    path = PROJECT_ROOT / "pyproject.toml"
    if not path.is_file():
        pytest.skip("not a checkout")
    module, _, function = tomllib.loads(path.read_text())["project"]["scripts"]["sdc"].partition(":")
    assert getattr(importlib.import_module(module), function) is main
