"""The paper's published figures beside those of one's own runs of the configurations in `config/paper`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from sdclib.losses.calibration import parse_calibration
from study.chapters.targets import paper_target
from study.provenance import OWN_RESULTS
from study.tables import method_label, read_results, set_name

__all__ = ["OWN_TABLES", "beside_paper", "own_maps", "read_own"]

OWN_TABLES = OWN_RESULTS / "paper"
METRIC = "map_authors"  # ties by index and the denominator of each set, as the paper's figures have them
# Presets that follow the supplement, and whether they have the contrastive term.
CONTRASTIVE = {"paper": "yes", "paper-no-contrastive": "no", "paper-instance": "no"}
COLUMNS = ["id", "data", "method", "n_bits", "parameters", "preset", "calibration", METRIC]
KEY = ["own_data", "n_bits", "target", "contrastive"]


def read_own(names: Iterable[str], folder: Path = OWN_TABLES) -> pd.DataFrame:
    """Read those of one's own tables that are there as one; a run of two tables counts once."""
    paths = [folder / f"{name}.csv" for name in names]
    tables = [read_results(path).reindex(columns=COLUMNS) for path in paths if path.is_file()]
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(tables).drop_duplicates("id", ignore_index=True)


def beside_paper(own: pd.DataFrame, paper: pd.DataFrame, data: Mapping[str, str]) -> pd.DataFrame:
    """Set each published figure beside the mean of one's own runs.

    Parameters
    ----------
    own : DataFrame
        See `read_own`. Runs of SDC by the supplement's presets count, whatever their calibration distribution.
    paper : DataFrame
        ``results/paper.csv``.
    data : mapping of str to str
        Which of one's own data sets each of the paper's names stands for.

    Returns
    -------
    DataFrame
        data, bits, calibration, contrastive, metric, published, yours, difference (yours less published), deviation
        (of yours over seeds), seeds, source; mAP in percent, missing where there are no runs.
    """
    runs = own[(own["method"] == "sdc") & own["preset"].isin(list(CONTRASTIVE))]
    runs = runs.assign(
        own_data=runs["data"],
        target=[str(parse_calibration(target)) for target in runs["calibration"]],
        contrastive=runs["preset"].map(CONTRASTIVE),
        percent=100 * runs[METRIC].astype(float),
    ).astype({"n_bits": "Int64"})
    means = runs.groupby(KEY)["percent"].agg(yours="mean", deviation="std", seeds="count").reset_index()
    both = paper.assign(own_data=paper["data"].map(data), target=paper["calibration"].map(paper_target))
    both = both.astype({"n_bits": "Int64"}).merge(means, how="left", on=KEY)
    both = both.rename(columns={"n_bits": "bits", "percent": "published"})
    both["difference"] = both["yours"] - both["published"]
    shown = ["data", "bits", "calibration", "contrastive", "metric", "published", "yours", "difference"]
    return both[[*shown, "deviation", "seeds", "source"]].astype({"seeds": "Int64"})


def own_maps(own: pd.DataFrame) -> pd.DataFrame:
    """Lay one's own mean mAP out, in percent: data, method, and a column a code length; float features come last."""
    named = ["preset", "center"]
    table = pd.DataFrame(
        {
            "data": own["data"].map(set_name),
            "method": [
                method_label(
                    method, {name: value for name, value in json.loads(text).items() if name in named}
                )
                for method, text in zip(own["method"], own["parameters"], strict=True)
            ],
            "bits": own["n_bits"].astype("string").fillna("float"),
            "percent": 100 * own[METRIC].astype(float),
        }
    )
    means = table.pivot_table(index=["data", "method"], columns="bits", values="percent", sort=False)
    lengths = sorted(map(str, means), key=lambda bits: (bits == "float", len(bits), bits))
    return means.rename_axis(columns=None)[lengths].reset_index().sort_values("data", kind="stable")
