"""Bias of features beside collapse and gains: the table, what it says in words, and its figure."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sdclib.figures.similarities import plot_bias
from study.chapters.feature_bias import (
    at_the_ends,
    bias_table,
    by_verdict,
    centring_table,
    contradiction,
    least_p_value,
    spelled_difference,
    spelled_verdict,
)

# By set: bias, mAP of float cosine, of the first and of the second method; intersections of the four.
SETS = {
    "cifar10/efficientnet-lite0": (0.4, 0.70, 0.75, 0.65, 0.50, 0.40, 0.30, 0.45),
    "coil20/efficientnet-lite0": (0.3, 0.90, 0.90, 0.90, 0.10, 0.10, 0.10, 0.11),
    "tiny": (0.2, 0.60, 0.40, 0.62, 0.20, 0.25, 0.30, 0.20),
}


def runs(sets=SETS):
    """Float cosine, plain and centred, and three seeds of both methods, a point apart."""
    rows = []
    for data, (bias, ranking, first, second, *collapse) in sets.items():
        for center, intersection in zip((False, True), collapse, strict=False):
            parameters = json.dumps({"center": center})
            mean = 0.0 if center else bias
            rows.append((data, "cosine", "Float cosine", parameters, pd.NA, 0, ranking, intersection, mean))
        for label, value, intersection in (("A", first, collapse[2]), ("B", second, collapse[3])):
            for seed in range(3):
                noise = 0.01 * (seed - 1)
                rows.append((data, "sdc", label, "{}", 64, seed, value + noise, intersection + noise, 0.0))
    columns = [
        "data",
        "method",
        "label",
        "parameters",
        "n_bits",
        "seed",
        "map_expected",
        "intersection",
        "all_mean",
    ]
    table = pd.DataFrame(rows, columns=columns).astype({"n_bits": "Int64"})
    return table.assign(negative_mean=table["all_mean"] - 0.01, overlap_auc=1 - table["intersection"])


def test_table_has_bias_collapse_and_gains():
    table = bias_table(runs(), "A", "B", 64)
    assert table.index.tolist() == ["CIFAR-10", "COIL-20", "tiny"]
    row = table.loc["CIFAR-10"]
    assert [row["all_mean"], row["negative_mean"]] == pytest.approx([0.4, 0.39])
    assert [row[name] for name in ("float", "centred", "first", "second")] == pytest.approx([50, 40, 30, 45])
    assert row["auc_float"] == pytest.approx(50)
    one = stats.t.ppf(0.975, 2) / np.sqrt(3)
    two = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3)
    assert row["first_ci"] == pytest.approx(one)
    assert [row[f"gain{end}"] for end in ("", "_low", "_high")] == pytest.approx([10, 10 - two, 10 + two])
    assert [row[f"gain_float{end}"] for end in ("", "_low", "_high")] == pytest.approx([5, 5 - one, 5 + one])
    assert [row[f"drop{end}"] for end in ("", "_low", "_high")] == pytest.approx([15, 15 - two, 15 + two])
    assert centring_table(table)["intersection"].tolist() == pytest.approx([-10, 0, 5])
    assert centring_table(table)["auc"].tolist() == pytest.approx([10, 0, -5])


def test_what_is_missing_is_named():
    table = runs()
    plain = table["parameters"] == '{"center": false}'
    with pytest.raises(ValueError, match=r"cifar10.*: expected one run of plain float cosine, got 0"):
        bias_table(table[~plain], "A", "B", 64)
    with pytest.raises(ValueError, match="tiny: expected at least two seeds of B at 64 bits, got 0"):
        bias_table(table[~((table["data"] == "tiny") & (table["label"] == "B"))], "A", "B", 64)
    with pytest.raises(ValueError, match="expected at least two seeds of A at 16 bits, got 0"):
        bias_table(table, "A", "B", 16)


def test_words_follow_the_intervals():
    table = bias_table(runs(), "A", "B", 64)
    assert by_verdict(table, "gain") == {"above": ["CIFAR-10"], "below": ["tiny"], "neither": ["COIL-20"]}
    assert spelled_difference(table.loc["CIFAR-10"], "gain") == "+10.0, 7.7 to 12.3"
    assert spelled_verdict(table, "gain") == (
        "above 0 on CIFAR-10 (+10.0, 7.7 to 12.3); below 0 on tiny (-22.0, -24.3 to -19.7); "
        "not told from 0 on COIL-20 (+0.0, -2.3 to 2.3)"
    )
    assert at_the_ends(table) == (
        "On the set with the largest bias, CIFAR-10, SDC gains; on the one with the smallest, tiny, it loses."
    )
    # The set with the middle bias has the least intersection.
    assert contradiction(table, "float", "intersection") == (
        "COIL-20 has a larger bias than tiny (0.29 against 0.19) but a smaller intersection (10.0 against 20.0 %)."
    )
    assert contradiction(table, "gain", "gain") == "By bias and by gain the sets are in the same order."


def test_few_points_cannot_be_significant():
    assert least_p_value(4) == pytest.approx(1 / 12)
    four = stats.permutation_test(
        ([1, 2, 3, 4],), lambda x: stats.spearmanr(x, [1, 2, 3, 4]).statistic, permutation_type="pairings"
    )
    assert four.pvalue == pytest.approx(least_p_value(4))
    with pytest.raises(ValueError, match="n: expected at least 2 points, got 1"):
        least_p_value(1)


def test_figure():
    table = bias_table(runs(), "A", "B", 64)
    figure = plot_bias(table, "A", "B")
    above, below = figure.axes
    assert [container.get_label() for container in above.containers] == ["Float cosine", "B", "A"]
    np.testing.assert_allclose(np.asarray(above.containers[2][0].get_ydata(), float), [30, 10, 30])
    assert [container.get_label() for container in below.containers] == ["less Float cosine", "less B"]
    np.testing.assert_allclose(np.asarray(below.containers[1][0].get_ydata(), float), [10, 0, -22], atol=1e-9)
    assert "gain in" in below.get_ylabel()
    plt.close(figure)
