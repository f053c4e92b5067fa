"""What imbalance of classes does to a run's result: by class, by class size, and beside the control."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sdclib.data.variants import parse_longtail
from study.stats import contrast
from study.tables import Config, renamed

__all__ = [
    "SIZE_GROUPS",
    "add_ratios",
    "in_order",
    "is_longer",
    "labelled",
    "mean_by_size",
    "over_queries",
    "size_contrasts",
    "tail_contrasts",
    "tail_name",
]

SIZE_GROUPS = ("head", "middle", "tail")
OF_CLASS = ["class", "n_train", "n_query", "map_expected", "map_unseen"]  # columns of a class, not of its run


def _parts(data: str) -> tuple[str, float, bool]:
    parts = parse_longtail(data)
    if parts is None:
        raise ValueError(f"data: expected a long-tailed set such as NAME+longtail-50, got {data!r}")
    return parts


def tail_name(data: str) -> str:
    """Name a long-tailed set by what was done to it: "ratio 100" or "ratio 100, control"."""
    _, ratio, control = _parts(data)
    return f"ratio {ratio:g}{', control' if control else ''}"


def in_order(results: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of long-tailed sets, by ratio, long tails before controls, SDC, then ITQ, then other methods."""
    kept = results[results["data"].map(parse_longtail).notna()]
    place = kept["method"].map({"sdc": 0, "itq": 1}).fillna(2)
    keys = [(*_parts(data)[1:], of) for data, of in zip(kept["data"], place, strict=True)]
    return kept.iloc[sorted(range(len(kept)), key=keys.__getitem__)]


def is_longer(results: pd.DataFrame) -> pd.Series:
    """Whether runs of SDC take as many steps on fewer rows as others take on all of them."""
    return (results["method"] == "sdc") & (results["epochs"] > 100)


def labelled(results: pd.DataFrame) -> pd.DataFrame:
    """Name runs of SDC by their calibration distribution, unless it is Beta(5, 5), and by their length."""
    names = (
        "SDC, " + results["calibration"].astype(str) + is_longer(results).map({True: ", longer", False: ""})
    )
    names = names.str.replace(", beta(5, 5)", "", regex=False)
    return renamed(results, names.where(results["method"] == "sdc", None))


def add_ratios(results: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of long-tailed sets and add ratio and control; ratio 1, its own control, comes twice, as both."""
    kept = results[results["data"].map(parse_longtail).notna()].copy()
    parts = [_parts(data)[1:] for data in kept["data"]]
    kept[["ratio", "control"]] = pd.DataFrame(parts, index=kept.index, columns=["ratio", "control"])
    return pd.concat([kept, kept[kept["ratio"] == 1].assign(control=True)], ignore_index=True)


def mean_by_size(classes: pd.DataFrame) -> pd.DataFrame:
    """Mean over the classes of each third, head, middle and tail, by the order of class ids as in `long_tail`.

    Parameters
    ----------
    classes : DataFrame
        See `study.chapters.measures.collect_classes`; a control's classes are in the group that they have in the
        long tail.

    Returns
    -------
    DataFrame
        One row a run and group, with the run's columns, group, n_classes, n_train, map_expected and map_unseen.
    """
    names = np.unique(classes["class"])
    third = round(len(names) / 3)
    sizes = [third, len(names) - 2 * third, third]
    group = classes["class"].map(dict(zip(names, np.repeat(SIZE_GROUPS, sizes), strict=True)))
    run = [name for name in classes if name not in OF_CLASS]
    means = {name: (name, "mean") for name in ("n_train", "map_expected", "map_unseen") if name in classes}
    grouped = classes.assign(group=group).groupby([*run, "group"], sort=False, dropna=False)
    return grouped.agg(n_classes=("class", "nunique"), **means).reset_index()


def over_queries(classes: pd.DataFrame) -> pd.DataFrame:
    """Mean over all queries of each run, from those of its classes: the run's columns, map_expected, map_unseen."""
    metrics = ["map_expected", "map_unseen"]
    run = [name for name in classes if name not in OF_CLASS]
    weighted = classes.assign(**{name: classes[name] * classes["n_query"] for name in metrics})
    sums = weighted.groupby(run, sort=False, dropna=False)[[*metrics, "n_query"]].sum()
    return sums[metrics].div(sums["n_query"], axis=0).reset_index()


def tail_contrasts(
    results: pd.DataFrame, ratio: float, metric: str = "map_expected", reference: Config | None = None
) -> pd.DataFrame:
    """Tell what fewer training rows change from what imbalance changes, method by method, in points.

    Parameters
    ----------
    results : DataFrame
        See `add_ratios`; of one code length.
    ratio : float
        Of the long tail.
    metric : str
        Values in [0, 1].
    reference : Config, optional
        Adds how much more imbalance changes the method than this one.

    Returns
    -------
    DataFrame
        group, label (the configuration), mean, low, high. Groups are "fewer rows" (control less ratio 1, where the
        method has that), "imbalance" (long tail less control) and, with a reference, "more than reference". Only
        methods that have long tail and control with at least two seeds.
    """
    values = {
        key: 100 * rows[metric].to_numpy(dtype=float)
        for key, rows in results.groupby(["config", "ratio", "control"], sort=False)
    }

    def of(config: Config | None, ratio: float, control: bool) -> np.ndarray:
        return values.get((config, ratio, control), np.array([]))

    found: dict[str, list[dict]] = {"fewer rows": [], "imbalance": [], "more than reference": []}
    for config in dict.fromkeys(results["config"]):
        tail, control, everything = of(config, ratio, False), of(config, ratio, True), of(config, 1, True)
        if min(tail.size, control.size) < 2:
            continue
        contrasts = {"imbalance": contrast([tail, control], [1, -1])}
        if everything.size > 1:
            contrasts["fewer rows"] = contrast([control, everything], [1, -1])
        if reference not in (None, config):
            others = [of(reference, ratio, False), of(reference, ratio, True)]
            contrasts["more than reference"] = contrast([tail, control, *others], [1, -1, -1, 1])
        for group, row in contrasts.items():
            found[group].append({"group": group, "label": config, **row})
    rows = [row for group in found.values() for row in group]
    return pd.DataFrame(rows, columns=["group", "label", "mean", "low", "high"])


def size_contrasts(
    classes: pd.DataFrame,
    ratio: float,
    what: str = "imbalance",
    reference: Config | None = None,
    metric: str = "map_expected",
) -> pd.DataFrame:
    """Tell what imbalance changes for head, middle and tail: the long tail less the control, the same classes in both.

    Parameters
    ----------
    classes : DataFrame
        See `study.chapters.measures.collect_classes`; of one code length.
    ratio, reference, metric
        See `tail_contrasts`.
    what : str
        Which of its groups.

    Returns
    -------
    DataFrame
        group (of `SIZE_GROUPS`), label (the configuration), mean, low, high; points.
    """
    sizes = mean_by_size(add_ratios(classes))
    tables = []
    for group in SIZE_GROUPS:
        found = tail_contrasts(sizes[sizes["group"] == group], ratio, metric, reference)
        tables.append(found[found["group"] == what].assign(group=group))
    return pd.concat(tables, ignore_index=True)
