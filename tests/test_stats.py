"""Tables of runs by their settings; means, differences and intervals over seeds, and how they are shown."""

import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sdclib.methods.presets import PRESETS
from study import tables
from study.provenance import PROJECT_ROOT, RESULTS
from study.stats import (
    against,
    by_bits,
    compared,
    contrast,
    difference_table,
    format_summary,
    interval_text,
    mean_interval,
    mean_text,
    summarise,
)
from study.tables import (
    Config,
    find,
    method_label,
    published,
    published_histograms,
    read_results,
    renamed,
    set_name,
    settings_text,
    where,
)
from tests.tables import seeds_of, table_of

A, B, C = (Config(method) for method in ("itq", "lsh", "sign"))


class TestTables:
    @pytest.fixture
    def table(self, tmp_path):
        rows = [
            {"parameters": '{"preset": "release"}'},
            {"parameters": '{"batch_size": 256, "preset": "release"}'},
            {"method": "greedyhash", "parameters": '{"learning_rate": 0.01}'},
            {"method": "cosine", "n_bits": None, "parameters": '{"center": true}'},
        ]
        return table_of(rows, tmp_path / "t.csv")

    def test_have_one_column_a_setting(self, table):
        for name, value in asdict(PRESETS["release"]).items():
            assert table.loc[0, name] == value or value is None is table.loc[0, name]
        assert table["batch_size"].tolist()[:2] == [64, 256]
        assert table["learning_rate"].tolist()[:3] == [1e-4, 1e-4, 0.01]
        assert table.loc[2:, "preset"].isna().all()
        assert table["id"].tolist() == ["0000", "0001", "0002", "0003"]

    def test_rows_are_found_by_values(self, table):
        assert where(table, preset="release", hidden_features=None).index.tolist() == [0, 1]
        assert find(table, preset="release", batch_size=256) == table["config"][1]
        with pytest.raises(ValueError, match=r"expected one configuration with .*, got SDC \(release\), SDC"):
            find(table, method="sdc")
        with pytest.raises(ValueError, match="got none"):
            find(table, method="itq")

    def test_configurations_are_what_their_values_are_whatever_they_are_called(self, table):
        called = renamed(table, ["x", None, np.nan, "y"])["config"]
        assert list(called) == list(table["config"])
        assert list(map(str, called)) == [
            "x", "SDC (release, batch_size=256)", "GreedyHash (learning_rate=0.01)", "y",
        ]  # fmt: skip
        assert str(sorted(called)[0]) == "GreedyHash (learning_rate=0.01)"

    @pytest.mark.parametrize(
        ("method", "parameters", "label"),
        [
            ("sdc", {"preset": "release"}, "SDC (release)"),
            (
                "sdc",
                {"preset": "paper-no-contrastive", "calibration": "beta(2, 2)"},
                "SDC (paper-no-contrastive, calibration=beta(2, 2))",
            ),
            (
                "sdc",
                {"preset": "paper-no-contrastive", "center": True},
                "SDC (paper-no-contrastive, centred)",
            ),
            ("lsh", {"center": False}, "LSH"),
            ("greedyhash", {"learning_rate": 1e-4, "epochs": 60}, "GreedyHash"),
            ("cosine", {"center": True}, "Float cosine (centred)"),
        ],
    )
    def test_labels_say_what_is_not_usual(self, method, parameters, label):
        assert method_label(method, parameters) == label

    def test_words(self):
        assert settings_text({}) == "none"
        assert settings_text({"center": False}) == "not centred"
        text = settings_text({"center": True, "stochastic": True, "n_iterations": 50, "learning_rate": 1e-4})
        assert text == "centred, stochastic yes, iterations 50, learning rate 0.0001"
        assert set_name("caltech101/efficientnet-lite0+unseen") == "Caltech-101, unseen"

    def test_a_run_of_two_published_tables_counts_once(self, table, tmp_path, monkeypatch):
        monkeypatch.setattr(tables, "RESULTS", tmp_path)
        pairs = pd.DataFrame({"id": ["0000", "0000"], "similarity": [0, 1], "positive": 1, "negative": 2})
        for name in ("t", "u"):
            table[["id", "data", "method", "n_bits", "seed", "parameters"]].to_csv(
                tmp_path / f"{name}.csv", index=False
            )
            pairs.to_csv(tmp_path / f"{name}_histograms.csv", index=False)
        assert len(published("t", "u")) == 4
        pd.testing.assert_frame_equal(published_histograms("t", "u"), pairs)

    @pytest.mark.parametrize(
        "content", ["a,b\n1,2\n", "id,data,method,n_bits,seed,parameters\n1,d,m,x,0,{}\n"]
    )
    def test_another_file_is_named(self, tmp_path, content):
        (tmp_path / "x.csv").write_text(content)
        with pytest.raises(ValueError, match=r"x\.csv: expected"):
            read_results(tmp_path / "x.csv")

    def test_are_read_without_torch(self):
        code = (
            "import sys; from study.tables import *; t = published('training', 'cifar10_rivals', 'supervised');"
            "find(t, method='orthohash', class_targets='hadamard'); print('torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "False"

    def test_every_published_table_of_runs_is_read(self):
        for path in RESULTS.glob("*.csv"):
            columns = pd.read_csv(path, nrows=0).columns
            if {"id", "parameters"} <= set(columns):
                assert len(read_results(path)["config"].map(str).unique())


class TestDifferences:
    FIRST, SECOND = [0.50, 0.52, 0.57], [0.40, 0.41, 0.45]

    @pytest.fixture
    def results(self):
        other = seeds_of({A: [0.3, 0.4], B: [0.1]}, data="other")
        return pd.concat([seeds_of({A: self.FIRST, B: self.SECOND}), other])

    def test_are_welchs_and_paired_where_both_have_seeds(self, results):
        (row,) = compared(results, [(A, B), (A, C)]).to_dict("records")
        first, second = 100 * np.array(self.FIRST), 100 * np.array(self.SECOND)
        welch = stats.ttest_ind(first, second, equal_var=False)
        interval = welch.confidence_interval()
        paired = stats.ttest_rel(first, second).confidence_interval()
        assert row == {
            "first": A, "second": B, "data": "tiny", "n_bits": 64, "setting": "tiny, 64 bits",
            "mean": pytest.approx(11), "p": pytest.approx(welch.pvalue),
            "low": pytest.approx(interval.low), "high": pytest.approx(interval.high),
            "paired_low": pytest.approx(paired.low), "paired_high": pytest.approx(paired.high),
        }  # fmt: skip
        moved = results.assign(seed=results["seed"] + 7 * (results["config"] == B))
        assert np.isnan(compared(moved, [(A, B)])["paired_low"].item())
        assert compared(results, [(A, C)]).empty

    def test_of_another_column_and_metric(self):
        rows = seeds_of({"x": [1, 2], "y": [3, 5]}, "loss").rename(columns={"config": "kind"})
        assert compared(rows, [("y", "x")], "loss", by="kind")["mean"].item() == pytest.approx(250)

    def test_contrasts_of_four(self):
        assert contrast([[1, 1], [0, 0]], [1, -1]) == {"mean": 1, "low": 1, "high": 1}
        alike = np.random.default_rng(0).standard_normal(500)
        two, four = contrast([alike] * 2, [1, -1]), contrast([alike] * 4, [1, -1, -1, 1])
        assert four["mean"] == pytest.approx(0)  # with twice the variance
        assert four["high"] / two["high"] == pytest.approx(np.sqrt(2), rel=0.01)
        with pytest.raises(ValueError, match=r"groups\[1\]: expected at least two values"):
            contrast([[1, 2], [1]], [1, -1])

    def test_against_methods_with_and_without_chance(self):
        floats = seeds_of({Config("cosine"): [0.6]}, n_bits=None)
        runs = pd.concat([seeds_of({A: self.FIRST, B: self.SECOND, Config("pcah"): [0.3]}), floats])
        table = against(runs, A, 64).set_index("second")
        assert table.loc[B, "low"] == pytest.approx(compared(runs, [(A, B)])["low"].item())
        one = stats.ttest_1samp(100 * np.array(self.FIRST), 30).confidence_interval()
        pcah = table.loc[Config("pcah"), ["mean", "low", "high"]].tolist()
        assert pcah == pytest.approx([23, one.low - 30, one.high - 30])
        assert table.loc[Config("cosine"), "mean"] == pytest.approx(53 - 60)
        with pytest.raises(ValueError, match="expected at least two values"):
            against(pd.concat([runs, seeds_of({Config("tbh"): [0.1]})]), A, 64)

    def test_are_laid_out(self, results):
        rows = compared(
            pd.concat([results, seeds_of({A: self.FIRST, C: self.SECOND}, data="other")]), [(A, B), (A, C)]
        )
        table = difference_table(rows, "second")
        assert table.index.tolist() == ["tiny, 64 bits", "other, 64 bits"]
        assert table.loc["tiny, 64 bits"].tolist() == [interval_text(rows.iloc[0]), ""]


class TestSummaries:
    def test_have_students_intervals(self):
        mean, half = mean_interval([1.0, 2.0, 3.0])
        assert (mean, half) == pytest.approx((2, 4.302652729911275 / np.sqrt(3)))
        assert np.isnan(mean_interval([1.0])[1])
        summary = summarise(seeds_of({A: [0.1, 0.2, 0.3], B: [0.5]}), ["map_expected"])
        assert summary["seeds"].tolist() == [3, 1]
        assert summary["map_expected"].tolist() == pytest.approx([20, 50])
        assert summary["map_expected_ci"].tolist() == pytest.approx([10 * half, np.nan], nan_ok=True)

    def test_are_laid_out(self):
        runs = [
            seeds_of({A: [of, of + 0.02], B: [0.6 - of, 0.6 - of]}, n_bits=n)
            for n, of in ((16, 0.2), (64, 0.4))
        ]
        summary = summarise(pd.concat([*runs, seeds_of({C: [0.5]}, n_bits=None)]), ["map_expected"])
        table = by_bits(summary, "map_expected")
        assert table.index.tolist() == [A, B]  # best at the longest codes first
        assert table.loc[A].to_dict() == {"16 bits": "21.0 ± 12.7", "64 bits": "41.0 ± 12.7"}
        shown = format_summary(summary, 100)
        assert shown.iloc[-1].tolist() == [C, "float", 1, "50.0"]
        assert list(shown)[-1] == "mAP@100 (expected)"


def test_numbers_in_words():
    row = {"mean": 1.24, "low": -0.04, "high": 2.6}
    assert interval_text(row) == "+1.2 (0.0 to 2.6)"
    assert interval_text(row | {"low": np.nan}) == "+1.2"
    assert (mean_text(1.25, 0.5), mean_text(1.0, np.nan)) == ("1.2 ± 0.5", "1.0")
