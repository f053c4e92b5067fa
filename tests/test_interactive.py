"""Figures and tables to look at from several sides: what they hold, in pages and in a live notebook."""

import json

import numpy as np
import pandas as pd
import pytest

from study.figures import explore_grids, method_colors, scatter_by_bits, show_explorer


@pytest.fixture
def summary():
    return pd.DataFrame(
        {
            "label": ["Float cosine", "SDC (paper)", "SDC (paper)", "SH"],
            "n_bits": pd.array([pd.NA, 64, 16, 16], dtype="Int64"),
            "intersection": [50.0, 40.126, 45.0, 60.0],
            "intersection_ci": [np.nan, 1.0, 2.0, np.nan],
            "map_expected": [72.0, 71.0, 65.0, 55.0],
            "map_expected_ci": [np.nan, 0.5, 0.25, np.nan],
        }
    )


def test_points_are_codes_by_label_and_length(summary):
    figure = scatter_by_bits(summary, 16, xlabel="x (%)")
    sdc, sh = figure.data
    assert (sdc.name, sdc.marker.color) == ("SDC (paper)", method_colors(["SDC (paper)"])["SDC (paper)"])
    assert (sdc.x, sdc.y, sdc.error_x.array, sdc.error_y.array) == ((45.0,), (65.0,), (2.0,), (0.25,))
    assert (sh.name, sh.x) == ("SH", (60.0,))
    assert np.isnan(sh.error_x.array[0])
    menu = figure.layout.updatemenus[0]
    assert [button.label for button in menu.buttons] == ["16 bits", "64 bits", "all code lengths"]
    assert menu.active == 0
    values = {button.label: button.args[0] for button in menu.buttons}
    assert values["64 bits"]["x"] == [[40.13], []]
    assert values["all code lengths"]["text"] == [[16, 64], [16]]
    assert figure.layout.xaxis.title.text == "x (%)"
    assert figure.layout.yaxis.range[0] < 55
    assert figure.layout.yaxis.range[1] > 71.5


def test_what_cannot_be_shown_is_named(summary):
    with pytest.raises(ValueError, match=r"n_bits: expected one of \[16, 64\], got 32"):
        scatter_by_bits(summary, 32)
    with pytest.raises(ValueError, match=r"summary: .*'overlap_auc', 'overlap_auc_ci'\] missing"):
        scatter_by_bits(summary, 16, x="overlap_auc")
    with pytest.raises(ValueError, match="one row a method and code length"):
        scatter_by_bits(pd.concat([summary, summary]), 16)


def test_a_grid_has_its_values_and_what_is_said_of_each_cell():
    grid = (
        pd.DataFrame([[1.0, 2.0], [3.0, 4.126]], [1, 0.5], [2, 5]).rename_axis("a").rename_axis(columns="b")
    )
    first, second = (grid.map(f"{name} {{:.0f}}".format) for name in ("cell", "another"))
    figure = explore_grids({"mAP": (grid, first), "other": (-grid, second)})
    shown = figure.data[0]
    assert shown.z == ([1.0, 2.0], [3.0, 4.13])
    assert (shown.x, shown.y) == (("2", "5"), ("1", "0.5"))
    assert shown.customdata[1][0] == "cell 3"
    moved = figure.layout.updatemenus[0].buttons[1].args[0]
    assert moved["z"] == [[[-1.0, -2.0], [-3.0, -4.13]]]
    assert moved["customdata"][0][1][1] == "another 4"
    assert figure.layout.yaxis.title.text == "a"


def test_an_explorer_is_shown_to_jupyter_and_to_pages(summary, monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    summary["label"] = summary["label"].replace("SH", "</script><b>")
    for _ in range(2):
        show_explorer(scatter_by_bits(summary, 16), "a < b", 'of "two" methods')
    first, again = outputs
    assert first == again
    assert [trace["name"] for trace in first["application/vnd.plotly.v1+json"]["data"]][1] == "</script><b>"
    json.dumps(first)
    assert "<figcaption>a &lt; b</figcaption>" in first["text/html"]
    assert 'aria-label="of &quot;two&quot; methods"' in first["text/html"]
    assert "<b>" not in first["text/html"]
    assert len(first["text/html"]) < 20_000  # the library itself is the page's


@pytest.mark.slow
def test_tables_are_plain_in_a_batch_and_alive_in_jupyter():
    manager = pytest.importorskip("jupyter_client.manager", reason="needs the extra 'book'")
    code = "import pandas as pd; from study.figures import use_notebook_style; use_notebook_style(); "
    with manager.run_kernel(kernel_name="python3") as client:

        def shown(keyboard):
            outputs = []
            client.execute_interactive(
                code + "pd.DataFrame({'a': [1]})",
                allow_stdin=keyboard,
                stdin_hook=print,
                output_hook=lambda message: outputs.append(
                    message["content"].get("data", {}).get("text/html", "")
                ),
                timeout=60,
            )
            return [output for output in outputs if output]

        (plain,) = shown(keyboard=False)
        assert 'class="dataframe"' in plain
        *scripts, table = shown(keyboard=True)
    assert "new ITable(table" in table
    assert "unpkg" not in table
    assert sum("data-theme" in script or "_itables_" in script for script in scripts) >= 1
    assert any("sdc-number" in script for script in scripts)
