import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdclib.codes import binarize, bit_balance, pack_codes, unique_code_ratio, unpack_codes


@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_pack_and_unpack_are_inverse(n, n_bits, seed):
    codes = np.random.default_rng(seed).integers(0, 2, (n, n_bits), dtype=np.uint8)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes), n_bits), codes)


def test_lowest_bit_comes_first():
    assert pack_codes([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]).tolist() == [[1, 2]]


def test_zero_is_a_one():
    assert binarize([[0.0, -0.5, -0.0, 2.0]]).tolist() == [[1, 0, 1, 1]]


def test_bit_balance_and_unique_codes_by_hand():
    codes = [[0, 1], [1, 1], [0, 1], [1, 1]]
    assert bit_balance(codes) == 0.5
    assert unique_code_ratio(codes) == 0.5


@pytest.mark.parametrize("bad", [[[0, 2]], [[0.5]], [0, 1], np.zeros((0, 4)), [["a"]]])
def test_what_is_no_code_is_refused(bad):
    with pytest.raises(ValueError, match="codes: expected"):
        pack_codes(bad)


def test_unpack_checks_bytes_and_unused_bits():
    with pytest.raises(ValueError, match=r"packed_codes: expected uint8 of shape \(n, 2\) for 12 bits"):
        unpack_codes(np.zeros((3, 1), np.uint8), 12)
    with pytest.raises(ValueError, match="unused bits"):
        unpack_codes(np.full((1, 2), 255, np.uint8), 12)
    with pytest.raises(ValueError, match="n_bits: expected a whole number >= 1"):
        unpack_codes(np.zeros((3, 1), np.uint8), 0)
