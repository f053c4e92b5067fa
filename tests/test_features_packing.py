"""How the embedded features were made: quantisation, the map to fewer components, the split, the script."""

from __future__ import annotations

import hashlib
import io
import zipfile
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdclib.data.packing import dequantise, energy_preserving_map, quantisation_scale, quantise
from sdclib.data.splits import class_split, split_sha256
from tests.reference import unit

# Quantisation


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 8), st.floats(-6, 6))
@settings(deadline=None, max_examples=50)
def test_quantisation_is_within_half_a_step(seed: int, n: int, d: int, magnitude: float) -> None:
    values = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) * np.float32(10**magnitude)
    scale = quantisation_scale(values)
    codes = quantise(values, scale)
    assert codes.dtype == np.int8
    assert (np.abs(codes).max(axis=0) == 127).all()
    assert (np.abs(dequantise(codes, scale) - values) <= scale * 0.5001).all()
    np.testing.assert_array_equal(np.rint(dequantise(codes, scale) / scale), codes)


def test_quantisation_clips_and_takes_zero_columns() -> None:
    scale = quantisation_scale([[127.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(scale, [1, 1])
    np.testing.assert_array_equal(quantise([[500.0, 0.0], [-500.0, 0.0]], scale), [[127, 0], [-127, 0]])


def test_quantisation_refuses() -> None:
    with pytest.raises(ValueError, match="values: expected finite"):
        quantise([[np.nan, 1]], [1, 1])
    with pytest.raises(ValueError, match="scale: expected 2 positive finite numbers"):
        quantise([[1, 1]], [1, 0])
    with pytest.raises(ValueError, match="codes: expected int8"):
        dequantise([[1, 1]], [1, 1])


# The map to fewer components


def skewed(n: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Non-negative rows with a large mean and a falling spectrum."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5 @ rng.normal(size=(d, d)) / np.sqrt(d)
    return np.maximum(x + 0.3, 0)


def test_map_keeps_norm_and_mean_cosine_of_new_rows() -> None:
    rows = skewed(4000, 60)
    database, query = rows[:3000], rows[3000:]
    projection = energy_preserving_map(database, 12)
    assert projection.shape == (60, 12)
    plain = projection / np.linalg.norm(projection, axis=0)
    np.testing.assert_allclose(plain.T @ plain, np.eye(12), atol=1e-10)
    assert np.sum((query @ plain) ** 2) < 0.95 * np.sum(query**2)
    assert np.sum((query @ projection) ** 2) == pytest.approx(np.sum(query**2), rel=0.02)

    def mean_cosine(matrix: NDArray[np.float64]) -> float:
        return float(unit(query @ matrix).mean(axis=0) @ unit(database @ matrix).mean(axis=0))

    full = mean_cosine(np.eye(60))
    assert abs(mean_cosine(projection) - full) < 0.3 * (mean_cosine(plain) - full)


def test_map_raises_each_eigenvalue_alike() -> None:
    rows = skewed(500, 20)
    projection = energy_preserving_map(rows, 5)
    values = np.linalg.eigvalsh(rows.T @ rows)[::-1][:5]
    raised = np.linalg.eigvalsh((rows @ projection).T @ (rows @ projection))[::-1]
    np.testing.assert_allclose(raised - values, (raised - values).mean(), rtol=1e-3)
    assert (raised > values).all()


def test_map_of_full_rank_changes_no_cosine() -> None:
    rows = skewed(200, 8)
    projection = energy_preserving_map(rows, 8)
    np.testing.assert_allclose(projection @ projection.T, np.eye(8), atol=1e-6)


def test_map_has_fixed_signs() -> None:
    projection = energy_preserving_map(skewed(200, 8), 4)
    assert (projection[np.abs(projection).argmax(axis=0), np.arange(4)] > 0).all()


def test_map_refuses() -> None:
    with pytest.raises(ValueError, match="n_components: expected at most the rank 1"):
        energy_preserving_map(np.ones((20, 4)), 2)
    with pytest.raises(ValueError, match="n_folds: expected at most the 3 rows"):
        energy_preserving_map(np.eye(3), 1)
    with pytest.raises(ValueError, match="n_components: expected a whole number >= 1"):
        energy_preserving_map(np.eye(30), 0)


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
    part, whole = (
        class_split(pixels, labels, **options, n_database=20),
        class_split(pixels, labels, **options),
    )
    np.testing.assert_array_equal(part.query, whole.query)
    assert len(part.database) == 60
    assert len(whole.database) == 300 - 12
    np.testing.assert_array_equal(part.database, whole.database[np.isin(whole.database, part.database)])
    np.testing.assert_array_equal(part.database[part.train_index], whole.database[whole.train_index])
    assert not np.isin(whole.query, whole.database).any()
    for indices, count in ((part.query, 4), (part.database, 20), (part.database[part.train_index], 6)):
        assert np.bincount(labels[indices]).tolist() == [count] * 3
    assert split_sha256(part, pixels) != split_sha256(whole, pixels)


def test_split_depends_on_the_seed() -> None:
    pixels, labels = pretend_hashes(60), np.arange(60) % 3
    first, second = (class_split(pixels, labels, seed=seed, n_query=4, n_train=6) for seed in (0, 1))
    assert set(first.query) != set(second.query)


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


# The script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return pytest.importorskip(
        "scripts.make_embedded_features", reason="the tests run outside the repository"
    )


def test_files_are_made_without_a_time_stamp(script: ModuleType) -> None:
    arrays = {"query": np.arange(6, dtype=np.int8)}
    data = script.npz_bytes(arrays)
    assert data == script.npz_bytes(arrays)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_total_variation(script: ModuleType) -> None:
    assert script.total_variation([1, 1], [2, 2]) == 0
    assert script.total_variation([1, 0], [0, 3]) == 1
