"""Interactive plots: what they hold, and what they show where no script runs."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from study.figures import method_colors, scatter_by_bits


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


def embedded(shown):
    return json.loads(
        re.search(r'<script type="application/json">(.*?)</script>', shown._repr_html_(), re.S)[1]
    )


def test_points_and_table_are_codes_by_label_and_length(summary):
    shown = scatter_by_bits(summary, 16, xlabel="x (%)", caption="A caption")
    data = embedded(shown)
    color = method_colors(["SDC (paper)"])["SDC (paper)"]
    sdc = {
        "label": "SDC (paper)",
        "n_bits": 64,
        "color": color,
        "x": 40.13,
        "x_ci": 1.0,
        "y": 71.0,
        "y_ci": 0.5,
    }
    assert data["points"][1] == sdc
    assert (data["points"][2]["label"], data["points"][2]["x_ci"]) == ("SH", None)
    assert (data["n_bits"], data["xlabel"], data["caption"]) == (16, "x (%)", "A caption")
    cells = re.findall("<td>(.*?)</td>", shown._repr_html_())
    assert cells[0::4] == ["SDC (paper)", "SDC (paper)", "SH"]
    assert cells[1::4] == ["16", "64", "16"]
    assert cells[2::4] == ["45.0 ± 2.0", "40.1 ± 1.0", "60.0"]
    assert cells[3::4] == ["65.0 ± 0.2", "71.0 ± 0.5", "55.0"]
    assert (
        shown._repr_html_() == scatter_by_bits(summary, 16, xlabel="x (%)", caption="A caption")._repr_html_()
    )


def test_no_label_ends_the_script(summary):
    summary["label"] = summary["label"].replace("SH", "</script><b>")
    shown = scatter_by_bits(summary, 16, caption="a < b")
    assert embedded(shown)["points"][2]["label"] == "</script><b>"
    assert shown._repr_html_().count("</script>") == 1
    assert "<b>" not in shown._repr_html_()
    assert "a &lt; b" in shown._repr_html_()


def test_what_cannot_be_shown_is_named(summary):
    with pytest.raises(ValueError, match=r"n_bits: expected one of \[16, 64\], got 32"):
        scatter_by_bits(summary, 32)
    with pytest.raises(ValueError, match=r"summary: .*'overlap_auc', 'overlap_auc_ci'\] missing"):
        scatter_by_bits(summary, 16, x="overlap_auc")
    with pytest.raises(ValueError, match="one row a method and code length"):
        scatter_by_bits(pd.concat([summary, summary]), 16)
