"""Pickles of plain data, read without running code: containers, texts, numbers and arrays of numbers."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_plain_pickle"]

DTYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
MOST_ITEMS = 10_000_000  # what a pickle may hold, things it holds several times counted as often
MOST_DEPTH = 100  # of containers in containers
OPERATIONS = {operation.code.encode("latin1"): operation for operation in pickletools.opcodes}


def read_plain_pickle(path: Path | str) -> Any:
    """Read a pickle that holds nothing but None, bools, numbers, texts, bytes, containers and arrays of numbers.

    A pickle is a program: the standard reader calls what it names. This one looks nothing up. The names by which
    NumPy's arrays and scalars are pickled, by Python 2 or 3, stand for small parts of this module; every other name
    is refused before anything is called. So is a small file that would take all memory or time, or nests too deeply.

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
        _check_size(data)
        value = _Reader(io.BytesIO(data), encoding="latin1").load()
        return _plain(value, {})
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


def _check_size(data: bytes) -> None:
    """Refuse what would harm the reader before any name is looked up.

    Python's reader gives every thing the number that the pickle says, and memory up to that number. It hashes keys:
    a tuple nested deeply ends the process, and one held twice by one that is held twice, and so on, never ends.
    """
    file = io.BytesIO(data)
    stack: list[list[int] | None] = []  # items and depth of every thing; None is a mark
    memo: dict[int, list[int] | None] = {}
    total = 0
    while operation := OPERATIONS.get(file.read(1)):
        name, before, after = operation.name, list(operation.stack_before), operation.stack_after
        argument: Any = None
        if name == "STRING":  # the standard parser takes ASCII alone
            file.readline()
        elif operation.arg is not None:
            argument = operation.arg.reader(file)  # checks that all the bytes it announces are there
        if name == "STOP":
            return
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            number = len(memo) if argument is None else argument
            if number > len(data):
                raise _RefusedError(f"expected at most {len(data)} numbered things, got number {number}")
            memo[number] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET", "DUP"):
            stack.append(stack[-1] if name == "DUP" else memo[argument])
            total += (stack[-1] or [0])[0]
        elif name == "MARK":
            stack.append(None)
        elif name == "POP":
            stack.pop()
        else:
            parts: list[Any] = []
            if pickletools.markobject in before:
                while (part := stack.pop()) is not None:
                    parts.append(part)
                del before[before.index(pickletools.markobject) :]
            parts += [stack.pop() for _ in before]
            whole = parts.pop() if before and before[0] in after else [1, 0]  # a container that is added to
            whole[0] += sum(part[0] for part in parts)
            whole[1] = max([whole[1], *(part[1] + 1 for part in parts)])
            stack += [whole] * len(after)
            total += 1
            if whole[1] > MOST_DEPTH:
                raise _RefusedError("nested too deeply")
        if total > MOST_ITEMS:
            raise _RefusedError(f"expected at most {MOST_ITEMS} items, each counted as often as it is held")


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
        if not isinstance(code, str) or code not in DTYPES:
            got = code[:20] if isinstance(code, str) else type(code).__name__
            raise _RefusedError(f"expected arrays of plain numbers, got dtype {got}")
        self.code, self.order = code, "<"

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
            got = repr(encoding[:20]) if isinstance(encoding, str) else type(encoding).__name__
            raise _RefusedError(f"expected bytes written as latin1 text, got {got}")
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


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Put arrays in the place of their stand-ins; containers are made anew, so one that holds itself is refused.

    `done` has by `id` what is made, so that a thing that is held several times is made once.
    """
    if id(value) in done:
        return done[id(value)]
    made = value
    if isinstance(value, _Array):
        if value.value is None:
            raise _RefusedError("expected an array with its values")
        made = value.value
    elif isinstance(value, dict):
        made = {_plain(key, done): _plain(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        made = type(value)(_plain(item, done) for item in value)
    elif value is not None and not isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        raise _RefusedError(f"expected plain data, got {type(value).__name__}")
    done[id(value)] = made
    return made
