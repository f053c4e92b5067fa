"""Collections in many files: codes, a sample and counts of them, by this process or by the workers of Ray.

A shard is an .npy or .parquet file of vectors, as `sdclib.data.vectors.read_vectors` reads it. On a cluster all workers
must see model, shards and results under the same paths.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int, check_name, check_package
from sdclib.codes import check_packed, pack_codes
from sdclib.data.vectors import encode_labels, load_npy, read_vectors
from sdclib.files import write_bytes
from sdclib.metrics import PairCounter, PairCounts
from sdclib.progress import tqdm
from sdclib.search.encoding import encode, load_hasher, take_rows

if TYPE_CHECKING:
    from sdclib.methods import BaseHasher

Source: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

__all__ = ["ENGINES", "Encoded", "count_shards", "encode_shards", "find_shards", "sample_shards"]

ENGINES = ("local", "ray")
SUFFIXES = (".npy", ".parquet")
NOTE = b"sdclib"  # under which a file of codes says what they are


class Encoded(NamedTuple):
    """What `encode_shards` did: shards encoded now, shards whose codes were there, and bad ones with the reason."""

    encoded: list[Path]
    kept: list[Path]
    bad: dict[Path, str]


def find_shards(source: Source) -> list[Path]:
    """List the shards of a folder by name, or check a list of files; as absolute paths.

    ValueError if there are none, one is missing or of another kind, or two share a name apart from folder and suffix.
    """
    if isinstance(source, str | os.PathLike):
        paths = sorted(path for path in Path(source).absolute().glob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise ValueError(f"{source}: expected a folder with shards {', '.join(SUFFIXES)}, found none")
    else:
        paths = [Path(path).absolute() for path in source]
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise ValueError(f"{path}: expected a shard, a file {', '.join(SUFFIXES)}, found none")
    names = Counter(path.stem for path in paths)
    for path in paths:
        if names[path.stem] > 1:
            raise ValueError(f"{path}: expected shards of different names, got {path.stem} more than once")
    return paths


def encode_shards(
    model: str | os.PathLike[str],
    source: Source,
    out: str | os.PathLike[str],
    *,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    engine: str = "local",
    workers: int | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> Encoded:
    """Encode shards into Parquet files of the same names.

    Their columns are ``id`` (the names in the shard, else its row numbers), ``code`` (bytes, lowest bit first) and, if
    the shard has one, ``label``. A file that is there, by the same model and not older than its shard, is kept, so a
    call that was stopped goes on where it was. Ray does the shards of a killed worker again. Both engines write the
    same bytes. ValueError if an argument is not as described, codes are there that are another model's, or, without
    `skip_bad`, at the first bad shard, which the message names; what was encoded stays.

    Parameters
    ----------
    model : path-like
        Folder of a fitted method, see `BaseHasher.save`.
    source : path-like or list of path-like
        See `find_shards`.
    out : path-like
        Folder; it is made where it is missing.
    key, columns
        As in `sdclib.data.vectors.read_vectors`.
    engine : {"local", "ray"}
        "ray" connects to the cluster that the environment variable RAY_ADDRESS names, or starts workers here; it needs
        the packages ray and pyarrow.
    workers : int, optional
        At most as many shards at a time on Ray; by default as many as there are processors.
    skip_bad : bool
        Go on where a shard cannot be read or encoded.
    progress : bool
        Show a bar of shards.
    """
    shards, hasher = find_shards(source), load_hasher(model)
    check_package("pyarrow", "encoding shards")
    digest = hashlib.sha256((Path(model) / "hasher.json").read_bytes()).hexdigest()
    note = {"bit_order": "little", "method": hasher.method, "model": digest, "n_bits": hasher.n_bits}
    done = Encoded([], [], {})
    items = []
    for shard in shards:
        if Path(out).resolve() == shard.parent.resolve():
            raise ValueError(f"out: expected another folder than that of the shards, got {out}")
        target = Path(out).absolute() / f"{shard.stem}.parquet"
        if _is_done(target, shard, note):
            done.kept.append(shard)
        else:
            items.append((shard, target))
    encode_one = partial(_encode_shard, model=Path(model).absolute(), note=note, key=key, columns=columns)
    for shard, error, _ in _each(encode_one, items, engine, workers, progress):
        if error is None:
            done.encoded.append(shard)
        elif skip_bad and isinstance(error, ValueError):
            done.bad[shard] = str(error)
        else:
            raise error
    return Encoded(sorted(done.encoded), done.kept, dict(sorted(done.bad.items())))


def sample_shards(
    source: Source,
    n_rows: int,
    *,
    seed: int = 0,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    engine: str = "local",
    workers: int | None = None,
) -> tuple[NDArray[np.float32], int]:
    """Draw up to `n_rows` vectors at random from all shards, the same as from one file of them all.

    Others are as in `encode_shards`. Returns the vectors, float32, in the order of shards and rows, and how many there
    are in all shards.
    """
    shards = find_shards(source)
    sizes = [_n_rows(shard) for shard in shards]
    chosen = draw_rows(sum(sizes), check_int(n_rows, "n_rows", minimum=1), seed)
    ends = np.cumsum(sizes)
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    rows = zip(shards, parts, ends - sizes, strict=True)
    items = [(shard, part - start) for shard, part, start in rows if part.size]
    taken = {}
    for shard, error, vectors in _each(partial(_take, key=key, columns=columns), items, engine, workers):
        if error is not None:
            raise error
        taken[shard] = vectors
    first, width = items[0][0], taken[items[0][0]].shape[1]
    for shard, vectors in taken.items():
        if vectors.shape[1] != width:
            raise ValueError(
                f"{shard}: expected {width} features a row as in {first}, got {vectors.shape[1]}"
            )
    return np.concatenate([taken[shard] for shard, _ in items]), sum(sizes)


def draw_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """Draw rows at random, ascending; all where no more are there than wanted."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def count_shards(
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    source: Source,
    *,
    database_labels: Sequence[ArrayLike] | None = None,
    engine: str = "local",
    workers: int | None = None,
    progress: bool = False,
) -> PairCounts:
    """Count pairs of queries with all codes that `encode_shards` wrote, for every metric of `sdclib.metrics`.

    Parameters
    ----------
    query_codes : array-like, shape (n_query, n_bits), values 0 and 1
    query_labels : array-like, shape (n_query,)
        Ids or names; relevant are items with the same.
    source : path-like or list of path-like
        Folder or files of codes.
    database_labels : sequence of array-like, optional
        Labels of each file's codes, in the order of `find_shards`; by default their column ``label``.
    engine, workers, progress
        As in `encode_shards`.

    Returns
    -------
    PairCounts
        As of one `count_pairs`, bit for bit.
    """
    shards, packed = find_shards(source), pack_codes(query_codes)
    labels: Sequence[Any] = [None] * len(shards) if database_labels is None else database_labels
    if len(labels) != len(shards):
        raise ValueError(
            f"database_labels: expected an array for each of {len(shards)} files, got {len(labels)}"
        )
    items = list(zip(shards, labels, strict=True))
    n_bits = np.shape(query_codes)[1]
    count = partial(_count, codes=packed, n_bits=n_bits, labels=np.asarray(query_labels))
    counter = PairCounter(len(packed), n_bits)
    for _, error, counted in _each(count, items, engine, workers, progress):
        if error is not None:
            raise error
        counter.merge(counted)
    return counter.compute()


# One shard


@lru_cache(maxsize=1)
def _model(folder: Path, digest: str) -> BaseHasher:
    """Keep the method for all shards that a worker encodes."""
    return load_hasher(folder)


def _encode_shard(
    shard: Path,
    target: Path,
    *,
    model: Path,
    note: dict[str, Any],
    key: str | None,
    columns: Sequence[str] | None,
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    read = read_vectors(shard, key=key, columns=columns)
    codes = encode(_model(model, note["model"]), read.vectors, name=str(shard))
    ids = pa.array(range(len(codes)) if read.ids is None else read.ids)
    arrays = {"id": ids, "code": pa.array(list(map(bytes, codes)), pa.binary(codes.shape[1]))}
    if read.labels is not None:
        if read.labels.ndim != 1:
            raise ValueError(f"{shard}: expected one label a row, got labels of shape {read.labels.shape}")
        arrays["label"] = pa.array(read.labels)
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays).replace_schema_metadata({NOTE: json.dumps(note)}), buffer)
    write_bytes(target, buffer.getvalue())


def _is_done(target: Path, shard: Path, note: dict[str, Any]) -> bool:
    """Whether there are the codes of a shard; ValueError if they are another model's."""
    if not target.is_file():
        return False
    try:
        found, _ = _read_codes(target)
    except ValueError:  # not whole: made again
        return False
    if found != note:
        raise ValueError(f"{target}: expected codes of the same model, got {found}; choose another folder")
    return target.stat().st_mtime_ns >= shard.stat().st_mtime_ns


def _read_codes(path: Path, columns: Sequence[str] = ()) -> tuple[dict[str, Any], Any]:
    """Read of what `encode_shards` wrote the note and some columns; ValueError where it is something else."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            note = json.loads(file.schema_arrow.metadata[NOTE])
            n_bits = check_int(note["n_bits"], "n_bits", minimum=1)
            if file.schema_arrow.field("code").type != pa.binary(-(-n_bits // 8)):
                raise ValueError(f"a column code of {-(-n_bits // 8)} bytes, got others")
            table = file.read([name for name in columns if name in file.schema_arrow.names])
            table.validate(full=True)
            return note, table
    except Exception as error:  # pyarrow's errors are of many kinds
        raise ValueError(f"{path}: expected codes that encode_shards wrote ({error})") from error


def _n_rows(shard: Path) -> int:
    """How many vectors there are, by the head of the file alone."""
    if shard.suffix.lower() == ".npy":
        return len(load_npy(shard))
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(shard).num_rows)
    except Exception as error:
        raise ValueError(f"{shard}: damaged .parquet ({error})") from error


def _take(
    shard: Path, rows: NDArray[np.int64], *, key: str | None, columns: Sequence[str] | None
) -> NDArray[np.float32]:
    return take_rows(read_vectors(shard, key=key, columns=columns).vectors, rows)


def _count(
    shard: Path,
    database_labels: ArrayLike | None,
    *,
    codes: NDArray[np.uint8],
    n_bits: int,
    labels: NDArray[Any],
) -> PairCounter:
    note, table = _read_codes(shard, ["code"] if database_labels is not None else ["code", "label"])
    if note["n_bits"] != n_bits:
        raise ValueError(f"{shard}: expected codes of {n_bits} bits as of the queries, got {note['n_bits']}")
    if table["code"].null_count:
        raise ValueError(f"{shard}: expected a code in every row, got {table['code'].null_count} without")
    database = np.frombuffer(b"".join(table["code"].to_pylist()), dtype=np.uint8).reshape(len(table), -1)
    check_packed(database, f"{shard}: code", n_bits)
    if database_labels is None:
        if "label" not in table.column_names:
            raise ValueError(f"{shard}: expected a column label, or database_labels, got neither")
        database_labels = table["label"].to_numpy()
    together = np.concatenate([labels, np.asarray(database_labels)])
    ids = encode_labels(together, f"{shard}: labels", n=len(codes) + len(database))
    counted = PairCounter(len(codes), n_bits)
    counted.update(codes, database, (ids[: len(codes)], ids[len(codes) :]), packed=True)
    return counted


# All shards


def _try(function: Callable[..., Any], item: tuple[Any, ...]) -> tuple[Path, Exception | None, Any]:
    try:
        return item[0], None, function(*item)
    except (OSError, ValueError) as error:
        return item[0], error, None


def _each(
    function: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
    engine: str,
    workers: int | None,
    progress: bool = False,
) -> Iterator[tuple[Path, Exception | None, Any]]:
    """Call a function with every item, the first part of which is a shard, and yield shard, error and value."""
    found: Iterator[Any] = (_try(function, item) for item in items)
    if check_name(engine, "engine", ENGINES) == "ray":
        found = _on_ray(
            function, items, None if workers is None else check_int(workers, "workers", minimum=1)
        )
    yield from tqdm(found, total=len(items), desc="shards", unit="shard", disable=not progress)


def _on_ray(
    function: Callable[..., Any], items: Sequence[tuple[Any, ...]], workers: int | None
) -> Iterator[tuple[Path, Exception | None, Any]]:
    check_package("ray", "engine: ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not items:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    remote, shared, to_do = ray.remote(_try), ray.put(function), iter(items)
    most = workers or 2 * int(ray.cluster_resources()["CPU"])  # by default one waits behind each that runs
    running: list[Any] = []
    try:
        while running := running + [
            remote.remote(shared, item) for item in islice(to_do, most - len(running))
        ]:
            done, running = ray.wait(running)
            yield from ray.get(done)
    except ray.exceptions.RayError as error:
        raise OSError(f"engine: ray gave up ({str(error).strip().splitlines()[-1]})") from error
