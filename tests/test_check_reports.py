"""Reports of checks and benchmarks as tables, on made-up reports and on those that are committed."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pytest

from benchmarks.bench_training import operations_of_a_step
from benchmarks.check_clean import counts, points
from benchmarks.check_fuzz import failures
from sdclib.analysis.check_reports import (
    Bar,
    bar_table,
    clean_table,
    determinism_table,
    encoding_table,
    fuzz_table,
    kill_table,
    mutation_table,
    origin,
    reason_table,
    training_rates,
)
from sdclib.figures.speed import plot_rates
from sdclib.files import read_json
from sdclib.presets import PRESETS
from sdclib.provenance import PROJECT_ROOT, machine


class TestBars:
    @pytest.mark.parametrize(
        ("found", "limit", "met"),
        [
            (0.6, {"least": 0.6}, True),
            (0.59, {"least": 0.6}, False),
            (0, {"most": 0}, True),
            (1, {"most": 0}, False),
        ],
    )
    def test_a_bar_is_met_at_or_beyond_it(self, found: float, limit: dict[str, float], met: bool) -> None:
        bar = Bar("share", found, **limit)
        assert bar.met == met
        assert bar.said.endswith("is met" if met else "is missed")

    def test_spelled_out(self) -> None:
        bars = [
            Bar("speed", 1.978, least=2, decimals=2),
            Bar("kills", 1200, least=50),
            Bar("problems", 1, most=0),
            Bar("killed", 96.63, least=90, decimals=1, unit=" %"),
        ]
        assert bars[0].said == "the bar, at least 2, is missed"
        table = bar_table(bars)
        assert table.loc["speed"].tolist() == ["1.98", "at least 2", "no"]
        assert table.loc["kills"].tolist() == ["1,200", "at least 50", "yes"]
        assert table.loc["killed"].tolist() == ["96.6 %", "at least 90 %", "yes"]
        assert table.loc["problems"].tolist() == ["1", "at most 0", "no"]

    @pytest.mark.parametrize("limits", [{}, {"least": 1, "most": 2}])
    def test_one_limit_is_needed(self, limits: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="least, most: expected one of them for 'x', got"):
            Bar("x", 1, **limits)


class TestOrigin:
    def test_of_a_benchmark(self) -> None:
        report = {
            "machine": {"cpu": "Some CPU", "cores": 2, "load_average": 6.16, "memory_gb": 8},
            "threads": 1,
            "commit": "abc-dirty",
        }
        assert origin(report) == (
            "Some CPU, 2 cores, 1 thread, load average 6.2 at the end, commit abc with changes"
        )

    def test_of_a_check(self) -> None:
        report = {"machine": {"processor": "Some CPU", "cores": 4, "threads": 2}, "commit": "abc"}
        assert origin(report) == "Some CPU, 4 cores, 2 threads, commit abc"

    def test_a_commit_that_is_not_known_is_said_to_be_so(self) -> None:
        for report in ({}, {"commit": None}):
            said = origin({"machine": {"cpu": "Some CPU", "cores": 2}, **report})
            assert said == "Some CPU, 2 cores, commit not recorded"

    def test_of_this_machine(self) -> None:
        assert f"{machine()['cores']} cores" in origin({"machine": machine()})


MUTATION = {
    "modules": {
        "sdclib.losses.pairs": {"killed": 7, "survived": 3},
        "sdclib.calibration": {"killed": 8},
        "sdclib.metrics.ties": {"killed": 9, "survived": 1, "timeout": 1, "segfault": 2},
    },
    "survivors": [
        {"module": "sdclib.losses.pairs", "function": "f", "reason": "It is the default."},
        {"module": "sdclib.losses.pairs", "function": "f", "reason": "It saves time."},
        {"module": "sdclib.losses.pairs", "function": "g", "reason": "It saves time."},
        {"module": "sdclib.metrics.ties", "function": "h", "reason": "It saves time."},
    ],
}


class TestMutation:
    def test_counts_by_module_and_in_all(self) -> None:
        table = mutation_table(MUTATION)
        assert table.index.tolist() == ["losses.pairs", "calibration", "metrics.ties", "all"]
        assert table.loc["losses.pairs"].tolist() == [10, 7, 70, 3]
        assert table.loc["metrics.ties"].tolist() == [13, 9, 69.2, 1]
        assert table.loc["all"].tolist() == [31, 24, 77.4, 4]

    def test_reasons_the_most_frequent_first(self) -> None:
        table = reason_table(MUTATION)
        assert table["survivors"].to_dict() == {"It saves time.": 3, "It is the default.": 1}

    def test_a_survivor_without_a_reason_is_named(self) -> None:
        survivors = [*MUTATION["survivors"], {"module": "m", "function": "k", "reason": None}]
        with pytest.raises(ValueError, match=r"expected a reason for every survivor, got none for m\.k"):
            reason_table({"survivors": survivors})

    def test_the_committed_report(self) -> None:
        report = read_json(PROJECT_ROOT / "results" / "mutation.json")
        table = mutation_table(report)
        assert table.loc["all", "mutants"] == sum(report["total"].values())
        assert table.loc["all", "killed"] == report["total"]["killed"]
        assert (
            table.loc["all", "survived"]
            == len(report["survivors"])
            == reason_table(report)["survivors"].sum()
        )


def test_kills_by_work_with_problems_of_each() -> None:
    report = {
        "kills": {"extraction": 21, "sweep": 12},
        "in_a_write": {"extraction": 9, "sweep": 4},
        "rounds": {"extraction": 5, "sweep": 3},
        "seconds": {"extraction": 100.4, "sweep": 300.6},
        "problems": ["sweep, after 3 kills: x is missing", "sweep, after 12 kills: extraction, is left"],
    }
    table = kill_table(report)
    assert table.columns.tolist() == ["kills", "in a write", "rounds", "problems", "seconds"]
    assert table.loc["extraction of features"].tolist() == [21, 9, 5, 0, 100]
    assert table.loc["a sweep, two runs at a time"].tolist() == [12, 4, 3, 2, 301]


def test_what_changes_most_with_threads_comes_first() -> None:
    report = {
        "methods": {
            "itq": {"repeated_the_same": True, "bits_that_differ": 0.001, "map_points": 0.1},
            "sdc": {"repeated_the_same": False, "bits_that_differ": 0.25, "map_points": -2.0},
            "lsh": {"repeated_the_same": True, "bits_that_differ": 0.0, "map_points": 0.0},
        }
    }
    table = determinism_table(report)
    assert table.index.tolist() == ["SDC", "ITQ", "LSH"]
    assert table.loc["SDC"].tolist() == ["differ", 25.0, -2.0]
    assert table["repeats"].tolist() == ["differ", "same", "same"]


def training_report() -> dict[str, Any]:
    operations = operations_of_a_step(1280, 4096, 64)
    seconds = {"products": 0.008, "optimizer": 0.002, "library": 0.0125, "plain": 0.025}
    return {"peak": 3e11, "rows": 5000, "paper": {"achieved": operations / 0.0125, "seconds_a_step": seconds}}


class TestTraining:
    def test_rates_by_the_operations_of_a_step(self) -> None:
        rates = training_rates(training_report(), "paper")
        operations = 2 * 64 * (2 * 1280 * 4096 + 3 * 4096 * 64)
        assert rates["rate"].tolist() == pytest.approx(
            [300, *(operations / 1e9 / s for s in (0.008, 0.01, 0.0125, 0.025))]
        )
        assert rates["milliseconds"].tolist()[1:] == pytest.approx([8, 10, 12.5, 25])
        assert rates["share"].tolist() == pytest.approx((rates["rate"] / 300).tolist())

    @pytest.mark.parametrize("preset", ["nonesuch", "rows"])
    def test_other_presets_are_refused(self, preset: str) -> None:
        with pytest.raises(
            ValueError, match=f"preset: expected one that the benchmark measured, got '{preset}'"
        ):
            training_rates(training_report(), preset)

    def test_the_committed_report_has_the_shares_that_it_says(self) -> None:
        report = read_json(PROJECT_ROOT / "results" / "bench_training.json")
        for preset in ("paper", "release"):
            rates, found = training_rates(report, preset), report[preset]
            assert rates.loc["this library", "share"] == pytest.approx(found["achieved_over_peak"])
            assert rates.loc["products and optimizer", "share"] == pytest.approx(found["bound_over_peak"])
            settings = PRESETS[preset]
            width = settings.hidden_features or report["features"]
            operations = operations_of_a_step(report["features"], width, settings.batch_size)
            assert rates.loc["products alone", "rate"] == pytest.approx(
                operations / found["seconds_a_step"]["products"] / 1e9
            )

    def test_the_figure_has_a_bar_each_and_the_wanted_share(self) -> None:
        rates = training_rates(training_report(), "paper")
        figure = plot_rates(rates, 0.6)
        (axes,) = figure.axes
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(rates["rate"].tolist())
        (line,) = axes.lines
        assert line.get_xdata()[0] == pytest.approx(180)
        plt.close(figure)


def test_encoding_by_the_widths_of_the_head() -> None:
    report = {
        "heads": {
            "release": {
                "widths": [1280, 1280, 64],
                "products_seconds": 20.0,
                "encode_seconds": 25.0,
                "ratio": 0.8,
                "file": {"peak_mb": 750.0, "peak_mb_of_imports": 735.5},
            }
        }
    }
    table = encoding_table(report)
    assert table.loc["1,280 → 1,280 → 64"].tolist() == [20, 25, 0.8, 14.5]


def test_fuzzing_by_reader_and_kind() -> None:
    report = {
        "made_up": {"index": {"examples": 601, "seconds": 44.3, "problem": "..."}},
        "guided": {
            "npz": {"files": 26489, "seconds": 60, "problem": None},
            "index": {"files": 5, "seconds": 6, "problem": None},
        },
    }
    table = fuzz_table(report)
    assert table.index.tolist() == ["search index", ".npz", "search index"]
    assert table["files"].tolist() == [601, 26489, 5]
    assert table["files came"].tolist() == ["made up", "guided", "guided"]
    assert table["minutes"].tolist() == [0.7, 1.0, 0.1]
    assert table["problems"].tolist() == [1, 0, 0]


def test_empty_machines_in_the_order_of_python() -> None:
    found = {
        "system": "Some Linux",
        "failed": [],
        "seconds": {"env": 60.0, "study": 120.0, "test": 600.0},
        "tests": {"passed": 12, "skipped": 2},
        "cells": {"passed": 7},
        "main_table": {"rows": 30, "map_points": 0.25},
    }
    broken = {"python": "3.9.2", "system": "Old Linux", "failed": ["env"], "seconds": {"env": 6.0}}
    failing = found | {
        "python": "3.12.1",
        "failed": ["test"],
        "tests": {"passed": 9, "failed": 3, "errors": 1},
    }
    table = clean_table({"3.13": found | {"python": "3.13.5"}, "3.12": failing, "3.9": broken})
    assert table.index.tolist() == ["3.9.2", "3.12.1", "3.13.5"]
    assert table["failed commands"].tolist() == ["env", "test", "none"]
    assert table["tests"].tolist() == [0, 9, 12]
    assert table["failed"].tolist() == [0, 4, 0]
    assert table.loc["3.13.5", ["env", "study", "test", "mAP"]].tolist() == [1, 2, 10, 0.25]
    assert table.loc["3.9.2", ["study", "mAP"]].isna().all()


def test_sums_of_pytest_are_read() -> None:
    output = """\
5 passed in the middle of a line in 3.2s of text
FAILED tests/test_x.py::test_y - 3 passed in 1s
============ 2 failed, 2925 passed, 25 skipped, 182 xfailed, 1 warning in 591.23s (0:09:51) ============
350 passed in 160.1s (0:02:40)
"""
    assert counts(output) == [
        {"failed": 2, "passed": 2925, "skipped": 25, "xfailed": 182},
        {"passed": 350},
    ]


def test_tables_are_compared_row_by_row() -> None:
    head = "data,method,n_bits,seed,parameters,map_expected\n"
    committed = head + "d,itq,16,0,{},0.5\nd,lsh,16,0,{},0.25\n"
    assert points(head + "d,lsh,16,0,{},0.26\nd,itq,16,0,{},0.5\n", committed) == {
        "rows": 2,
        "map_points": pytest.approx(1.0),
    }
    with pytest.raises(ValueError, match="expected the 2 rows of the committed table, got 1"):
        points(head + "d,lsh,16,0,{},0.26\n", committed)


def test_what_failed_is_kept_without_statistics() -> None:
    output = (
        "...F\n=== FAILURES ===\nDraw 1: b'x'\n=== Hypothesis Statistics ===\n60 passing\n= 1 failed in 2s ="
    )
    assert failures(output) == "Draw 1: b'x'"
    assert failures("no such file") == "no such file"
