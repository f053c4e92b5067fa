"""The claims of ``config/claims.yaml`` in four words: forest plot, table and details."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR
from study.claims import WORDS, decide, draws_text, read_claims
from study.figures.plots import OTHER_COLOR, STYLE
from study.provenance import RESULTS
from study.stats import interval_text

__all__ = ["detail_table", "plot_claims", "read_words", "word_table"]

COLORS = dict(zip(WORDS, (OTHER_COLOR, POSITIVE_COLOR, NEGATIVE_COLOR, "#666666"), strict=True))
METRICS = {"map": "mAP", "intersection": "intersection"}


def read_words(margin: float | None = None) -> pd.DataFrame:
    """Read the published words (see `study.claims.decide`), or decide anew with one margin (points) for all claims."""
    if margin is None:
        texts = {"would_tell": str, "by_draw": str}
        return pd.read_csv(RESULTS / "claims_words.csv", dtype=texts).fillna(dict.fromkeys(texts, ""))
    queries, draws = (pd.read_parquet(RESULTS / f"claims_{name}.parquet") for name in ("queries", "draws"))
    words = decide([replace(claim, margin=margin) for claim in read_claims()], queries, draws)
    return words.assign(by_draw=words["by_draw"].map(draws_text))


@STYLE
def plot_claims(words: pd.DataFrame) -> Figure:
    """Forest plot: effect and interval of every claim, in the direction of the claim, over the margin.

    The axis is linear up to 2 points and logarithmic beyond.
    """
    figure, axes = plt.subplots(figsize=(7.2, 0.5 + 0.36 * len(words)))
    margin = words["margin"].max()
    axes.axvspan(-margin, margin, color="#DDDDDD", zorder=0)
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(words.to_dict("records")):
        sign = -1 if row["side"] == "below" else 1
        mean, *ends = sign * row["effect"], *sorted((sign * row["low"], sign * row["high"]))
        color, beside = COLORS[row["word"]], axes.get_yaxis_transform()
        axes.plot(ends, [place, place], color=color, linewidth=1.6)
        axes.plot(mean, place, "o", color=color, markersize=5)
        axes.annotate(row["word"], (1.02, place), xycoords=beside, color=color, va="center", fontsize=9)
    axes.set_xscale("symlog", linthresh=2, linscale=0.7)
    most = max(5, 1.15 * np.nanmax(np.abs(words[["effect", "low", "high"]].to_numpy())))
    axes.set_xlim(-most, most)
    steps = [step for step in (1, 2, 5, 20) if step < most]
    axes.set_xticks([*(-step for step in reversed(steps)), 0, *steps])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set_yticks(range(len(words)), words["name"])
    axes.invert_yaxis()
    axes.set_xlabel("effect in the direction of the claim (points)")
    return figure


def word_table(words: pd.DataFrame) -> pd.DataFrame:
    """Lay claims out by name: sentence, word, effect with its 95 % interval."""
    effects = words.rename(columns={"effect": "mean"}).to_dict("records")
    cells = [f"{METRICS[row['metric']]} {interval_text(row)}" for row in effects]
    columns = {"claim": words["sentence"], "word": words["word"], "effect (points)": cells}
    return pd.DataFrame(columns).set_index(words["name"].rename(None))


def detail_table(words: pd.DataFrame) -> pd.DataFrame:
    """Lay out by name what the words rest on: source, side, p by Holm, effect of each draw, what would tell."""
    draws = [", ".join(f"{float(effect):.1f}" for effect in text.split()) for text in words["by_draw"]]
    columns = {
        "source": words["source"],
        "claimed": words["side"],
        "p": words["p_holm"].round(3),
        "effect by draw": draws,
        "what would tell": words["would_tell"],
    }
    return pd.DataFrame(columns).set_index(words["name"].rename(None))
