"""What imbalance of classes does to a run's result: by class, by class size, and beside the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.data.variants import parse_longtail
from sdclib.losses.calibration import CalibrationDistribution, target_quantiles
from study.chapters.class_precision import SIZE_GROUPS
from study.statistics import contrast
from study.tables import mean_interval, method_label, spelled

__all__ = [
    "WITHOUT_CHANCE",
    "add_ratios",
    "against",
    "balanced",
    "by_ratio",
    "by_size",
    "calibration_label",
    "contrast_rows",
    "in_order",
    "mean_by_size",
    "over_queries",
    "share_above",
    "size_contrasts",
    "tail_contrasts",
    "tail_name",
]

WITHOUT_CHANCE = ("cosine", "sign", "pcah")
"""Methods that give the same codes with every seed, so that one run is all there is to know."""


def in_order(results: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of long-tailed sets, by ratio, long tails before controls, SDC and then ITQ before other methods.

    Parameters
    ----------
    results : DataFrame
        With ``data`` and ``method``, see `study.tables.read_results`.
    """
    parsed = results["data"].map(parse_longtail)
    kept = results[parsed.notna()]
    place = {"sdc": 0, "itq": 1}
    keys = [
        (parts[1], parts[2], place.get(method, len(place)))
        for parts, method in zip(parsed.dropna(), kept["method"], strict=True)
    ]
    return kept.iloc[sorted(range(len(kept)), key=keys.__getitem__)]


def add_ratios(results: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of long-tailed sets and add ``ratio`` and ``control`` (ratio 1 is its own control: both).

    Parameters
    ----------
    results : DataFrame
        With ``data``, see `study.tables.read_results`.

    Returns
    -------
    DataFrame
        Rows of ratio 1 come twice, as long tail and as control.
    """
    parsed = results["data"].map(parse_longtail)
    kept = results[parsed.notna()].copy()
    kept["ratio"] = [parts[1] for parts in parsed.dropna()]
    kept["control"] = [parts[2] for parts in parsed.dropna()]
    balanced = kept[kept["ratio"] == 1].assign(control=True)
    return pd.concat([kept, balanced], ignore_index=True)


def mean_by_size(classes: pd.DataFrame) -> pd.DataFrame:
    """Mean over the classes of each third: head, middle and tail, by the order of class ids as in `long_tail`.

    Parameters
    ----------
    classes : DataFrame
        See `study.chapters.class_precision.collect_classes`; a control's classes are in the group that they have in
        the long tail.

    Returns
    -------
    DataFrame
        One row a run and group, with the run's columns, ``group``, ``n_classes``, ``n_train`` (a class, mean),
        ``map_expected`` and, where it is there, ``map_unseen`` (means).
    """
    names = np.unique(classes["class"])
    third = round(len(names) / 3)
    groups = np.full(len(names), SIZE_GROUPS[1], dtype=object)
    groups[:third], groups[len(names) - third :] = SIZE_GROUPS[0], SIZE_GROUPS[2]
    metrics = {name: (name, "mean") for name in ("map_expected", "map_unseen") if name in classes}
    run = [name for name in classes if name not in ("class", "n_train", "n_query", *metrics)]
    grouped = classes.assign(group=classes["class"].map(dict(zip(names, groups, strict=True)))).groupby(
        [*run, "group"], sort=False, dropna=False
    )
    return grouped.agg(n_classes=("class", "nunique"), n_train=("n_train", "mean"), **metrics).reset_index()


def over_queries(classes: pd.DataFrame) -> pd.DataFrame:
    """Mean over all queries of each run, from those of its classes.

    Parameters
    ----------
    classes : DataFrame
        See `study.chapters.class_precision.collect_classes`.

    Returns
    -------
    DataFrame
        One row a run, with the run's columns, map_expected and map_unseen.
    """
    metrics = ["map_expected", "map_unseen"]
    run = [name for name in classes if name not in ("class", "n_train", "n_query", *metrics)]
    weighted = classes.assign(**{name: classes[name] * classes["n_query"] for name in metrics})
    sums = weighted.groupby(run, sort=False, dropna=False)[[*metrics, "n_query"]].sum()
    return sums[metrics].div(sums["n_query"], axis=0).reset_index()


def tail_contrasts(
    results: pd.DataFrame, ratio: float, metric: str = "map_expected", reference: str | None = None
) -> pd.DataFrame:
    """Tell what fewer training rows change from what imbalance changes, method by method, in points.

    Parameters
    ----------
    results : DataFrame
        See `add_ratios`, with ``label``; of one code length.
    ratio : float
        Of the long tail.
    metric : str
        Values in [0, 1].
    reference : str, optional
        A label: adds how much more imbalance changes the method than this one.

    Returns
    -------
    DataFrame
        Index label; columns by (what, ("mean", "low", "high")), with what "fewer rows" (control less ratio 1; NaN for
        methods without ratio 1), "imbalance" (long tail less control) and, with a reference, "more than reference".
        Only methods that have long tail and control with at least two seeds.
    """

    def values(label: str, ratio: float, control: bool) -> NDArray[np.float64]:
        chosen = (results["label"] == label) & (results["ratio"] == ratio) & (results["control"] == control)
        return 100 * results.loc[chosen, metric].to_numpy(dtype=float)

    rows: dict[str, dict[tuple[str, str], float]] = {}
    for label in dict.fromkeys(results["label"]):
        tail, control, all_rows = (
            values(label, ratio, False),
            values(label, ratio, True),
            values(label, 1, True),
        )
        if min(tail.size, control.size) < 2:
            continue
        found: dict[str, Sequence[float]] = {"fewer rows": [np.nan] * 3}
        if all_rows.size >= 2:
            found["fewer rows"] = contrast([control, all_rows], [1, -1])
        found["imbalance"] = contrast([tail, control], [1, -1])
        if reference is not None:
            others = values(reference, ratio, False), values(reference, ratio, True)
            found["more than reference"] = (
                [np.nan] * 3 if label == reference else contrast([tail, control, *others], [1, -1, -1, 1])
            )
        rows[label] = {
            (what, name): value
            for what, triple in found.items()
            for name, value in zip(("mean", "low", "high"), triple, strict=True)
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def contrast_rows(contrasts: pd.DataFrame, whats: Sequence[str]) -> pd.DataFrame:
    """Lay `tail_contrasts` out with one row a contrast and method, as `study.figures.plot_contrasts` takes it.

    Parameters
    ----------
    contrasts : DataFrame
    whats : sequence of str
        Which of its contrasts, in this order.

    Returns
    -------
    DataFrame
        group (what), label, mean, low, high; without what is not known.
    """
    tables = [
        contrasts[what].assign(group=what, label=contrasts.index)[["group", "label", "mean", "low", "high"]]
        for what in whats
    ]
    return pd.concat(tables, ignore_index=True).dropna(ignore_index=True)


def size_contrasts(
    classes: pd.DataFrame,
    ratio: float,
    what: str = "imbalance",
    reference: str | None = None,
    metric: str = "map_expected",
) -> pd.DataFrame:
    """Tell what imbalance changes for head, middle and tail: the long tail less the control, the same classes in both.

    Parameters
    ----------
    classes : DataFrame
        See `study.chapters.class_precision.collect_classes`, with ``label``; of one code length.
    ratio : float
    what : str
        Which contrast of `tail_contrasts`.
    reference : str, optional
        As there.
    metric : str
        map_expected or map_unseen.

    Returns
    -------
    DataFrame
        group (of `SIZE_GROUPS`), label, mean, low, high; points. Only methods that have both with two seeds.
    """
    groups = mean_by_size(add_ratios(classes))
    tables = [
        contrast_rows(
            tail_contrasts(groups[groups["group"] == group], ratio, metric, reference), [what]
        ).assign(group=group)
        for group in SIZE_GROUPS
    ]
    return pd.concat(tables, ignore_index=True)


def by_ratio(summary: pd.DataFrame, metric: str = "map_expected") -> pd.DataFrame:
    """Spell one metric out with a method and kind of training rows a row and an imbalance ratio a column.

    Parameters
    ----------
    summary : DataFrame
        label, ratio, control, and the metric with its half interval in percent (``METRIC_ci``).
    metric : str

    Returns
    -------
    DataFrame
        Index (method, training rows), methods in the order in which they come; columns "ratio 1" and so on,
        ``mean ± half interval``, empty where there is no run.
    """
    columns = {ratio: f"ratio {ratio:g}" for ratio in sorted(summary["ratio"].unique())}
    cells = {
        (row["label"], row["control"], row["ratio"]): spelled(row[metric], row[f"{metric}_ci"])
        for row in summary.to_dict("records")
    }
    return _laid_out(cells, columns)


def by_size(classes: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Spell expected mAP of head, middle and tail out, with a method and kind of training rows a row.

    Parameters
    ----------
    classes : DataFrame
        See `study.chapters.class_precision.collect_classes`, with ``label``; of one code length.
    ratio : float

    Returns
    -------
    DataFrame
        Index (method, training rows); columns head, middle, tail, ``mean ± half interval`` over seeds in percent.
    """
    groups = mean_by_size(add_ratios(classes))
    cells = {
        (label, control, group): spelled(*mean_interval(100 * part["map_expected"]))
        for (label, control, group), part in groups[groups["ratio"] == ratio].groupby(
            ["label", "control", "group"], sort=False
        )
    }
    return _laid_out(cells, {group: group for group in SIZE_GROUPS})


def _laid_out(cells: Mapping[tuple[Any, Any, Any], str], columns: Mapping[Any, str]) -> pd.DataFrame:
    """Lay cells by (label, control, key of `columns`) out with a row a label and control."""
    labels = dict.fromkeys(label for label, _, _ in cells)
    rows = [(label, control) for label in labels for control in (False, True)]
    return pd.DataFrame(
        {name: [cells.get((*row, key), "") for row in rows] for key, name in columns.items()},
        index=pd.MultiIndex.from_tuples(
            [(label, "control" if control else "long tail") for label, control in rows],
            names=["method", "training rows"],
        ),
    )


def against(results: pd.DataFrame, label: str, n_bits: int, metric: str = "map_expected") -> pd.DataFrame:
    """Compare one method with every other of a data set at a code length, and with the float features.

    Against methods with seeds by Welch's interval; against those `WITHOUT_CHANCE`, which have one run, by the interval
    of the method's own mean.

    Parameters
    ----------
    results : DataFrame
        Of one data set, see `study.tables.read_results`.
    label : str
        With at least two seeds.
    n_bits : int
    metric : str
        Values in [0, 1].

    Returns
    -------
    DataFrame
        first (`label`), second, mean, low, high; points, as in `study.comparisons.differences`.

    Raises
    ------
    ValueError
        If `label` has fewer than two seeds, or another method that depends on chance has one run.
    """
    chosen = results[results["n_bits"].isna() | (results["n_bits"] == n_bits)]
    values = 100 * chosen.loc[chosen["label"] == label, metric].to_numpy(dtype=float)
    if values.size < 2:
        raise ValueError(f"label: expected at least two seeds of {label} at {n_bits} bits, got {values.size}")
    rows = []
    for other, group in chosen[chosen["label"] != label].groupby("label", sort=False):
        others = 100 * group[metric].to_numpy(dtype=float)
        if others.size > 1:
            triple = contrast([values, others], [1, -1])
        elif group["method"].iloc[0] in WITHOUT_CHANCE:
            mean, half = mean_interval(values - others[0])
            triple = mean, mean - half, mean + half
        else:
            raise ValueError(f"{other}: expected at least two seeds at {n_bits} bits, got one run")
        rows.append((label, other, *triple))
    return pd.DataFrame(rows, columns=["first", "second", "mean", "low", "high"])


def tail_name(data: str) -> str:
    """Name a long-tailed set by what was done to it: "ratio 100" or "ratio 100, control".

    Raises
    ------
    ValueError
        If it is no such set.
    """
    parts = parse_longtail(data)
    if parts is None:
        raise ValueError(f"data: expected a long-tailed set such as NAME+longtail-50, got {data!r}")
    return f"ratio {parts[1]:g}{', control' if parts[2] else ''}"


def balanced(data: str) -> bool:
    """Whether a long-tailed set has classes of equal size: ratio 1, or a control; ValueError if it is no such set."""
    name = tail_name(data)
    return name == "ratio 1" or name.endswith("control")


def share_above(calibration: CalibrationDistribution, similarity: float = 0) -> float:
    """Share of pairs that a calibration distribution puts above a similarity, to 5 decimals."""
    return float((target_quantiles(calibration, 100_000) > similarity).mean())


def calibration_label(method: str, parameters: Mapping[str, Any]) -> str:
    """Name a run as `study.tables.method_label` does, but SDC by its calibration distribution and number of epochs.

    For tables in which all runs of SDC share their other settings.
    """
    if method != "sdc":
        return method_label(method, parameters)
    remarks = [str(parameters.get("calibration", "beta(5, 5)"))]
    if "epochs" in parameters:
        remarks.append(f"{parameters['epochs']} epochs")
    return f"SDC ({', '.join(remarks)})"
