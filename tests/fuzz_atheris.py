"""Feed a reader with bytes that its own code's coverage guides; stop at what is neither a value nor a clear error.

Needs the package atheris, which the lock file leaves out, then

    python -m tests.fuzz_atheris READER [options of libFuzzer, such as -max_total_time=60] [folder of inputs to keep]

What stops it is written to a file ``crash-...``; give that file's path in place of the folder to see it again.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris
import numpy.lib._format_impl as numpy_format

LIMITS = ["-rss_limit_mb=4096", "-malloc_limit_mb=2048", "-timeout=20", "-max_len=4096", "-detect_leaks=0"]

with atheris.instrument_imports(include=["sdclib", "pickletools", "zipfile", "csv"]):
    import sdclib.index
    from sdclib.datasets.corel5k import read_labels
    from sdclib.datasets.lists import read_list
    from sdclib.ground_truth import read_gnd, read_solution
    from sdclib.plain_pickle import read_plain_pickle
    from sdclib.vectors import read_vectors
    from tests.test_fuzz_index import INDEXES, index_file
    from tests.test_fuzz_lists import LABELS, LIST, SOLUTION, VECTORS
    from tests.test_fuzz_pickles import GROUND_TRUTH
    from tests.test_fuzz_vectors import FILES


def both(first: Callable[[Path], Any], second: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Readers one after the other; the second also where the first refuses."""

    def read(path: Path) -> None:
        for reader in (first, second):
            clear(reader, path)

    return read


def clear(reader: Callable[[Path], Any], path: Path) -> None:
    """Read, and take a documented error that names the file."""
    try:
        reader(path)
    except ValueError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the message does not name {path}: {error}") from error


# Of each reader: the suffix of its file, what reads it, how a file is made of bytes, and bytes to begin with.
READERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[bytes], bytes], list[bytes]]] = {
    "pickle": (
        ".pkl",
        both(read_plain_pickle, read_gnd),
        bytes,
        [*GROUND_TRUTH, pickle.dumps({1.5: ("a", b"b")})],
    ),
    "csv": (".csv", both(read_vectors, read_solution), bytes, [FILES[".csv"], SOLUTION]),
    "words": (".csv", read_labels, bytes, [LABELS]),
    "list": (
        ".txt",
        both(
            lambda path: read_list(path, 4, multi_label=False),
            lambda path: read_list(path, 4, multi_label=True),
        ),
        bytes,
        [LIST, VECTORS],
    ),
    "npy": (".npy", read_vectors, bytes, [FILES[".npy"]]),
    "npz": (".npz", read_vectors, bytes, [FILES[".npz"]]),
    "safetensors": (".safetensors", read_vectors, bytes, [FILES[".safetensors"]]),
    "index": (".index", sdclib.index.HammingIndex.load, index_file, list(INDEXES.values())),
}


def main() -> None:
    """Fuzz the reader that the command line names."""
    for name in ("read_array", "_read_array_header", "_filter_header", "descr_to_dtype"):
        atheris.instrument_func(getattr(numpy_format, name))
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"expected a reader, one of {', '.join(READERS)}")
    suffix, read, make, seeds = READERS[sys.argv.pop(1)]
    warnings.simplefilter("error", RuntimeWarning)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    begin = folder / "seeds"
    begin.mkdir()
    for number, seed in enumerate(seeds):
        (begin / f"{number}").write_bytes(seed)
    path = folder / f"file{suffix}"

    def test(data: bytes) -> None:
        path.unlink(missing_ok=True)  # an old one may still be mapped into memory
        path.write_bytes(make(data))
        clear(read, path)

    kept = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    seeds_too = [] if any(Path(argument).is_file() for argument in kept) else [str(begin)]
    atheris.Setup([sys.argv[0], *LIMITS, *options, *kept, *seeds_too], test)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
