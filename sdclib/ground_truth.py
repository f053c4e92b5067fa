"""Ground truth of landmark retrieval: GLDv2's solution, the pickles of revisited Oxford and Paris."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_name
from sdclib.plain_pickle import read_plain_pickle
from sdclib.vectors import read_csv

__all__ = ["PROTOCOLS", "read_gnd", "read_solution"]

PROTOCOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""Lists of the revisited sets that are relevant, and those that are junk, by protocol."""

LISTS = ("easy", "hard", "junk")
USAGE = ("Public", "Private", "Ignored")


def read_solution(path: Path | str, *, usage: Sequence[str] = ("Public", "Private")) -> dict[str, list[str]]:
    """Read GLDv2's retrieval solution: columns ``id,images,Usage``, the index ids separated by blanks.

    Parameters
    ----------
    path : path-like
    usage : sequence of {"Public", "Private"}
        Which queries to keep; "Ignored" ones, whose list is "None", never are.

    Returns
    -------
    dict of str to list of str
        Relevant index ids by query id, in the file's order.

    Raises
    ------
    ValueError
        If the file is missing or a line is not as described; the message names the line.
    """
    path = Path(path)
    for name in usage:
        check_name(name, "usage", USAGE[:2])
    if not path.is_file():
        raise ValueError(f"{path}: expected GLDv2's retrieval solution, found none")
    table = read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != ["id", "images", "Usage"]:
        raise ValueError(
            f"{path}: expected the columns id,images,Usage, got {','.join(map(str, table.columns))}"
        )
    solution: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, (query, images, use) in enumerate(table.itertuples(index=False, name=None), start=2):
        where = f"{path}, line {number}"
        if use not in USAGE:
            raise ValueError(f"{where}: expected Usage to be one of {', '.join(USAGE)}, got {use!r}")
        if query in seen:
            raise ValueError(f"{where}: expected every query once, got {query} again")
        seen.add(query)
        if use not in usage:
            continue
        ids = images.split()
        if not ids or ids == ["None"]:
            raise ValueError(f"{where}: expected index ids of the {use} query {query}, got {images!r}")
        if len(set(ids)) != len(ids):
            raise ValueError(f"{where}: expected every index id once, got some twice")
        solution[query] = ids
    if not solution:
        raise ValueError(f"{path}: expected at least one {' or '.join(usage)} query, found none")
    return solution


def read_gnd(path: Path | str) -> dict[str, Any]:
    """Read a revisited set's ground truth pickle, without running what it may hold.

    Returns
    -------
    dict
        ``imlist``, ``qimlist``: names of the database's and the queries' images; ``gnd``: one dict a query with the
        lists ``easy``, ``hard``, ``junk``: int64 indices into `imlist`.

    Raises
    ------
    ValueError
        If the file is missing, holds anything but plain data, or is not of this form; the message says what.
    """
    raw = read_plain_pickle(path)
    if not isinstance(raw, dict) or not {"imlist", "qimlist", "gnd"} <= set(raw):
        names = sorted(key for key in raw if isinstance(key, str)) if isinstance(raw, dict) else []
        got = names or type(raw).__name__
        raise ValueError(f"{path}: expected a dict with imlist, qimlist and gnd, got {got}")
    for key in ("imlist", "qimlist"):
        names = raw[key]
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: expected {key} to be a list of names")
        if len(set(names)) != len(names):
            raise ValueError(f"{path}: expected every name of {key} once, got some twice")
    if not isinstance(raw["gnd"], list) or len(raw["gnd"]) != len(raw["qimlist"]):
        raise ValueError(
            f"{path}: expected gnd to be a list with one entry for each of {len(raw['qimlist'])} queries"
        )
    truth = []
    for number, entry in enumerate(raw["gnd"]):
        if not isinstance(entry, dict) or not set(LISTS) <= set(entry):
            raise ValueError(
                f"{path}: expected lists easy, hard and junk of query {number} (the sets revisited in 2018; the "
                "older 'ok' lists are another ground truth)"
            )
        lists = {
            key: _indices(entry[key], len(raw["imlist"]), f"{path}: query {number}, {key}") for key in LISTS
        }
        together = np.concatenate(list(lists.values()))
        if len(np.unique(together)) != len(together):
            raise ValueError(
                f"{path}: expected every image in at most one list of query {number}, got some twice"
            )
        truth.append(lists)
    return {"imlist": raw["imlist"], "qimlist": raw["qimlist"], "gnd": truth}


def _indices(values: Any, n: int, where: str) -> NDArray[np.int64]:
    flat = isinstance(values, np.ndarray) or (
        isinstance(values, list | tuple) and all(isinstance(value, int | np.integer) for value in values)
    )
    array = np.asarray(values) if flat else np.zeros(())
    if array.shape == (0,):
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= n:
        raise ValueError(f"{where}: expected indices from 0 to {n - 1}")
    return array.astype(np.int64)
