"""Differences between methods over settings, in points with intervals, and words for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.tables import difference

__all__ = [
    "SET_NAMES",
    "brief",
    "by_setting",
    "compared",
    "difference_table",
    "differences",
    "ends",
    "listed",
    "reads_otherwise",
    "said",
    "set_name",
    "setting_name",
    "standing",
    "tally",
    "verdict",
]

SET_NAMES = {
    "cifar10-embedded": "CIFAR-10 (embedded)",
    "cifar10/efficientnet-lite0": "CIFAR-10",
    "caltech101/efficientnet-lite0": "Caltech-101",
    "corel5k/efficientnet-lite0": "Corel-5k",
    "coil20/efficientnet-lite0": "COIL-20",
    "embeddings/text/wordnet-nouns.npz": "WordNet (text)",
}


def set_name(data: str) -> str:
    """Name a data set as readers know it; what is added to its name, such as ``+unseen``, comes after a comma."""
    base, *suffixes = data.split("+")
    return ", ".join([SET_NAMES.get(base, base), *suffixes])


def setting_name(data: str, n_bits: int) -> str:
    """Name a data set and a code length: "Caltech-101, 64 bits"."""
    return f"{set_name(data)}, {n_bits} bits"


def differences(
    results: pd.DataFrame, pairs: Iterable[tuple[str, str]], n_bits: int, metric: str = "map_expected"
) -> pd.DataFrame:
    """Differences between pairs of labels, with Welch's 95 % intervals over seeds.

    Parameters
    ----------
    results : DataFrame
        Of one data set, see `study.tables.difference`.
    pairs : iterable of (first, second)
        Labels.
    n_bits : int
    metric : str

    Returns
    -------
    DataFrame
        first, second, mean, low, high; points.
    """
    rows = [(*pair, *difference(results, *pair, n_bits, metric)) for pair in pairs]
    return pd.DataFrame(rows, columns=["first", "second", "mean", "low", "high"])


def by_setting(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Give data set, code length and rows of each setting of a table, in its order."""
    for data, n_bits in table[["data", "n_bits"]].drop_duplicates().itertuples(index=False):
        yield str(data), int(n_bits), table[(table["data"] == data) & (table["n_bits"] == n_bits)]


def compared(
    results: pd.DataFrame, pairs: Iterable[tuple[str, str]], metric: str = "map_expected"
) -> pd.DataFrame:
    """Differences between pairs of labels in every data set and code length that has seeds of both.

    Parameters
    ----------
    results : DataFrame
        See `study.tables.read_results`; its order is that of the settings.
    pairs : iterable of (first, second)
        Labels.
    metric : str

    Returns
    -------
    DataFrame
        data, n_bits, setting (see `setting_name`) and the columns of `differences`.
    """
    tables = []
    for first, second in pairs:
        chosen = results[results["label"].isin([first, second])]
        for data, n_bits, here in by_setting(chosen):
            if (here["label"].value_counts().reindex([first, second]) > 1).all():
                table = differences(here, [(first, second)], n_bits, metric)
                tables.append(table.assign(data=data, n_bits=n_bits, setting=setting_name(data, n_bits)))
    if not tables:
        return pd.DataFrame(columns=["first", "second", "mean", "low", "high", "data", "n_bits", "setting"])
    return pd.concat(tables, ignore_index=True)


def listed(rows: pd.DataFrame) -> str:
    """Spell out the differences of `compared`, setting by setting."""
    return "; ".join(f"{row['setting']} {said(row)}" for row in rows.to_dict("records"))


def tally(rows: pd.DataFrame) -> tuple[int, int, int]:
    """Count the differences whose interval is above 0, below 0, and holds 0.

    Parameters
    ----------
    rows : DataFrame
        With low and high.
    """
    above, below = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    return above, below, len(rows) - above - below


def ends(rows: pd.DataFrame) -> str:
    """Spell the least and the greatest mean difference out: ``+1.2 to +3.4 points``, once where they are the same."""
    values = [f"{value:+z.1f}" for value in (rows["mean"].min(), rows["mean"].max())]
    return f"{' to '.join(dict.fromkeys(values))} points"


def verdict(rows: pd.DataFrame, what: str = "expected mAP") -> str:
    """Say in how many rows a difference is above zero, below zero, and neither, by its interval.

    Parameters
    ----------
    rows : DataFrame
        See `compared`.
    what : str
        What the metric is called.
    """
    n = len(rows)
    above, below, open_ = tally(rows)
    size = f"({ends(rows)})"
    if open_ == n:
        return f"neither raises nor lowers {what} by more than chance may: every interval holds 0 {size}"
    words = [(verb, count) for verb, count in (("raises", above), ("lowers", below)) if count]
    verb, count = words[0]
    if count == n:
        return f"{verb} {what} in {f'all {n} settings' if n > 1 else 'the one setting'} {size}"
    parts = [f"{verb} {what} in {count} of {n} settings"]
    parts += [f"{verb} it in {count}" for verb, count in words[1:]]
    if open_:
        parts.append(f"the interval holds 0 in {open_}")
    return f"{', '.join(parts[:-1])} and {parts[-1]} {size}"


def standing(rows: pd.DataFrame, second: str) -> str:
    """Say where a method stands to another: ahead of it, behind it, or level with it, where the interval holds 0.

    Parameters
    ----------
    rows : DataFrame
        See `compared`: differences of the method from the second one.
    second : str
        What the second one is called.
    """
    counts = dict(zip(("ahead of", "behind", "level with"), tally(rows), strict=True))
    words = [(word, count) for word, count in counts.items() if count]
    (word, count), *others = words
    if not others:
        return f"{word} {second}"
    *before, last = [f"{word} it in {count}" for word, count in others]
    return ", ".join([f"{word} {second} in {count} of {len(rows)} settings", *before]) + f" and {last}"


def reads_otherwise(rows: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which differences have their interval on another side of 0, or hold 0 in one table alone.

    Parameters
    ----------
    rows, others : DataFrame
        See `compared`; of the same pairs of labels in the same order.

    Raises
    ------
    ValueError
        If the pairs are not the same.
    """
    if (
        not rows[["first", "second"]]
        .reset_index(drop=True)
        .equals(others[["first", "second"]].reset_index(drop=True))
    ):
        raise ValueError("others: expected the same pairs of labels in the same order, got other ones")
    sides = [np.sign(table["low"].to_numpy()) + np.sign(table["high"].to_numpy()) for table in (rows, others)]
    return np.asarray(sides[0] != sides[1])


def difference_table(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lay differences out, a setting a row: ``+1.2 (0.8 to 1.6)``, and nothing where there is none.

    Parameters
    ----------
    rows : DataFrame
        See `contributions` and `compared`.
    column : str
        The column of `rows` whose values become columns.
    """
    cells = {(row["setting"], row[column]): brief(row) for row in rows.to_dict("records")}
    settings = list(dict.fromkeys(rows["setting"]))
    return pd.DataFrame(
        {
            name: [cells.get((setting, name), "") for setting in settings]
            for name in dict.fromkeys(rows[column])
        },
        index=pd.Index(settings, name="setting"),
    )


def brief(row: Mapping[Any, Any] | pd.Series) -> str:
    """Spell a difference out in brief: ``+1.2 (0.8 to 1.6)``; the row has mean, low and high."""
    return f"{row['mean']:+z.1f} ({row['low']:z.1f} to {row['high']:z.1f})"


def said(row: Mapping[Any, Any] | pd.Series) -> str:
    """Spell a difference out: ``+1.2 points (95 % interval 0.8 to 1.6)``; the row has mean, low and high."""
    return f"{row['mean']:+z.1f} points (95 % interval {row['low']:z.1f} to {row['high']:z.1f})"
