"""The benchmark of encoding runs, and its figures fit together."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench_encoding
from benchmarks.bench_encoding import Plan
from sdclib.files import read_json


@pytest.mark.slow
def test_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "quick.json"
    bench_encoding.main(["--rows", "3000", "--out", str(out)])
    results: dict[str, Any] = read_json(out)
    assert {"machine", "commit", "versions", "threads", "load_average", "plan"} <= set(results)
    assert results["plan"]["n_rows"] == 3000
    assert results["threads"] == 1
    assert set(results["heads"]) == {"release", "linear"}
    for row in results["heads"].values():
        times = row["seconds_of_parts"]
        assert len(times["products"]) == len(times["encode"]) == 10
        assert row["ratio"] == pytest.approx(sum(times["products"]) / sum(times["encode"]))
        file = row["file"]
        assert file["file_mb"] == pytest.approx(3000 * 1280 * 4 / 1e6, rel=1e-4)
        assert file["codes_mb"] == pytest.approx(3000 * 8 / 1e6)
        assert file["peak_mb"] >= file["peak_mb_of_imports"] > 50
    shown = capsys.readouterr().out
    assert shown.startswith("3,000 vectors of 1,280 values to 64 bits, 1 thread(s)")
    assert shown.count("ratio") == 2


def test_parts_are_all_vectors() -> None:
    plan = Plan(n_rows=103, n_features=5, n_parts=10)
    made = list(bench_encoding.parts(plan))
    assert [part.dtype for part in made] == [np.float32] * 10
    assert sum(map(len, made)) == 103
    again = list(bench_encoding.parts(plan))
    np.testing.assert_array_equal(np.concatenate(made), np.concatenate(again))


def test_the_products_are_those_of_the_heads() -> None:
    plan = Plan(n_features=12, n_bits=4, n_train=64)
    for name, hasher in bench_encoding.hashers(plan).items():
        layers = bench_encoding.widths(plan)[name]
        matrices = [array.shape for array in hasher._get_state().values() if array.ndim == 2]
        sizes = [sorted(shape) for shape in matrices]
        assert sizes == [sorted(pair) for pair in pairwise(layers)]
