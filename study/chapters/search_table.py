"""The benchmark of searches as tables: recall, time and memory of every index and setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["SET_LABELS", "fastest", "index_table", "ordered_sets", "search_table", "spelled_setting"]

SET_LABELS = {"real": "Real", "enlarged": "Enlarged"}
INDEX_LABELS = {"flat": "flat", "ivf": "IVF", "hnsw": "HNSW"}
SETTING_NAMES = {"IVF": "n_probe", "HNSW": "ef_search"}


def ordered_sets(results: Mapping[str, Any]) -> dict[str, Any]:
    """Order the sets of the benchmark, the smallest database first (a JSON file has them by name)."""
    return dict(sorted(results["sets"].items(), key=lambda item: item[1]["n_database"]))


def spelled_setting(index: str, setting: int | None) -> str:
    """Name an index's setting, such as ``"n_probe = 4"``; nothing for the flat index."""
    return "" if setting is None or pd.isna(setting) else f"{SETTING_NAMES[index]} = {setting}"


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

    Raises
    ------
    ValueError
        If the benchmark did not measure recall@k.
    """
    rows: list[dict[str, Any]] = []
    for name, part in ordered_sets(results).items():
        shared = {"set": SET_LABELS.get(name, name), "n_database": part["n_database"]}
        floats = part["float"]
        rows.append(
            {
                **shared,
                "label": "Float cosine",
                "n_bits": None,
                "index": "flat",
                "setting": None,
                "rescored": 0,
                "recall": 1.0,
                "ms": floats["search_ms"],
                "bytes_per_item": floats["index_bytes"] / part["n_database"],
            }
        )
        encode = {(code["label"], code["n_bits"]): code["encode_query_ms"] for code in part["codes"]}
        for row in part["rows"]:
            if f"recall_{k}" not in row:
                raise ValueError(f"k: expected one that the benchmark measured, got {k!r}")
            searched = encode[row["label"], row["n_bits"]] + row["search_ms"]
            orders = [(row["candidates"], row[f"rescored_{k}"], searched + row["rescore_ms"])]
            if row["candidates"] == 100:
                orders.append((0, row[f"recall_{k}"], searched))
            rows += [
                {
                    **shared,
                    "label": row["label"],
                    "n_bits": row["n_bits"],
                    "index": INDEX_LABELS[row["index"]],
                    "setting": row["setting"],
                    "rescored": rescored,
                    "recall": recall,
                    "ms": ms,
                    "bytes_per_item": row["index_bytes"] / part["n_database"],
                }
                for rescored, recall, ms in orders
                if recall is not None
            ]
    return pd.DataFrame(rows).astype({"n_bits": "Int64", "setting": "Int64"})


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

    Returns
    -------
    DataFrame
        index, setting, recall@k of exact Hamming search (percent), search (ms a query), build (s), memory (MB).
    """
    part = results["sets"][name]
    rows = [
        {
            "index": INDEX_LABELS[row["index"]],
            "setting": spelled_setting(INDEX_LABELS[row["index"]], row["setting"]),
            f"recall@{k} of exact search (%)": round(100 * row[f"hamming_{k}"], 1),
            "search (ms a query)": round(row["search_ms"], 3),
            "build (s)": round(row["build_seconds"], 2),
            "memory (MB)": round(row["index_bytes"] / 1e6, 1),
        }
        for row in part["rows"]
        if (row["label"], row["n_bits"], row["candidates"]) == (label, n_bits, 100)
    ]
    return pd.DataFrame(rows).set_index(["index", "setting"])


def fastest(table: pd.DataFrame, target: float) -> pd.DataFrame:
    """Of each set the fastest search that reaches a recall, without float search.

    Parameters
    ----------
    table : DataFrame
        See `search_table`.
    target : float
        Recall in [0, 1].

    Returns
    -------
    DataFrame
        One row a set that has such a search, as in `table`, with ``speedup``: float search's time over its own.
    """
    floats = table[table["n_bits"].isna()].set_index("set")["ms"]
    codes = table[table["n_bits"].notna() & (table["recall"] >= target)]
    best = codes.sort_values("ms").drop_duplicates("set").set_index("set")
    order = [name for name in table["set"].unique() if name in best.index]
    best = best.loc[order].assign(speedup=lambda chosen: floats[chosen.index] / chosen["ms"])
    return best.reset_index()
