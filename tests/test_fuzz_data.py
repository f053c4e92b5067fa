"""Readers of data: whatever the bytes, what is described or an error that names the file; nothing is run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sdclib.data.instances import LISTS, read_gnd
from sdclib.data.plain_pickle import read_plain_pickle
from tests.fuzzing import damaged, fuzzed, outcome, write
from tests.landmarks import gnd

# Pickles

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ARRAYS = npst.arrays(
    npst.integer_dtypes() | npst.floating_dtypes(sizes=(16, 32, 64)) | npst.boolean_dtypes(),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
PLAIN = st.recursive(
    SCALARS | ARRAYS | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=12,
)
GROUND_TRUTH = [pickle.dumps(gnd(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


@st.composite
def other_ground_truth(draw: st.DrawFn) -> bytes:
    truth = gnd()
    holder = draw(st.sampled_from([truth, truth["gnd"][1]]))
    holder[draw(st.sampled_from([*holder, 7]))] = draw(PLAIN)
    return pickle.dumps(truth)


@fuzzed
@given(damaged(st.sampled_from(GROUND_TRUTH)) | other_ground_truth() | st.binary(max_size=300))
def test_pickles(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "gnd.pkl", content)
    outcome(lambda: read_plain_pickle(path), path)
    truth: Any = outcome(lambda: read_gnd(path), path)
    if truth is not None:
        assert len(truth["gnd"]) == len(truth["qimlist"]) > 0
        for entry in truth["gnd"]:
            rows = np.concatenate([entry[key] for key in LISTS])
            assert rows.dtype == np.int64
            assert len(set(rows.tolist())) == len(rows)
            assert set(rows.tolist()) <= set(range(len(truth["imlist"])))
