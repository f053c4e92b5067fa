"""What the fuzz tests share: damaged bytes, and the check that a reader gives a value or a clear error.

SDC_FUZZ_EXAMPLES=20000 in the environment makes the tests long, and other examples each time.
"""

from __future__ import annotations

import io
import os
import pickle
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Bytes of address space beyond what the process has; allocators take some GB in advance.
MOST_MEMORY = 1 << 33
MOST_TOUCHED = 200_000  # KB of it that may be written to
MOST_SECONDS = 20

fuzzed = settings(
    max_examples=int(os.environ.get("SDC_FUZZ_EXAMPLES", "60")),
    derandomize="SDC_FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)

NUMBERS = [0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([-1, 0, 1, 2, 8, 10**12])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x", "", ".", "..", "/", "a\0b", "n" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes] | bytes) -> bytes:
    """Bytes of a file after one to four of: a byte flipped, a part cut, doubled, put in, or a number overwritten."""
    data = bytearray(contents if isinstance(contents, bytes) else draw(contents))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 40))
        match draw(st.sampled_from(["flip", "end", "cut", "double", "insert", "number"])):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "end":
                del data[at:]
            case "cut":
                del data[at:end]
            case "double":
                data[at:at] = data[at:end]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "number":
                width = draw(st.sampled_from([1, 2, 4, 8]))
                number = draw(st.sampled_from(NUMBERS)) % 256**width
                data[at : at + width] = number.to_bytes(width, draw(st.sampled_from(["little", "big"])))
    return bytes(data)


@st.composite
def changed(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with some of its values, at any depth, replaced or taken out."""
    made: dict[str, Any] = {}
    for key, item in value.items():
        match draw(st.sampled_from(["keep", "keep", "keep", "deep", "other", "none"])):
            case "keep":
                made[key] = item
            case "deep" if isinstance(item, dict):
                made[key] = draw(changed(item))
            case "other":
                made[key] = draw(JSON)
    return made


def write(path: Path, data: bytes) -> Path:
    """Write a new file; an old one may still be mapped into memory."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        write(folder / name, content)
    return folder


def npy(array: np.ndarray) -> bytes:
    """Content of an .npy; of objects, as attacks are, by a pickle."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(arrays: dict[str, np.ndarray], *, compressed: bool = False) -> bytes:
    """Content of an .npz, see `npy`."""
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def outcome(
    read: Callable[[], Any], named: Path | str, errors: tuple[type[Exception], ...] = (ValueError,)
) -> Any:
    """What `read` returns, or None after one of the documented errors, whose message must hold `named`.

    Any other error, any warning, more memory than the file calls for, and no end in sight fail the test.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(), _limits():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Reading `.npy`")  # of Python 2: read, with advice
        try:
            return read()
        except errors as error:
            message = str(error)
        finally:
            touched = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert touched < MOST_TOUCHED, f"the reader took {touched} KB of memory"
    assert str(named) in message, f"the message does not name {named}: {message}"
    return None


@contextmanager
def _limits() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise AssertionError(f"the reader was not done after {MOST_SECONDS} s")

    memory = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    handler = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, memory[1]))
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, memory)
        signal.signal(signal.SIGALRM, handler)


class Runs:
    """Calls something when it is unpickled."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def attacks(marker: Path) -> list[Any]:
    """Objects whose unpickling makes the file `marker`, by several ways; `test_plain_pickle` sees that they do."""
    python = f"open({str(marker)!r}, 'w').close()"
    return [
        Runs(os.system, f"touch '{marker}'"),
        Runs(exec, python),
        {"imlist": [Runs(exec, python)], "qimlist": ["q"], "gnd": [{"easy": [0], "hard": [], "junk": []}]},
        {Runs(exec, python): 1},
        Runs(pickle.loads, pickle.dumps(Runs(exec, python))),
    ]
