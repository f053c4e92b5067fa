"""The benchmark of searches as tables: recall, time and memory of every index and setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["SET_LABELS", "fastest", "index_table", "ordered_sets", "search_table", "setting_text"]

SET_LABELS = {"real": "Real", "enlarged": "Enlarged"}
INDEX_LABELS = {"flat": "flat", "ivf": "IVF", "hnsw": "HNSW"}
SETTING_NAMES = {"IVF": "n_probe", "HNSW": "ef_search"}


def ordered_sets(results: Mapping[str, Any]) -> dict[str, Any]:
    """Order the sets of the benchmark, the smallest database first (a JSON file has them by name)."""
    return dict(sorted(results["sets"].items(), key=lambda item: item[1]["n_database"]))


def setting_text(index: str, setting: int | None) -> str:
    """Name an index's setting, such as ``"n_probe = 4"``; nothing for the flat index."""
    return "" if setting is None or pd.isna(setting) else f"{SETTING_NAMES[index]} = {setting:.0f}"


def search_table(results: Mapping[str, Any], k: int = 10) -> pd.DataFrame:
    """Every search as a row, from float queries to k items.

    Parameters
    ----------
    results : mapping
        Content of ``results/bench_search.json``, see ``benchmarks/bench_search.py``.
    k : int
        Of recall@k: 10 or 100.

    Returns
    -------
    DataFrame
        set, n_database, label, n_bits, index, setting (missing for flat), rescored (candidates; 0: order of the Hamming
        distance, of a search for 100), recall in [0, 1] of the k nearest float neighbours, ms (a query, with its
        encoding and re-scoring), bytes_per_item (of the index, without the float vectors that re-scoring reads).
        Of each set the first row is float search.
    """
    tables = []
    for name, part in ordered_sets(results).items():
        rows, codes = pd.DataFrame(part["rows"]), pd.DataFrame(part["codes"])
        if f"recall_{k}" not in rows:
            raise ValueError(f"k: expected one that the benchmark measured, got {k!r}")
        rows = rows.merge(codes[["label", "n_bits", "encode_query_ms"]], on=["label", "n_bits"])
        rows = rows.assign(
            index=rows["index"].map(INDEX_LABELS), ms=rows["encode_query_ms"] + rows["search_ms"]
        )
        ordered = rows.assign(
            rescored=rows["candidates"], recall=rows[f"rescored_{k}"], ms=rows["ms"] + rows["rescore_ms"]
        )
        alone = rows[rows["candidates"] == 100].assign(rescored=0, recall=rows[f"recall_{k}"])
        searches = pd.concat([ordered, alone]).sort_index(kind="stable").dropna(subset="recall")
        floats = {"label": "Float cosine", "index": "flat", "rescored": 0, "recall": 1.0}
        floats |= {"ms": part["float"]["search_ms"], "index_bytes": part["float"]["index_bytes"]}
        table = pd.concat([pd.DataFrame([floats]), searches])
        table = table.assign(set=SET_LABELS.get(name, name), n_database=part["n_database"])
        tables.append(table.assign(bytes_per_item=table["index_bytes"] / part["n_database"]))
    columns = [
        "set",
        "n_database",
        "label",
        "n_bits",
        "index",
        "setting",
        "rescored",
        "recall",
        "ms",
        "bytes_per_item",
    ]
    return pd.concat(tables, ignore_index=True)[columns].astype({"n_bits": "Int64", "setting": "Int64"})


def index_table(results: Mapping[str, Any], name: str, label: str, n_bits: int, k: int = 100) -> pd.DataFrame:
    """How well and how fast each index searches the codes of one method: against exact Hamming search.

    Parameters
    ----------
    results : mapping
        See `search_table`.
    name : str
        Of the set in `results`: "real" or "enlarged".
    label : str
    n_bits : int
    k : int
        Items searched for, 100 or 10; 100 candidates are fetched.
    """
    rows = pd.DataFrame(results["sets"][name]["rows"])
    rows = rows[(rows["label"] == label) & (rows["n_bits"] == n_bits) & (rows["candidates"] == 100)]
    index = rows["index"].map(INDEX_LABELS)
    table = pd.DataFrame(
        {
            "index": index,
            "setting": list(map(setting_text, index, rows["setting"])),
            f"recall@{k} of exact search (%)": (100 * rows[f"hamming_{k}"]).round(1),
            "search (ms a query)": rows["search_ms"].round(3),
            "build (s)": rows["build_seconds"].round(2),
            "memory (MB)": (rows["index_bytes"] / 1e6).round(1),
        }
    )
    return table.set_index(["index", "setting"])


def fastest(table: pd.DataFrame, target: float) -> pd.DataFrame:
    """Of each set the fastest search that reaches a recall (in [0, 1]), with its speedup over float search."""
    floats = table[table["n_bits"].isna()].set_index("set")["ms"]
    codes = table[table["n_bits"].notna() & (table["recall"] >= target)]
    best = codes.sort_values("ms").drop_duplicates("set").set_index("set")
    best = best.loc[[name for name in table["set"].unique() if name in best.index]]
    return best.assign(speedup=floats[best.index] / best["ms"]).reset_index()
