"""The recorded mutation run: enough mutants killed, and a reason for each that was not."""

from __future__ import annotations

import re
import tomllib

import pytest

from scripts.mutation import DETECTED, LEAST_KILLED, MUTANT, REASONS, find_reason
from sdclib.files import read_json
from study.provenance import PROJECT_ROOT

RECORD = PROJECT_ROOT / "results" / "mutation.json"


@pytest.fixture(scope="module")
def record():
    if not RECORD.is_file():
        pytest.skip(f"{RECORD} is not there: make mutation")
    return read_json(RECORD)


def test_counts_agree_and_enough_are_killed(record):
    total = record["total"]
    for status in set(total):
        assert total[status] == sum(counts.get(status, 0) for counts in record["modules"].values())
    assert record["killed_share"] == pytest.approx(total["killed"] / sum(total.values()), abs=1e-4)
    assert record["killed_share"] >= LEAST_KILLED
    assert sum(n for status, n in total.items() if status not in DETECTED) == len(record["survivors"])


def test_every_module_was_mutated(record):
    modules = set()
    for package in ("losses", "metrics"):
        paths = (PROJECT_ROOT / "sdclib" / package).glob("*.py")
        modules |= {f"sdclib.{package}.{path.stem}" for path in paths if path.stem != "__init__"}
    assert set(record["modules"]) == modules - {"sdclib.metrics.histograms"}  # compiled


def test_every_survivor_has_a_reason(record):
    assert [mutant for mutant in record["survivors"] if not mutant["reason"]] == []


def test_reasons_are_by_function_and_changed_line():
    entries = tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivor"]
    mutant = {
        "module": "sdclib.losses.pairs",
        "function": "pair_similarities",
        "after": "unit = normalize(batch, )",
    }
    assert find_reason(mutant, entries) == "The dimension is the function's default."
    assert find_reason(mutant | {"after": "unit = normalize(batch, dim=2)"}, entries) is None
    assert find_reason(mutant | {"module": "sdclib.metrics.counts"}, entries) is None


def test_the_settings_name_tests_that_are_there():
    named = re.findall(r"tests/\w+\.py", (PROJECT_ROOT / "scripts" / "mutation.cfg").read_text())
    assert named
    assert [name for name in named if not (PROJECT_ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("name", "module", "cls", "function"),
    [
        ("sdclib.metrics.ranking.x__hits_at_k__mutmut_49", "sdclib.metrics.ranking", None, "_hits_at_k"),
        (
            "sdclib.losses.calibration.xǁBetaǁ__str____mutmut_1",
            "sdclib.losses.calibration",
            "Beta",
            "__str__",
        ),
    ],
)
def test_names_of_mutants(name, module, cls, function):
    match = MUTANT.fullmatch(name)
    assert (match["module"], match["cls"], match["function"]) == (module, cls, function)
