"""Pickles and ground truth: whatever the bytes, plain data or an error that names the file; nothing is called."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sdclib.data.instances import LISTS, load_revisited, read_gnd
from sdclib.data.plain_pickle import MOST_DEPTH, read_plain_pickle
from tests.fuzzing import attacks, damaged, fuzzed, outcome, write

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
)
KEYS = SCALARS | st.tuples(SCALARS, SCALARS)
ARRAYS = npst.arrays(
    st.one_of(
        npst.integer_dtypes(),
        npst.unsigned_integer_dtypes(),
        npst.floating_dtypes(sizes=(16, 32, 64)),
        npst.boolean_dtypes(),
    ),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
PLAIN = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
    ),
    max_leaves=12,
)


def ground_truth(n_images: int = 9, n_queries: int = 3) -> dict[str, Any]:
    entry = {"easy": [0, 3], "hard": np.array([5, 1]), "junk": [], "bbx": [0.5, 1.0, 20.25, 30.0]}
    return {
        "imlist": [f"image{i}" for i in range(n_images)],
        "qimlist": [f"query{i}" for i in range(n_queries)],
        "gnd": [dict(entry) for _ in range(n_queries)],
    }


GROUND_TRUTH = [pickle.dumps(ground_truth(), protocol=protocol) for protocol in PROTOCOLS]


def same(first: Any, second: Any) -> bool:
    """Whether two are alike, NaN to NaN, set to set."""
    if isinstance(second, np.ndarray):
        return bool(first.dtype == second.dtype.newbyteorder("=")) and np.array_equal(
            first, second, equal_nan=second.dtype.kind == "f"
        )
    if isinstance(second, dict):
        return len(first) == len(second) and all(
            same(*pair) for pair in zip(first.items(), second.items(), strict=True)
        )
    if isinstance(second, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(second, float):
        return bool(first == second or (first != first and second != second))
    if isinstance(second, set):
        return sorted(map(repr, first)) == sorted(map(repr, second))
    return type(first) is type(second) and bool(first == second)


@fuzzed
@given(PLAIN, st.sampled_from(PROTOCOLS))
def test_plain_data_comes_back(tmp_path: Path, value: Any, protocol: int) -> None:
    path = write(tmp_path / "plain.pkl", pickle.dumps(value, protocol=protocol))
    assert same(read_plain_pickle(path), value)


@fuzzed
@given(st.data())
def test_a_thing_held_several_times_comes_back(tmp_path: Path, data: st.DataObject) -> None:
    inner = data.draw(PLAIN)
    value = {"first": inner, "second": [inner, (inner,)]}
    path = write(tmp_path / "plain.pkl", pickle.dumps(value, protocol=data.draw(st.sampled_from(PROTOCOLS))))
    assert same(read_plain_pickle(path), value)


@fuzzed
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x80\x04" + tail + b"."))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "any.pkl", content)
    outcome(lambda: read_plain_pickle(path), path)


@fuzzed
@given(damaged(st.sampled_from(GROUND_TRUTH)))
def test_damaged_ground_truth(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "gnd.pkl", content)
    truth = outcome(lambda: read_gnd(path), path)
    if truth is not None:
        n = len(truth["imlist"])
        assert len(truth["gnd"]) == len(truth["qimlist"]) > 0
        for entry in truth["gnd"]:
            rows = np.concatenate([entry[key] for key in LISTS])
            assert rows.dtype == np.int64
            assert len(set(rows.tolist())) == len(rows)
            assert ((rows >= 0) & (rows < n)).all()


@fuzzed
@given(st.data())
def test_ground_truth_of_other_values(tmp_path: Path, data: st.DataObject) -> None:
    truth = ground_truth()
    holder: Any = data.draw(st.sampled_from([truth, truth["gnd"][1]]))
    key = data.draw(st.sampled_from([*holder, 7]))
    holder[key] = data.draw(PLAIN | st.lists(st.lists(st.integers(0, 8), max_size=3), max_size=3))
    path = write(tmp_path / "gnd.pkl", pickle.dumps(truth, protocol=4))
    outcome(lambda: read_gnd(path), path)


def test_keys_of_thousands_of_digits_are_not_written_out(tmp_path: Path) -> None:
    path = write(tmp_path / "gnd.pkl", pickle.dumps({10**5000: 1}))
    assert outcome(lambda: read_gnd(path), path) is None


# A few bytes that would take all memory, all time, or the process, if Python's reader got them.
PUSH = b"h%c"
LISTS_IN_LISTS = b"]\x94" + b"".join(b"](h%ch%ce\x94" % (i, i) for i in range(60))
TUPLES_IN_TUPLES = b")\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(60))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"Nr\xff\xff\xff\x7f", "numbered things"),
        (b"Np4000000000\n", "numbered things"),
        (LISTS_IN_LISTS, "items, each counted as often"),
        (TUPLES_IN_TUPLES, "items, each counted as often"),
        (TUPLES_IN_TUPLES + b"}h\x3cNs", "items, each counted as often"),
        (b"})" + b"\x85" * 1_000_000 + b"Ns", "nested too deeply"),
        (b"]" * (MOST_DEPTH + 2) + b"a" * (MOST_DEPTH + 1), "nested too deeply"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x0f", "damaged"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x0f", "damaged"),
        (b"B\xff\xff\xff\x7f", "damaged"),
        (b"\x8b\xff\xff\xff\x7f", "damaged"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\x0f", "damaged"),
        (b"cnumpy\ndtype\n" + LISTS_IN_LISTS[:-1] + b"\x85R", "items, each counted|got dtype list"),
        (b"L" + b"9" * 10_000 + b"L\n", "damaged"),
    ],
)
def test_small_files_that_ask_for_too_much(tmp_path: Path, body: bytes, message: str) -> None:
    path = write(tmp_path / "small.pkl", b"\x80\x04" + body + b".")

    def read() -> Any:
        with pytest.raises(ValueError, match=message) as caught:
            read_plain_pickle(path)
        raise caught.value

    outcome(read, path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_attacks_are_refused_and_would_work(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "owned"
    folder = tmp_path / "set"
    folder.mkdir()
    np.save(folder / "query.npy", np.eye(1, 3))
    np.save(folder / "database.npy", np.eye(1, 3))
    for attack in attacks(marker):
        content = pickle.dumps(attack, protocol=protocol)
        path = write(folder / "gnd_roxford5k.pkl", content)
        refused = r"gnd_roxford5k\.pkl: refused, expected only containers"
        with pytest.raises(ValueError, match=refused):
            read_gnd(path)
        with pytest.raises(ValueError, match=refused):
            load_revisited("roxford", root=folder)
        assert not marker.exists()
        pickle.loads(content)
        assert marker.exists(), "the attack must work where Python's own reader takes it"
        marker.rmdir() if marker.is_dir() else marker.unlink()
