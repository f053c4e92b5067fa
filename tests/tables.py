"""Made-up tables of runs, as `study.tables.read_results` gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from study.tables import Config, read_results


def table_of(rows: Iterable[dict[str, Any]], path: Any) -> pd.DataFrame:
    """Write rows as a table of runs and read it; an id and the usual data, code length and seed are filled in."""
    usual = {"data": "tiny", "method": "sdc", "n_bits": 64, "seed": 0, "parameters": "{}"}
    table = pd.DataFrame([{"id": f"{i:04d}", **usual, **row} for i, row in enumerate(rows)])
    table.to_csv(path, index=False)
    return read_results(path)


def seeds_of(values: dict[Any, Sequence[float]], metric: str = "map_expected", **more: Any) -> pd.DataFrame:
    """Make a run a seed and configuration (or any other key), with the given values of a metric."""
    usual = {"data": "tiny", "n_bits": 64} | more
    rows = [
        {
            **usual,
            "config": key,
            "method": key.method if isinstance(key, Config) else "",
            "seed": seed,
            metric: value,
        }
        for key, of in values.items()
        for seed, value in enumerate(of)
    ]
    return pd.DataFrame(rows).astype({"n_bits": "Int64"})
