"""The benchmark of searches as a table: recall, time and memory of every index and setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["FLOAT", "search_table"]

FLOAT = "Float cosine"
INDEX_LABELS = {"flat": "flat", "ivf": "IVF", "hnsw": "HNSW"}


def search_table(results: Mapping[str, Any], k: int = 10) -> pd.DataFrame:
    """Every search as a row, from float queries to k items; the smallest database and exact float search come first.

    Parameters
    ----------
    results : mapping
        Content of ``results/bench_search.json``, see ``benchmarks/bench_search.py``.
    k : int
        Of recall@k: 10 or 100.

    Returns
    -------
    DataFrame
        n_database, label, n_bits, index, setting (missing for flat); rescored (candidates; 0: order of the Hamming
        distance, of a search for 100); in [0, 1] recall of the k nearest float neighbours, and exact, that of the k
        nearest codes; ms (a query, with its encoding and re-scoring), search_ms (without), bytes_per_item (of the
        index, without the float vectors that re-scoring reads).
    """
    tables = []
    for part in sorted(results["sets"].values(), key=lambda part: part["n_database"]):
        rows = pd.DataFrame(part["rows"])
        if f"recall_{k}" not in rows:
            raise ValueError(f"k: expected one that the benchmark measured, got {k!r}")
        rows = rows.merge(pd.DataFrame(part["codes"])[["label", "n_bits", "encode_query_ms"]])
        rows = rows.assign(
            index=rows["index"].map(INDEX_LABELS),
            exact=rows[f"hamming_{k}"],
            ms=rows["encode_query_ms"] + rows["search_ms"],
        )
        alone = rows[rows["candidates"] == 100].assign(rescored=0, recall=rows[f"recall_{k}"])
        ordered = rows.assign(
            rescored=rows["candidates"], recall=rows[f"rescored_{k}"], ms=rows["ms"] + rows["rescore_ms"]
        )
        floats = {"label": FLOAT, "index": "flat", "rescored": 0, "recall": 1.0}
        floats |= {"ms": part["float"]["search_ms"], "index_bytes": part["float"]["index_bytes"]}
        table = pd.concat([pd.DataFrame([floats]), alone, ordered]).dropna(subset="recall")
        n = part["n_database"]
        tables.append(table.assign(n_database=n, bytes_per_item=table["index_bytes"] / n))
    columns = ["n_database", "label", "n_bits", "index", "setting", "rescored", "recall", "exact"]
    columns += ["ms", "search_ms", "bytes_per_item"]
    return pd.concat(tables, ignore_index=True)[columns].astype({"n_bits": "Int64", "setting": "Int64"})
