"""What happens from epoch to epoch of a training."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["by_epoch", "epoch_noise"]


def by_epoch(rows: pd.DataFrame, column: str = "epochs") -> pd.DataFrame:
    """Lay expected mAP of one training out by epoch (`column`) and seed, in percent.

    Raises
    ------
    ValueError
        If there is no row, or a seed lacks an epoch.
    """
    table = 100 * rows.pivot_table(index=column, columns="seed", values="map_expected")
    if table.empty or table.isna().any(axis=None):
        got = "none" if table.empty else "some without"
        raise ValueError(f"rows: expected the same epochs of every seed, got {got}")
    return table.sort_index()


def _window(table: pd.DataFrame, epochs: tuple[int, int]) -> pd.DataFrame:
    found = table.loc[epochs[0] : epochs[1]]
    if len(found) < 2:
        raise ValueError(
            f"epochs: expected at least two epochs from {epochs[0]} to {epochs[1]}, got {len(found)}"
        )
    return found


def epoch_noise(table: pd.DataFrame, epochs: tuple[int, int]) -> float:
    """Pool the standard deviation from the first to the last of some epochs over seeds, in points; see `by_epoch`."""
    return float(np.sqrt(_window(table, epochs).var(ddof=1).mean()))
