"""What was measured of encoding, counting, loading and searching, and what more vectors would take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["BILLION", "duration", "encoding_table", "growth_table"]

BILLION = 1_000_000_000
MEASURES = {  # path in a size of the benchmark, and its unit in seconds
    "Count 1,000 queries in one call": ("counts.seconds.one_call", 1),
    "Count 1,000 queries in 40 parts": ("counts.seconds.in_parts", 1),
    "HammingIndex, a query": ("flat_ms", 1e-3),
    "LanceDB, load and build index": ("lancedb.load_seconds", 1),
    "LanceDB, a query by index": ("lancedb.approximate_ms", 1e-3),
    "LanceDB, an exact query": ("lancedb.exact_ms", 1e-3),
    "PostgreSQL, load": ("pgvector.load_seconds", 1),
    "PostgreSQL, build HNSW": ("pgvector.index_seconds", 1),
    "PostgreSQL, a query by HNSW": ("pgvector.approximate_ms", 1e-3),
    "PostgreSQL, an exact query": ("pgvector.exact_ms", 1e-3),
}
UNITS = {"days": 86_400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3}


def duration(seconds: float) -> str:
    """Seconds with two digits and the largest unit of which there is one or more; a dash for NaN."""
    if np.isnan(seconds):
        return "-"
    unit = next((unit for unit, size in UNITS.items() if seconds >= size), "ms")
    count = seconds / UNITS[unit]
    return f"{count:.1f} {unit}" if count < 10 else f"{count:,.0f} {unit}"


def encoding_table(results: Mapping[str, Any], n: int = BILLION) -> pd.DataFrame:
    """Lay out the encoding on Ray, and carry it on to n vectors: shards do not know of each other.

    Parameters
    ----------
    results : mapping
        Content of ``results/bench_scale.json``, see ``benchmarks/bench_scale.py``.
    n : int
        Number of vectors.

    Returns
    -------
    DataFrame
        A row a number of workers: seconds, peak_mb (of the largest worker), seconds_of_n and worker_hours, for n.
    """
    table = pd.DataFrame.from_dict(results["encoding"]["workers"], orient="index")
    table = table.drop("resumed").rename(index=int)
    table["seconds_of_n"] = table["seconds"] * n / results["n_rows"]
    table["worker_hours"] = table["seconds_of_n"] * table.index / 3600
    table = table.rename(columns={"worker_peak_mb": "peak_mb"}).rename_axis("workers")
    return table[["seconds", "peak_mb", "seconds_of_n", "worker_hours"]]


def growth_table(results: Mapping[str, Any], n: int = BILLION) -> pd.DataFrame:
    """Lay out what was measured at several sizes of the database, in seconds, and carry it on to n items.

    Returns
    -------
    DataFrame
        A row a measure; a column a size; `growth`, the exponent of the power law through them (1 is linear); and n, by
        that law from the largest size, but at least linear, as fixed costs hide growth. NaN for queries by an
        approximate index: they take what they are allowed to, and what they find then is not known.
    """
    sizes = results["sizes"]
    counts = [size["n_database"] for size in sizes]
    rows = {}
    for name, (path, unit) in MEASURES.items():
        seconds = [unit * float(reduce(lambda part, key: part[key], path.split("."), size)) for size in sizes]
        growth = np.polyfit(np.log(counts), np.log(seconds), 1)[0]
        then = np.nan if "approximate" in path else seconds[-1] * (n / counts[-1]) ** max(growth, 1)
        rows[name] = [*seconds, growth, then]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*counts, "growth", n]).rename_axis("work")
