"""No method gives other codes than it gave, unless its `results_version` says so."""

import numpy as np
import pytest

from sdclib.methods import METHODS
from sdclib.presets import PRESETS
from tests.golden import CASES, fit_case, read_golden, same_bits_expected, small_data

GOLDEN, MADE_BY = read_golden()


@pytest.fixture(scope="module")
def data():
    return small_data()


def test_every_method_and_preset_has_a_case():
    assert GOLDEN.keys() == CASES.keys()
    assert {method for method, _ in CASES.values()} == METHODS.keys()
    assert {parameters.get("preset") for method, parameters in CASES.values() if method == "sdc"} == PRESETS.keys()


@pytest.mark.parametrize("name", CASES)
def test_codes_are_as_they_were(name, data):
    codes, golden = fit_case(name, data), GOLDEN[name]
    if same_bits_expected(MADE_BY):
        np.testing.assert_array_equal(codes, golden)
    assert np.abs(codes - golden).max() <= 0.1 * np.sqrt(np.mean(golden**2))
    assert ((codes >= 0) == (golden >= 0)).mean() >= 0.98
