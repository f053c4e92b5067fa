"""Embeddings of one's own as a feature set: labels or neighbours as ground truth, the split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sdclib.data.embeddings import load_embeddings, nearest_neighbours
from sdclib.evaluation import evaluate_features


def blobs(n: int = 100, n_classes: int = 4, d: int = 12, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    rows = rng.normal(size=(n_classes, d))[labels] * 2 + rng.normal(size=(n, d)) + 0.5
    return rows.astype(np.float32), labels


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    rows, labels = blobs()
    np.savez(tmp_path / "mine.npz", features=rows, labels=labels)
    return tmp_path / "mine.npz"


def test_without_labels_the_nearest_are_relevant(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", blobs()[0])
    features = load_embeddings(tmp_path / "mine.npy", query_share=0.2, top_k=30, n_neighbors=10)
    assert (features.name, features.query.shape, features.database.shape) == ("mine", (20, 12), (80, 12))
    assert features.ground_truth is not None
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features.query, features.database)]
    for query, items in zip(units[0], features.ground_truth, strict=True):
        assert set(items.tolist()) == set(np.argsort(-(units[1] @ query))[:10].tolist())
    metrics, _ = evaluate_features(features.query, features.database, features.relevant, 30)
    assert metrics["map_expected"] == pytest.approx(1)


def test_labels_of_the_file(mine: Path) -> None:
    rows, labels = blobs()
    features = load_embeddings(mine, top_k=20)
    assert (len(features.query), len(features.database), len(features.train)) == (10, 90, 90)
    assert features.ground_truth is None
    found = {tuple(row): label for row, label in zip(rows.tolist(), labels.tolist(), strict=True)}
    for part, part_labels in (
        (features.query, features.query_labels),
        (features.database, features.database_labels),
    ):
        assert [found[tuple(row)] for row in part.tolist()] == part_labels.tolist()
    assert load_embeddings(mine).top_k == 90
    np.save(mine.with_name("labels.npy"), labels)
    for given in (labels.astype(str), mine.with_name("labels.npy")):  # in place of the file's
        assert load_embeddings(mine, labels=given).sha256 == load_embeddings(mine).sha256
    with pytest.raises(ValueError, match="labels: expected"):
        load_embeddings(mine, labels=labels[:-1])


def test_a_frame_is_the_same_as_a_file(mine: Path) -> None:
    rows, labels = blobs()
    table = pd.DataFrame(rows).assign(target=1, label=labels)
    features = load_embeddings(table)
    assert (features.name, features.sha256) == ("table", load_embeddings(mine).sha256)
    assert load_embeddings(table, columns=["0", "target"]).query.shape == (10, 2)


def test_split_depends_on_seed_alone(mine: Path) -> None:
    first, again, other = (load_embeddings(mine, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.query, again.query)
    assert first.sha256 == again.sha256 != other.sha256
    # SHA-256 of "0:ROW" does not change with NumPy: these rows come first for ever.
    expected = blobs()[0][[87, 46, 15, 44, 99, 76, 36, 74, 85, 69]]
    np.testing.assert_array_equal(load_embeddings(mine).query, expected)


@pytest.mark.parametrize("seed", range(3))
def test_cosines_that_differ_by_little_more_than_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = (np.eye(1, 16) + 2e-3 * rng.standard_normal((3000, 16))).astype(np.float32)
    found = nearest_neighbours(rows[:200], rows[200:], 10)
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    cosines = unit[:200] @ unit[200:].T
    np.testing.assert_array_equal(found, np.sort(np.argsort(-cosines, axis=1)[:, :10], axis=1))


def test_training_rows_are_the_first_of_the_database(mine: Path) -> None:
    features = load_embeddings(mine, n_train=30, top_k=20)
    np.testing.assert_array_equal(features.query, load_embeddings(mine).query)
    np.testing.assert_array_equal(features.train, features.database[:30])
    assert len(features.database) == 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 91}, "n_train: expected at most the 90 rows"),
        ({"query_share": 0}, "query_share: expected a number above 0 that leaves one of 100 rows"),
        ({"query_share": 0.999}, "query_share: expected a number above 0 that leaves one"),
        ({"top_k": 91}, "top_k: expected at most the 90 items"),
        ({"columns": ["a"]}, "columns: expected none"),
    ],
)
def test_options_that_are_not_as_described(mine: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_embeddings(mine, **options)


def test_rows_that_cannot_be_used(mine: Path) -> None:
    rows = blobs()[0]
    np.savez(mine, features=rows * np.where(np.arange(100) == 4, np.nan, 1)[:, None])
    with pytest.raises(ValueError, match=r"mine\.npz: expected finite values, .* first in row 4"):
        load_embeddings(mine)
    np.savez(mine, features=rows, labels=np.linspace(0, 1, 100))
    with pytest.raises(ValueError, match=r"mine\.npz: labels: expected whole-number ids"):
        load_embeddings(mine)
    np.savez(mine, features=rows)
    with pytest.raises(ValueError, match="n_neighbors: expected fewer than the 90 rows"):
        load_embeddings(mine, n_neighbors=90)


ROWS = np.arange(100)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"query_rows": [0, 100]}, r"mine\.npz: query_rows: expected numbers from 0 to 99, got 0 to 100"),
        ({"query_rows": ROWS}, "query_rows: expected at least one of 100 vectors to be no query"),
        ({"query_rows": [0, 1], "train_rows": [1, 2]}, "train_rows: expected no row of query_rows, got 1"),
        ({"query_rows": [0], "train_rows": ROWS[:0]}, r"mine\.npz: train_rows: expected whole numbers"),
    ],
)
def test_a_split_that_is_not_as_described(mine: Path, split: dict[str, Any], message: str) -> None:
    np.savez(mine, features=blobs()[0], **split)
    with pytest.raises(ValueError, match=message):
        load_embeddings(mine)


def test_a_split_of_the_files_own_in_any_order(mine: Path) -> None:
    vectors, labels = blobs()
    arrays: dict[str, Any] = {"features": vectors, "labels": labels, "query_rows": np.array([9, 3])}
    np.savez(mine, **arrays)
    whole = load_embeddings(mine)
    np.savez(mine, train_rows=np.array([12, 0]), **arrays)
    some = load_embeddings(mine)
    rest = np.delete(ROWS, [3, 9])
    for features in (whole, some):
        np.testing.assert_array_equal(features.query, vectors[[9, 3]])
        np.testing.assert_array_equal(features.database, vectors[rest])
        np.testing.assert_array_equal(features.database_labels, labels[rest])
    np.testing.assert_array_equal(whole.train, vectors[rest])
    np.testing.assert_array_equal(some.train, vectors[[0, 12]])
    assert whole.sha256 != some.sha256
    assert len(load_embeddings(mine, query_share=0.5).query) == 50  # asked for, in place of the file's


def test_neighbours_with_ties() -> None:
    database = np.array([[0, 1], [2, 0], [1, 0], [3, 0], [1, 1]])
    found = nearest_neighbours([[1, 0], [0, 5]], database, 2)
    np.testing.assert_array_equal(found, [[1, 2], [0, 4]])
    np.testing.assert_array_equal(nearest_neighbours([[1, 0]], database, 5), [[0, 1, 2, 3, 4]])
    with pytest.raises(ValueError, match="k: expected at most the 5 rows"):
        nearest_neighbours([[1, 0]], database, 6)


@pytest.mark.parametrize("kind", ["copies", "multiples", "permutations"])
@pytest.mark.parametrize("n_query", [1, 5])
def test_tied_neighbours_are_the_lower_rows(kind: str, n_query: int) -> None:
    """A product of matrices rounds by position, also where cosines are equal."""
    rng = np.random.default_rng(0)
    database = np.tile(np.round(50 * rng.standard_normal((3, 1280))), (401, 1))
    query, expected = database[1], np.arange(1, 1203, 3)
    if kind == "multiples":
        database *= rng.integers(1, 100, (1203, 1))
    if kind == "permutations":
        database = rng.permuted(np.tile(np.arange(1280) % 3, (1203, 1)), axis=1)
        query, expected = np.ones(1280), np.arange(1203)
    for k in (1, 100, 400):
        found = nearest_neighbours(np.tile(query, (n_query, 1)), database, k)
        np.testing.assert_array_equal(found, np.tile(expected[:k], (n_query, 1)))
