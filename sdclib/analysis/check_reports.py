"""What checks and benchmarks found, from their reports under ``results/``: tables, and bars to be met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sdclib.tables import METHOD_LABELS

__all__ = [
    "Bar",
    "bar_table",
    "clean_table",
    "determinism_table",
    "encoding_table",
    "fuzz_table",
    "kill_table",
    "mutation_table",
    "origin",
    "reason_table",
    "training_rates",
]

WORK_LABELS = {
    "extraction": "extraction of features",
    "training": "one training",
    "sweep": "a sweep, two runs at a time",
    "collection": "tables of a sweep",
}
READER_LABELS = {
    "cache": "feature cache",
    "index": "search index",
    "lists": "splits, labels and lists",
    "models": "models and checkpoints",
    "pickles": "ground truth of landmark sets",
    "records": "run records and sweeps",
    "vectors": "files of vectors",
    "pickle": "pickles",
    "csv": "CSV",
    "words": "labels of Corel-5k",
    "list": "split lists",
    "npy": ".npy",
    "npz": ".npz",
    "safetensors": ".safetensors",
}


@dataclass(frozen=True)
class Bar:
    """A figure, and what it has to reach or must not exceed.

    Parameters
    ----------
    check : str
        What the figure is.
    found : float
    least, most : float or None
        One of the two.
    decimals : int
        Of the figure where it is spelled out.
    unit : str
        What is spelled after a number, such as ``" %"``.

    Raises
    ------
    ValueError
        If none or both of least and most are given.
    """

    check: str
    found: float
    least: float | None = None
    most: float | None = None
    decimals: int = 0
    unit: str = ""

    def __post_init__(self) -> None:
        if (self.least is None) == (self.most is None):
            raise ValueError(
                f"least, most: expected one of them for {self.check!r}, got {self.least!r} and {self.most!r}"
            )

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of the bar, or on it."""
        if self.least is not None:
            return self.found >= self.least
        return self.most is not None and self.found <= self.most

    @property
    def wanted(self) -> str:
        """The bar spelled out, such as ``"at least 0.6"``."""
        word, value = ("at most", self.most) if self.least is None else ("at least", self.least)
        return f"{word} {value:g}{self.unit}"

    @property
    def said(self) -> str:
        """Say whether the bar is met: ``"the bar, at least 0.6, is missed"``."""
        return f"the bar, {self.wanted}, is {'met' if self.met else 'missed'}"


def bar_table(bars: Iterable[Bar]) -> pd.DataFrame:
    """Lay bars out.

    Returns
    -------
    DataFrame
        Index check; found, bar, met ("yes" or "no").
    """
    rows = [
        {
            "check": bar.check,
            "found": f"{bar.found:,.{bar.decimals}f}{bar.unit}",
            "bar": bar.wanted,
            "met": "yes" if bar.met else "no",
        }
        for bar in bars
    ]
    return pd.DataFrame(rows, columns=["check", "found", "bar", "met"]).set_index("check")


def origin(report: Mapping[str, Any]) -> str:
    """Say on which machine and from which commit a report comes, in one line.

    Parameters
    ----------
    report : mapping
        With machine (of `sdclib.provenance.machine`, or with cpu and load_average as benchmarks write it), and
        with commit and threads where they are known.
    """
    machine = report["machine"]
    parts = [machine.get("processor") or machine["cpu"], f"{machine['cores']} cores"]
    if threads := report.get("threads") or machine.get("threads"):
        parts.append(f"{threads} thread{'s' * (threads != 1)}")
    if "load_average" in machine:
        parts.append(f"load average {machine['load_average']:.1f} at the end")
    commit, _, changed = (report.get("commit") or "not recorded").partition("-")
    parts.append(f"commit {commit}{' with changes' if changed else ''}")
    return ", ".join(parts)


def mutation_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Count mutants by module.

    Parameters
    ----------
    report : mapping
        Content of ``results/mutation.json``, see ``scripts/mutation.py``.

    Returns
    -------
    DataFrame
        Index module (without the library's name, the last row is "all"); mutants, killed, killed (%), survived. What
        is neither killed nor survives stopped the tests in another way: it crashed them or took too long.
    """
    survivors = pd.Series([mutant["module"] for mutant in report["survivors"]], dtype=str).value_counts()
    rows = {
        name.removeprefix("sdclib."): {
            "mutants": sum(counts.values()),
            "killed": counts.get("killed", 0),
            "survived": survivors.get(name, 0),
        }
        for name, counts in report["modules"].items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.loc["all"] = table.sum()
    table.insert(2, "killed (%)", (100 * table["killed"] / table["mutants"]).round(1))
    return table.rename_axis("module")


def reason_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Count survivors of mutation testing by the reason that is given for them, the most frequent first.

    Parameters
    ----------
    report : mapping
        See `mutation_table`.

    Returns
    -------
    DataFrame
        Index reason; survivors.

    Raises
    ------
    ValueError
        If a survivor has no reason; the message names its module and function.
    """
    for mutant in report["survivors"]:
        if not mutant["reason"]:
            raise ValueError(
                f"report: expected a reason for every survivor, got none for {mutant['module']}.{mutant['function']}"
            )
    reasons = pd.Series([mutant["reason"] for mutant in report["survivors"]], dtype=str)
    return reasons.value_counts().rename_axis("reason").to_frame("survivors")


def kill_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out what was killed.

    Parameters
    ----------
    report : mapping
        Content of ``results/check_faults.json``, see ``benchmarks/check_faults.py``.

    Returns
    -------
    DataFrame
        Index work; kills, in a write (kills that left a half-written file), rounds (times the work was begun afresh,
        the first of them undisturbed), problems, seconds.
    """
    rows = [
        {
            "work": WORK_LABELS.get(name, name),
            "kills": kills,
            "in a write": report["in_a_write"][name],
            "rounds": report["rounds"][name],
            "problems": sum(problem.startswith(f"{name}, ") for problem in report["problems"]),
            "seconds": round(report["seconds"][name]),
        }
        for name, kills in report["kills"].items()
    ]
    return pd.DataFrame(rows).set_index("work")


def determinism_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out what repeated fits and another number of threads change, what changes most first.

    Parameters
    ----------
    report : mapping
        Content of ``results/check_determinism.json``, see ``benchmarks/check_determinism.py``.

    Returns
    -------
    DataFrame
        Index method; repeats ("same" or "differ"), bits (percent of the database's that differ between one and two
        threads), mAP (points with two threads less those with one).
    """
    rows = [
        {
            "method": METHOD_LABELS.get(name, name),
            "repeats": "same" if found["repeated_the_same"] else "differ",
            "bits": 100 * found["bits_that_differ"],
            "mAP": found["map_points"],
        }
        for name, found in report["methods"].items()
    ]
    table = pd.DataFrame(rows).set_index("method")
    return table.sort_values("bits", ascending=False, kind="stable")


def training_rates(report: Mapping[str, Any], preset: str) -> pd.DataFrame:
    """Rates of one training step's matrix products, from what alone bounds them to what loops reach.

    Parameters
    ----------
    report : mapping
        Content of ``results/bench_training.json``, see ``benchmarks/bench_training.py``.
    preset : str
        One that was measured.

    Returns
    -------
    DataFrame
        Index what; milliseconds (a step; missing for the peak), rate (10^9 operations of the products a second),
        share (of the peak).

    Raises
    ------
    ValueError
        If the preset was not measured.
    """
    if not isinstance(found := report.get(preset), Mapping):
        raise ValueError(f"preset: expected one that the benchmark measured, got {preset!r}")
    seconds = found["seconds_a_step"]
    operations = found["achieved"] * seconds["library"]
    steps = {
        "products alone": seconds["products"],
        "products and optimizer": seconds["products"] + seconds["optimizer"],
        "this library": seconds["library"],
        "plain loop": seconds["plain"],
    }
    table = pd.DataFrame({"milliseconds": {"peak": None} | {name: 1e3 * s for name, s in steps.items()}})
    table["rate"] = [report["peak"] / 1e9, *(operations / s / 1e9 for s in steps.values())]
    table["share"] = table["rate"] / table["rate"].iloc[0]
    return table.astype(float).rename_axis("what")


def encoding_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out the time and memory of encoding.

    Parameters
    ----------
    report : mapping
        Content of ``results/bench_encoding.json``, see ``benchmarks/bench_encoding.py``.

    Returns
    -------
    DataFrame
        Index head (widths of its layers, from features to bits); products and encoding (seconds of vectors in memory),
        ratio (of the first to the second), more memory (MB beyond the imported libraries, of a process that encodes the
        vectors from a file).
    """
    rows = [
        {
            "head": " → ".join(f"{width:,}" for width in found["widths"]),
            "products": found["products_seconds"],
            "encoding": found["encode_seconds"],
            "ratio": found["ratio"],
            "more memory": found["file"]["peak_mb"] - found["file"]["peak_mb_of_imports"],
        }
        for found in report["heads"].values()
    ]
    return pd.DataFrame(rows).set_index("head")


def fuzz_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Count the files that readers were given.

    Parameters
    ----------
    report : mapping
        Content of ``results/check_fuzz.json``, see ``benchmarks/check_fuzz.py``.

    Returns
    -------
    DataFrame
        Index reader; files came ("made up" by rules, or "guided" by what the code's lines did with those before),
        files, minutes, problems (0 or 1).
    """
    rows = [
        {
            "reader": READER_LABELS.get(name, name),
            "files came": came,
            "files": found[files],
            "minutes": round(found["seconds"] / 60, 1),
            "problems": int(found["problem"] is not None),
        }
        for kind, came, files in (("made_up", "made up", "examples"), ("guided", "guided", "files"))
        for name, found in report[kind].items()
    ]
    return pd.DataFrame(rows).set_index("reader")


def clean_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out what the README's commands did on an empty machine, by version of Python.

    Parameters
    ----------
    report : mapping
        Content of ``results/check_clean.json``, see ``benchmarks/check_clean.py``.

    Returns
    -------
    DataFrame
        Index Python; system, commands that failed (spelled out, "none" if none did), tests and cells that passed and
        that failed, minutes of each command, mAP (largest difference in points between the main table that was
        made and the committed one).
    """
    rows = {}
    for found in sorted(report.values(), key=lambda entry: [int(n) for n in entry["python"].split(".")]):
        outcomes = [found.get(kind, {}) for kind in ("tests", "cells")]
        rows[found["python"]] = {
            "system": found["system"],
            "failed commands": ", ".join(found["failed"]) or "none",
            "tests": outcomes[0].get("passed", 0),
            "cells": outcomes[1].get("passed", 0),
            "failed": sum(counts.get(bad, 0) for counts in outcomes for bad in ("failed", "error", "errors")),
            **{name: seconds / 60 for name, seconds in found["seconds"].items()},
            "mAP": found.get("main_table", {}).get("map_points", float("nan")),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Python")
