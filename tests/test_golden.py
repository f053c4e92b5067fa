"""No method gives other codes than it gave, unless its `results_version` says so."""

import numpy as np
import pytest

from sdclib.methods import METHODS, ITQHasher
from sdclib.methods.presets import BEST, PRESETS
from tests.golden import CASES, difference, fit_case, read_golden, same_bits_expected, small_data

GOLDEN, ABOUT = read_golden()


@pytest.fixture(scope="module")
def data():
    return small_data()


def test_every_method_and_preset_has_a_case():
    assert GOLDEN.keys() == CASES.keys()
    assert {method for method, _ in CASES.values()} == set(METHODS)
    presets = {parameters.get("preset") for method, parameters in CASES.values() if method == "sdc"}
    assert presets == PRESETS.keys() - {BEST}


@pytest.mark.parametrize("name", CASES)
def test_codes_are_as_they_were(name, data):
    method = METHODS[CASES[name][0]]
    wrong = difference(fit_case(name, data), GOLDEN[name], same_bits_expected(ABOUT["made_by"]))
    raised = method.results_version > ABOUT["results_version"][method.method]
    assert not raised, (
        f"{method.__name__}: results_version was raised; python -m tests.golden {method.method}"
    )
    assert not wrong, f"{name}: {wrong}; mend it, or raise results_version of {method.__name__}"


@pytest.mark.parametrize("same_bits", [True, False])
def test_a_method_that_computes_something_else_is_seen(data, monkeypatch, same_bits):
    before = ITQHasher._fit

    def fit(self, X):
        before(self, X + np.float32(0.5) * (X > 0))

    monkeypatch.setattr(ITQHasher, "_fit", fit)
    assert difference(fit_case("itq", data), GOLDEN["itq"], same_bits)
