"""Pickles of plain data, read without running code: containers, texts, numbers and arrays of numbers."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_plain_pickle"]

DTYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}


def read_plain_pickle(path: Path | str) -> Any:
    """Read a pickle that holds nothing but None, bools, numbers, texts, bytes, containers and arrays of numbers.

    A pickle is a program: the standard reader calls what it names. This one looks nothing up. The names by which
    NumPy's arrays and scalars are pickled, by Python 2 or 3, stand for small parts of this module; every other name
    is refused before anything is called.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    object
        Arrays as ndarray; they are copies, writable.

    Raises
    ------
    ValueError
        If the file is missing or damaged, or holds anything else; the message names the file and what it is.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: expected a pickle, cannot read it ({error})") from error
    try:
        value = _Reader(io.BytesIO(data), encoding="latin1").load()
        return _plain(value)
    except _RefusedError as error:
        raise ValueError(f"{path}: refused, {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: refused, nested too deeply") from error
    except MemoryError as error:
        raise ValueError(f"{path}: refused, it asks for too much memory") from error
    except Exception as error:  # a damaged pickle fails in many ways: EOFError, KeyError, struct.error, ...
        raise ValueError(f"{path}: damaged pickle ({type(error).__name__}: {error})") from error


class _RefusedError(Exception):
    """Something that is no plain data."""


class _Reader(pickle.Unpickler):
    """Finds stand-ins only."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get((module.replace("numpy.core.", "numpy._core."), name))
        if stand_in is None:
            raise _RefusedError(
                f"expected only containers, texts, numbers and NumPy arrays, got {module}.{name}"
            )
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("expected only containers, texts, numbers and NumPy arrays, got a persistent id")


class _StandIn:
    """What a name in a pickle stands for; it has no state that a pickle could change."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError(f"expected no state of {type(self).__name__}")


class _DType:
    """A NumPy dtype of plain numbers."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any) -> None:
        self.code, self.order = str(code), "<"
        if self.code not in DTYPES:
            raise _RefusedError(f"expected arrays of plain numbers, got dtype {self.code[:20]}")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _RefusedError("expected a plain dtype")
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("expected arrays of plain numbers, got a structured dtype")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """A NumPy array of plain numbers, as its parts."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("expected the five parts of an array")
        _, shape, dtype, fortran, data = state
        self.value = _build(data, dtype, shape, "F" if fortran is True else "C")


class _ArrayType(_StandIn):
    """Stands for ``numpy.ndarray``, which a pickle only names."""


class _MakeDType(_StandIn):
    """Stands for ``numpy.dtype``."""

    def __call__(self, code: Any, *flags: Any) -> _DType:
        return _DType(code)


class _Reconstruct(_StandIn):
    """Stands for ``numpy._core.multiarray._reconstruct``: an empty array, its state follows."""

    def __call__(self, kind: Any, shape: Any, code: Any) -> _Array:
        if not isinstance(kind, _ArrayType):
            raise _RefusedError("expected a plain array")
        return _Array()


class _FromBuffer(_StandIn):
    """Stands for ``numpy._core.numeric._frombuffer``, used by protocol 5."""

    def __call__(self, data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        array = _Array()
        array.value = _build(data, dtype, shape, order)
        return array


class _Scalar(_StandIn):
    """Stands for ``numpy._core.multiarray.scalar``: a Python number."""

    def __call__(self, dtype: Any, data: Any) -> Any:
        return _build(data, dtype, (), "C").item()


class _Encode(_StandIn):
    """Stands for ``_codecs.encode``, by which old protocols write bytes as text."""

    def __call__(self, text: Any, encoding: Any = None) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _RefusedError(f"expected bytes written as latin1 text, got {encoding!r}")
        return text.encode("latin1")


class _MakeBytes(_StandIn):
    """Stands for ``bytes``, which old protocols name for no bytes."""

    def __call__(self) -> bytes:
        return b""


class _MakeSet(_StandIn):
    """Stands for ``set`` and ``frozenset``, which old protocols name."""

    def __call__(self, items: Any = ()) -> set[Any]:
        if not isinstance(items, list | tuple):
            raise _RefusedError("expected a set of listed items")
        return set(items)


_STAND_INS: dict[tuple[str, str], _StandIn] = {
    ("numpy", "ndarray"): _ArrayType(),
    ("numpy", "dtype"): _MakeDType(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "scalar"): _Scalar(),
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer(),
    ("_codecs", "encode"): _Encode(),
    **{(module, "bytes"): _MakeBytes() for module in ("builtins", "__builtin__")},
    **{(module, name): _MakeSet() for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
}


def _build(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Make an array of its bytes, all of them and no more."""
    if isinstance(data, str):  # bytes of Python 2
        data = data.encode("latin1")
    if not isinstance(dtype, _DType) or order not in ("C", "F"):
        raise _RefusedError("expected an array with a dtype and an order")
    if not isinstance(data, bytes | bytearray):
        raise _RefusedError(f"expected the bytes of an array, got {type(data).__name__}")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise _RefusedError("expected an array's shape")
    plain = dtype.dtype()
    if math.prod(shape) * plain.itemsize != len(data):
        raise _RefusedError(
            f"expected {math.prod(shape) * plain.itemsize} bytes of an array, got {len(data)}"
        )
    native = np.frombuffer(data, dtype=plain).astype(plain.newbyteorder("="))
    return native.reshape(shape, order=order)


def _plain(value: Any) -> Any:
    """Put arrays in the place of their stand-ins; containers are made anew, so one that holds itself is refused."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _RefusedError("expected an array with its values")
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        return value
    raise _RefusedError(f"expected plain data, got {type(value).__name__}")
