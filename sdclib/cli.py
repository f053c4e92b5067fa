"""Command line: fit a hash method on vectors, encode, search, export, report.

Help and errors of usage come at once: what is imported here needs neither torch nor scikit-learn nor pandas, and each
command checks its options before it imports more.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdclib import __version__
from sdclib.checks import check_features, check_int, check_name, check_package
from sdclib.data.vectors import SUFFIXES, VectorFile, check_vector_file, load_npy, read_vectors
from sdclib.files import write_bytes, write_text
from sdclib.methods import GOALS, METHODS, hasher_for, make_hasher
from sdclib.methods.presets import BEST, PRESETS, RENAMED, WITHOUT_VIEWS
from sdclib.search.defaults import OPSET, QUANTIZERS, REPORT_BITS, REPORT_METHODS, VECTOR_METHODS
from sdclib.search.encoding import (
    BIT_ORDERS,
    PRECISIONS,
    check_precision,
    encode,
    load_hasher,
    pack_bits,
    take_rows,
)
from sdclib.search.shards import ENGINES, draw_rows, encode_shards, sample_shards

if TYPE_CHECKING:
    from sdclib.methods import BaseHasher

__all__ = ["main"]

USAGE_ERROR = 2
DIFFERING_BITS = 0.01  # share; one near zero may differ with the size of a matrix product
FORMATS = ("npz", "csv", "parquet")
VECTOR_FILES = ("embeddings", "database", "queries")
EXPORTS = ("onnx", "faiss", "lancedb", "pgvector")
# What the library calls otherwise than the command line, and parameters of methods that are options.
OPTIONS = {"depth": "--rescore", "random_state": "--seed", "progress": "--quiet"}
OWN_OPTION = ("n_bits", "method", "preset", "seed", "random_state", "progress")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `sdc` with these arguments, by default those of the process, and return its exit status.

    0, or 2 where something given cannot be used; one line on the error stream then says what. SystemExit comes from
    argparse, for ``--help`` and for arguments that it cannot parse.
    """
    given = _parser().parse_args(arguments)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"sdc {given.command}: warning: {message}", file=sys.stderr)

    try:
        _check_files(given)
        with warnings.catch_warnings():
            warnings.showwarning = show
            print(given.run(given))
    except (ImportError, OSError, ValueError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {error.strerror}"
        print(f"sdc {given.command}: error: {_by_option(' '.join(text.split()), given)}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130
    return 0


def fit(given: argparse.Namespace) -> str:
    """Fit a method on (a sample of) the vectors and write it into a folder."""
    most = check_int(given.train_rows, "train_rows", minimum=1)
    hasher = _make(given)
    if _of_shards(given):
        more = _some(given, "engine", "workers", "seed")
        train, n = sample_shards(given.embeddings, most, **_columns(given), **more)
    else:
        vectors = _read(given.embeddings, given).vectors
        n = len(vectors)
        train = take_rows(vectors, draw_rows(n, most, given.seed))
    name = f"{given.embeddings} (a sample of {len(train)} rows)" if len(train) < n else str(given.embeddings)
    hasher.fit(check_features(train, name))
    hasher.save(given.out)
    learned = f"learned from {len(train):,} of {n:,} vectors"
    return f"{given.out}: {hasher.method}, {hasher.n_bits} bits, {learned}"


def encode_vectors(given: argparse.Namespace) -> str:
    """Encode vectors by a fitted method and write packed codes."""
    precision = check_precision(given.bit_order, given.precision)
    if _of_shards(given):
        if precision != "sdc":
            option = "bit_order" if given.precision is None else "precision"
            raise ValueError(f"{option}: expected little bits with a folder of shards, got {precision}")
        return _encode_shards(given)
    hasher = load_hasher(given.model)
    vectors, shown = _read(given.embeddings, given).vectors, not given.quiet
    codes = encode(hasher, vectors, precision=precision, name=str(given.embeddings), progress=shown)
    kind = given.precision or f"bit order {given.bit_order or BIT_ORDERS[0]}"
    _write_arrays(given.out, codes)
    return f"{given.out}: {codes.shape[0]:,} codes of {hasher.n_bits} bits in {codes.shape[1]} bytes each, {kind}"


def _encode_shards(given: argparse.Namespace) -> str:
    more = _columns(given) | _some(given, "engine", "workers", "skip_bad")
    done = encode_shards(given.model, given.embeddings, given.out, progress=not given.quiet, **more)
    for reason in done.bad.values():
        warnings.warn(f"skipped {reason}", stacklevel=1)
    counts = f"{len(done.encoded)} shards encoded, {len(done.kept)} there already, {len(done.bad)} skipped"
    return f"{given.out}: {counts}"


def search(given: argparse.Namespace) -> str:
    """Find the nearest vectors of every query by their codes."""
    k = check_int(given.k, "k", minimum=1)
    depth = k if given.rescore is None else check_int(given.rescore, "rescore", minimum=k)
    suffix = given.out.suffix.lower().removeprefix(".")
    form = given.format or (suffix if suffix in FORMATS else "npz")
    if form == "parquet":
        check_package("pyarrow", "format: writing parquet")
    hasher = load_hasher(given.model)
    database, queries = _read(given.database, given), _read(given.queries, given)
    query = check_features(queries.vectors, str(given.queries), n_features=hasher.n_features_in_)
    n = len(database.vectors)
    option = "k" if given.rescore is None else "rescore"
    check_int(depth, option, minimum=k, maximum=n, of="vectors of the database")
    if given.codes is None:
        codes = encode(hasher, database.vectors, name=str(given.database), progress=not given.quiet)
    else:
        codes = _read_codes(given.codes, hasher, database.vectors)
    from sdclib.search.index import HammingIndex

    index = HammingIndex(codes, n_bits=hasher.n_bits)
    found: dict[str, NDArray[Any]]
    if given.float_query:
        scores, indices = index.search_continuous(hasher.decision_function(query), depth)
        found = {"indices": indices, "scores": scores}
    else:
        distances, indices = index.search(encode(hasher, query), depth, packed=True)
        found = {"indices": indices, "distances": distances}
    if given.rescore is not None:
        scores, indices = index.rescore(indices, query, database.vectors)
        found = {"indices": indices[:, :k], "scores": scores[:, :k]}
    if database.ids is not None:
        found["ids"] = np.asarray(database.ids)[found["indices"]]
    if queries.ids is not None:
        found["query_ids"] = np.asarray(queries.ids)
    if form == "npz":
        _write_arrays(given.out, found)
    else:
        _write_table(given.out, found, form)
    return f"{given.out}: {k} neighbours of {len(query):,} queries among {n:,} ({', '.join(found)})"


def export(given: argparse.Namespace) -> str:
    """Write a fitted method as an ONNX model; its codes of a database as a faiss index, or for databases."""
    chosen = [name for name in EXPORTS if getattr(given, name) is not None]
    of_codes = [name for name in chosen if name != "onnx"]
    every = ", ".join(f"--{name}" for name in EXPORTS)
    for wrong, message in (
        (not chosen, f"{every}: expected at least one of them, got none"),
        (
            bool(of_codes) != (given.database is not None),
            "database: expected with --faiss, --lancedb or --pgvector, and only with them",
        ),
        (
            given.vectors and of_codes in ([], ["faiss"]),
            "vectors: expected with --lancedb or --pgvector only",
        ),
        (given.packed and given.onnx is None, "packed: expected with --onnx only"),
    ):
        if wrong:
            raise ValueError(message)
    check_int(given.opset, "opset", minimum=OPSET)
    hasher = load_hasher(given.model)
    from sdclib.search.databases import to_lancedb, to_pgvector
    from sdclib.search.export import onnx_model, to_faiss

    lines = []
    if given.onnx is not None:
        model = onnx_model(hasher, opset=given.opset, packed=given.packed).SerializeToString()
    if of_codes:
        read, n_bits = _read(given.database, given), hasher.n_bits
        codes = encode(hasher, read.vectors, name=str(given.database), progress=not given.quiet)
        columns: Any = {"ids": read.ids, "vectors": read.vectors if given.vectors else None}
        for name in of_codes:
            path, order = getattr(given, name), "little"
            if name == "faiss":
                to_faiss(codes, path=path, n_bits=n_bits)
            elif name == "lancedb":
                to_lancedb(codes, path, n_bits=n_bits, **columns)
            else:
                to_pgvector(codes, path, n_bits=n_bits, **columns)
                order = "big, as bit strings"
            lines.append(f"{path}: {len(codes):,} codes of {n_bits} bits, bit order {order}")
    if given.onnx is not None:  # last, so that nothing is written where the database cannot be used
        write_bytes(given.onnx, model)
        more = "" if given.packed is None else f" and packed codes ({given.packed})"
        sizes = f"from {hasher.n_features_in_} features to {hasher.n_bits} continuous codes"
        lines.append(f"{given.onnx}: {sizes}{more}")
    return "\n".join(lines)


def report(given: argparse.Namespace) -> str:
    """Write the report on the vectors."""
    for bits in given.n_bits:
        check_int(bits, "n_bits", minimum=1)
    import matplotlib as mpl

    mpl.use("Agg")
    from sdclib.search.report import measure_embeddings
    from sdclib.search.report_page import report_html

    file = _read(given.embeddings, given)
    more = _some(given, "methods", "n_bits", "k", "max_vectors", "max_train", "epochs", "seed")
    more |= {"name": given.embeddings.name, "depth": given.rescore, "progress": not given.quiet}
    measured = measure_embeddings(file.vectors, file.labels, **more)
    write_text(given.out, report_html(measured))
    return str(given.out)


def _check_files(given: argparse.Namespace) -> None:
    """Check that files of vectors are there, and that no output would replace an input or another output."""
    files = {name: path for name, path in vars(given).items() if isinstance(path, Path)}
    for name in VECTOR_FILES:
        if name in files and not (vars(given).get("engine") and files[name].is_dir()):
            check_vector_file(files[name])
    for output in {"out", *EXPORTS} & files.keys():
        taken = files[output].resolve()
        for name, path in files.items():
            same = taken == path.resolve() or (taken.exists() and path.exists() and taken.samefile(path))
            of_model = name == "model" and path.resolve() in taken.parents
            ids = name in VECTOR_FILES and taken == path.resolve().with_name(f"{path.stem}_ids.txt")
            if name != output and (same or of_model or ids):
                what = f"does not hold the ids of {path}" if ids else f"is not {path}, an input or output too"
                raise ValueError(f"{output}: expected a file that {what}")


def _by_option(message: str, given: argparse.Namespace) -> str:
    """Begin a message with the option that it is about, where it begins with what the library calls it."""
    name, colon, rest = message.partition(":")
    if name.startswith("parameters of method"):
        name = "--set"
    elif name == "X":
        name = str(given.embeddings)
    elif name in OPTIONS:
        name = OPTIONS[name]
    elif name in vars(given):
        name = f"--{name.replace('_', '-')}"
    elif given.command == "fit" and name.isidentifier():
        name = f"--set {name}"
    if given.command == "fit":
        rest = re.sub(r"\b(batch_size|n_neighbors)\b", r"--set \1", rest)
    return name + colon + rest


def _make(given: argparse.Namespace) -> BaseHasher:
    """Make the method that the options describe."""
    if given.goal is not None:
        for name in ("method", "preset"):
            if getattr(given, name) is not None:
                raise ValueError(f"{name}: expected none beside --goal, got {getattr(given, name)!r}")
    method = check_name(given.method or "sdc", "method", METHODS)
    parameters: dict[str, Any] = {}
    for name, value in map(_parameter, given.set):
        if name in OWN_OPTION:
            option = OPTIONS.get(name, f"--{name.replace('_', '-')}")
            raise ValueError(
                f"--set: expected a parameter without an option of its own, got {name}; use {option}"
            )
        if name in parameters:
            raise ValueError(f"--set: expected every parameter once, got {name} again")
        parameters[name] = value
    if given.goal is None and method == "sdc":
        parameters["preset"] = check_name(given.preset or "release", "preset", [*PRESETS, *RENAMED, BEST])
    elif given.preset is not None:
        raise ValueError(
            f"preset: expected none for method {method!r}, only sdc has presets, got {given.preset!r}"
        )
    bits, seed = check_int(given.n_bits, "n_bits", minimum=1), check_int(given.seed, "seed", minimum=0)
    if given.goal is not None:
        hasher = hasher_for(given.goal, bits, seed=seed, **parameters)
    else:
        hasher = make_hasher(method, bits, seed=seed, **parameters)
    if hasher.needs_views and method == "sdc":
        raise ValueError(
            f"preset: expected one without a contrastive term ({', '.join(WITHOUT_VIEWS)}), as there are no augmented "
            f"views beside vectors, got {given.preset!r}"
        )
    if hasher.needs_views or hasher.needs_labels:
        what = "augmented views of images" if hasher.needs_views else "labels"
        raise ValueError(f"method: {method} with these settings learns from {what}, not from vectors alone")
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


def _of_shards(given: argparse.Namespace) -> bool:
    """Whether the vectors are a folder of shards; ValueError where an option needs one."""
    folder: bool = given.embeddings.is_dir()
    if not folder and (given.engine != "local" or given.workers is not None or vars(given).get("skip_bad")):
        raise ValueError(
            f"{given.embeddings}: expected a folder of shards with --engine, --workers or --skip-bad, got a file"
        )
    return folder


def _some(given: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names}


def _columns(given: argparse.Namespace) -> dict[str, Any]:
    return {"key": given.key, "columns": given.columns and given.columns.split(",")}


def _read(path: Path, given: argparse.Namespace) -> VectorFile:
    return read_vectors(path, **_columns(given))


def _read_codes(path: Path, hasher: BaseHasher, database: NDArray[Any]) -> NDArray[np.uint8]:
    """Read packed codes and see by the first rows whether they are the database's, in the right order."""
    codes = load_npy(path)
    shape = len(database), -(-hasher.n_bits // 8)
    if codes.dtype != np.uint8 or codes.shape != shape:
        raise ValueError(
            f"{path}: expected packed codes, uint8 of shape {shape}, got {codes.dtype} of {codes.shape}"
        )
    bits = hasher.transform(take_rows(database, np.arange(min(1000, len(database)))))
    differing = {
        order: np.bitwise_count(codes[:1000] ^ pack_bits(bits, order)).mean() / 8 for order in BIT_ORDERS
    }
    if differing["little"] > DIFFERING_BITS:
        got = "bit order big" if differing["big"] <= DIFFERING_BITS else "others"
        raise ValueError(
            f"{path}: expected the codes of the database by this model, bit order little, got {got}"
        )
    return np.asarray(codes)


def _write_arrays(path: Path, arrays: NDArray[Any] | dict[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    if isinstance(arrays, dict):
        np.savez(buffer, allow_pickle=False, **arrays)
    else:
        np.save(buffer, arrays, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _write_table(path: Path, found: dict[str, NDArray[Any]], form: str) -> None:
    """Write what was found as a table: a line a query and neighbour."""
    import pandas as pd

    queries, ranks = np.indices(found["indices"].shape)
    columns = {
        "query": queries,
        "query_id": found["query_ids"][queries] if "query_ids" in found else None,
        "rank": ranks + 1,
        "neighbour": found["indices"],
        "neighbour_id": found.get("ids"),
        "distance": found.get("distances"),
        "score": found.get("scores"),
    }
    table = pd.DataFrame({name: cells.ravel() for name, cells in columns.items() if cells is not None})
    if form == "csv":
        write_text(path, table.to_csv(index=False))
    else:
        write_bytes(path, table.to_parquet(index=False))


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False or action.default == []
        return action.help if none else super()._get_help_string(action)


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"help": description, **more}


def _number(description: str, default: int | None = None, **more: Any) -> dict[str, Any]:
    return {"help": description, "type": int, "metavar": "N", "default": default, **more}


def _file(metavar: str, description: str | None = None, **more: Any) -> dict[str, Any]:
    return {"help": description, "type": Path, "metavar": metavar, **more}


MODEL, SEED = _file("MODEL", "folder that sdc fit wrote"), _number("of whatever is drawn at random", 0)
EMBEDDINGS, DATABASE, QUERIES = (
    _file(name.upper(), f"file of vectors ({', '.join(SUFFIXES)})") for name in VECTOR_FILES
)
SHARDS = _file(
    "EMBEDDINGS", f"file of vectors ({', '.join(SUFFIXES)}), or a folder of .npy or .parquet shards"
)
WORKERS = {
    "--engine": _text(
        "for shards; ray is a Ray cluster, that of RAY_ADDRESS where it is set",
        choices=ENGINES,
        default="local",
    ),
    "--workers": _number("at most so many shards at a time on Ray"),
}
EVERYWHERE = {
    "--key": _text("array or column of vectors, where a file has several"),
    "--columns": _text("of a table, such as a,b,x*; else all of numbers but ids and labels", metavar="NAMES"),
    "--quiet": _text("no progress bar", action="store_true"),
}
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], str], str, dict[str, dict[str, Any]]]] = {
    "fit": (
        fit,
        "Fit a hash method on vectors and write it into a folder.",
        {
            "embeddings": SHARDS,
            "--out": _file("FOLDER", "where the fitted method goes", required=True),
            "--n-bits": _number("code length", 64),
            "--goal": _text(
                "what codes are to find, items of the same class or the nearest vectors; takes the best method for "
                "it, in place of --method",
                choices=GOALS,
            ),
            "--method": _text(f"one of {', '.join(VECTOR_METHODS)}; sdc where none is given"),
            "--preset": _text(f"of sdc, one of {', '.join(WITHOUT_VIEWS)}; release where none is given"),
            "--set": _text(
                "parameter of the method; may be repeated", metavar="NAME=VALUE", action="append", default=[]
            ),
            "--train-rows --max-train": _number(
                "vectors to learn from, drawn at random by the seed; an .npy may be larger than memory",
                20_000,
            ),
            "--seed": SEED,
            **WORKERS,
        },
    ),
    "encode": (
        encode_vectors,
        "Encode vectors by a fitted method; writes packed codes.",
        {
            "model": MODEL,
            "embeddings": SHARDS,
            "--out": _file("CODES.npy", "packed codes; for shards a folder of Parquet files", required=True),
            **WORKERS,
            "--skip-bad": {"action": "store_true", "help": "go on where a shard is bad, and name it"},
            "--bit-order": _text(
                "little is lowest bit first, as in faiss, and the default; big is as numpy.packbits",
                choices=BIT_ORDERS,
            ),
            "--precision": _text(
                "in place of a bit order: sdc (little), or sentence-transformers' ubinary (big) or binary (int8)",
                choices=PRECISIONS,
            ),
        },
    ),
    "search": (
        search,
        "Find the nearest vectors of every query by codes; writes their row numbers, and ids where files have them.",
        {
            "model": MODEL,
            "database": DATABASE,
            "queries": QUERIES,
            "--out": _file("NEIGHBOURS.npz", "rows of the neighbours", required=True),
            "--format": _text(
                "csv and parquet have a line a neighbour; by default what --out ends with, else npz",
                choices=FORMATS,
            ),
            "--k": _number("neighbours a query", 10),
            "--float-query": {
                "action": "store_true",
                "help": "compare codes with the queries' continuous codes, by cosine, rather than with their bits",
            },
            "--rescore": _number("order the N nearest codes by the cosine of the vectors"),
            "--codes": _file("CODES.npy", "of the database, by sdc encode, bit order little"),
        },
    ),
    "export": (
        export,
        "Write a fitted method for other programs: ONNX model, faiss index, database tables.",
        {
            "model": MODEL,
            "--onnx": _file("HEAD.onnx", "from features to continuous codes; needs the package onnx"),
            "--packed": _text("a second output of the ONNX model, packed codes", choices=PRECISIONS),
            "--opset": _number("version of ONNX's operators", OPSET),
            "--faiss": _file("INDEX.faiss", "codes of the database, to be searched"),
            "--lancedb": _file("FOLDER", "ids and codes as a table of LanceDB; needs the package lancedb"),
            "--pgvector": _file("FOLDER", "ids and codes, and statements, to be loaded into PostgreSQL"),
            "--vectors": {"action": "store_true", "help": "float vectors too, for re-scoring in these two"},
            "--database": DATABASE,
        },
    ),
    "report": (
        report,
        "Measure which codes suit your vectors; writes one HTML page.",
        {
            "embeddings": EMBEDDINGS,
            "--out": _file("REPORT.html", "the page", required=True),
            "--n-bits": _number("code lengths", nargs="+") | {"default": list(REPORT_BITS)},
            "--methods": _text(
                f"some of {', '.join([*VECTOR_METHODS, *QUANTIZERS])}",
                nargs="+",
                choices=[*VECTOR_METHODS, *QUANTIZERS],
                default=list(REPORT_METHODS),
                metavar="METHOD",
            ),
            "--k": _number("neighbours to be found", 10),
            "--rescore": _number("candidates that float vectors re-score", 100),
            "--max-vectors": _number("size of the random sample", 20_000),
            "--max-train": _number("vectors to learn from", 5000),
            "--epochs": _number("training epochs of SDC; those of its preset where none is given"),
            "--seed": SEED,
        },
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sdc", description="Hash vectors to short binary codes.")
    parser.add_argument("--version", action="version", version=f"sdclib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, description, arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description, formatter_class=_Help)
        command.set_defaults(run=run)
        for flags, options in (arguments | EVERYWHERE).items():
            command.add_argument(*flags.split(), **options)
    return parser


if __name__ == "__main__":
    sys.exit(main())
