"""What all rooms stand on: checks of arguments, codes, files that are never half-written, kernels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdclib import checks, files
from sdclib.codes import binarize, bit_balance, pack_codes, unique_code_ratio, unpack_codes
from sdclib.kernels import PORTABLE, kernels_in_use, use_portable_kernels

# Checks

ROWS = np.ones((3, 2))
REFUSED = [
    (lambda: checks.check_features([["a"]]), "X: expected a numeric array"),
    (lambda: checks.check_features([1.0]), r"X: expected a 2D array .* got shape \(1,\)"),
    (lambda: checks.check_features(ROWS[:0]), r"X: expected at least one row, got 0 sample\(s\)"),
    (lambda: checks.check_features(ROWS[:, :0]), r"X: expected at least one column, got 0 feature\(s\)"),
    (lambda: checks.check_features(ROWS, "query", n_features=3), "query: expected 3 features a row, got 2"),
    (lambda: checks.check_features([[1, 2], [np.nan, 2]]), "X: expected finite values, .* first in row 1"),
    (lambda: checks.check_features([[1, 2], [0, 0]]), "X: expected no all-zero row .* first is row 1"),
    *(
        (
            lambda v=v: checks.check_features([[v, 0]]),
            "X: expected rows of a length between .* scale the features",
        )
        for v in (1e30, 1e-30)
    ),
    (lambda: checks.check_views(None, (3, 2), "nsh"), "views: nsh learns from augmented views .* got none"),
    (lambda: checks.check_views([ROWS], (3, 2), "nsh"), r"views: expected .* got shape \(1, 3, 2\)"),
    (lambda: checks.check_views([ROWS, 0 * ROWS], (3, 2), "nsh"), r"views\[1\]: expected no all-zero row"),
    *(
        (lambda v=v: checks.check_int(v, "k", minimum=1), "k: expected a whole number >= 1")
        for v in (0, 1.0, True, "1")
    ),
    *(
        (lambda v=v: checks.check_real(v, "w", minimum=0), "w: expected a finite number >= 0")
        for v in (-1, np.inf, True)
    ),
    (lambda: checks.check_name("c", "kind", ["b", "a"]), "kind: expected one of a, b, got 'c'"),
    (lambda: checks.check_labels([1, 2], "y", n=3), r"y: expected labels of shape \(3,\) .* got \(2,\)"),
    (lambda: checks.check_labels([1.5], "y", n=1), "y: expected whole-number ids"),
    (lambda: checks.check_labels([[2, 0]], "y", n=1), "y: expected 0/1 label vectors"),
]


@pytest.mark.parametrize(("check", "message"), REFUSED)
def test_what_cannot_be_used_is_named(check: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check()


def test_what_can_be_used_has_one_type() -> None:
    read_only = np.ones((3, 2), dtype=np.float32)
    read_only.flags.writeable = False
    for rows in (ROWS, ROWS.T.copy().T, read_only, [[1, 1]] * 3):
        found = checks.check_features(rows)
        np.testing.assert_array_equal(found, ROWS)
        assert (found.dtype, found.flags.c_contiguous, found.flags.writeable) == (np.float32, True, True)
    assert checks.check_views([ROWS, ROWS], (3, 2), "nsh").shape == (2, 3, 2)
    assert type(checks.check_int(np.int64(3), "k", minimum=1)) is int
    assert type(checks.check_real(np.float32(3), "k", minimum=1)) is float
    assert checks.check_labels([True, False], "y", n=2).dtype == np.int64
    assert checks.check_labels([[1.0, 0.0]], "y", n=1).dtype == np.uint8


# Codes


@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_pack_and_unpack_are_inverse(n, n_bits, seed):
    codes = np.random.default_rng(seed).integers(0, 2, (n, n_bits), dtype=np.uint8)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes), n_bits), codes)


def test_codes_by_hand():
    assert pack_codes([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]).tolist() == [[1, 2]]  # the lowest bit comes first
    assert binarize([[0.0, -0.5, -0.0, 2.0]]).tolist() == [[1, 0, 1, 1]]  # zero is a one
    codes = [[0, 1], [1, 1], [0, 1], [1, 1]]
    assert (bit_balance(codes), unique_code_ratio(codes)) == (0.5, 0.5)


@pytest.mark.parametrize("bad", [[[0, 2]], [[0.5]], [0, 1], np.zeros((0, 4)), [["a"]]])
def test_what_is_no_code_is_refused(bad):
    with pytest.raises(ValueError, match="codes: expected"):
        pack_codes(bad)


def test_unpack_checks_bytes_and_unused_bits():
    for packed, n_bits, message in (
        (np.zeros((3, 1), np.uint8), 12, r"packed_codes: expected packed codes, uint8 of shape \(n, 2\)"),
        (np.full((1, 2), 255, np.uint8), 12, "packed_codes: expected unused bits"),
        (np.zeros((3, 1), np.uint8), 0, "n_bits: expected a whole number >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            unpack_codes(packed, n_bits)


# Files


def test_json_round_trip(tmp_path):
    path = files.write_json(tmp_path / "a" / "b.json", {"x": [1, 2.5, None]})
    assert files.read_json(path) == {"x": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path.with_name("nan.json"), float("nan"))
    assert list(path.parent.iterdir()) == [path]
    for content in (b'{"a": 1', b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"b\.json: damaged or not JSON"):
            files.read_json(path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "x.txt", "old")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, folder in (
        ("SDC_CACHE", "/a", Path("/a")),
        ("XDG_CACHE_HOME", "/b", Path("/b/sdclib")),
        ("HOME", "/c", Path("/c/.cache/sdclib")),
    ):
        for other in ("SDC_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, value)
        assert files.cache_dir() == folder


# Kernels


@pytest.fixture
def unset(monkeypatch):
    for name in (*PORTABLE, "SDC_KERNELS"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_too_late_when_numpy_is_loaded(unset):
    with pytest.raises(RuntimeError, match="before numpy and torch is imported; restart Python"):
        use_portable_kernels()
    assert kernels_in_use() == "native"


def test_variables_are_set_and_those_of_the_user_kept(unset, monkeypatch):
    monkeypatch.setattr("sys.modules", {})
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    for name in PORTABLE.keys() - {"ATEN_CPU_CAPABILITY"}:
        monkeypatch.setenv(name, "")  # so that they are taken away after the test
        monkeypatch.delenv(name)
    use_portable_kernels()
    assert "ATEN_CPU_CAPABILITY=default" in kernels_in_use()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert kernels_in_use() == "portable"
    use_portable_kernels()  # a cell of a notebook that is run again


def test_native_leaves_the_choice_to_the_libraries(unset, monkeypatch):
    monkeypatch.setenv("SDC_KERNELS", "native")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_portable_kernels()
    assert kernels_in_use() == "native"
