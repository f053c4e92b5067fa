"""Pickles of plain data: what comes back, and what is refused and runs nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sdclib.data.instances import read_gnd
from sdclib.data.plain_pickle import read_plain_pickle
from tests.fuzzing import Runs, attacks, outcome
from tests.landmarks import QUERY, gnd

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = {
    "plain": [None, True, -(2**80), float("inf"), ("a", "\u00e9", b"bytes", b"")],
    "arrays": [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.zeros((0, 2)), np.array([True])],
    "kinds": [np.array([1, 2], dtype=kind) for kind in ("<i2", ">i4", "u1", "f4", ">f8", "f2")],
    "scalars": [np.int64(3), np.float32(0.5)],
}


@pytest.mark.parametrize("numpy", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back(protocol: int, numpy: bytes, tmp_path: Path) -> None:
    data = pickle.dumps(PLAIN, protocol=protocol)
    if protocol < 4:  # names of a length of their own, without a frame
        data = data.replace(b"numpy._core", numpy)
    (tmp_path / "plain.pkl").write_bytes(data)
    read = read_plain_pickle(tmp_path / "plain.pkl")
    assert read["plain"] == PLAIN["plain"]
    for name in ("arrays", "kinds", "scalars"):
        for a, b in zip(read[name], PLAIN[name], strict=True):
            np.testing.assert_array_equal(a, b, strict=name != "kinds")


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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_attacks_are_refused_and_would_work(tmp_path: Path, protocol: int) -> None:
    marker, path = tmp_path / "owned", tmp_path / "gnd.pkl"
    inside = gnd(gnd=[QUERY, QUERY, QUERY | {"easy": [Runs(os.mkdir, str(marker))]}])
    for attack in (inside, *attacks(marker)):
        path.write_bytes(pickle.dumps(attack, protocol=protocol))
        with pytest.raises(ValueError, match=r"gnd\.pkl: expected a pickle of .* it names"):
            read_gnd(path)
        assert not marker.exists()
        pickle.loads(path.read_bytes())
        assert marker.exists(), "the attack must work where Python's own reader takes it"
        marker.rmdir() if marker.is_dir() else marker.unlink()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nX\x02\0\0\0i8\x89\x88\x87R"


@pytest.mark.parametrize(
    "content",
    [
        *map(pickle.dumps, (Path("x"), open, range(3), object(), np.ma.array([1]), np.recarray)),
        *map(pickle.dumps, (np.array([{}], dtype=object), np.array(["text"]), np.array([1j]))),
        pickle.dumps(np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])),
        *(b"", pickle.dumps(gnd())[:-1], b"no pickle", b"\x80\x63.", b"Pname\n.", b"\x82\x01."),
        # arrays of other sizes than their bytes, and a few bytes that would take all memory
        ARRAY + b"(K\x01K\x05\x85" + DTYPE + b"\x89C\x08" + bytes(8) + b"tb.",
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\x00tb.",
        ARRAY + b"(K\x01\x8a\x07\xff\xff\xff\xff\xff\xff\x7f\x85" + DTYPE + b"\x89C\x08" + bytes(8) + b"tb.",
        b"cnumpy\nndarray\n\x8a\x05\xff\xff\xff\xff\x01\x85R.",
        *(b"Nr\xff\xff\xff\x7f.", b"Np4000000000\n.", b"B\xff\xff\xff\x7f.", b"\x8b\xff\xff\xff\x7f."),
        *(code + b"\xff" * 7 + b"\x0f." for code in (b"\x8e", b"\x95", b"\x96")),
        b"L" + b"9" * 10_000 + b"L\n.",
    ],
)
def test_other_and_damaged_pickles_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    assert outcome(lambda: read_plain_pickle(path), path) is None
