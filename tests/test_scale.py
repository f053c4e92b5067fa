import numpy as np
import pandas as pd
import pytest

from study.chapters.scale import MEASURES, duration, encoding_table, growth_table


def test_growth_is_carried_on():
    """Work that seems to grow slower than the database is carried on as linear; queries by an index are not at all."""

    def measured(n):
        size = {"n_database": n, "counts": {"seconds": {}}, "lancedb": {}, "pgvector": {}}
        for path, _ in MEASURES.values():
            *folders, name = path.split(".")
            part = size
            for folder in folders:
                part = part[folder]
            part[name] = 2 * (n / 100) ** (2 if name == "index_seconds" else 0.5)
        return size

    table = growth_table({"sizes": [measured(n) for n in (100, 400, 1600)]}, 160_000)
    assert table.columns.tolist() == [100, 400, 1600, "growth", 160_000]
    rows = table.T
    assert rows["LanceDB, an exact query"].tolist() == pytest.approx([0.002, 0.004, 0.008, 0.5, 0.8])
    assert rows["LanceDB, a query by index"].tolist() == pytest.approx(
        [0.002, 0.004, 0.008, 0.5, np.nan], nan_ok=True
    )
    assert rows["PostgreSQL, build HNSW"].tolist() == pytest.approx([2, 32, 512, 2, 5_120_000])


def test_encoding_is_carried_on():
    workers = {"1": {"seconds": 36, "shards": 4, "worker_peak_mb": 500}}
    workers |= {"2": {"seconds": 18, "shards": 4, "worker_peak_mb": 400}}
    workers |= {"resumed": {"seconds": 9, "shards": 2, "worker_peak_mb": 400}}
    table = encoding_table({"n_rows": 1000, "encoding": {"workers": workers}}, 200_000)
    expected = {
        "seconds": [36, 18],
        "peak_mb": [500, 400],
        "seconds_of_n": [7200, 3600],
        "worker_hours": [2, 2],
    }
    pd.testing.assert_frame_equal(
        table, pd.DataFrame(expected, index=pd.Index([1, 2], name="workers")), check_dtype=False
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.4 ms"),
        (1.5, "1.5 s"),
        (25, "25 s"),
        (119, "2.0 min"),
        (9000, "2.5 h"),
        (9e6, "104 days"),
        (np.nan, "-"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
