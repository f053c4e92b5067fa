"""The benchmark of searches runs, its figures fit together, and its tables and charts show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmarks import bench_search
from sdclib.files import read_json
from sdclib.search.index import HammingIndex
from study.chapters.search_table import fastest, index_table, search_table
from study.figures import plot_recall_by_bits, plot_recall_by_memory, plot_recall_by_time


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out: Path = tmp_path_factory.mktemp("bench") / "quick.json"
    bench_search.main(["--quick", "--out", str(out)])
    return read_json(out)


@pytest.mark.slow
def test_benchmark(quick: dict[str, Any]) -> None:
    assert set(quick["sets"]) == {"real", "enlarged"}
    assert quick["sets"]["enlarged"]["n_database"] == 12_000
    assert quick["threads"] == 1
    assert len(quick["load_average"]) == 3
    for name, part in quick["sets"].items():
        assert (
            len(part["rows"]) == (2 * 4 if name == "real" else 4 + 3) * 3
        )  # one HNSW alone in the enlargement
        for row in part["rows"]:
            assert row["search_ms"] > 0
            assert (row["recall_100"] is None) == (row["candidates"] < 100)
            # Re-scoring only changes the order, to the true one.
            assert row["rescored_10"] >= row["recall_10"]
            if row["index"] == "flat":
                assert row["hamming_10"] == 1
        rows = {(r["label"], r["index"], r["setting"], r["candidates"]): r for r in part["rows"]}
        more, fewer = rows["ITQ", "ivf", 16, 500], rows["ITQ", "ivf", 1, 500]
        assert more["hamming_100"] > fewer["hamming_100"]
        assert rows["ITQ", "flat", None, 500]["rescored_10"] > rows["ITQ", "flat", None, 50]["rescored_10"]
    for code in quick["sets"]["real"]["codes"]:
        assert 0.1 < code["unique_code_ratio"] <= 1
        assert code["hnsw_of_unique_hamming_10"] > 0.9
    assert quick["sets"]["real"]["float"]["map_expected"] > 0.3
    assert "map_expected" not in quick["sets"]["enlarged"]["codes"][0]


def test_enlargement_has_the_covariance_of_the_features() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((3000, 3)) @ np.diag([1.0, 2.0, 0.5])).astype(np.float32)
    plan = bench_search.Plan(noise=0.5)
    made = np.concatenate(list(bench_search.enlargement(rows, plan, 50_000)))
    assert made.shape == (50_000, 3)
    assert made.min() >= rows.min()
    np.testing.assert_allclose(made.std(axis=0), np.sqrt(1.25) * rows.std(axis=0), rtol=0.05)
    assert next(bench_search.enlargement(np.abs(rows), plan, 1000)).min() == 0


def test_float_index_holds_normalised_rows_without_a_copy() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    index, stored = bench_search.float_index(iter([rows[:30], rows[30:]]), 50, 8)
    rtol = 1e-5  # float32 sums of 8 products, and a root and a quotient of them
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, rtol=rtol)
    similarities, found = index.search(stored[:5], 1)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(similarities, 1, rtol=rtol)
    with pytest.raises(AssertionError, match="expected 60 rows, got 50"):
        bench_search.float_index(iter([rows]), 60, 8)


def test_search_width_can_be_set_after_building() -> None:
    codes = np.random.default_rng(0).integers(0, 2, (500, 16))
    index = HammingIndex(codes, kind="ivf", n_lists=10, n_probe=1)
    assert (index.search(codes, 400)[1] == -1).any()
    index.n_probe = 99
    assert index.n_probe == 10
    np.testing.assert_array_equal(index.search(codes, 400)[0], HammingIndex(codes).search(codes, 400)[0])
    graph = HammingIndex(codes, kind="hnsw", ef_search=8)
    graph.ef_search = 300
    assert graph.ef_search == 300
    with pytest.raises(ValueError, match="ef_search: expected a whole number >= 1, got 0"):
        graph.ef_search = 0
    with pytest.raises(AttributeError, match="n_probe: expected an index of kind 'ivf', got 'hnsw'"):
        graph.n_probe = 3
    with pytest.raises(AttributeError, match="ef_search: expected an index of kind 'hnsw', got 'ivf'"):
        _ = index.ef_search


def results() -> dict[str, Any]:
    def row(index: str, setting: int | None, candidates: int, rescored: float, ms: float) -> dict[str, Any]:
        return {
            "label": "ITQ", "n_bits": 64, "index": index, "setting": setting, "candidates": candidates,
            "recall_10": 0.3, "rescored_10": rescored, "hamming_10": 0.9, "recall_100": 0.2, "rescored_100": 0.5,
            "hamming_100": 0.8, "search_ms": ms, "rescore_ms": 0.5, "index_bytes": 8000, "build_seconds": 0.1,
        }  # fmt: skip

    part = {
        "n_database": 1000,
        "float": {"search_ms": 9.0, "index_bytes": 512_000},
        "codes": [{"label": "ITQ", "n_bits": 64, "encode_query_ms": 0.25}],
        "rows": [
            row("flat", None, 500, 0.95, 2.0),
            row("flat", None, 100, 0.7, 1.0),
            row("ivf", 4, 500, 0.91, 0.75),
        ],
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
    best = fastest(table, 0.9)
    assert best["index"].item() == "IVF"
    assert best["speedup"].item() == pytest.approx(9 / 1.5)
    assert fastest(table, 0.99).empty
    index = index_table(results(), "real", "ITQ", 64, 10)
    assert index["recall@10 of exact search (%)"].tolist() == [90.0]
    with pytest.raises(ValueError, match="k: expected one that the benchmark measured, got 7"):
        search_table(results(), 7)


def test_charts() -> None:
    table = search_table(results())
    figure = plot_recall_by_time(table[(table["rescored"] == 500) | table["n_bits"].isna()], 10)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert sorted(line.get_ydata()[0] for line in axes.lines) == pytest.approx([91, 95, 100])
    memory = plot_recall_by_memory(table, 10)
    assert [axes.get_title() for axes in memory.axes] == [
        "Real, Hamming alone",
        "Real, 100 re-scored",
        "Real, 500 re-scored",
    ]
    recall = table[table["n_bits"].notna()].rename(columns={"rescored": "depth"})
    assert len(plot_recall_by_bits(recall, 10).axes[0].lines) == 3
    plt.close("all")
