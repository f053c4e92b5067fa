"""Claims that are decided by a rule written first: ``config/claims.yaml`` has both, claims and rule."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sdclib.checks import check_name
from study.provenance import PROJECT_ROOT
from study.runs import claim_runs, expand_config, read_config

__all__ = ["WORDS", "Claim", "claims_of", "decide", "draws_text", "read_claims"]

WORDS = ("reproduced", "equivalent", "contradicted", "cannot tell")
COLUMNS = {"map": "ap", "intersection": "overlap"}  # of a table of queries, by the metric of a claim
KEY = ["data", "method", "n_bits", "parameters"]  # what the runs of a mean share
FIELDS = ("name", "sentence", "source", "metric", "side", "margin")  # of a claim, in the table of words
LEVEL = 0.05
Mean = tuple[str, str, int, str]  # the values of KEY
Values = tuple[NDArray[np.float64], NDArray[np.int64]]  # of seeds and queries; class of each query


@dataclass(frozen=True)
class Claim:
    """A claim; its fields but the last are those of ``config/claims.yaml``.

    `means` has the means over runs of which the effect is the weighted sum, with their weights.
    """

    name: str
    sentence: str
    source: str
    metric: str
    side: str
    margin: float
    least_seeds: int
    draws: bool
    means: Mapping[Mean, float]

    def __post_init__(self) -> None:
        check_name(self.metric, f"claim {self.name!r}: metric", COLUMNS)
        check_name(self.side, f"claim {self.name!r}: side", ("above", "below", "within"))


def read_claims(path: str | os.PathLike[str] = PROJECT_ROOT / "config" / "claims.yaml") -> list[Claim]:
    """Read the claims of a sweep's configuration; errors as `study.runs.read_config`."""
    return claims_of(read_config(path)[0])


def claims_of(config: Mapping[str, Any]) -> list[Claim]:
    """Make the claims of a sweep's configuration that has been read."""
    claims = []
    for claim in config["claims"]:
        means: dict[Mean, float] = {}
        for number, entry in enumerate(claim_runs(claim)):
            specs = expand_config({**config, "claims": [], "runs": [entry]})
            found = {
                (s.data, s.method, s.n_bits or 0, json.dumps(s.all_parameters, sort_keys=True, default=str))
                for s in specs
            }
            sign = 1 if number < len(claim["plus"]) else -1
            means |= dict.fromkeys(sorted(found), sign / len(found))
        settings = {name: claim[name] for name in Claim.__annotations__ if name in claim}
        claims.append(Claim(**{"draws": False, **settings}, means=means))
    return claims


def decide(
    claims: Sequence[Claim],
    queries: pd.DataFrame,
    draws: pd.DataFrame | None = None,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Decide claims by the rule of ``config/claims.yaml``.

    Parameters
    ----------
    claims : sequence of Claim
    queries, draws : DataFrame
        Tables of `study.chapters.measures.collect_queries` and `collect_draws`.
    n_resamples, seed : int
        Of the bootstraps.

    Returns
    -------
    DataFrame
        One row a claim: its fields name to margin; n_seeds (the fewest of a mean), effect, low, high (points); p,
        p_holm; word, one of `WORDS`; would_tell (what would, where the word is "cannot tell"); by_draw (effects by
        draw of queries, the protocol's first).
    """
    table, drawn = _by_mean(queries), [] if draws is None else [_by_mean(d) for _, d in draws.groupby("draw")]
    rows = [_examine(claim, table, drawn, n_resamples, seed) for claim in claims]
    adjusted = multipletests([row["p"] for row in rows], method="holm")[1]
    for row, claim, p in zip(rows, claims, adjusted, strict=True):
        row["p_holm"] = p
        row["word"] = _word(claim, row)
        row["would_tell"] = row["would_tell"] if row["word"] == "cannot tell" else ""
    columns = [*FIELDS, "n_seeds", "effect", "low", "high", "p", "p_holm", "word", "would_tell", "by_draw"]
    return pd.DataFrame(rows)[columns]


def draws_text(effects: Sequence[float]) -> str:
    """Write the effects by draw of queries as a table holds them."""
    return " ".join(f"{effect:.3f}" for effect in effects)


def _by_mean(table: pd.DataFrame) -> dict[Mean, pd.DataFrame]:
    return {key: rows for key, rows in table.groupby(KEY, observed=True, sort=False)}  # type: ignore[misc]


def _examine(
    claim: Claim, table: Mapping[Mean, pd.DataFrame], drawn: list[Any], n_resamples: int, seed: int
) -> dict[str, Any]:
    """Effect, interval and p of a claim, and what would tell if they do not."""
    row: dict[str, Any] = {name: getattr(claim, name) for name in FIELDS}
    values, fewest = _values(claim, table)
    row |= {"n_seeds": fewest, "effect": np.nan, "low": np.nan, "high": np.nan, "p": 1.0, "by_draw": ()}
    if fewest < claim.least_seeds:
        return row | {"would_tell": f"{claim.least_seeds} seeds of every mean, the fewest now are {fewest}"}
    row["effect"] = effect = _effects(claim, values)[0]
    samples = [_effects(claim, values, n_resamples, seed, classes=classes) for classes in (False, True)]
    ends = np.percentile(samples, [100 * LEVEL / 2, 100 - 100 * LEVEL / 2], axis=1)
    row |= {"low": ends[0].min(), "high": ends[1].max(), "p": max(_p(claim, sample) for sample in samples)}
    others = [_values(claim, one)[0] for one in drawn] if claim.draws else []
    row["by_draw"] = (effect, *(_effects(claim, other)[0] for other in others))
    fixed = [
        _effects(claim, values, n_resamples, seed, classes=classes, seeds=False).std()
        for classes in (False, True)
    ]
    by_seeds = _effects(claim, values, n_resamples, seed, queries=False).std()
    return row | {"would_tell": _would_tell(claim, row, max(fixed), by_seeds)}


def _values(claim: Claim, table: Mapping[Mean, pd.DataFrame]) -> tuple[dict[Mean, Values], int]:
    """Values in points of all means that are there, and the fewest seeds of any."""
    found: dict[Mean, Values] = {}
    for mean in claim.means:
        if mean in table:
            rows = table[mean]
            cells = rows.pivot_table(
                index="seed", columns="query", values=COLUMNS[claim.metric], dropna=False
            )
            labels = rows.drop_duplicates("query").set_index("query")["label"].loc[cells.columns]
            found[mean] = 100 * cells.to_numpy(dtype=np.float64), labels.to_numpy()
    seeds = [len(found[mean][0]) if mean in found else 0 for mean in claim.means]
    return found, min(seeds)


def _effects(
    claim: Claim,
    values: Mapping[Mean, Values],
    n: int = 0,
    seed: int = 0,
    *,
    queries: bool = True,
    classes: bool = False,
    seeds: bool = True,
) -> NDArray[np.float64]:
    """Effect of `n` resamples of queries (or their classes) and seeds; of the values as they are for n = 0."""
    rng = np.random.default_rng(seed)
    shared: dict[tuple[str, int], NDArray[np.float64]] = {}  # weights of the queries of a set
    effects = np.zeros(max(n, 1))
    for mean, weight in claim.means.items():
        cells, labels = values[mean]
        key = mean[0].partition("+")[0], len(labels)
        if key not in shared:
            alone = np.where(labels < 0, -1 - np.arange(len(labels)), labels)  # no class: each by itself
            units = np.unique(alone, return_inverse=True)[1] if classes else np.arange(len(labels))
            shared[key] = _weights(units.max() + 1, n if queries else 0, rng)[:, units]
        there = ~np.isnan(cells)
        by_seed = shared[key] @ np.where(there, cells, 0).T / (shared[key] @ there.T)
        effects += weight * (_weights(len(cells), n if seeds else 0, rng) * by_seed).sum(axis=1)
    return effects


def _weights(n_units: int, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights of units in `n` resamples, spread by sqrt(n_units / (n_units - 1)); equal ones for n = 0."""
    equal = np.full((1, n_units), 1 / n_units)
    if not n or n_units < 2:
        return equal
    drawn = rng.integers(n_units, size=(n, n_units)) + n_units * np.arange(n)[:, None]
    times = np.bincount(drawn.ravel(), minlength=n * n_units).reshape(n, n_units)
    return equal + (times - 1) / n_units * np.sqrt(n_units / (n_units - 1))


def _p(claim: Claim, sample: NDArray[np.float64]) -> float:
    """Chance of so extreme an effect, by resamples: two-sided, or two one-sided tests for ``"within"``."""

    def share(beyond: NDArray[np.bool_]) -> float:
        return float((beyond.sum() + 1) / (len(sample) + 1))

    if claim.side == "within":
        return max(share(sample >= claim.margin), share(sample <= -claim.margin))
    return min(1.0, 2 * min(share(sample <= 0), share(sample >= 0)))


def _word(claim: Claim, row: Mapping[str, Any]) -> str:
    """Give the word by interval, corrected p and draws."""
    effect, margin = row["effect"], claim.margin
    inside = -margin < row["low"] and row["high"] < margin
    if inside and (claim.side != "within" or row["p_holm"] < LEVEL):
        return "equivalent" if all(abs(one) < margin for one in row["by_draw"]) else "cannot tell"
    decided = row["p_holm"] < LEVEL
    if claim.side == "within":
        decided = row["low"] > margin or row["high"] < -margin
    if not decided or any(one * effect <= 0 for one in row["by_draw"]):
        return "cannot tell"
    return (
        "reproduced" if (effect > 0) == (claim.side == "above") and claim.side != "within" else "contradicted"
    )


def _would_tell(claim: Claim, row: Mapping[str, Any], by_queries: float, by_seeds: float) -> str:
    """Seeds at which an interval around this effect would decide, or that queries are too few for any."""
    effect, n = abs(row["effect"]), row["n_seeds"]
    distance = max(abs(effect - claim.margin), 0 if claim.side == "within" else effect)
    left = (distance / stats.norm.ppf(1 - LEVEL / 2)) ** 2 - by_queries**2
    if left <= 0:
        return "more queries, or classes of them: more seeds alone would not"
    needed = int(np.ceil(n * by_seeds**2 / left))
    return f"about {needed} seeds" if needed > n else "more queries in the draws that differ, or fewer claims"
