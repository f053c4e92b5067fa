"""Verdicts follow the intervals, on the side that a claim is on."""

import pandas as pd
import pytest

from study.chapters.verdicts import Claim, claim_table, judge


def rows(*intervals):
    return pd.DataFrame(
        [{"mean": (low + high) / 2, "low": low, "high": high} for low, high in intervals],
        columns=["mean", "low", "high"],
    )


@pytest.mark.parametrize(
    ("intervals", "side", "expected"),
    [
        ([(1, 3), (2, 4)], "above", "[Re]"),
        ([(1, 3), (2, 4)], "below", "[¬Re]"),
        ([(1, 3), (-1, 4)], "above", "[Re] in part"),
        ([(1, 3), (-4, -2)], "below", "mixed"),
        ([(-1, 3), (-4, -2)], "above", "[¬Re]"),
        ([(-1, 3), (-2, 4)], "above", "undecided"),
        ([(-3, -1)], "below", "[Re]"),
    ],
)
def test_the_verdict_is_that_of_the_intervals(intervals, side, expected):
    assert judge(Claim("x", rows(*intervals), side)) == expected


@pytest.mark.parametrize(("side", "counts"), [("below", (2, 1, 1)), ("above", (1, 2, 1))])
def test_the_table_counts_for_against_and_undecided(side, counts):
    claim = Claim("x", rows((1, 3), (-4, -2), (-1, 1), (-2, -1)), side)
    row = claim_table([claim]).loc["x"]
    assert (row["for"], row["against"], row["undecided"]) == counts
    assert row["verdict"] == "mixed"
    assert row["points"] == "-3.0 to +2.0"


def test_a_claim_needs_evidence_and_a_side():
    with pytest.raises(
        ValueError, match="rows: expected at least one difference that bears on 'x', got none"
    ):
        Claim("x", rows(), "above")
    with pytest.raises(ValueError, match="side: expected one of"):
        Claim("x", rows((0, 1)), "left")
