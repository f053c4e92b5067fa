"""Pickles of plain data, read without running code: containers, texts, numbers and arrays of numbers."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_plain_pickle"]


def read_plain_pickle(path: Path | str) -> Any:
    """Read a pickle of containers, texts, numbers and NumPy arrays of numbers, such as those of public data sets.

    A pickle calls what it names. Here only the names by which NumPy's arrays are pickled can be called, by stand-ins.
    ValueError that names the file if it is missing, damaged or holds anything else.
    """
    try:
        data = Path(path).read_bytes()
        for operation, argument, _ in pickletools.genops(data):  # which checks lengths within the file
            if operation.name in ("PUT", "LONG_BINPUT") and (argument or 0) > len(data):
                raise ValueError(f"it would number a thing {argument}, for which memory is taken")
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle fails in many ways
        raise ValueError(
            f"{path}: expected a pickle of containers, texts, numbers and arrays of numbers "
            f"({type(error).__name__}: {error})"
        ) from error


class _DType:
    def __init__(self, code: str, *flags: Any) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"array of {self.dtype}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    def __setstate__(self, state: Any) -> None:
        version, shape, kind, fortran, data = state
        super().__setstate__((version, shape, kind.dtype, fortran, data))  # checks that data has this shape


def _number(kind: _DType, data: bytes | str) -> Any:
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, kind.dtype)[0]


def _from_buffer(data: bytes, kind: _DType, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


_STAND_INS: dict[str, Any] = {
    "_codecs.encode": lambda text, encoding: text.encode("latin1"),  # bytes by protocols 0 to 2
    "__builtin__.bytes": lambda: b"",
    "numpy.dtype": _DType,
    "numpy.ndarray": None,
    "numpy._core.multiarray._reconstruct": lambda *kind: _Array(0),
    "numpy._core.multiarray.scalar": _number,
    "numpy._core.numeric._frombuffer": _from_buffer,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("numpy.core.", "numpy._core.")
        if full not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {full}")
        return _STAND_INS[full]
