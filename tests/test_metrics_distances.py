"""Distances are right at every code length."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sdclib.codes import pack_codes
from sdclib.metrics.distances import check_code_pair, check_packed, hamming_block, pad_bytes
from sdclib.metrics.ranking import nearest
from tests.test_metrics_oracle import distances_of


@pytest.mark.parametrize("n_bits", [1, 7, 8, 12, 24, 63, 64, 65, 100, 128, 192, 256, 300, 512, 1000])
def test_distances(n_bits):
    rng = np.random.default_rng(n_bits)
    query, database = rng.integers(0, 2, (5, n_bits)), rng.integers(0, 2, (37, n_bits))
    packed = check_code_pair(query, database, None)
    assert packed[2] == n_bits
    got = hamming_block(packed[0], packed[1])
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, distances_of(query, database))
    again = check_code_pair(pack_codes(query), pack_codes(database), n_bits)
    np.testing.assert_array_equal(again[1], packed[1])


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


def test_longest_codes():
    packed = np.full((1, 8192), 255, dtype=np.uint8)
    packed[0, -1] = 0b00111111  # 65,534 bits
    query, database, n_bits = check_code_pair(packed, packed * 0, 65_534)
    assert n_bits == 65_534
    assert hamming_block(query, database).tolist() == [[65_534]]
    with pytest.raises(ValueError, match=r"^query_codes: expected at most 65534 bits, got 65535$"):
        check_code_pair(packed, packed, 65_535)


@pytest.mark.parametrize("n_bytes", [1, 7, 8, 9, 16])
def test_padding_adds_zeros_to_whole_words(n_bytes):
    packed = np.asfortranarray(np.random.default_rng(0).integers(1, 256, (5, n_bytes), dtype=np.uint8))
    padded = pad_bytes(packed)
    assert padded.shape == (5, {1: 8, 7: 8, 8: 8, 9: 16, 16: 16}[n_bytes])
    assert padded.dtype == np.uint8
    assert padded.flags.c_contiguous
    np.testing.assert_array_equal(padded[:, :n_bytes], packed)
    assert not padded[:, n_bytes:].any()


def test_packed_codes_in_any_memory_order():
    rng = np.random.default_rng(0)
    query, database = rng.integers(0, 2, (6, 128)), rng.integers(0, 2, (9, 128))
    packed = [np.asfortranarray(pack_codes(codes)) for codes in (query, database)]
    again = check_code_pair(*packed, 128)
    np.testing.assert_array_equal(hamming_block(again[0], again[1]), distances_of(query, database))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: check_packed(np.zeros((2, 3), dtype=np.uint8), "codes", 17 + 8),
            "codes: expected packed codes, uint8 of shape (n, 4) with n >= 1 for n_bits = 25, "
            "got uint8 of shape (2, 3)",
        ),
        (
            lambda: check_packed(np.full((2, 3), 2, dtype=np.uint8), "codes", 17),
            "codes: expected unused bits beyond n_bits = 17 to be 0, got some set",
        ),
        (
            lambda: check_code_pair(np.zeros((1, 1), dtype=np.uint8), np.zeros((1, 2), dtype=np.uint8), 8),
            "database_codes: expected packed codes, uint8 of shape (n, 1) with n >= 1 for n_bits = 8, "
            "got uint8 of shape (1, 2)",
        ),
        (
            lambda: check_code_pair(np.zeros((1, 2), dtype=np.uint8), np.zeros((1, 1), dtype=np.uint8), 8),
            "query_codes: expected packed codes, uint8 of shape (n, 1) with n >= 1 for n_bits = 8, "
            "got uint8 of shape (1, 2)",
        ),
        (lambda: check_code_pair([[1]], [[1]], 2.0), "n_bits: expected a whole number >= 1, got 2.0"),
        (
            lambda: check_code_pair([[1, 0]], [[1, 0, 1]], None),
            "database_codes: expected 2 bits as in query_codes, got 3",
        ),
        (
            lambda: check_code_pair([[1, 2]], [[1, 0]], None),
            "query_codes: expected only 0 and 1, got other values (dtype int64)",
        ),
        (
            lambda: check_code_pair([[1, 0]], [[1, 2]], None),
            "database_codes: expected only 0 and 1, got other values (dtype int64)",
        ),
    ],
)
def test_messages_say_what_came(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("n_bits", [1, 8, 16, 9])
def test_one_bit_is_a_code_and_whole_bytes_have_no_unused_bits(n_bits):
    full = np.packbits(np.ones((1, n_bits), dtype=np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(check_packed(full, "codes", n_bits), full)


def test_nearest_of_whole_numbers_beyond_bytes():
    distances = np.array([300, 2, 70, 300, 0, 2, 65_000])
    assert nearest(distances, 7, 65_534).tolist() == [4, 1, 5, 2, 0, 3, 6]
    assert nearest(distances, 3, 300).tolist() == [4, 1, 5]
    assert nearest(distances, 7, 300).tolist() == [4, 1, 5, 2, 0, 3]
    assert nearest(distances, 7, 1).tolist() == [4]
    many = np.random.default_rng(0).integers(0, 3, 5000)  # enough for an unstable sort to show
    assert nearest(many, 4000, 2).tolist() == sorted(range(5000), key=many.__getitem__)[:4000]
