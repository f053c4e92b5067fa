"""Feature sets by name, from any source to a metric; held-out, long-tailed and unseen variants."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sdclib import load_features
from sdclib.catalogue import FEATURE_SETS
from sdclib.data.features import FeatureSet
from sdclib.data.variants import (
    class_sizes,
    hold_out,
    holdout_rows,
    leave_out_training,
    long_tail,
    longtail_sizes,
    parse_longtail,
    positive_share,
)
from study.runs import RunSpec, run_experiment
from tests.landmarks import vectors, write_gldv2, write_revisited
from tests.test_embeddings import blobs

EMBEDDED = "cifar10-embedded"


def test_landmark_sets_by_name_to_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    write_gldv2(tmp_path / "gldv2", n=120)  # R is 100
    write_revisited(tmp_path / "rparis6k", "rparis6k", n=120)
    np.save(tmp_path / "rparis6k" / "train.npy", vectors(40, 5))
    for name in ("gldv2", "rparis-easy", "rparis-medium", "rparis-hard"):
        assert name in FEATURE_SETS
        assert run_experiment(RunSpec(name, "itq", 8)).metrics["map_expected"] > 0


@pytest.mark.parametrize("absolute", [False, True])
def test_embeddings_by_file(absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = blobs()
    np.savez(tmp_path / "mine.npz", embeddings=rows, labels=labels)
    monkeypatch.setenv("SDC_DATA", str(tmp_path / "elsewhere" if absolute else tmp_path))
    name = f"embeddings/{tmp_path / 'mine.npz'}" if absolute else "embeddings/mine.npz"
    features = load_features(name)
    assert (features.name, len(features.query), features.database.shape) == (name, 10, (90, 12))


@pytest.mark.parametrize(
    "name", ["mnist", "embeddings/", "caltech101/", "gldv2/vgg16", "roxford", "mnist+longtail-10"]
)
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=r"name: expected one of .*embeddings/FILE.*roxford-hard"):
        load_features(name)


def unlabelled(features: FeatureSet) -> FeatureSet:
    return dataclasses.replace(
        features,
        query_labels=np.zeros((len(features.query), 0), np.uint8),
        database_labels=np.zeros((len(features.database), 0), np.uint8),
        ground_truth=tuple(np.arange(3) for _ in features.query),
    )


def trained_elsewhere(features: FeatureSet) -> FeatureSet:
    return dataclasses.replace(features, train_index=np.zeros(0, np.int64), train_features=features.query)


# Held-out training rows


def test_held_out_rows_are_a_tenth_and_the_rest() -> None:
    query, train = holdout_rows(50)
    assert len(query) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([query, train])), np.arange(50))
    np.testing.assert_array_equal(query, [15, 20, 36, 44, 46])  # by SHA-256 of "0:ROW", on every machine
    with pytest.raises(ValueError, match="n: expected at least 2 training rows"):
        holdout_rows(1)


def test_only_training_rows_are_held_out(tiny: FeatureSet) -> None:
    held = hold_out(tiny)
    label = {
        row.tobytes(): int(value) for row, value in zip(tiny.database, tiny.database_labels, strict=True)
    }
    rows = [row.tobytes() for row in np.concatenate([held.query, held.database])]
    assert sorted(rows) == sorted(row.tobytes() for row in tiny.train)
    assert [label[row] for row in rows] == [*held.query_labels.tolist(), *held.database_labels.tolist()]
    np.testing.assert_array_equal(held.train, held.database)
    assert held.top_k == round(100 * len(held.database) / len(tiny.database))
    assert held.sha256 != tiny.sha256
    for wrong in (unlabelled(tiny), trained_elsewhere(tiny)):
        with pytest.raises(ValueError, match="expected labelled training rows in the database of tiny"):
            hold_out(wrong)


# Long-tailed training rows

SIZES = {  # worked out by hand from 500, 500 * 100^(-1/9), ...
    1: [500] * 10,
    10: [500, 387, 299, 232, 179, 139, 107, 83, 64, 50],
    50: [500, 323, 209, 135, 87, 56, 36, 23, 15, 10],
    100: [500, 299, 179, 107, 64, 38, 23, 13, 8, 5],
}


@pytest.mark.parametrize("ratio", SIZES)
def test_long_tail_of_the_embedded_data(ratio: int) -> None:
    whole = load_features(EMBEDDED)
    tail = load_features(f"{EMBEDDED}+longtail-{ratio}")
    control = load_features(f"{EMBEDDED}+longtail-{ratio}-control")
    assert longtail_sizes(500, 10, ratio) == list(class_sizes(tail).values()) == SIZES[ratio]
    sizes = list(class_sizes(control).values())
    assert sum(sizes) == sum(SIZES[ratio])
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    for features in (tail, control):
        np.testing.assert_array_equal(features.database, whole.database)
        assert set(features.train_index) <= set(whole.train_index)
    if ratio == 1:  # nothing is left out, and the order stays
        np.testing.assert_array_equal(tail.train_index, whole.train_index)
    else:
        assert len({tail.sha256, control.sha256, whole.sha256}) == 3


def test_sizes_that_cannot_be() -> None:
    for ratio, message in (
        (float("nan"), "finite number >= 1, got nan"),
        (51, "at most 50, .* keeps a row, got 51"),
    ):
        with pytest.raises(ValueError, match=f"ratio: expected (a )?{message}"):
            longtail_sizes(50, 5, ratio)


def test_long_tails_are_the_same_everywhere_and_nested(tiny: FeatureSet) -> None:
    chosen = {ratio: set(long_tail(tiny, ratio).train_index.tolist()) for ratio in (1, 2, 6)}
    assert chosen[6] < chosen[2] < chosen[1]
    smallest = int(np.bincount(tiny.database_labels[tiny.train_index]).min())
    assert list(class_sizes(long_tail(tiny, 3)).values()) == longtail_sizes(smallest, 4, 3)
    # Written down once: what decides is SHA-256 of "0:ROW", not this machine's sort or random numbers.
    rows = load_features(f"{EMBEDDED}+longtail-100").train_index
    labels = load_features(EMBEDDED).database_labels[rows]
    assert rows[labels == 9].tolist() == [87, 1023, 2456, 2534, 3143]


def test_positive_share(tiny: FeatureSet) -> None:
    features = long_tail(tiny, 5)
    labels = features.database_labels[features.train_index]
    same = labels[:, None] == labels[None]
    assert positive_share(features) == pytest.approx(same[~np.eye(len(labels), dtype=bool)].mean())
    assert positive_share(features) > positive_share(long_tail(tiny, 5, control=True))
    assert np.isnan(positive_share(dataclasses.replace(tiny, train_index=np.array([0]))))


def test_sets_without_long_tails(tiny: FeatureSet) -> None:
    one_hot = np.eye(4, dtype=np.uint8)
    several = dataclasses.replace(
        tiny, query_labels=one_hot[tiny.query_labels], database_labels=one_hot[tiny.database_labels]
    )
    few = dataclasses.replace(tiny, train_index=np.flatnonzero(tiny.database_labels == 2)[:3])
    for features, message in (
        (several, r"expected one label an image, .* but tiny has several labels"),
        (unlabelled(tiny), "but tiny has no labels"),
        (trained_elsewhere(tiny), "labelled training rows in the database of tiny, found none"),
        (few, r"each of the 4 classes .* 3 have none, first class 0"),
    ):
        with pytest.raises(ValueError, match=message):
            long_tail(features, 2)


def test_names_of_long_tails() -> None:
    assert parse_longtail("a/b+longtail-50") == ("a/b", 50, False)
    assert parse_longtail("a+longtail-2.5-control") == ("a", 2.5, True)
    assert parse_longtail("a+holdout+longtail-2") == ("a+holdout", 2, False)
    assert parse_longtail("longtail-50") is None
    for suffix in ("", "0.5", "many", "-5", "nan", "1e2", "50-controls", "50+more", "control"):
        with pytest.raises(ValueError, match=r"name: expected a ratio >= 1 after \+longtail-, such as"):
            load_features(f"{EMBEDDED}+longtail-{suffix}")
    held, tail = (
        load_features(f"{EMBEDDED}{end}") for end in ("+longtail-10+holdout", "+holdout+longtail-10")
    )
    assert len(held.query) + len(held.database) == 2040
    assert len(tail.train) < 2040 < len(tail.database) == 4500


# A database without training rows


def test_unseen_takes_training_rows_out_of_every_ranking(tiny: FeatureSet) -> None:
    unseen = leave_out_training(tiny)
    assert unseen.name == "tiny+unseen"
    assert unseen.junk is not None
    for junk in unseen.junk:
        np.testing.assert_array_equal(junk, tiny.train_index)
    again = leave_out_training(dataclasses.replace(tiny, junk=tuple(np.array([1]) for _ in tiny.query)))
    assert again.junk is not None
    assert again.junk[0].tolist()[:3] == [0, 1, 2]
    np.testing.assert_array_equal(unseen.train, tiny.train)
    for wrong, message in (
        (unlabelled(tiny), "expected relevance by labels, but tiny has none"),
        (trained_elsewhere(tiny), "training rows in the database of tiny, found none"),
        (dataclasses.replace(tiny, top_k=300), "expected at least R = 300 .* found 200"),
    ):
        with pytest.raises(ValueError, match=message):
            leave_out_training(wrong)


def test_the_dial_of_bias_moves_all_features_by_the_mean_of_training_rows(tiny_data) -> None:
    mean = tiny_data.train.mean(axis=0)
    for amount in (-1, -0.5, 0, 3):
        there = load_features(f"tiny+bias({amount})")
        assert there.name == f"tiny+bias({amount})"
        for field in ("query", "database"):
            np.testing.assert_allclose(
                getattr(there, field), getattr(tiny_data, field) + amount * mean, atol=1e-5
            )
        assert there.train.mean(axis=0) == pytest.approx((1 + amount) * mean, abs=1e-5)
    assert load_features("tiny+bias(1)").sha256 != load_features("tiny+bias(3)").sha256 != tiny_data.sha256
    assert len(load_features("tiny+bias(-1)+holdout").database) < len(tiny_data.train)
    with pytest.raises(ValueError, match="expected one of"):
        load_features("tiny+bias(much)")
