"""Benchmarks run, their figures fit together, and what they write is of the form of what is published."""

from __future__ import annotations

import random
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from benchmarks import (
    bench_bytes,
    bench_encoding,
    bench_metrics,
    bench_scale,
    bench_search,
    check_faults,
    harness,
)
from benchmarks.bench_encoding import Plan
from sdclib.files import read_json, write_json
from sdclib.search.index import HammingIndex
from study.chapters.search_table import search_table
from study.figures import plot_recall_by_bits
from study.provenance import PROJECT_ROOT, RESULTS


def same_form(found: Any, published: Any, where: str = "") -> None:
    """All names of the published file are there, with values of their kind; of a list, its first entry."""
    if isinstance(published, dict):
        missing = published.keys() - found.keys()
        assert not missing, (where, missing)
        for name, value in published.items():
            same_form(found[name], value, f"{where}.{name}")
    elif isinstance(published, list) and isinstance(found, list) and published and found:
        same_form(found[0], published[0], f"{where}[0]")
    elif None not in (found, published):
        assert isinstance(found, int | float) == isinstance(published, int | float), where


def test_calls_take_turns() -> None:
    called: list[str] = []
    calls = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    seconds = harness.in_turn(calls, repeats=3)
    assert called == ["a", "b"] * 4  # the first round does not count
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert harness.medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2}


# Searches


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out: Path = tmp_path_factory.mktemp("bench") / "quick.json"
    bench_search.main(["--quick", "--out", str(out)])
    return read_json(out)


@pytest.mark.slow
def test_search(quick: dict[str, Any]) -> None:
    same_form(quick, read_json(RESULTS / "bench_search.json"))
    assert quick["sets"]["enlarged"]["n_database"] == 12_000
    for name, part in quick["sets"].items():
        # one HNSW alone in the enlargement
        assert len(part["rows"]) == (2 * 4 if name == "real" else 4 + 3) * 3
        for row in part["rows"]:
            assert row["search_ms"] > 0
            assert (row["recall_100"] is None) == (row["candidates"] < 100)
            assert (
                row["rescored_10"] >= row["recall_10"]
            )  # re-scoring only changes the order, to the true one
            assert row["index"] != "flat" or row["hamming_10"] == 1
        rows = {(r["label"], r["index"], r["setting"], r["candidates"]): r for r in part["rows"]}
        assert rows["ITQ", "ivf", 16, 500]["hamming_100"] > rows["ITQ", "ivf", 1, 500]["hamming_100"]
        assert rows["ITQ", "flat", None, 500]["rescored_10"] > rows["ITQ", "flat", None, 50]["rescored_10"]
    for code in quick["sets"]["real"]["codes"]:
        assert 0.1 < code["unique_code_ratio"] <= 1
    assert quick["sets"]["real"]["float"]["map_expected"] > 0.3


@pytest.mark.slow
def test_the_chapter_shows_a_benchmark_of_ones_own(quick: dict[str, Any], tmp_path: Path) -> None:
    papermill = pytest.importorskip("papermill", reason="needs the extra 'book'")
    write_json(tmp_path / "own.json", quick)
    notebook = PROJECT_ROOT / "notebooks" / "search_at_scale.ipynb"
    knobs = {"benchmark": str(tmp_path / "own.json"), "k": 100}
    papermill.execute_notebook(
        notebook, tmp_path / "out.ipynb", knobs, cwd=notebook.parent, progress_bar=False
    )


def test_enlargement_has_the_covariance_of_the_features() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((3000, 3)) @ np.diag([1.0, 2.0, 0.5])).astype(np.float32)
    made = np.concatenate(list(bench_search.enlargement(rows, bench_search.Plan(noise=0.5), 50_000)))
    assert made.shape == (50_000, 3)
    assert made.min() >= rows.min()
    np.testing.assert_allclose(made.std(axis=0), np.sqrt(1.25) * rows.std(axis=0), rtol=0.05)
    assert next(bench_search.enlargement(np.abs(rows), bench_search.Plan(), 1000)).min() == 0


def test_float_index_holds_normalised_rows_without_a_copy() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    index, stored = bench_search.float_index(iter([rows[:30], rows[30:]]), 50, 8)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, rtol=1e-5)  # float32 sums of 8 products
    similarities, found = index.search(stored[:5], 1)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(similarities, 1, rtol=1e-5)


def results() -> dict[str, Any]:
    rows = [
        {"label": "ITQ", "n_bits": 64, "index": index, "setting": setting, "candidates": candidates}
        | {"recall_10": 0.3, "rescored_10": rescored, "hamming_10": 0.9}
        | {"recall_100": 0.2, "rescored_100": 0.5, "hamming_100": 0.8}
        | {"search_ms": ms, "rescore_ms": 0.5, "index_bytes": 8000, "build_seconds": 0.1}
        for index, setting, candidates, rescored, ms in (
            ("flat", None, 500, 0.95, 2.0),
            ("flat", None, 100, 0.7, 1.0),
            ("ivf", 4, 500, 0.91, 0.75),
        )
    ]
    part = {
        "n_database": 1000,
        "float": {"search_ms": 9.0, "index_bytes": 512_000},
        "codes": [{"label": "ITQ", "n_bits": 64, "encode_query_ms": 0.25}],
        "rows": rows,
    }
    return {"sets": {"real": part}}


def test_search_table_by_hand() -> None:
    table = search_table(results())
    assert len(table) == 1 + 3 + 1
    floats = table.iloc[0]
    assert (floats["label"], floats["ms"], floats["bytes_per_item"]) == ("Float cosine", 9, 512)
    rows = table.set_index(["index", "rescored"])
    assert rows.loc[("flat", 100), "ms"] == pytest.approx(0.25 + 1 + 0.5)
    alone = rows.loc[("flat", 0)]
    assert alone[alone["n_bits"].notna()]["ms"].item() == pytest.approx(0.25 + 1)
    assert rows.loc[("IVF", 500), ["recall", "exact"]].tolist() == [0.91, 0.9]
    with pytest.raises(ValueError, match="k: expected one that the benchmark measured, got 7"):
        search_table(results(), 7)


def test_recall_by_bits() -> None:
    recall = search_table(results()).dropna(subset="n_bits").rename(columns={"rescored": "depth"})
    assert len(plot_recall_by_bits(recall, 10).axes[0].lines) == 3
    plt.close("all")


# Encoding


@pytest.mark.slow
def test_encoding(tmp_path: Path) -> None:
    out = tmp_path / "quick.json"
    bench_encoding.main(["--rows", "3000", "--out", str(out)])
    quick = read_json(out)
    same_form(quick, read_json(RESULTS / "bench_encoding.json"))
    for row in quick["heads"].values():
        times = row["seconds_of_parts"]
        assert len(times["products"]) == len(times["encode"]) == 10
        assert row["ratio"] == pytest.approx(sum(times["products"]) / sum(times["encode"]))
        assert row["file"]["file_mb"] == pytest.approx(3000 * 1280 * 4 / 1e6, rel=1e-4)
        assert row["file"]["codes_mb"] == pytest.approx(3000 * 8 / 1e6)
        assert row["file"]["peak_mb"] >= row["file"]["peak_mb_of_imports"] > 50


def test_parts_are_all_vectors_and_products_those_of_the_heads() -> None:
    plan = Plan(n_rows=103, n_features=5, n_parts=10)
    made = list(bench_encoding.parts(plan))
    assert [part.dtype for part in made] == [np.float32] * 10
    assert sum(map(len, made)) == 103
    np.testing.assert_array_equal(np.concatenate(made), np.concatenate(list(bench_encoding.parts(plan))))
    plan = Plan(n_features=12, n_bits=4, n_train=64)
    for name, hasher in bench_encoding.hashers(plan).items():
        matrices = [array.shape for array in hasher._get_state().values() if array.ndim == 2]
        assert [sorted(s) for s in matrices] == [
            sorted(s) for s in pairwise(bench_encoding.widths(plan)[name])
        ]


# Scale


def test_parts_and_a_database_agree_with_the_whole(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    query, database, ids = bench_metrics.make_case(30, 1200)
    assert 0.3 < bench_scale.bench_counts((query, database, ids), 7)["map_expected"] < 1
    nearest = HammingIndex(database, n_bits=bench_metrics.N_BITS).search(query, bench_scale.K, packed=True)[0]
    found = bench_scale.bench_lancedb(query, database, nearest, tmp_path)
    assert found["exact_recall"] == 1
    assert found["approximate_recall"] > 0.8
    with pytest.raises(AssertionError, match="other distances than HammingIndex"):
        bench_scale.searched(lambda rows, exact: nearest[rows][0] + 1, nearest)


@pytest.mark.slow
def test_equal_bytes(tmp_path: Path) -> None:
    """Scores of both goals at every size, costs, and a search of every kind; what is done is not done again."""
    out = tmp_path / "bytes.json"
    bench_bytes.main(["--quick", "--repeats", "1", "--out", str(out)])
    found = read_json(out)
    (part,) = found["parts"]
    scores = pd.DataFrame(part["scores"])
    assert set(scores["goal"]) == {"classes", "neighbours"}
    assert set(scores.loc[scores["method"] == "pq", "n_bytes"]) == set(bench_bytes.N_BYTES)
    assert scores["value"].between(0, 1).all()
    assert set(scores["method"]) == set(part["costs"]["method"])
    assert {"hamming 8", "float query by candidates 8", "rabitq 16"} <= found["million"]["ms_a_query"].keys()
    kept = tmp_path / "bench_bytes" / "cifar10-embedded-0.json"
    before = kept.stat().st_mtime_ns
    bench_bytes.measured("cifar10-embedded", 0, (), kept.parent)
    assert kept.stat().st_mtime_ns == before


# Kills


class Writing(check_faults.Work):
    """A file that is written in two parts, in its place or beside it."""

    moments = (0.0, 0.1)
    code = """if True:
        import os, sys, time
        with open(sys.argv[1], "w") as file:
            print("half", file=file, flush=True)
            print(flush=True)
            time.sleep(0.5)
            print("and half", file=file)
        os.replace(sys.argv[1], sys.argv[2])
    """

    def __init__(self, written: str):
        self.written = written

    def start(self, place: Path) -> subprocess.Popen:
        files = [str(place / self.written), str(place / "file")]
        process = check_faults.started(["-c", self.code, *files], stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    def pieces(self, place: Path) -> dict[str, Any]:
        path = place / "file"
        return {"file": path.read_text()} if path.is_file() else {}


@pytest.mark.parametrize(("written", "problems"), [("file", 1), (".file.tmp", 0)])
def test_kills_find_what_is_written_in_its_place(written: str, problems: int, tmp_path: Path) -> None:
    trial = check_faults.Trial(Writing(written), tmp_path, random.Random(0))
    trial.run(1)
    assert trial.kills == 1
    assert len(trial.problems) == problems, trial.problems
