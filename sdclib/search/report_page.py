"""The report on one's own vectors as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sdclib.figures.search import plot_recall_by_bits
from sdclib.figures.similarities import plot_pair_histograms
from sdclib.methods import METHOD_LABELS
from sdclib.search.report import FLOAT, EmbeddingReport, collapse_table, histogram_tables, shortest_codes

__all__ = ["report_html"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.75rem; text-align: right; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; background: white; }
figcaption, .note { font-size: 0.9rem; opacity: 0.85; }
"""
TARGET = 0.9


def report_html(report: EmbeddingReport) -> str:
    """Write the report as a page.

    Parameters
    ----------
    report : EmbeddingReport

    Returns
    -------
    str
        HTML with style and figures inside: no script, no link, no request.
    """
    parts = [
        f"<h1>Short codes for {html.escape(report.name)}</h1>",
        _paragraph(_what(report)),
        *_collapse(report),
        *_recall(report),
        *_costs(report),
        "<h2>How it was measured</h2>",
        _paragraph(_method(report)),
    ]
    title = html.escape(f"Short codes for {report.name}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _what(report: EmbeddingReport) -> str:
    sizes = report.sizes
    return (
        f"{sizes['n_vectors']:,} vectors of {sizes['n_features']:,} values. Of a random sample, "
        f"{sizes['n_query']:,} are queries and {sizes['n_database']:,} the database; hash methods learned from "
        f"{sizes['n_train']:,} vectors of the database. A query's neighbours are the {report.k} vectors of the "
        "database with the highest float cosine similarity; no label plays a part."
    )


def _collapse(report: EmbeddingReport) -> list[str]:
    table = collapse_table(report)
    floats, codes = table.loc[FLOAT], table.drop(index=FLOAT)
    sentence = (
        f"Two of the vectors have a cosine similarity of {floats['mean']:.2f} on average (standard deviation "
        f"{floats['std']:.2f}); a mean far above 0 says that even unlike vectors look alike to a cosine. "
    )
    if len(codes):
        means = ", ".join(f"{mean:.2f} by {label}" for label, mean in codes["mean"].items())
        sentence += f"Of their codes of {report.shown_bits} bits the average is {means}."
    names = {
        "mean": "mean, all pairs",
        "std": "standard deviation, all pairs",
        "neighbour_mean": "mean, neighbours",
        "intersection": "intersection",
        "overlap_auc": "overlap AUC",
    }
    return [
        "<h2>Similarity collapse</h2>",
        _paragraph(sentence),
        _figure(
            plot_pair_histograms(histogram_tables(report)),
            f"Similarity of queries and database, float vectors first, then codes of {report.shown_bits} bits. "
            f"Positive pairs: a query and one of its {report.k} neighbours; negative pairs: all others.",
            "Histograms of cosine similarity, one panel for float vectors and one a hash method.",
        ),
        _table(table.rename(columns=names).map(lambda value: f"{value:.3f}")),
        _note(
            "Intersection of the histograms of neighbours and others: 0 is best, and only codes of one length compare. "
            "Overlap AUC: the chance that a pair of neighbours is more alike than another pair, 1 is best."
        ),
    ]


def _recall(report: EmbeddingReport) -> list[str]:
    if report.recall.empty:
        return []
    shortest = shortest_codes(report, TARGET)
    reached = shortest[report.depth].dropna()
    sentence = (
        f"With {report.depth} candidates re-scored by float vectors, the shortest code of this report that finds at "
        f"least {TARGET:.0%} of the {report.k} neighbours is one of {reached.min()} bits, by "
        f"{_listed(list(reached.index[reached == reached.min()]))}."
        if len(reached)
        else f"No code of this report finds {TARGET:.0%} of the {report.k} neighbours, with {report.depth} candidates "
        "re-scored; try longer codes or more candidates."
    )
    cells = 100 * report.recall.pivot_table(index=["label", "depth"], columns="n_bits", values="recall")
    cells = cells.sort_index(key=lambda level: level.map(_order) if level.name == "label" else level)
    table = cells.map(lambda value: "–" if pd.isna(value) else f"{value:.1f}")
    table.columns = [f"{n_bits} bits" for n_bits in table.columns]
    table.index = pd.Index(
        [f"{label}, {depth} re-scored" if depth else label for label, depth in table.index], name="method"
    )
    return [
        f"<h2>Recall@{report.k} of float neighbours</h2>",
        _paragraph(sentence),
        _figure(
            plot_recall_by_bits(report.recall, report.k),
            f"Share of the {report.k} nearest float neighbours that are among the first {report.k} found.",
            f"Line chart: recall at {report.k} against code length, one colour a hash method.",
        ),
        _table(table),
        _note(
            "Percent. – : the method has no code longer than there are dimensions or training vectors. Which method "
            "finds items of the same class best may be another question: with labels, compare mean average precision."
        ),
    ]


def _costs(report: EmbeddingReport) -> list[str]:
    speed = report.speed
    float_bytes = speed["bytes_per_vector"].iloc[0]
    table = pd.DataFrame(
        {
            "method": speed["label"],
            "bits": ["float" if pd.isna(n) else str(n) for n in speed["n_bits"]],
            "MB a million vectors": [f"{b:,}" for b in speed["bytes_per_vector"]],
            "times smaller": [f"{float_bytes / b:,.0f}" for b in speed["bytes_per_vector"]],
            "fit (s)": [_number(x, 2) for x in speed["fit_seconds"]],
            "encode a vector (µs)": [_number(x, 1) for x in speed["encode_us"]],
            "search a query (µs)": [_number(x, 1) for x in speed["search_us"]],
            f"re-score {report.depth} (µs)": [_number(x, 1) for x in speed["rescore_us"]],
        }
    ).set_index("method")
    return [
        "<h2>Memory and time</h2>",
        _table(table),
        _note(
            f"Exact search among the {report.sizes['n_database']:,} vectors of the database, all queries at once, each "
            "timed once on this machine: an order of magnitude, no more. Re-scoring needs the float vectors kept, on a "
            "disk if need be."
        ),
    ]


def _method(report: EmbeddingReport) -> str:
    parameters = ", ".join(f"{name} {value}" for name, value in report.sdc_parameters.items())
    return (
        f"Seed {report.seed}, one run a method and length. {METHOD_LABELS['sdc']}: {parameters}. Recall depends on the "
        "size of the database and falls as it grows. Items at one Hamming distance rank in the sample's random order."
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _order(label: str) -> int:
    labels = list(METHOD_LABELS.values())
    return labels.index(label) if label in labels else len(labels)


def _number(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:,.{digits}f}"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _table(table: pd.DataFrame) -> str:
    table = table.reset_index()
    return table.to_html(index=False, border=0, escape=True, classes=[])


def _figure(figure: Figure, caption: str, alternative: str) -> str:
    """Embed a figure as SVG in the page; closes it."""
    buffer = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "sdc"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{html.escape(alternative, quote=True)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
