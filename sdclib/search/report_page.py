"""The report on one's own vectors as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sdclib.evaluation import histogram_table
from sdclib.figures.plots import plot_pair_histograms, plot_recall_by_bits
from sdclib.methods import METHOD_LABELS
from sdclib.search.compare import FLOAT, choice_label, decisions, label_of, quantizer_factory
from sdclib.search.defaults import QUANTIZERS
from sdclib.search.report import EmbeddingReport, collapse_table, recommend, shortest_codes

__all__ = ["report_html"]

TARGET = 90  # percent of the neighbours
MISSING = "–"
COLLAPSE = {
    "mean": "mean, all pairs",
    "std": "standard deviation, all pairs",
    "neighbour_mean": "mean, neighbours",
    "overlap_auc": "overlap AUC",
}
GOALS = {"classes": "items of the same class", "neighbours": "float neighbours"}


def report_html(report: EmbeddingReport) -> str:
    """Write the report as a page: HTML with style and figures inside, no script, no link, no request."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    collapse = collapse_table(report)
    reached = shortest_codes(report, TARGET / 100).get(report.depth, pd.Series(dtype="Int64")).dropna()
    histograms = {label_of(method): histogram_table(found) for method, found in report.histograms.items()}
    recall = report.recall[(report.recall["query"] == "codes") | (report.recall["method"] == "pq")]
    return environment.get_template("report.html").render(
        report=report,
        sizes=report.sizes,
        sdc=METHOD_LABELS["sdc"],
        target=TARGET,
        floats=collapse.loc[label_of(FLOAT)],
        code_means=collapse["mean"].drop(label_of(FLOAT)).to_dict(),
        histograms=_svg(plot_pair_histograms(histograms)),
        collapse_table=_table(collapse.rename(columns=COLLAPSE).map("{:.3f}".format)),
        shortest=reached.min() if len(reached) else None,
        shortest_by=list(reached.index[reached == reached.min()]),
        recall=_svg(plot_recall_by_bits(recall, report.k)) if len(recall) else None,
        neighbours_table=_goal_table(report, "neighbours"),
        classes_table=_goal_table(report, "classes") if report.top_k else None,
        cost_table=_cost_table(report),
        decision_table=_decision_table(report),
        recommendations=[
            _recommendation(report, row) for _, row in recommend(report, TARGET / 100).iterrows()
        ],
    )


def _goal_table(report: EmbeddingReport, goal: str) -> str:
    scores = report.scores[report.scores["goal"] == goal]
    size = scores["n_bits"].map("{} bits".format, na_action="ignore").fillna("float")
    size = size.mask(scores["method"] == "int8", "8 bits a value")
    order = list(dict.fromkeys(size))
    scores = scores.assign(size=size, value=100 * scores["value"])
    cells = scores.pivot_table(index=["method", "query", "depth"], columns="size", values="value", sort=False)
    cells = cells[order].loc[[name for name in scores["method"].unique() if name in cells.index]]
    table = cells.map("{:.1f}".format, na_action="ignore").fillna(MISSING)
    names = [choice_label(method, query) + _depth(depth) for method, query, depth in table.index]
    return _table(table.set_axis(pd.Index(names, name="method")).rename_axis(columns=None))


def _cost_table(report: EmbeddingReport) -> str:
    costs = report.costs.set_index(report.costs["method"].map(label_of).rename("method"))
    size = costs["n_bytes"]
    columns = {
        "bits": costs["n_bits"].astype("string").fillna("float"),
        "MB a million vectors": size.map("{:,}".format),
        "times smaller": (size.iloc[0] / size).map("{:,.0f}".format),
        "fit (s)": _numbers(costs["fit_seconds"], 2),
        "encode a vector (µs)": _numbers(costs["encode_us"], 1),
        "search a query (µs)": _numbers(costs["search_us"], 1),
        "float query (µs)": _numbers(costs["float_search_us"], 1),
        f"re-score {report.depth} (µs)": _numbers(costs["rescore_us"], 1),
    }
    return _table(pd.concat(columns, axis=1))


def _decision_table(report: EmbeddingReport) -> str:
    table = decisions(report.scores, report.costs, k=report.k, depth=report.depth)
    columns = {
        "goal": table["goal"].map(GOALS) + table["depth"].map(_depth),
        "bytes": table["n_bytes"],
        "take": table["method"].combine(table["query"], choice_label),
        "%": _percent(table["value"], table["error"]),
        "as good": table["level"].replace("", MISSING),
        "fit (s)": _numbers(table["fit_seconds"], 2),
        "encode a vector (µs)": _numbers(table["encode_us"], 1),
    }
    return _table(pd.DataFrame(columns).set_index("goal"))


def _depth(depth: int) -> str:
    return f", {depth} re-scored" if depth else ""


def _recommendation(report: EmbeddingReport, row: Any) -> dict[str, Any]:
    """Say what to take for a goal, and the commands that do it."""
    if row["method"] in QUANTIZERS:
        n_features = report.sizes["n_features"]
        factory = quantizer_factory(row["method"], n_features, row["n_bytes"])
        commands = [f'index = faiss.index_factory({n_features}, "{factory}")  # for vectors of length 1']
    else:
        floats = " --float-query" if row["query"] == "float" else ""
        rescored = f" --rescore {row['depth']}" if row["depth"] else ""
        commands = [
            f"sdc fit {report.name} --method {row['method']} --n-bits {row['n_bits']} --out model",
            f"sdc search model {report.name} QUERIES --k {report.k}{floats}{rescored} --out found.npz",
        ]
    return {
        "goal": GOALS[row["goal"]],
        "method": choice_label(row["method"], row["query"]),
        "bytes": row["n_bytes"],
        "depth": row["depth"],
        "value": f"{100 * row['value']:.1f} ± {196 * row['error']:.1f} %",
        "commands": commands,
    }


def _percent(value: pd.Series[Any], error: pd.Series[Any]) -> pd.Series[Any]:
    return (100 * value).map("{:.1f}".format) + (196 * error).map(" ± {:.1f}".format)


def _numbers(column: pd.Series[Any], digits: int) -> pd.Series[Any]:
    return column.map(f"{{:,.{digits}f}}".format, na_action="ignore").fillna(MISSING)


def _table(table: pd.DataFrame) -> str:
    return table.reset_index().to_html(index=False, border=0)  # escaped


def _svg(figure: Figure) -> str:
    """Encode a figure for a page as SVG; closes it."""
    buffer = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "sdc"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()
