"""Embeddings of one's own: the file formats, labels or neighbours as ground truth; feature sets with explicit lists."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sdclib.data.embeddings import load_embeddings, nearest_neighbours
from sdclib.data.features import FeatureSet
from sdclib.data.vectors import arrays_sha256, encode_labels, read_vectors
from sdclib.evaluation import evaluate_codes, evaluate_features
from study.runs import RunSpec, run_experiment

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed: no .parquet files"
)


def blobs(n: int = 100, n_classes: int = 4, d: int = 12, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    rows = rng.normal(size=(n_classes, d))[labels] * 2 + rng.normal(size=(n, d)) + 0.5
    return rows.astype(np.float32), labels


def mean_ap(features: FeatureSet) -> float:
    """mAP of 8-bit ITQ codes by the whole pipeline."""
    experiment = run_experiment(RunSpec("cifar10-embedded", "itq", 8), features, progress=False)
    assert (
        run_experiment(RunSpec("cifar10-embedded", "cosine"), features, progress=False).metrics[
            "map_expected"
        ]
        > 0
    )
    return experiment.metrics["map_expected"]


# Formats


def test_npy_without_labels(tmp_path: Path) -> None:
    rows, _ = blobs()
    np.save(tmp_path / "mine.npy", rows)
    features = load_embeddings(tmp_path / "mine.npy", query_share=0.2, top_k=30, n_neighbors=10)
    assert (features.name, features.query.shape, features.database.shape) == ("mine", (20, 12), (80, 12))
    assert features.ground_truth is not None
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features.query, features.database)]
    for query, items in zip(units[0], features.ground_truth, strict=True):
        assert set(items.tolist()) == set(np.argsort(-(units[1] @ query))[:10].tolist())
    metrics, _ = evaluate_features(features.query, features.database, features.relevant, 30)
    assert metrics["map_expected"] == pytest.approx(1)
    assert 0 < mean_ap(features) < 1


def test_npz_with_ids_as_labels(tmp_path: Path) -> None:
    rows, labels = blobs()
    np.savez(tmp_path / "mine.npz", embeddings=rows, labels=labels, other=np.zeros((3, 3)))
    features = load_embeddings(tmp_path / "mine.npz", top_k=20)
    assert (len(features.query), len(features.database), len(features.train)) == (10, 90, 90)
    assert features.ground_truth is None
    found = {tuple(row): label for row, label in zip(rows.tolist(), labels.tolist(), strict=True)}
    for part, part_labels in (
        (features.query, features.query_labels),
        (features.database, features.database_labels),
    ):
        assert [found[tuple(row)] for row in part.tolist()] == part_labels.tolist()
    assert mean_ap(features) > 0.3
    neighbours = load_embeddings(tmp_path / "mine.npz", use_labels=False, n_neighbors=5, top_k=20)
    assert neighbours.ground_truth is not None
    assert neighbours.sha256 != features.sha256
    assert load_embeddings(tmp_path / "mine.npz").top_k == 90


def test_npz_with_names_and_with_vectors_of_labels(tmp_path: Path) -> None:
    rows, labels = blobs()
    np.savez(tmp_path / "names.npz", rows, labels=np.array(["cat", "dog", "ant", "bee"])[labels])
    features = load_embeddings(tmp_path / "names.npz", top_k=20)
    assert set(features.database_labels.tolist()) == {0, 1, 2, 3}
    assert mean_ap(features) > 0.3
    multi = np.zeros((100, 5), dtype=bool)
    multi[np.arange(100), labels] = multi[::7, 4] = True
    np.savez(tmp_path / "multi.npz", features=rows, labels=multi)
    features = load_embeddings(tmp_path / "multi.npz", top_k=20)
    assert (features.query_labels.shape, features.query_labels.dtype) == ((10, 5), np.uint8)
    assert mean_ap(features) > 0.3


def test_labels_from_elsewhere(tmp_path: Path) -> None:
    rows, labels = blobs()
    np.save(tmp_path / "mine.npy", rows)
    np.save(tmp_path / "labels.npy", labels)
    given = load_embeddings(tmp_path / "mine.npy", labels=labels)
    read = load_embeddings(tmp_path / "mine.npy", labels=tmp_path / "labels.npy")
    assert given.sha256 == read.sha256
    np.testing.assert_array_equal(given.query_labels, read.query_labels)
    with pytest.raises(ValueError, match=r"none\.npy: missing or damaged"):
        load_embeddings(tmp_path / "mine.npy", labels=tmp_path / "none.npy")
    with pytest.raises(ValueError, match=r"labels: expected shape \(100,\)"):
        load_embeddings(tmp_path / "mine.npy", labels=labels[:-1])


def test_safetensors(tmp_path: Path) -> None:
    rows, labels = blobs()
    save_file({"features": rows, "labels": labels}, tmp_path / "mine.safetensors")
    np.savez(tmp_path / "mine.npz", features=rows, labels=labels)
    features = load_embeddings(tmp_path / "mine.safetensors", top_k=20)
    assert features.sha256 == load_embeddings(tmp_path / "mine.npz").sha256
    assert mean_ap(features) > 0.3


@needs_pyarrow
def test_parquet(tmp_path: Path) -> None:
    import pandas as pd

    rows, labels = blobs()
    names = np.array(["cat", "dog", "ant", "bee"])[labels]
    table = pd.DataFrame({"id": [f"r{i}" for i in range(100)], "embedding": list(rows), "label": names})
    table.to_parquet(tmp_path / "lists.parquet")
    wide = pd.DataFrame(rows, columns=[f"x{i}" for i in range(12)]).assign(label=names)
    wide.to_parquet(tmp_path / "wide.parquet")
    read = read_vectors(tmp_path / "lists.parquet")
    np.testing.assert_array_equal(read.vectors, rows)
    assert read.ids == tuple(f"r{i}" for i in range(100))
    first, second = (load_embeddings(tmp_path / f"{name}.parquet", top_k=20) for name in ("lists", "wide"))
    assert first.sha256 == second.sha256
    assert mean_ap(first) > 0.3
    pd.DataFrame({"v": [[1.0, 2.0], [1.0]]}).to_parquet(tmp_path / "ragged.parquet")
    with pytest.raises(
        ValueError, match=r"ragged\.parquet: expected vectors of one length in column 'v', got \[1, 2\]"
    ):
        load_embeddings(tmp_path / "ragged.parquet")
    multi = [np.eye(4, dtype=int)[label] for label in labels]
    pd.DataFrame({"v": list(rows), "labels": multi}).to_parquet(tmp_path / "multi.parquet")
    assert load_embeddings(tmp_path / "multi.parquet", top_k=20).query_labels.shape == (10, 4)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"bad\.parquet: damaged \.parquet"):
        load_embeddings(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"mine\.parquet: .*needs the package pyarrow: pip install pyarrow"):
        load_embeddings(tmp_path / "mine.parquet")


def test_files_that_are_not_as_described(tmp_path: Path) -> None:
    rows, labels = blobs(20)
    cases: list[tuple[str, dict[str, Any], str]] = [
        (
            "two.npz",
            {"a": rows, "b": rows},
            "expected vectors under one of features, .* got a, b; say which by key",
        ),
        ("none.npz", {"labels": labels}, "got labels; say which by key"),
        (
            "flat.npz",
            {"features": rows[0]},
            r"expected numbers of shape \(n, d\), got float32 of shape \(12,\)",
        ),
        ("text.npz", {"features": rows.astype(str)}, "expected numbers of shape"),
        (
            "few.npz",
            {"features": rows, "labels": labels[:5]},
            "expected 20 labels, as many as vectors, got 5",
        ),
        ("ids.npz", {"features": rows, "ids": labels}, "expected every id once, got 16 again"),
        ("pickle.npz", {"features": rows, "labels": np.array([{}] * 20)}, "damaged .npz, or with pickles"),
        ("nan.npz", {"features": rows * np.where(np.arange(20) == 3, np.nan, 1)[:, None]}, "first in row 3"),
        ("zero.npz", {"features": rows * (np.arange(20) != 4)[:, None]}, "no all-zero row .*first is row 4"),
        (
            "gap.npz",
            {"features": rows, "labels": np.linspace(0, 1, 20)},
            "labels: expected whole numbers or names",
        ),
        ("two_hot.npz", {"features": rows, "labels": np.full((20, 2), 2)}, "labels: expected 0/1 vectors"),
        ("one.npz", {"features": rows[:1]}, "query_share: expected at least one of 1 vectors to be no query"),
    ]
    for name, arrays, message in cases:
        np.savez(tmp_path / name, allow_pickle=True, **arrays)
        with pytest.raises(ValueError, match=message):
            load_embeddings(tmp_path / name)
    assert load_embeddings(tmp_path / "two.npz", key="b", n_neighbors=2).name == "two"
    with pytest.raises(ValueError, match=r"key: expected one of a, b in .*, got 'c'"):
        load_embeddings(tmp_path / "two.npz", key="c")
    (tmp_path / "x_ids.txt").write_text("a\nb\n")
    np.save(tmp_path / "x.npy", rows)
    with pytest.raises(ValueError, match=r"x\.npy: expected 20 ids, as many as vectors, got 2"):
        load_embeddings(tmp_path / "x.npy")
    for suffix in (".npy", ".npz", ".safetensors"):
        (tmp_path / f"bad{suffix}").write_bytes(b"damaged")
        with pytest.raises(ValueError, match=rf"bad\{suffix}: (missing or )?damaged"):
            load_embeddings(tmp_path / f"bad{suffix}")
        with pytest.raises(ValueError, match=rf"absent\{suffix}: expected a file of vectors, found none"):
            load_embeddings(tmp_path / f"absent{suffix}")
    with pytest.raises(ValueError, match=r"mine\.txt: expected a file \.npy, .*, got \.txt"):
        load_embeddings(tmp_path / "mine.txt")


# Splits


def test_split_depends_on_seed_alone(tmp_path: Path) -> None:
    rows, labels = blobs()
    np.savez(tmp_path / "mine.npz", features=rows, labels=labels)
    first, again, other = (load_embeddings(tmp_path / "mine.npz", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.query, again.query)
    assert first.sha256 == again.sha256 != other.sha256
    # SHA-256 of "0:ROW" does not change with NumPy: these rows come first for ever.
    expected = rows[[87, 46, 15, 44, 99, 76, 36, 74, 85, 69]]
    np.testing.assert_array_equal(load_embeddings(tmp_path / "mine.npz").query, expected)


def test_training_rows(tmp_path: Path) -> None:
    rows, labels = blobs()
    np.savez(tmp_path / "mine.npz", features=rows, labels=labels)
    inside = load_embeddings(tmp_path / "mine.npz", n_train=30, top_k=20)
    outside = load_embeddings(tmp_path / "mine.npz", n_train=30, train_in_database=False, top_k=20)
    np.testing.assert_array_equal(inside.query, outside.query)
    np.testing.assert_array_equal(inside.train, outside.train)
    np.testing.assert_array_equal(inside.database[30:], outside.database)
    assert (len(inside.database), len(outside.database), len(outside.train_index)) == (90, 60, 0)
    assert mean_ap(outside) > 0.3
    for options, message in (
        ({"n_train": 91}, "n_train: expected at most 90"),
        ({"n_train": 90, "train_in_database": False}, "n_train: expected at most 89"),
        ({"train_in_database": False}, "n_train: expected a number with train_in_database=False"),
        ({"query_share": 0}, "query_share: expected a number above 0 and below 1"),
        ({"query_share": 1}, "query_share: expected a number above 0 and below 1"),
        ({"query_share": 0.999}, "query_share: expected at least one"),
        ({"seed": -1}, "seed"),
        ({"top_k": 91}, "top_k: expected at most the 90 items"),
        ({"use_labels": False, "n_neighbors": 90}, "n_neighbors: expected fewer than the 90 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            load_embeddings(tmp_path / "mine.npz", **options)  # type: ignore[arg-type]


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


def test_labels_of_objects() -> None:
    np.testing.assert_array_equal(encode_labels(np.array(["b", "a"], dtype=object), "labels", n=2), [1, 0])
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[0, 1], [1]]
    with pytest.raises(ValueError, match="labels: expected 0/1 vectors of one length"):
        encode_labels(ragged, "labels", n=2)
    with pytest.raises(ValueError, match="labels: expected whole numbers or names, none missing"):
        encode_labels(np.array(["b", None], dtype=object), "labels", n=2)


def test_hash_of_arrays() -> None:
    a = np.arange(6, dtype=np.int32)
    assert arrays_sha256(a) == arrays_sha256(a.astype(">i4"))
    different = {
        arrays_sha256(*x) for x in ([a], [a[:3], a[3:]], [a.reshape(2, 3)], [a.astype(np.int64)], [a, []])
    }
    assert len(different) == 5


# Feature sets with explicit ground truth


def fields(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "name": "lists",
        "query": rng.normal(size=(2, 4)),
        "database": rng.normal(size=(6, 4)),
        "query_labels": np.zeros((2, 0)),
        "database_labels": np.zeros((6, 0)),
        "train_index": np.array([1, 2]),
        "top_k": 6,
        "licence": "none",
        "citation": "none",
        "sha256": "0" * 64,
        "ground_truth": ([0, 3], np.array([5])),
    } | changes


def test_feature_set_with_lists() -> None:
    features = FeatureSet(**fields(junk=([1], [])))
    assert isinstance(features.relevant, list)
    assert [items.tolist() for items in features.relevant] == [[0, 3], [5]]
    assert features.junk is not None
    assert [items.dtype for items in features.junk] == [np.int64, np.int64]
    assert features.train.shape == (2, 4)
    codes = np.random.default_rng(1).integers(0, 2, (8, 5), dtype=np.uint8)
    metrics, histogram = evaluate_codes(codes[:2], codes[2:], features.relevant, 6, junk=features.junk)
    assert 0 < metrics["map_expected"] <= 1
    assert (histogram["positive"].sum(), histogram["negative"].sum()) == (3, 8)
    labelled = FeatureSet(
        **fields(ground_truth=None, query_labels=[0, 1], database_labels=[0] * 6, junk=([1], []))
    )
    assert isinstance(labelled.relevant, tuple)


def test_training_features_of_their_own() -> None:
    train = np.ones((3, 4))
    features = FeatureSet(**fields(train_index=np.array([], int), train_features=train))
    np.testing.assert_array_equal(features.train, train)
    assert features.train.dtype == np.float32
    bare = FeatureSet(**fields(train_index=[]))
    assert bare.train_index.dtype == np.int64
    with pytest.raises(ValueError, match="train_features: expected features to train on, but lists has none"):
        _ = bare.train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ground_truth": None}, "query_labels: expected at least one label column or a ground_truth"),
        ({"ground_truth": ([0],)}, "ground_truth, junk: relevant: expected a list of 2 index arrays"),
        ({"ground_truth": ([0], [6])}, r"ground_truth, junk: relevant\[1\]: expected indices from 0 to 5"),
        ({"ground_truth": ([0], [1.5])}, r"relevant\[1\]: expected a 1-D array of whole-number"),
        ({"ground_truth": ([0, 0], [1])}, r"relevant\[0\]: expected every index at most once"),
        ({"junk": ([0], [])}, "junk: expected no item that is also relevant, got 1 for query 0"),
        ({"junk": ([],)}, "junk: expected a list of 2 index arrays"),
        ({"train_features": np.ones((3, 4))}, "train_index: expected none beside train_features, got 2"),
        ({"train_index": [], "train_features": np.ones((3, 5))}, "train_features: expected 4 features a row"),
        ({"train_index": [], "train_features": np.zeros((3, 4))}, "train_features: expected no all-zero row"),
        ({"denominator": "hits"}, "denominator: expected one of"),
        ({"empty": "drop"}, "empty: expected one of"),
    ],
)
def test_feature_set_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSet(**fields(**changes))


def test_protocol_reaches_the_metrics() -> None:
    codes = np.random.default_rng(1).integers(0, 2, (8, 5), dtype=np.uint8)
    query, database = codes[:2], codes[2:]
    relevant = [np.array([0, 1, 2, 3]), np.array([], int)]
    values = {
        (denominator, empty): evaluate_codes(
            query, database, relevant, 2, denominator=denominator, empty=empty
        )[0]["map_expected"]
        for denominator in ("retrieved", "relevant")
        for empty in ("zero", "skip")
    }
    assert values["relevant", "skip"] == pytest.approx(2 * values["relevant", "zero"])
    assert values["relevant", "skip"] <= 0.5 < values["retrieved", "skip"]
