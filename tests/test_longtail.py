"""Long-tailed training rows: sizes, names and errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sdclib import load_features
from sdclib.data.features import FeatureSet
from sdclib.data.variants import class_sizes, long_tail, longtail_sizes, parse_longtail, positive_share
from study.runs import RunSpec, run_experiment

EMBEDDED = "cifar10-embedded"
LAST_CLASS = [87, 1023, 2456, 2534, 3143]  # training rows of class 9 at ratio 100


class TestSizes:
    # Worked out by hand from 500, 500 * 100^(-1/9), ...
    @pytest.mark.parametrize(
        ("ratio", "sizes"),
        [
            (1, [500] * 10),
            (10, [500, 387, 299, 232, 179, 139, 107, 83, 64, 50]),
            (50, [500, 323, 209, 135, 87, 56, 36, 23, 15, 10]),
            (100, [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]),
        ],
    )
    def test_of_ten_classes(self, ratio: float, sizes: list[int]) -> None:
        assert longtail_sizes(500, 10, ratio) == sizes

    @pytest.mark.parametrize("n_classes", [2, 3, 20])
    @pytest.mark.parametrize("ratio", [1, 1.5, 7, 40])
    def test_follow_the_formula(self, n_classes: int, ratio: float) -> None:
        sizes = longtail_sizes(80, n_classes, ratio)
        exact = 80 * np.float64(ratio) ** (-np.arange(n_classes) / (n_classes - 1))
        assert sizes[0] == 80
        assert sizes[-1] == int(80 / ratio + 1e-9)
        assert all(0 <= e - s + 1e-6 < 1 + 1e-6 for s, e in zip(sizes, exact, strict=True))
        assert sizes == sorted(sizes, reverse=True)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((50, 5, 0.5), "ratio: expected a finite number >= 1, got 0.5"),
            ((50, 5, float("nan")), "ratio: expected a finite number >= 1, got nan"),
            ((50, 5, 51), r"ratio: expected at most 50, .* every class keeps a row, got 51"),
            ((50, 1, 2), "n_classes: expected a whole number >= 2, got 1"),
            ((0, 5, 2), "n_max: expected a whole number >= 1, got 0"),
        ],
    )
    def test_errors(self, arguments: tuple[int, int, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            longtail_sizes(*arguments)


class TestLongTail:
    @pytest.mark.parametrize(("ratio", "total"), [(1, 5000), (10, 2040), (50, 1394), (100, 1236)])
    def test_of_the_embedded_data(self, ratio: int, total: int) -> None:
        whole = load_features(EMBEDDED)
        tail = load_features(f"{EMBEDDED}+longtail-{ratio}")
        control = load_features(f"{EMBEDDED}+longtail-{ratio}-control")
        assert list(class_sizes(tail).values()) == longtail_sizes(500, 10, ratio)
        assert len(tail.train) == len(control.train) == total
        sizes = list(class_sizes(control).values())
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)
        for features in (tail, control):
            np.testing.assert_array_equal(features.query, whole.query)
            np.testing.assert_array_equal(features.database, whole.database)
            np.testing.assert_array_equal(features.database_labels, whole.database_labels)
            assert set(features.train_index) <= set(whole.train_index)
            assert features.top_k == whole.top_k
        if ratio == 1:  # nothing is left out, and the order stays
            np.testing.assert_array_equal(tail.train_index, whole.train_index)
        else:
            assert len({tail.sha256, control.sha256, whole.sha256}) == 3

    def test_rows_are_the_same_everywhere_and_nested(self, tiny: FeatureSet) -> None:
        chosen = {ratio: set(long_tail(tiny, ratio).train_index.tolist()) for ratio in (1, 2, 6)}
        assert chosen[6] < chosen[2] < chosen[1]
        assert sorted(chosen[6]) == list(long_tail(tiny, 6).train_index)
        # Written down once: what decides is SHA-256 of "0:ROW", not this machine's sort or random numbers.
        rows = load_features(f"{EMBEDDED}+longtail-100").train_index
        labels = load_features(EMBEDDED).database_labels[rows]
        assert rows[labels == 9].tolist() == LAST_CLASS
        assert not np.array_equal(long_tail(tiny, 6).train_index, long_tail(tiny, 6, seed=1).train_index)

    def test_unequal_classes_start_from_the_smallest(self, tiny: FeatureSet) -> None:
        labels = tiny.database_labels[tiny.train_index]
        smallest = np.bincount(labels).min()
        assert np.bincount(labels).max() > smallest
        assert list(class_sizes(long_tail(tiny, 3)).values()) == longtail_sizes(int(smallest), 4, 3)

    def test_positive_share(self, tiny: FeatureSet) -> None:
        features = long_tail(tiny, 5)
        labels = features.database_labels[features.train_index]
        same = labels[:, None] == labels[None]
        pairs = ~np.eye(len(labels), dtype=bool)
        assert positive_share(features) == pytest.approx(same[pairs].mean())
        assert positive_share(features) > positive_share(long_tail(tiny, 5, control=True))
        assert np.isnan(positive_share(dataclasses.replace(tiny, train_index=np.array([0]))))

    def test_errors(self, tiny: FeatureSet) -> None:
        one_hot = np.eye(4, dtype=np.uint8)
        several = dataclasses.replace(
            tiny, query_labels=one_hot[tiny.query_labels], database_labels=one_hot[tiny.database_labels]
        )
        with pytest.raises(ValueError, match=r"expected one label an image, .* but tiny has several labels"):
            long_tail(several, 2)
        unlabelled = dataclasses.replace(
            tiny,
            query_labels=np.zeros((40, 0), np.uint8),
            database_labels=np.zeros((400, 0), np.uint8),
            ground_truth=tuple(np.arange(3) for _ in range(40)),
        )
        with pytest.raises(ValueError, match="but tiny has no labels"):
            long_tail(unlabelled, 2)
        elsewhere = dataclasses.replace(tiny, train_index=np.zeros(0, np.int64), train_features=tiny.query)
        with pytest.raises(ValueError, match="labelled training rows in the database of tiny, found none"):
            long_tail(elsewhere, 2)
        few = dataclasses.replace(tiny, train_index=np.flatnonzero(tiny.database_labels == 2)[:3])
        with pytest.raises(ValueError, match=r"each of the 4 classes .* 3 have none, first class 0"):
            long_tail(few, 2)
        with pytest.raises(ValueError, match=r"ratio: .* every class keeps a row, got 1000"):
            long_tail(tiny, 1000)
        with pytest.raises(ValueError, match=r"ratio: expected a finite number >= 1, got 0\.1"):
            long_tail(tiny, 0.1)


class TestNames:
    def test_are_taken_apart(self) -> None:
        assert parse_longtail("a/b+longtail-50") == ("a/b", 50, False)
        assert parse_longtail("a+longtail-2.5-control") == ("a", 2.5, True)
        assert parse_longtail("a+holdout+longtail-2") == ("a+holdout", 2, False)
        assert parse_longtail("longtail-50") is None
        assert parse_longtail(EMBEDDED) is None

    @pytest.mark.parametrize(
        "suffix", ["", "0.5", "many", "-5", "nan", "1e2", "50-controls", "50+more", "control"]
    )
    def test_unknown_ratios(self, suffix: str) -> None:
        with pytest.raises(ValueError, match=r"name: expected a ratio >= 1 after \+longtail-, such as"):
            load_features(f"{EMBEDDED}+longtail-{suffix}")

    def test_unknown_set_and_unknown_suffix(self) -> None:
        with pytest.raises(ValueError, match=r"name: expected one of .*, got 'mnist'"):
            load_features("mnist+longtail-10")
        with pytest.raises(ValueError, match="ratio: expected at most 500"):
            load_features(f"{EMBEDDED}+longtail-501")

    def test_with_the_holdout_in_either_order(self) -> None:
        held = load_features(f"{EMBEDDED}+longtail-10+holdout")
        assert len(held.query) + len(held.database) == 2040
        tail = load_features(f"{EMBEDDED}+holdout+longtail-10")
        assert len(tail.database) == 4500
        assert len(tail.train) < 2040

    def test_by_name_to_a_metric(self) -> None:
        spec = RunSpec(f"{EMBEDDED}+longtail-100", "itq", 16)
        run = run_experiment(spec)
        assert 0.3 < run.metrics["map_expected"] < 0.8
        assert spec.id != RunSpec(f"{EMBEDDED}+longtail-100-control", "itq", 16).id
        assert load_features(spec.data).name == spec.data
