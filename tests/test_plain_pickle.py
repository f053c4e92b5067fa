"""Pickles of plain data: what comes back, what is refused and runs nothing, and damage."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdclib.data.instances import read_gnd
from sdclib.data.plain_pickle import read_plain_pickle
from tests.landmarks import QUERY, gnd

PLAIN = {
    "none": None,
    "numbers": [True, 1, -(2**80), 1.5, float("inf")],
    "texts": ("a", "\u00e9", b"bytes"),
    "sets": [{1, 2}, set()],
    "arrays": [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.zeros((0, 2)), np.array([True])],
    "kinds": [np.array([1, 2], dtype=kind) for kind in ("<i2", ">i4", "u1", "f4", ">f8", "f2")],
    "scalars": [np.int64(3), np.float32(0.5), np.bool_(True)],
}


def same(a: Any, b: Any) -> bool:
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and np.array_equal(a, b) and a.dtype.kind == b.dtype.kind
    if isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in b)
    if isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize("version", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(version: int, tmp_path: Path) -> None:
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(PLAIN, protocol=version))
    assert same(read_plain_pickle(tmp_path / "plain.pkl"), PLAIN)


def test_names_of_older_and_newer_numpy(tmp_path: Path) -> None:
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        data = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy._core.multiarray", name)
        assert name in data
        (tmp_path / "old.pkl").write_bytes(data)
        np.testing.assert_array_equal(read_plain_pickle(tmp_path / "old.pkl"), np.arange(3))


def test_pickle_of_python_2(tmp_path: Path) -> None:
    """Texts and the bytes of an array as Python 2 wrote them (opcode U)."""
    raw = np.array([5, 6], "<i8").tobytes()
    data = (
        b"\x80\x02}(U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tbu."
    )
    (tmp_path / "two.pkl").write_bytes(data)
    np.testing.assert_array_equal(read_plain_pickle(tmp_path / "two.pkl")["a"], [5, 6])


class Runs:
    """Calls something when it is unpickled."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize("version", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["alone", "inside"])
def test_malicious_pickle_is_refused_and_runs_nothing(version: int, place: str, tmp_path: Path) -> None:
    written = tmp_path / "owned"
    attack: Any = Runs(os.mkdir, str(written))
    if place == "inside":
        attack = gnd(gnd=[QUERY, QUERY, QUERY | {"easy": [attack]}])
    data = pickle.dumps(attack, protocol=version)
    (tmp_path / "gnd.pkl").write_bytes(data)
    with pytest.raises(
        ValueError, match=r"gnd\.pkl: refused, expected only containers, .* got (posix|nt)\.mkdir"
    ):
        read_gnd(tmp_path / "gnd.pkl")
    assert not written.exists()
    pickle.loads(data)
    assert written.is_dir()  # the same bytes do run in Python's own reader


@pytest.mark.parametrize(
    "attack",
    [
        Runs(eval, "1"),
        Runs(exec, "1"),
        Runs(getattr, 1, "real"),
        Runs(__import__, "os"),
        Runs(np.load, "x"),
        Runs(np.frombuffer, b"x"),
        Path("x"),
        np.dtype("i8").newbyteorder,
        open,
        range(3),
        slice(1),
        bytearray,
        object(),
        np.ma.array([1]),
        np.recarray,
    ],
)
def test_other_names_are_refused(attack: Any, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(attack, protocol=4))
    with pytest.raises(ValueError, match=r"x\.pkl: refused, expected only containers"):
        read_plain_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}], dtype=object),
        np.array(["text"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.array([1j]),
        np.ndarray,
        np.dtype("i8"),
    ],
)
def test_other_arrays_are_refused(value: Any, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(ValueError, match=r"x\.pkl: refused, expected"):
        read_plain_pickle(tmp_path / "x.pkl")


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nX\x02\0\0\0i8\x89\x88\x87R"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ARRAY, "expected an array with its values"),
        (
            ARRAY + b"(K\x01K\x05\x85" + DTYPE + b"\x89C\x08" + bytes(8) + b"tb",
            "expected 40 bytes of an array, got 8",
        ),
        (ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\x00tb", "expected an array's shape"),
        (ARRAY + b"(K\x01K\x01\x85" + DTYPE + b"\x89]tb", "expected the bytes of an array, got list"),
        (ARRAY + b"Nb", "expected the five parts of an array"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}X\x01\0\0\0ak\x01sb", "damaged pickle"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}b", "expected no state of _Reconstruct"),
        (b"cnumpy.core.multiarray\n_reconstruct\nNK\x00\x85C\x01b\x87R", "expected a plain array"),
        (
            b"c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0zip\x86R",
            "expected bytes written as latin1 text, got 'zip'",
        ),
        (b"c__builtin__\nset\nK\x05\x85R", "expected a set of listed items"),
        (b"cnumpy\ndtype\n", "expected plain data, got _MakeDType"),
        (b"c__builtin__\nbytes\nK\x05\x85R", "damaged pickle"),
        (b"Pname\n", "got a persistent id"),
        (b"\x82\x01", "damaged pickle"),
        (b"]" * 20000 + b"a" * 19999, "nested too deeply|damaged pickle"),
        (b"]\x940h\x00a", "damaged pickle|nested too deeply"),
    ],
)
def test_pickles_made_by_hand(body: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + body + b".")
    with pytest.raises(ValueError, match=rf"x\.pkl: (refused, )?.*({message})"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_list_that_holds_itself(tmp_path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match="nested too deeply"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_damaged_pickles(tmp_path: Path) -> None:
    data = pickle.dumps(gnd(), protocol=2)
    for content in (b"", data[:-1], data[: len(data) // 2], b"no pickle", b"\x80\x63."):
        (tmp_path / "x.pkl").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.pkl: (damaged pickle|refused)"):
            read_plain_pickle(tmp_path / "x.pkl")
    with pytest.raises(ValueError, match=r"y\.pkl: expected a pickle, cannot read it"):
        read_plain_pickle(tmp_path / "y.pkl")


def test_flipped_bytes_never_do_worse_than_an_error(tmp_path: Path) -> None:
    data = pickle.dumps(gnd(), protocol=4)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "x.pkl").write_bytes(changed)
        try:
            read_plain_pickle(tmp_path / "x.pkl")
            outcomes.add("read")
        except ValueError:
            outcomes.add("error")
    assert outcomes == {"read", "error"}
