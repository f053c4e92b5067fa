"""Figures and tables to look at from several sides, offline, in Jupyter and in the pages of the book."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from sdclib.figures.style import method_colors
from study.provenance import PROJECT_ROOT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["explore_grids", "scatter_by_bits", "show_explorer", "use_notebook_style"]

# Plotly's names of `sdclib.figures.style.MARKERS`
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "cross",
    "x",
    "star",
    "triangle-left",
)
MIME = "application/vnd.plotly.v1+json"
TABLES_SCRIPT = PROJECT_ROOT / "book" / "_static" / "tables.js"


def use_notebook_style() -> None:
    """Draw figures for screens of high resolution, and tables by itables where a reader is at the keyboard.

    Where nobody is, as when papermill runs the chapters of the book, tables stay plain HTML: the book's pages make
    them sort and search by the same script, which they share.
    """
    from IPython.core.getipython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("retina")
    shell = get_ipython()
    if shell is not None and getattr(getattr(shell, "kernel", None), "_allow_stdin", False):
        import itables
        from IPython.display import HTML, display

        itables.init_notebook_mode(connected=False)
        itables.options.paging, itables.options.maxBytes = False, 0
        itables.options.classes = "display compact"
        itables.options.layout = {
            "topStart": None,
            "topEnd": "search",
            "bottomStart": None,
            "bottomEnd": None,
        }
        display(HTML(f"<script>{TABLES_SCRIPT.read_text(encoding='utf-8')}</script>"))


def show_explorer(figure: Figure, caption: str, alt: str) -> None:
    """Display a figure of Plotly: alive in Jupyter, and in the pages of the book by the script that they share.

    `alt` says what it shows to those who cannot see it.
    """
    from IPython.display import display

    figure.update_layout(
        template="simple_white",
        margin={"l": 60, "r": 10, "t": 50, "b": 60},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 11}},
        font={"family": "sans-serif"},
    )
    text = figure.to_json()
    name = "explorer-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    options: dict[str, Any] = {"responsive": True, "displayModeBar": False}
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options)
    said, seen = html.escape(caption), html.escape(alt)
    shown = (
        f'<figure class="sdc-explorer" aria-label="{seen}">{drawn}<figcaption>{said}</figcaption></figure>'
    )
    display({MIME: json.loads(text), "text/html": shown, "text/plain": caption}, raw=True)


def scatter_by_bits(
    summary: pd.DataFrame,
    n_bits: int,
    *,
    x: str = "intersection",
    y: str = "map_expected",
    xlabel: str = "intersection of positive and negative pairs (%)",
    ylabel: str = "expected mAP@R (%)",
) -> Figure:
    """Make a scatter plot in which readers choose the code length, and hide and show methods.

    Parameters
    ----------
    summary : DataFrame
        Of one data set: label, n_bits, and the metrics with their half intervals, see `study.stats.summarise`.
        Rows of float features are left out.
    n_bits : int
        Code length that is shown first.
    x, y : str
        Columns of the summary.
    xlabel, ylabel : str
        With the unit.

    Returns
    -------
    plotly.graph_objects.Figure
        One trace a method, in the order of labels in the summary.

    Raises
    ------
    ValueError
        If the summary lacks a column, or has no row at `n_bits` or more than one for a method and code length; the
        message names it.
    """
    from plotly.graph_objects import Figure

    needed = ["label", "n_bits", x, f"{x}_ci", y, f"{y}_ci"]
    if missing := [name for name in needed if name not in summary]:
        raise ValueError(f"summary: expected the columns {needed}, {missing} missing")
    codes = summary.loc[summary["n_bits"].notna(), needed].sort_values("n_bits", kind="stable")
    if codes.duplicated(["label", "n_bits"]).any():
        raise ValueError("summary: expected one row a method and code length, got more; choose one data set")
    lengths = [int(length) for length in codes["n_bits"].unique()]
    if n_bits not in lengths:
        raise ValueError(f"n_bits: expected one of {lengths}, got {n_bits!r}")
    colors = method_colors([label for label in summary["label"].unique() if label in set(codes["label"])])

    def points(label: str, chosen: list[int]) -> dict[str, Any]:
        rows = codes[(codes["label"] == label) & codes["n_bits"].isin(chosen)].round(2)
        error = {f"error_{axis}.array": rows[f"{name}_ci"].tolist() for axis, name in (("x", x), ("y", y))}
        return {"x": rows[x].tolist(), "y": rows[y].tolist(), "text": rows["n_bits"].tolist(), **error}

    figure = Figure()
    for i, (label, color) in enumerate(colors.items()):
        shape = SYMBOLS[i % len(SYMBOLS)]
        figure.add_scatter(
            name=label, mode="lines+markers", marker={"symbol": shape, "size": 10, "color": color}
        )
        figure.data[-1].update(line_width=1, error_x_thickness=1, error_y_thickness=1)
        for name, values in points(label, [n_bits]).items():
            figure.data[-1].update({name.replace(".", "_"): values})
    figure.update_traces(
        hovertemplate="%{fullData.name}, %{text} bits<br>%{x} and %{y}<extra></extra>",
        error_x_width=0,
        error_y_width=0,
    )
    choices = {f"{length} bits": [length] for length in lengths} | {"all code lengths": lengths}
    moved = {name: [points(label, chosen) for label in colors] for name, chosen in choices.items()}
    _menu(
        figure,
        {name: {k: [p[k] for p in each] for k in each[0]} for name, each in moved.items()},
        lengths.index(n_bits),
    )
    spans = {axis: _span(codes[name], codes[f"{name}_ci"]) for axis, name in (("x", x), ("y", y))}
    figure.update_layout(
        xaxis={"title": {"text": xlabel, "font": {"size": 12}}, "range": spans["x"]},
        yaxis={"title": {"text": ylabel, "font": {"size": 12}}, "range": spans["y"]},
        height=660,
    )
    return figure


def explore_grids(grids: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """Make a heat map over a grid in which readers choose what is shown, and read more of a cell by pointing at it.

    Parameters
    ----------
    grids : mapping of str to (DataFrame, DataFrame)
        By what they show, with the unit: values, and texts of the cells in HTML; all with the same index and columns,
        which have names.
    """
    from plotly.graph_objects import Figure

    first, about = next(iter(grids.values()))
    figure = Figure()
    figure.add_heatmap(
        z=first.to_numpy().round(2).tolist(),
        x=[f"{value:g}" for value in first.columns],
        y=[f"{value:g}" for value in first.index],
        customdata=about.to_numpy().tolist(),
        texttemplate="%{z:.1f}",
        hovertemplate="%{customdata}<extra></extra>",
        colorscale="Cividis",
        showscale=False,
        xgap=2,
        ygap=2,
    )
    choices = {
        title: {"z": [grid.to_numpy().round(2).tolist()], "customdata": [texts.to_numpy().tolist()]}
        for title, (grid, texts) in grids.items()
    }
    _menu(figure, choices)
    figure.update_layout(
        xaxis={"title": str(first.columns.name), "type": "category"},
        yaxis={"title": str(first.index.name), "type": "category"},
        height=430,
    )
    return figure


def _menu(figure: Figure, choices: Mapping[str, Mapping[str, list[Any]]], active: int = 0) -> None:
    """Let readers choose among values of the traces, by their name."""
    buttons = [{"label": name, "method": "restyle", "args": [values]} for name, values in choices.items()]
    figure.update_layout(
        updatemenus=[
            {"buttons": buttons, "active": active, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
        ]
    )


def _span(values: pd.Series, halves: pd.Series) -> list[float]:
    """One range for all code lengths, so that points can be followed from one to the next."""
    halves = halves.fillna(0)
    low, high = max(0, float((values - halves).min())), min(100, float((values + halves).max()))  # percent
    margin = 0.05 * (high - low or 1)
    return [round(low - margin, 2), round(high + margin, 2)]
