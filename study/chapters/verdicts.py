"""What became of a claim: differences that bear on it, and the word for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sdclib.checks import check_name
from study.comparisons import tally

__all__ = ["SIDES", "Claim", "claim_table", "judge"]

SIDES = ("above", "below")
HELD, IN_PART, MIXED, NOT_HELD, OPEN = "[Re]", "[Re] in part", "mixed", "[¬Re]", "undecided"


@dataclass(frozen=True)
class Claim:
    """A claim and the differences that bear on it.

    Parameters
    ----------
    text : str
    rows : DataFrame
        mean, low, high, in points; see `study.comparisons.compared`.
    side : {"above", "below"}
        On which side of 0 a difference supports the claim.
    """

    text: str
    rows: pd.DataFrame
    side: str

    def __post_init__(self) -> None:
        check_name(self.side, "side", SIDES)
        if not len(self.rows):
            raise ValueError(f"rows: expected at least one difference that bears on {self.text!r}, got none")


def _counts(claim: Claim) -> tuple[int, int, int]:
    """Count the differences for the claim, against it, and undecided."""
    above, below, undecided = tally(claim.rows)
    return (above, below, undecided) if claim.side == "above" else (below, above, undecided)


def judge(claim: Claim) -> str:
    """Say whether a claim was found again.

    ``"[Re]"`` where every 95 % interval lies on the claim's side of 0, ``"[Re] in part"`` where some do and none lies
    on the other side, ``"mixed"`` where there are some on each, ``"[¬Re]"`` where some lie on the other side alone,
    and ``"undecided"`` where all hold 0.
    """
    supporting, against, _ = _counts(claim)
    if supporting == len(claim.rows):
        return HELD
    if supporting:
        return MIXED if against else IN_PART
    return NOT_HELD if against else OPEN


def claim_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Lay claims out: verdict; how many differences are for, against and undecided; their range in points."""
    rows = []
    for claim in claims:
        low, high = claim.rows["mean"].min(), claim.rows["mean"].max()
        rows.append((judge(claim), *_counts(claim), f"{low:+z.1f} to {high:+z.1f}"))
    return pd.DataFrame(
        rows,
        columns=["verdict", "for", "against", "undecided", "points"],
        index=pd.Index([claim.text for claim in claims], name="claim"),
    )
