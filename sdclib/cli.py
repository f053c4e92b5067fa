"""Command line: fit a hash method on vectors, encode, search, export, report.

Help and errors of usage come at once: what is imported here needs neither torch nor scikit-learn nor pandas, and each
command checks its options before it imports more.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdclib import __version__
from sdclib.checks import check_features, check_int, check_name
from sdclib.data.vectors import SUFFIXES, check_vector_file, load_npy, read_vectors
from sdclib.files import write_bytes, write_text
from sdclib.methods import METHODS, make_hasher
from sdclib.methods.presets import BEST, PRESETS
from sdclib.search.defaults import OPSET, REPORT_BITS, REPORT_METHODS
from sdclib.search.encoding import BIT_ORDERS, PRECISIONS, encode, load_hasher, pack_bits, take_rows

if TYPE_CHECKING:
    from sdclib.methods import BaseHasher

__all__ = ["main"]

USAGE_ERROR = 2
SAME_CODES = 0.99  # of the bits; one near zero may differ with the size of a matrix product


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `sdc`.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 2 where something given cannot be used; one line on the error stream then says what.

    Raises
    ------
    SystemExit
        From argparse, for ``--help`` (status 0) and for arguments that it cannot parse (status 2).
    """
    given = _parser().parse_args(arguments)
    try:
        for name in ("embeddings", "database", "queries"):
            if (path := getattr(given, name, None)) is not None:
                check_vector_file(path)
        print(given.run(given))
    except (ImportError, OSError, ValueError) as error:
        print(f"sdc {given.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130
    return 0


def fit(given: argparse.Namespace) -> str:
    """Fit a method on (a sample of) the vectors and write it into a folder."""
    most = check_int(given.train_rows, "--train-rows", minimum=1)
    hasher = _make(given)
    vectors = _vectors(given.embeddings, given)
    chosen = _rows(len(vectors), most, given.seed)
    train, name = take_rows(vectors, chosen), str(given.embeddings)
    if len(train) < len(vectors):
        name += f" (a sample of {len(train)} rows)"
    hasher.fit(check_features(train, name))
    with _writing(given.out):
        hasher.save(given.out)
    learned = f"learned from {len(train):,} of {len(vectors):,} vectors"
    return f"{given.out}: {hasher.method}, {hasher.n_bits} bits, {learned}"


def encode_vectors(given: argparse.Namespace) -> str:
    """Encode vectors by a fitted method and write packed codes."""
    for option, value, known in (
        ("--bit-order", given.bit_order, BIT_ORDERS),
        ("--precision", given.precision, PRECISIONS),
    ):
        if value is not None:
            check_name(value, option, known)
    if None not in (given.bit_order, given.precision):
        raise ValueError(f"--bit-order: expected none beside --precision, got {given.bit_order!r}")
    hasher = load_hasher(given.model)
    vectors = _vectors(given.embeddings, given)
    codes = encode(
        hasher,
        vectors,
        bit_order=given.bit_order,
        precision=given.precision,
        name=str(given.embeddings),
        progress=not given.quiet,
    )
    order = given.precision or given.bit_order or BIT_ORDERS[0]
    _write_arrays(given.out, codes)
    return f"{given.out}: {codes.shape[0]:,} codes of {hasher.n_bits} bits in {codes.shape[1]} bytes, {order}"


def search(given: argparse.Namespace) -> str:
    """Find the nearest vectors of every query by their codes."""
    k = check_int(given.k, "--k", minimum=1)
    rescore = 0 if given.rescore is None else check_int(given.rescore, "--rescore", minimum=k)
    hasher = load_hasher(given.model)
    database = _vectors(given.database, given)
    query = check_features(
        _vectors(given.queries, given), str(given.queries), n_features=hasher.n_features_in_
    )
    if max(k, rescore) > len(database):
        option = "--rescore" if rescore else "--k"
        raise ValueError(
            f"{option}: expected at most the {len(database)} vectors of the database, got {max(k, rescore)}"
        )
    if given.codes is None:
        codes = encode(hasher, database, name=str(given.database), progress=not given.quiet)
    else:
        codes = _read_codes(given.codes, hasher, database)
    from sdclib.search.index import HammingIndex

    index = HammingIndex(codes, n_bits=hasher.n_bits)
    distances, indices = index.search(encode(hasher, query), max(k, rescore), packed=True)
    arrays: dict[str, NDArray[Any]] = {"indices": indices, "distances": distances}
    if rescore:
        scores, indices = index.rescore(indices, query, database)
        arrays = {"indices": indices[:, :k], "scores": scores[:, :k]}
    _write_arrays(given.out, arrays)
    return (
        f"{given.out}: {k} neighbours of {len(query):,} queries among {len(database):,} ({', '.join(arrays)})"
    )


def export(given: argparse.Namespace) -> str:
    """Write a fitted method as an ONNX model, its codes of a database as a faiss index, or both."""
    if given.onnx is None and given.faiss is None:
        raise ValueError("--onnx, --faiss: expected at least one of them, got none")
    if (given.faiss is None) != (given.database is None):
        raise ValueError("--database: expected with --faiss, and only with it")
    if given.onnx is None and given.packed is not None:
        raise ValueError("--packed: expected with --onnx only")
    if given.packed is not None:
        check_name(given.packed, "--packed", PRECISIONS)
    opset = check_int(given.opset, "--opset", minimum=OPSET)
    hasher = load_hasher(given.model)
    from sdclib.search.export import onnx_model, to_faiss

    lines = []
    if given.onnx is not None:
        model = onnx_model(hasher, opset=opset, packed=given.packed).SerializeToString()
    if given.faiss is not None:
        database = _vectors(given.database, given)
        with _writing(given.faiss):
            index = to_faiss(
                hasher, database, given.faiss, name=str(given.database), progress=not given.quiet
            )
        lines.append(f"{given.faiss}: {index.ntotal:,} codes of {hasher.n_bits} bits, bit order little")
    if given.onnx is not None:  # last, so that nothing is written where the database cannot be used
        with _writing(given.onnx):
            write_bytes(given.onnx, model)
        more = "" if given.packed is None else f" and packed codes ({given.packed})"
        lines.append(
            f"{given.onnx}: from {hasher.n_features_in_} features to {hasher.n_bits} continuous codes{more}"
        )
    return "\n".join(lines)


def report(given: argparse.Namespace) -> str:
    """Write the report on the vectors."""
    for bits in given.n_bits:
        check_int(bits, "n_bits", minimum=1)
    for method in given.methods:
        check_name(method, "methods", METHODS)
    import matplotlib as mpl

    mpl.use("Agg")
    from sdclib.search.report import measure_embeddings
    from sdclib.search.report_page import report_html

    measured = measure_embeddings(
        _vectors(given.embeddings, given),
        name=given.embeddings.name,
        methods=given.methods,
        n_bits=given.n_bits,
        k=given.k,
        depth=given.rescore,
        max_vectors=given.max_vectors,
        max_train=given.max_train,
        epochs=given.epochs,
        seed=given.seed,
        progress=not given.quiet,
    )
    page = report_html(measured)
    with _writing(given.out):
        write_text(given.out, page)
    return str(given.out)


def _make(given: argparse.Namespace) -> BaseHasher:
    """Make the method that the options describe."""
    method = check_name(given.method, "--method", METHODS)
    parameters = dict(map(_parameter, given.set))
    if method == "sdc":
        parameters["preset"] = check_name(given.preset or "release", "--preset", [*PRESETS, BEST])
    elif given.preset is not None:
        raise ValueError(
            f"--preset: expected none for method {method!r}, only sdc has presets, got {given.preset!r}"
        )
    bits, seed = check_int(given.n_bits, "--n-bits", minimum=1), check_int(given.seed, "--seed", minimum=0)
    hasher = make_hasher(method, bits, seed=seed, **parameters)
    if hasher.needs_views:
        raise ValueError(
            f"--method: {method} with these settings learns from augmented views of images, not vectors alone"
        )
    if "progress" in hasher.get_params():
        hasher.set_params(progress=not given.quiet)
    return hasher


def _parameter(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; a value that is JSON becomes what it says, others stay text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--set: expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _vectors(path: Path, given: argparse.Namespace) -> NDArray[Any]:
    return read_vectors(path, key=given.key, columns=given.columns and given.columns.split(",")).vectors


def _rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """Draw rows at random, ascending; all where no more are there than wanted."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def _read_codes(path: Path, hasher: BaseHasher, database: NDArray[Any]) -> NDArray[np.uint8]:
    """Read packed codes and see by the first rows whether they are the database's, in the right order."""
    codes = load_npy(path)
    shape = len(database), -(-hasher.n_bits // 8)
    if codes.dtype != np.uint8 or codes.shape != shape:
        raise ValueError(
            f"{path}: expected packed codes, uint8 of shape {shape}, got {codes.dtype} of {codes.shape}"
        )
    bits = hasher.transform(take_rows(database, np.arange(min(1000, len(database)))))
    first = np.asarray(codes[:1000])
    if _agreement(first, pack_bits(bits)) < SAME_CODES:
        swapped = _agreement(first, pack_bits(bits, "big")) >= SAME_CODES
        raise ValueError(
            f"{path}: expected the codes of the database by this model, bit order little, got "
            + ("bit order big" if swapped else "others")
        )
    return np.asarray(codes)


def _agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return 1 - float(np.bitwise_count(first ^ second).mean()) / 8


def _write_arrays(path: Path, arrays: NDArray[Any] | dict[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    if isinstance(arrays, dict):
        np.savez(buffer, allow_pickle=False, **arrays)
    else:
        np.save(buffer, arrays, allow_pickle=False)
    with _writing(path):
        write_bytes(path, buffer.getvalue())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the output that cannot be written, which the system does not say where the disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path}: cannot be written ({error.strerror or error}); what was there is untouched, so make room or "
            "choose another place"
        ) from error


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False or action.default == []
        return action.help if none else super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sdc", description="Hash vectors to short binary codes.")
    parser.add_argument("--version", action="version", version=f"sdclib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    files = ", ".join(SUFFIXES)

    def add(name: str, run: Any, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=description,
            description=description,
            formatter_class=_Help,
        )
        command.set_defaults(run=run)
        command.add_argument("--key", help="array or column of vectors, where a file has several")
        command.add_argument(
            "--columns",
            metavar="NAMES",
            help="columns of a table that are features, such as a,b,x*; else all of numbers but ids and labels",
        )
        command.add_argument("--quiet", action="store_true", help="no progress bar")
        return command

    command = add("fit", fit, "Fit a hash method on vectors and write it into a folder.")
    command.add_argument("embeddings", type=Path, metavar="EMBEDDINGS", help=f"file of vectors ({files})")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the method goes")
    command.add_argument("--n-bits", type=int, default=64, metavar="N", help="code length")
    command.add_argument("--method", default="sdc", help=f"one of {', '.join(METHODS)}")
    command.add_argument(
        "--preset", help=f"of sdc, one of {', '.join([*PRESETS, BEST])}; release where none is given"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the method; may be repeated",
    )
    command.add_argument(
        "--train-rows",
        "--max-train",
        type=int,
        default=20_000,
        metavar="N",
        help="vectors to learn from, drawn at random by the seed; an .npy may be larger than memory",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of whatever is drawn at random")

    command = add("encode", encode_vectors, "Encode vectors by a fitted method; writes packed codes.")
    command.add_argument("model", type=Path, metavar="MODEL", help="folder that sdc fit wrote")
    command.add_argument("embeddings", type=Path, metavar="EMBEDDINGS", help=f"file of vectors ({files})")
    command.add_argument("--out", type=Path, required=True, metavar="CODES.npy")
    command.add_argument(
        "--bit-order",
        help="little (lowest bit first, as faiss wants it) or big (as numpy.packbits); little where none is given",
    )
    command.add_argument(
        "--precision",
        help="in place of a bit order: sdc (little), or as sentence-transformers packs, ubinary (big) or binary "
        "(big, int8)",
    )

    command = add("search", search, "Find the nearest vectors of every query by codes; writes indices.")
    command.add_argument("model", type=Path, metavar="MODEL", help="folder that sdc fit wrote")
    command.add_argument("database", type=Path, metavar="DATABASE", help=f"file of vectors ({files})")
    command.add_argument("queries", type=Path, metavar="QUERIES", help="likewise")
    command.add_argument("--out", type=Path, required=True, metavar="NEIGHBOURS.npz")
    command.add_argument("--k", type=int, default=10, help="neighbours a query")
    command.add_argument("--rescore", type=int, metavar="N", help="order the N nearest codes by float cosine")
    command.add_argument(
        "--codes", type=Path, metavar="CODES.npy", help="of the database, by sdc encode, bit order little"
    )

    command = add("export", export, "Write a fitted method for other programs: ONNX model, faiss index.")
    command.add_argument("model", type=Path, metavar="MODEL", help="folder that sdc fit wrote")
    command.add_argument(
        "--onnx",
        type=Path,
        metavar="HEAD.onnx",
        help="from features to continuous codes; needs the package onnx",
    )
    command.add_argument(
        "--packed",
        metavar="PRECISION",
        help=f"a second output of the ONNX model, packed codes: one of {', '.join(PRECISIONS)}",
    )
    command.add_argument("--opset", type=int, default=OPSET, metavar="N", help="version of ONNX's operators")
    command.add_argument(
        "--faiss", type=Path, metavar="INDEX.faiss", help="codes of the database, to be searched"
    )
    command.add_argument("--database", type=Path, metavar="DATABASE", help=f"file of vectors ({files})")

    command = add("report", report, "Say what codes would do for vectors: one HTML page.")
    command.add_argument("embeddings", type=Path, metavar="EMBEDDINGS", help=f"file of vectors ({files})")
    command.add_argument("--out", type=Path, required=True, metavar="REPORT.html")
    command.add_argument(
        "--n-bits", type=int, nargs="+", default=list(REPORT_BITS), metavar="N", help="code lengths"
    )
    command.add_argument("--methods", nargs="+", default=list(REPORT_METHODS), metavar="METHOD")
    command.add_argument("--k", type=int, default=10, help="neighbours to be found")
    command.add_argument(
        "--rescore", type=int, default=100, metavar="N", help="candidates that float vectors re-score"
    )
    command.add_argument(
        "--max-vectors", type=int, default=20_000, metavar="N", help="size of the random sample"
    )
    command.add_argument("--max-train", type=int, default=5000, metavar="N", help="vectors to learn from")
    command.add_argument("--epochs", type=int, help="of SDC; those of its preset where none is given")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of whatever is drawn at random")
    return parser


if __name__ == "__main__":
    sys.exit(main())
