"""What became of a claim: differences that bear on it, and the word for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sdclib.checks import check_name
from study.stats import count_signs

__all__ = ["Claim", "claim_table", "judge"]


@dataclass(frozen=True)
class Claim:
    """A claim, the differences that bear on it (see `study.stats.compared`), and the side of 0 that supports it.

    Parameters
    ----------
    text : str
    rows : DataFrame
    side : {"above", "below"}
    """

    text: str
    rows: pd.DataFrame
    side: str

    def __post_init__(self) -> None:
        check_name(self.side, "side", ("above", "below"))
        if not len(self.rows):
            raise ValueError(f"rows: expected at least one difference that bears on {self.text!r}, got none")

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of differences for the claim, against it, and undecided."""
        above, below, undecided = count_signs(self.rows)
        return (above, below, undecided) if self.side == "above" else (below, above, undecided)


def judge(claim: Claim) -> str:
    """Say whether a claim was found again.

    ``"[Re]"`` where every 95 % interval lies on the claim's side of 0, ``"[Re] in part"`` where some do and none lies
    on the other side, ``"mixed"`` where there are some on each, ``"[¬Re]"`` where some lie on the other side alone,
    and ``"undecided"`` where all hold 0.
    """
    supporting, against, undecided = claim.counts
    if supporting and against:
        return "mixed"
    if supporting:
        return "[Re] in part" if undecided else "[Re]"
    return "[¬Re]" if against else "undecided"


def claim_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Lay claims out: verdict; how many differences are for, against and undecided; their range in points."""
    rows = {
        claim.text: [
            judge(claim),
            *claim.counts,
            f"{claim.rows['mean'].min():+z.1f} to {claim.rows['mean'].max():+z.1f}",
        ]
        for claim in claims
    }
    columns = ["verdict", "for", "against", "undecided", "points"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("claim")
