"""What spread, shape and alignment of targets each add to the result, and what labels add: tables of differences."""

from __future__ import annotations

import pandas as pd

from sdclib.data.variants import UNSEEN
from study.stats import compared, count_signs
from study.tables import find, renamed

__all__ = [
    "STEPS",
    "TARGET_NAMES",
    "contributions",
    "seen_less_unseen",
    "spread_or_distribution",
    "with_targets",
]

TARGET_NAMES = {
    "cosine": "cosine as it is",
    "standardised": "linear map",
    "mapped": "quantile map",
    "calibrated": "SDC",
    "rank": "order alone",
}
# What is added at each step from similarity-preserving hashing to SDC: name, with it, without it.
STEPS = (
    ("mean and spread", "standardised", "cosine"),
    ("shape", "mapped", "standardised"),
    ("alignment in the batch", "calibrated", "mapped"),
    ("all of SDC", "calibrated", "cosine"),
)


def with_targets(results: pd.DataFrame) -> pd.DataFrame:
    """Complete the columns target and features of SDC's runs, and name runs by them, or by what labels decide.

    For tables in which SDC, similarity matching and supervised SDC share their other settings. The columns are missing
    for other methods, which keep their names.
    """
    sdc = results["method"] == "sdc"
    features = results["center"].map({True: "centred", False: "raw"})
    table = results.assign(
        target=results["target"].mask(sdc, "calibrated"), features=results["features"].mask(sdc, features)
    )
    return renamed(table, map(_name, table.to_dict("records")))


def _name(run: dict) -> str | None:
    if run["method"] == "supervised-sdc":
        return f"Supervised SDC ({run['labels']})"
    if run["target"] not in TARGET_NAMES:
        return None
    return TARGET_NAMES[run["target"]] + ("" if run["features"] == "raw" else f" ({run['features']})")


def contributions(results: pd.DataFrame) -> pd.DataFrame:
    """Take SDC's gain over similarity-preserving hashing apart, for every data set and code length.

    Parameters
    ----------
    results : DataFrame
        See `with_targets`; those of raw features are compared.

    Returns
    -------
    DataFrame
        step (see `STEPS`) and the columns of `study.stats.compared`; the first three steps of a setting add up to the
        fourth.
    """
    runs = {target: find(results, target=target, features="raw") for _, *pair in STEPS for target in pair}
    return pd.concat(
        [compared(results, [(runs[first], runs[second])]).assign(step=step) for step, first, second in STEPS],
        ignore_index=True,
    )


def spread_or_distribution(whole: pd.DataFrame, spread: pd.DataFrame, rest: pd.DataFrame) -> str:
    """Say whether a wide spread is enough for SDC's gain, where there is one, and what the rest of SDC adds.

    Parameters
    ----------
    whole, spread, rest : DataFrame
        See `compared`: SDC less the cosine as it is, the linear map less that, and SDC less the linear map, all in the
        same settings.
    """
    for name, rows in (("spread", spread), ("rest", rest)):
        if list(rows["setting"]) != list(whole["setting"]):
            raise ValueError(
                f"{name}: expected the settings {list(whole['setting'])}, got {list(rows['setting'])}"
            )
    gains, n = count_signs(whole)[0], len(whole)
    if not gains:
        return f"SDC gains nothing over the cosine as it is in any of {n} settings that can be told from 0."
    too = int(((whole["low"] > 0) & (spread["low"] > 0)).sum())
    more, less, _ = count_signs(rest)
    return (
        f"SDC gains over the cosine as it is in {gains} of {n} settings. A wide spread is "
        f"{'enough for that' if too == gains and not more else 'not all of it'}: the linear map gains too in {too} of "
        f"these {gains}, and the rest of SDC adds to it in {more} of the {n} settings and takes from it in {less}."
    )


def seen_less_unseen(results: pd.DataFrame) -> pd.DataFrame:
    """Give expected mAP with training rows in the database (NAME) less that without (NAME+unseen), run by run."""
    keys = ["data", "method", "config", "n_bits", "seed"]
    unseen = results["data"].str.endswith(UNSEEN)
    without = results[unseen].assign(data=lambda table: table["data"].str.removesuffix(UNSEEN))
    metric = "map_expected"
    both = results[~unseen][[*keys, metric]].merge(
        without[[*keys, metric]], on=keys, suffixes=("", "_unseen"), validate="one_to_one"
    )
    both[metric] -= both.pop(f"{metric}_unseen")
    return both
