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

from sdclib.figures.plots import plot_pair_histograms, plot_recall_by_bits
from sdclib.methods import METHOD_LABELS
from sdclib.search.report import FLOAT, EmbeddingReport, collapse_table, histogram_tables, shortest_codes

__all__ = ["report_html"]

TARGET = 90  # percent of the neighbours
MISSING = "–"


def report_html(report: EmbeddingReport) -> str:
    """Write the report as a page: HTML with style and figures inside, no script, no link, no request."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    collapse = collapse_table(report)
    reached = shortest_codes(report, TARGET / 100)[report.depth].dropna()
    return environment.get_template("report.html").render(
        report=report,
        sizes=report.sizes,
        sdc=METHOD_LABELS["sdc"],
        target=TARGET,
        floats=collapse.loc[FLOAT],
        code_means=collapse["mean"].drop(FLOAT).to_dict(),
        histograms=_svg(plot_pair_histograms(histogram_tables(report))),
        collapse_table=_table(
            collapse.rename(
                columns={
                    "mean": "mean, all pairs",
                    "std": "standard deviation, all pairs",
                    "neighbour_mean": "mean, neighbours",
                    "overlap_auc": "overlap AUC",
                }
            ).map("{:.3f}".format)
        ),
        shortest=reached.min() if len(reached) else None,
        shortest_by=list(reached.index[reached == reached.min()]),
        recall=_svg(plot_recall_by_bits(report.recall, report.k)),
        recall_table=_recall_table(report),
        cost_table=_cost_table(report),
    )


def _recall_table(report: EmbeddingReport) -> str:
    both = pd.concat([report.recall.assign(query=""), report.float_recall.assign(query=", float query")])
    cells = 100 * both.pivot_table(
        index=["label", "depth", "query"], columns="n_bits", values="recall", sort=False
    ).sort_index(axis=1)
    cells = cells.loc[report.recall["label"].unique()]
    table = cells.map("{:.1f}".format, na_action="ignore").fillna(MISSING).add_suffix(" bits", axis=1)
    names = [label + query + (f", {depth} re-scored" if depth else "") for label, depth, query in table.index]
    return _table(table.set_axis(pd.Index(names, name="method")).rename_axis(columns=None))


def _cost_table(report: EmbeddingReport) -> str:
    speed = report.speed.set_index(report.speed["label"].rename("method"))
    size = speed["bytes_per_vector"]
    columns = {
        "bits": speed["n_bits"].astype("string").fillna("float"),
        "MB a million vectors": size.map("{:,}".format),
        "times smaller": (size.iloc[0] / size).map("{:,.0f}".format),
        "fit (s)": _numbers(speed["fit_seconds"], 2),
        "encode a vector (µs)": _numbers(speed["encode_us"], 1),
        "search a query (µs)": _numbers(speed["search_us"], 1),
        "float query (µs)": _numbers(speed["float_search_us"], 1),
        f"re-score {report.depth} (µs)": _numbers(speed["rescore_us"], 1),
    }
    return _table(pd.concat(columns, axis=1))


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
