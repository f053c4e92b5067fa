"""Models that were saved before methods became dataclasses load and give the same codes.

Each was fitted for one epoch on 300 random rows of 8 values; ``codes.npz`` has 20 of these rows and what the fitted
methods made of them.
"""

from pathlib import Path

import numpy as np
import pytest

from sdclib.methods import METHODS
from sdclib.search.encoding import load_hasher

SAVED = Path(__file__).with_name("saved")
CODES = np.load(SAVED / "codes.npz")
METHODS_THEN = sorted(folder.name for folder in SAVED.iterdir() if folder.is_dir())


@pytest.mark.parametrize("method", METHODS_THEN)
def test_models_of_the_old_version_give_their_codes(method):
    hasher = load_hasher(SAVED / method)
    assert isinstance(hasher, METHODS[method])
    codes = hasher.decision_function(CODES["features"])
    scale = np.abs(CODES[method]).max()
    np.testing.assert_allclose(codes, CODES[method], atol=1e-5 * scale)  # sums of up to 64 float32 products
