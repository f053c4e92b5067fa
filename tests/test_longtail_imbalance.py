"""What imbalance of the training rows does, by class and beside the control, and its figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sdclib import load_features
from sdclib.data.features import FeatureSet
from sdclib.data.variants import class_sizes, leave_out_training, long_tail, longtail_sizes
from sdclib.evaluation import evaluate_codes
from sdclib.losses.calibration import parse_calibration
from study.chapters.class_precision import class_precision, collect_classes, unseen_precision
from study.chapters.imbalance import (
    add_ratios,
    against,
    balanced,
    by_ratio,
    by_size,
    calibration_label,
    contrast_rows,
    in_order,
    mean_by_size,
    over_queries,
    share_above,
    size_contrasts,
    tail_contrasts,
    tail_name,
)
from study.figures.imbalance import plot_by_ratio, plot_class_sizes, plot_contrasts
from study.records import write_record
from study.runs import RunSpec, run_experiment
from study.statistics import contrast
from study.tables import by_sign

EMBEDDED = "cifar10-embedded"


class TestImbalance:
    def test_class_precision_averages_to_the_whole(self, tiny: FeatureSet) -> None:
        features = long_tail(tiny, 5)
        rng = np.random.default_rng(0)
        query, database = (rng.integers(0, 2, (n, 12)).astype(np.uint8) for n in (40, 400))
        table = class_precision(query, database, features)
        assert table["n_train"].tolist() == list(class_sizes(features).values())
        assert table["n_query"].sum() == 40
        metrics, _ = evaluate_codes(
            query, database, features.relevant, features.top_k, denominator=features.denominator
        )
        assert np.average(table["map_expected"], weights=table["n_query"]) == pytest.approx(
            metrics["map_expected"]
        )

    def test_unseen_precision_is_that_of_the_rows_left(self, tiny: FeatureSet) -> None:
        rng = np.random.default_rng(0)
        query, database = (rng.integers(0, 2, (n, 12)).astype(np.uint8) for n in (40, 400))
        values = unseen_precision(query, database, tiny, tiny.train_index)
        unseen = leave_out_training(tiny)  # by junk instead
        metrics, _ = evaluate_codes(
            query,
            database,
            unseen.relevant,
            unseen.top_k,
            junk=unseen.junk,
            denominator=unseen.denominator,
        )
        counts = class_precision(query, database, tiny)["n_query"]
        assert np.average(values, weights=counts) == pytest.approx(metrics["map_expected"])
        nothing = unseen_precision(query, database, tiny, tiny.train_index[:0])
        assert nothing == pytest.approx(class_precision(query, database, tiny)["map_expected"].to_numpy())
        with pytest.raises(ValueError, match=r"trained: expected at least R = 100 other rows .*, found 99"):
            unseen_precision(query, database, tiny, np.arange(301))

    def test_over_queries_weighs_classes(self) -> None:
        classes = pd.DataFrame(
            {
                "id": ["r", "r", "s", "s"],
                "n_bits": 8,
                "class": [0, 1, 0, 1],
                "n_train": 3,
                "n_query": [1, 3, 1, 3],
                "map_expected": [0.2, 0.6, 0.1, 0.1],
                "map_unseen": [0.4, 0.0, 0.1, 0.5],
            }
        )
        table = over_queries(classes).set_index("id")
        assert table.loc["r", ["map_expected", "map_unseen"]].tolist() == pytest.approx([0.5, 0.1])
        assert table.loc["s", ["map_expected", "map_unseen"]].tolist() == pytest.approx([0.1, 0.4])

    def test_collect_from_records(self, tmp_path: Path) -> None:
        specs = [
            RunSpec(f"{EMBEDDED}+longtail-100", "sign", 8),
            RunSpec(EMBEDDED, "sign", 8),
            RunSpec(f"{EMBEDDED}+longtail-100", "cosine"),
        ]
        run = run_experiment(specs[0])
        with pytest.raises(FileNotFoundError):
            collect_classes(specs, tmp_path)
        write_record(run, tmp_path)
        table = collect_classes(specs, tmp_path)
        assert len(table) == 10
        assert set(table["id"]) == {specs[0].id}
        assert table["map_expected"].mean() == pytest.approx(run.metrics["map_expected"])
        assert table["n_train"].tolist() == longtail_sizes(500, 10, 100)
        unseen = load_features(f"{EMBEDDED}+unseen")  # without all 5,000, of which the run saw 1,236
        metrics, _ = evaluate_codes(
            run.query_codes,
            run.database_codes,
            unseen.relevant,
            unseen.top_k,
            junk=unseen.junk,
            denominator=unseen.denominator,
        )
        assert table["map_unseen"].mean() == pytest.approx(metrics["map_expected"])
        with pytest.raises(ValueError, match="specs: expected runs on long-tailed sets"):
            collect_classes(specs[1:2], tmp_path)

    def test_ratio_one_is_long_tail_and_control(self) -> None:
        data = [f"a+longtail-{suffix}" for suffix in ("1", "10", "10-control")]
        table = add_ratios(pd.DataFrame({"data": [*data, "a"], "x": range(4)}))
        pairs = sorted(zip(table["ratio"], table["control"], table["x"], strict=True))
        assert pairs == [(1, False, 0), (1, True, 0), (10, False, 1), (10, True, 2)]

    def test_thirds_of_ten_classes(self) -> None:
        classes = pd.DataFrame(
            {
                "id": "r",
                "n_bits": 8,
                "class": range(10),
                "n_train": longtail_sizes(500, 10, 100),
                "n_query": 1,
                "map_expected": np.arange(10) / 10,
            }
        )
        table = mean_by_size(classes).set_index("group")
        assert table["n_classes"].to_dict() == {"head": 3, "middle": 4, "tail": 3}
        assert table.loc["head", "map_expected"] == pytest.approx(0.1)
        assert table.loc["middle", "map_expected"] == pytest.approx(0.45)
        assert table.loc["tail", "n_train"] == pytest.approx((13 + 8 + 5) / 3)

    def test_contrast_of_two_is_welch(self) -> None:
        first, second = [1.0, 2.5, 4.0], [0.0, 0.1, 0.3, 0.2]
        interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        mean, low, high = contrast([first, second], [1, -1])
        assert mean == pytest.approx(2.5 - 0.15)
        assert (low, high) == pytest.approx((interval.low, interval.high))
        assert contrast([[1, 1], [0, 0]], [1, -1]) == (1, 1, 1)
        # Four groups alike have twice the variance of two.
        alike = np.random.default_rng(0).standard_normal(500)
        (_, low, high), (mean, *four) = contrast([alike] * 2, [1, -1]), contrast([alike] * 4, [1, -1, -1, 1])
        assert mean == pytest.approx(0)
        assert (four[1] - four[0]) / (high - low) == pytest.approx(np.sqrt(2), rel=0.01)
        with pytest.raises(ValueError, match=r"weights: expected one a group, 2, got 1"):
            contrast([first, second], [1])
        with pytest.raises(ValueError, match=r"groups\[1\]: expected at least two values"):
            contrast([first, [1.0]], [1, -1])

    def test_fewer_rows_and_imbalance_add_up(self) -> None:
        def rows(label: str, data: str, *values: float) -> list[dict[str, object]]:
            return [{"label": label, "data": f"a+longtail-{data}", "map_expected": v} for v in values]

        results = add_ratios(
            pd.DataFrame(
                [
                    *rows("A", "1", 0.80, 0.82),
                    *rows("A", "9-control", 0.70, 0.71),
                    *rows("A", "9", 0.50, 0.52),
                    *rows("B", "9-control", 0.60, 0.61),
                    *rows("B", "9", 0.58, 0.60),
                    *rows("C", "9", 0.58, 0.60),
                ]
            )
        )
        table = tail_contrasts(results, 9, reference="B")
        assert list(table.index) == ["A", "B"]
        assert table.loc["A", ("fewer rows", "mean")] == pytest.approx(-10.5)
        assert table.loc["A", ("imbalance", "mean")] == pytest.approx(-19.5)
        assert table.loc["A", ("more than reference", "mean")] == pytest.approx(-19.5 + 1.5)
        assert np.isnan(table.loc["B", ("fewer rows", "mean")])
        assert np.isnan(table.loc["B", ("more than reference", "mean")])
        low, high = table.loc["A", ("imbalance", "low")], table.loc["A", ("imbalance", "high")]
        assert low < -19.5 < high < 0

    def test_contrasts_laid_out(self) -> None:
        columns = pd.MultiIndex.from_product([("fewer rows", "imbalance"), ("mean", "low", "high")])
        wide = pd.DataFrame(
            [[1, 0, 2, -3, -4, -2], [np.nan] * 3 + [5, 4, 6]], index=["A", "B"], columns=columns
        )
        table = contrast_rows(wide, ["imbalance", "fewer rows"])
        assert table.to_numpy().tolist() == [
            ["imbalance", "A", -3, -4, -2],
            ["imbalance", "B", 5, 4, 6],
            ["fewer rows", "A", 1, 0, 2],
        ]

    def test_by_size_against_the_same_classes_of_the_control(self) -> None:
        # Head classes gain 1 point, the middle none, the tail loses 10; the other method loses 4 in the tail.
        def rows(label: str, kind: str, shift: list[float]) -> list[dict[str, object]]:
            return [
                {
                    "label": label,
                    "data": f"a+longtail-9{kind}",
                    "seed": seed,
                    "class": number,
                    "n_train": 1,
                    "n_query": 1,
                    "map_expected": 0.5 + number / 100 + shift[number] + seed / 1000,
                }
                for seed in range(3)
                for number in range(3)
            ]

        classes = pd.DataFrame(
            [
                *rows("A", "", [0.01, 0, -0.1]),
                *rows("A", "-control", [0, 0, 0]),
                *rows("B", "", [0.0, 0, -0.04]),
                *rows("B", "-control", [0, 0, 0]),
            ]
        )
        table = size_contrasts(classes, 9).set_index(["label", "group"])
        assert table.loc["A", "mean"].round(6).to_dict() == {"head": 1, "middle": 0, "tail": -10}
        _, low, high = contrast([[0, 0.1, 0.2], [0, 0.1, 0.2]], [1, -1])
        assert table.loc[("A", "tail"), ["low", "high"]].tolist() == pytest.approx([-10 + low, -10 + high])
        apart = size_contrasts(classes, 9, "more than reference", "B").set_index(["label", "group"])
        assert apart.loc["A", "mean"].round(6).to_dict() == {"head": 1, "middle": 0, "tail": -6}
        assert "B" not in apart.index.get_level_values("label")

        spelled = by_size(classes, 9)
        assert list(spelled) == ["head", "middle", "tail"]
        assert spelled.loc[("A", "long tail"), "tail"] == "42.1 ± 0.2"
        assert spelled.loc[("A", "control"), "tail"] == "52.1 ± 0.2"

    def test_by_ratio_has_a_row_a_kind(self) -> None:
        summary = pd.DataFrame(
            {
                "label": ["A", "A", "A", "B"],
                "ratio": [1.0, 1.0, 10.0, 10.0],
                "control": [False, True, True, False],
                "map_expected": [60.0, 60.0, 58.0, 50.0],
                "map_expected_ci": [1.0, 1.0, np.nan, 2.0],
            }
        )
        table = by_ratio(summary)
        assert list(table) == ["ratio 1", "ratio 10"]
        assert table.loc[("A", "control")].tolist() == ["60.0 ± 1.0", "58.0"]
        assert table.loc[("A", "long tail")].tolist() == ["60.0 ± 1.0", ""]
        assert table.loc[("B", "long tail")].tolist() == ["", "50.0 ± 2.0"]

    def test_against_methods_with_and_without_chance(self) -> None:
        def rows(method: str, n_bits: int | None, *values: float) -> list[dict[str, object]]:
            return [{"method": method, "label": method, "n_bits": n_bits, "map_expected": v} for v in values]

        sdc, itq = [0.50, 0.52, 0.57], [0.40, 0.41, 0.45]
        results = pd.DataFrame(
            [
                *rows("sdc", 64, *sdc),
                *rows("itq", 64, *itq),
                *rows("itq", 16, 0.1),
                *rows("pcah", 64, 0.3),
                *rows("cosine", None, 0.6),
            ]
        ).astype({"n_bits": "Int64"})
        table = against(results, "sdc", 64).set_index("second")
        assert list(table.index) == ["itq", "pcah", "cosine"]
        interval = stats.ttest_ind(100 * np.array(sdc), 100 * np.array(itq), equal_var=False)
        assert table.loc["itq", "low"] == pytest.approx(interval.confidence_interval(0.95).low)
        one = stats.ttest_1samp(100 * np.array(sdc), 30).confidence_interval(0.95)
        assert table.loc["pcah", ["mean", "low", "high"]].tolist() == pytest.approx(
            [23, one.low - 30, one.high - 30]
        )
        assert table.loc["cosine", "mean"] == pytest.approx(53 - 60)
        with pytest.raises(ValueError, match="itq: expected at least two seeds at 16 bits, got one run"):
            against(pd.concat([results, pd.DataFrame(rows("sdc", 16, 0.1, 0.2))]), "sdc", 16)
        with pytest.raises(ValueError, match="label: expected at least two seeds of pcah at 64 bits, got 1"):
            against(results, "pcah", 64)

    def test_words_follow_the_interval(self) -> None:
        words = ("above", "below", "neither")
        assert by_sign({"low": 0.1, "high": 2}, *words) == "above"
        assert by_sign({"low": -2, "high": -0.1}, *words) == "below"
        assert by_sign({"low": -0.1, "high": 0.1}, *words) == "neither"
        assert by_sign({"low": np.nan, "high": np.nan}, *words) == "neither"

    def test_names_and_order(self) -> None:
        assert tail_name("a+longtail-100") == "ratio 100"
        assert tail_name("a+longtail-2.5-control") == "ratio 2.5, control"
        with pytest.raises(
            ValueError, match=r"data: expected a long-tailed set such as NAME\+longtail-50, got 'a'"
        ):
            tail_name("a")
        assert [balanced(f"a+longtail-{kind}") for kind in ("1", "1-control", "9", "9-control")] == [
            True,
            True,
            False,
            True,
        ]
        rows = [
            ("a+longtail-100", "lsh"),
            ("a+longtail-10-control", "itq"),
            ("a", "sdc"),
            ("a+longtail-10", "itq"),
            ("a+longtail-100", "sdc"),
            ("a+longtail-10", "sdc"),
        ]
        table = in_order(pd.DataFrame(rows, columns=["data", "method"]))
        assert [rows[i] for i in (5, 3, 1, 4, 0)] == list(table.itertuples(index=False, name=None))

    def test_share_above_is_one_less_the_cumulated(self) -> None:
        assert share_above(parse_calibration("beta(5, 5)")) == pytest.approx(0.5, abs=1e-4)
        assert share_above(parse_calibration("beta(2, 5)")) == pytest.approx(
            stats.beta.sf(0.5, 2, 5), abs=1e-4
        )
        assert share_above(parse_calibration("beta(2, 5)"), 0.5) == pytest.approx(
            stats.beta.sf(0.75, 2, 5), abs=1e-4
        )

    def test_labels(self) -> None:
        assert calibration_label("sdc", {"preset": "release", "batch_size": 256}) == "SDC (beta(5, 5))"
        assert (
            calibration_label("sdc", {"calibration": "beta(2, 5)", "epochs": 9})
            == "SDC (beta(2, 5), 9 epochs)"
        )
        assert calibration_label("lsh", {"center": True}) == "LSH (centred)"


class TestFigures:
    def test_show_what_they_are_given(self) -> None:
        sizes = pd.DataFrame({"ratio 1": [5, 5], "ratio 5": [5, 1]}, index=["cat", "dog"])
        (axes,) = plot_class_sizes(sizes).axes
        assert [line.get_ydata().tolist() for line in axes.lines] == [[5, 5], [5, 1]]
        assert axes.get_yscale() == "log"

        summary = pd.DataFrame(
            {
                "label": ["ITQ"] * 4,
                "ratio": [1.0, 10.0, 1.0, 10.0],
                "control": [False, False, True, True],
                "map_expected": [60.0, 50.0, 60.0, 58.0],
                "map_expected_ci": [1.0, 1.0, 1.0, np.nan],
            }
        )
        left, right = plot_by_ratio(summary).axes
        assert left.lines[0].get_ydata().tolist() == [60, 50]
        assert right.lines[0].get_ydata().tolist() == [60, 58]

        contrasts = pd.DataFrame(
            {
                "group": ["head", "tail"],
                "label": "ITQ",
                "mean": [1.0, -9.0],
                "low": [0.0, -10.0],
                "high": [2.0, -8.0],
            }
        )
        head, tail = plot_contrasts(contrasts, "points").axes
        assert head.lines[1].get_xdata().tolist() == [0, 2]
        assert tail.lines[2].get_xdata() == [-9]
        assert tail.get_title() == "tail"
        plt.close("all")
