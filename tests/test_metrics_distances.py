"""All distance back ends give the same, right distances."""

from __future__ import annotations

import numpy as np
import pytest

from sdclib.codes import pack_codes
from sdclib.metrics.distances import BACKENDS, check_code_pair, hamming_block
from sdclib.metrics.order import nearest
from tests.test_metrics_oracle import distances_of


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_bits", [1, 7, 8, 12, 24, 63, 64, 65, 100, 128, 192, 256, 300, 512, 1000])
def test_distances(backend, n_bits):
    rng = np.random.default_rng(n_bits)
    query, database = rng.integers(0, 2, (5, n_bits)), rng.integers(0, 2, (37, n_bits))
    packed = check_code_pair(query, database, None)
    assert packed[2] == n_bits
    got = hamming_block(packed[0], packed[1], backend=backend)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, distances_of(query, database))
    again = check_code_pair(pack_codes(query), pack_codes(database), n_bits)
    np.testing.assert_array_equal(again[1], packed[1])


def test_unknown_backend():
    query, database, _ = check_code_pair([[0, 1]], [[1, 1]], None)
    with pytest.raises(ValueError, match="backend: expected one of blas, faiss, numpy, got 'gpu'"):
        hamming_block(query, database, backend="gpu")


@pytest.mark.parametrize(
    ("packed", "n_bits", "message"),
    [
        (np.array([[1, 8]], dtype=np.uint8), 11, "expected unused bits beyond n_bits = 11 to be 0"),
        (np.array([[1, 8]]), 11, r"expected packed codes, uint8 of shape \(n, 2\).*got int64"),
        (np.zeros((0, 2), dtype=np.uint8), 11, r"with n >= 1 for n_bits = 11, got uint8 of shape \(0, 2\)"),
        (np.zeros(2, dtype=np.uint8), 11, r"got uint8 of shape \(2,\)"),
        (np.zeros((1, 9000), dtype=np.uint8), 72_000, "expected at most 65534 bits, got 72000"),
        (np.zeros((1, 2), dtype=np.uint8), 0, "n_bits: expected a whole number >= 1, got 0"),
    ],
)
def test_damaged_packed_codes(packed, n_bits, message):
    with pytest.raises(ValueError, match=message):
        check_code_pair(packed, packed, n_bits)


@pytest.mark.parametrize("depth", [1, 5, 77, 300])
def test_nearest_equals_a_stable_sort(depth):
    distances = np.random.default_rng(0).integers(0, 9, 300)
    np.testing.assert_array_equal(nearest(distances, depth, 8), np.argsort(distances, kind="stable")[:depth])
    beyond = np.flatnonzero(distances > 6)  # as junk is marked
    expected = np.setdiff1d(np.argsort(distances, kind="stable"), beyond, assume_unique=True)[:depth]
    np.testing.assert_array_equal(nearest(distances, depth, 6), expected)
