"""What happens from epoch to epoch of a training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from study.chapters.training_effects import SETTINGS
from study.tables import mean_interval

__all__ = ["best_less_last", "by_epoch", "epoch_noise", "fall_gain", "first_within"]


def by_epoch(results: pd.DataFrame, metric: str = "map_expected") -> pd.DataFrame:
    """Trainings that were looked at after several epochs: the metric by epoch and seed.

    Parameters
    ----------
    results : DataFrame
        See `study.chapters.training_effects.with_settings`; the runs differ in epochs and seed alone.
    metric : str
        A column of `results`.

    Returns
    -------
    DataFrame
        Index epochs, a seed a column; percent.

    Raises
    ------
    ValueError
        If other settings differ too, or a seed lacks an epoch.
    """
    others = [name for name in SETTINGS if name != "epochs"]
    if differ := [name for name in others if results[name].nunique() > 1]:
        raise ValueError(
            f"results: expected runs that differ in epochs alone, got several {', '.join(differ)}"
        )
    table = 100 * results.pivot_table(index="epochs", columns="seed", values=metric)
    if table.isna().any(axis=None):
        raise ValueError("results: expected the same epochs of every seed, got some without")
    return table.sort_index()


def _window(table: pd.DataFrame, epochs: tuple[int, int]) -> pd.DataFrame:
    found = table.loc[epochs[0] : epochs[1]]
    if len(found) < 2:
        raise ValueError(
            f"epochs: expected at least two epochs from {epochs[0]} to {epochs[1]}, got {len(found)}"
        )
    return found


def epoch_noise(table: pd.DataFrame, epochs: tuple[int, int]) -> float:
    """Pool the standard deviation of a training over some of its epochs over seeds, in points.

    Parameters
    ----------
    table : DataFrame
        See `by_epoch`.
    epochs : (first, last)
        At least two epochs of the table lie there.

    Raises
    ------
    ValueError
        If fewer do.
    """
    return float(np.sqrt(_window(table, epochs).var(ddof=1).mean()))


def fall_gain(
    table: pd.DataFrame, before: tuple[int, int], after: tuple[int, int]
) -> tuple[float, float, float]:
    """Mean over later epochs less that over earlier ones, in points, with the 95 % interval over seeds.

    Parameters
    ----------
    table : DataFrame
        See `by_epoch`.
    before, after : (first, last)

    Returns
    -------
    mean, low, high : float
    """
    mean, half = mean_interval(_window(table, after).mean() - _window(table, before).mean())
    return mean, mean - half, mean + half


def best_less_last(table: pd.DataFrame) -> pd.Series:
    """Best epoch of each seed less its last one, in points: never below 0; see `by_epoch`."""
    return table.max() - table.iloc[-1]


def first_within(table: pd.DataFrame, points: float) -> int:
    """First epoch from which on the mean over seeds stays within `points` of that of the last; see `by_epoch`."""
    near = (table.mean(axis=1) - table.mean(axis=1).iloc[-1]).abs() <= points
    return int(near[::-1].cumprod()[::-1].idxmax())
