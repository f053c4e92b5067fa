"""The three rules that methods are trained by: the paper's, their authors', and settings tuned with one budget."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sdclib.checks import check_name
from sdclib.data.vectors import read_csv
from sdclib.methods import METHODS
from study.provenance import RESULTS

__all__ = ["PAPER_RULE", "RULES", "by_rule"]

RULES = ("authors", "paper", "tuned")

# Supplement, A: for all methods on sets of categories, the rivals too.
PAPER_RULE: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "weight_decay": 5e-4,
    "batch_size": 64,
    "epochs": 100,
    "step_epoch": 80,
}
TUNING = (
    "rules_tuning",
    "rules_tuning_slow",
)  # tables of the settings that were tried, on held-out training rows


def by_rule(rule: str, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a method that is trained by a rule.

    Parameters
    ----------
    rule : {"authors", "paper", "tuned"}
        ``"authors"`` leaves `parameters` as they are; ``"paper"`` adds `PAPER_RULE`; ``"tuned"`` gives those of the
        best mAP among the rows of ``results/rules_tuning.csv`` and ``rules_tuning_slow.csv`` that have `parameters`.
    method : str
    parameters : mapping
        Go before those of the paper's rule.

    Raises
    ------
    ValueError
        If the rule is unknown, or the table of tuning lacks the method.
    """
    check_name(rule, "rule", RULES)
    if rule == "authors":
        return dict(parameters)
    if rule == "paper":
        known = inspect.signature(METHODS[method]).parameters
        return {name: value for name, value in PAPER_RULE.items() if name in known} | dict(parameters)
    paths = [path for name in TUNING if (path := RESULTS / f"{name}.csv").is_file()]
    if not paths:
        raise ValueError(
            f"rule: 'tuned' needs {RESULTS / TUNING[0]}.csv, which config/{TUNING[0]}.yaml makes"
        )
    table = pd.concat(map(read_csv, paths))
    tried = [
        (score, settings)
        for score, name, settings in zip(
            table["map_expected"], table["method"], map(json.loads, table["parameters"]), strict=True
        )
        if name == method and parameters.items() <= settings.items()
    ]
    if not tried:
        raise ValueError(
            f"rule: 'tuned' needs rows of {method} with {dict(parameters)} in {paths[0].parent}, got none"
        )
    return max(tried, key=lambda row: row[0])[1]
