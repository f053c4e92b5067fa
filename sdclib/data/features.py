"""Sets of features to hash: what they hold, and how a packed file of them is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_features, check_int, check_labels, check_name
from sdclib.data.splits import check_rows
from sdclib.files import file_sha256, read_json
from sdclib.metrics.ranking import DENOMINATORS, EMPTY
from sdclib.metrics.relevance import check_relevance

__all__ = ["DATA", "FeatureSet", "read_packed", "read_packed_views", "unpack_features"]

DATA = Path(__file__).resolve().parent

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of queries and a database, their labels, and which database items are for training.

    Attributes
    ----------
    name, licence, citation : str
    query, database : ndarray, shapes (n_query, d), (n_database, d), float32
        Finite, no row all zeros.
    query_labels, database_labels : ndarray
        Both ids, shapes (n_query,) and (n_database,), int64: relevant where equal; or both 0/1 vectors, shapes
        (n_query, n_labels) and (n_database, n_labels), uint8: relevant where a label is shared. Where there are no
        labels but a `ground_truth`, 0/1 vectors of length 0.
    train_index : ndarray, shape (n_train,), int64
        Rows of `database` that are for training, each at most once. Empty where `train_features` are given, and
        where there is nothing to train on, as for a benchmark with a `ground_truth` alone.
    top_k : int
        The R of mAP@R, at most n_database.
    sha256 : str
        Hash of the data, 64 hexadecimal digits.
    ground_truth, junk : tuple of ndarray, int64, optional
        One a query: rows of `database` that are relevant to it, whatever the labels say; and rows that are taken out
        of its ranking, none of them in its `ground_truth`.
    train_features : ndarray, shape (n_train, d), float32, optional
        Training features where they are not in the database; `train_index` is then empty.
    denominator, empty : str
        How average precision is divided and what a query without a hit counts in this set's protocol, see
        `sdclib.metrics.mean_average_precision`.

    Raises
    ------
    ValueError
        If anything is not as described; the message names the field.
    """

    name: str
    query: NDArray[np.float32]
    database: NDArray[np.float32]
    query_labels: NDArray[np.integer]
    database_labels: NDArray[np.integer]
    train_index: NDArray[np.int64]
    top_k: int
    licence: str
    citation: str
    sha256: str
    ground_truth: tuple[NDArray[np.int64], ...] | None = None
    junk: tuple[NDArray[np.int64], ...] | None = None
    train_features: NDArray[np.float32] | None = None
    denominator: str = "retrieved"
    empty: str = "zero"

    def __post_init__(self) -> None:
        query = check_features(self.query, "query")
        database = check_features(self.database, "database", n_features=query.shape[1])
        query_labels = check_labels(self.query_labels, "query_labels", n=len(query))
        database_labels = check_labels(self.database_labels, "database_labels", n=len(database))
        relevance = check_relevance(
            (query_labels, database_labels) if self.ground_truth is None else list(self.ground_truth),
            n_query=len(query),
            n_database=len(database),
            junk=self.junk,
        )
        train = self.train_features
        if train is not None:
            train = check_features(train, "train_features", n_features=query.shape[1])
            if np.size(self.train_index):
                raise ValueError(
                    f"train_index: expected none beside train_features, got {np.size(self.train_index)}"
                )
        no_rows = train is not None or self.ground_truth is not None
        train_index = check_rows(self.train_index, "train_index", len(database), may_be_empty=no_rows)
        check_int(self.top_k, "top_k", minimum=1, maximum=len(database), of="items of the database")
        if not re.fullmatch("[0-9a-f]{64}", str(self.sha256)):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, got {self.sha256!r}")
        check_name(self.denominator, "denominator", DENOMINATORS)
        check_name(self.empty, "empty", EMPTY)
        vars(self).update(
            query=query,
            database=database,
            query_labels=query_labels,
            database_labels=database_labels,
            train_index=train_index,
            ground_truth=relevance.listed and tuple(relevance.listed),
            junk=relevance.junk and tuple(relevance.junk),
            train_features=train,
        )

    @property
    def train(self) -> NDArray[np.float32]:
        """Training features, shape (n_train, d), float32, a copy of those in the database; ValueError if none are."""
        if self.train_features is not None:
            return self.train_features
        if not len(self.train_index):
            raise ValueError(
                f"train_features: expected features to train on, but {self.name} has none of its own"
            )
        return self.database[self.train_index]

    @property
    def relevant(self) -> tuple[NDArray[np.integer], NDArray[np.integer]] | list[NDArray[np.int64]]:
        """Ground truth as the metrics take it: a list of index arrays, or (query_labels, database_labels)."""
        if self.ground_truth is not None:
            return list(self.ground_truth)
        return self.query_labels, self.database_labels


def read_packed(path: Path) -> FeatureSet:
    """Read a packed feature file and check it by the manifest beside it (same name, ``.json``).

    The .npz holds ``query`` and ``database`` (int8), ``scale`` (float32), ``query_labels``, ``database_labels`` and
    ``train_index``, the manifest ``name``, ``top_k``, ``licence``, ``citation`` and ``npz_sha256``.

    Raises
    ------
    FileNotFoundError
        If either file is missing.
    ValueError
        If the SHA-256 is not the manifest's, or the content is not as described.
    """
    fields = ("name", "licence", "citation", "top_k")

    def make(arrays: Arrays, manifest: dict[str, Any]) -> FeatureSet:
        described = {field: manifest[field] for field in fields}
        return FeatureSet(**unpack_features(arrays), **described, sha256=manifest["npz_sha256"])

    return _read_checked(path, fields, make)


def read_packed_views(path: Path) -> tuple[NDArray[np.float32], str]:
    """Read a packed file of augmented views, shape (n_views, n, d), float32, and its hash; errors as `read_packed`."""

    def make(arrays: Arrays, manifest: dict[str, Any]) -> tuple[NDArray[np.float32], str]:
        return _dequantised(arrays["views"], arrays["scale"]), manifest["npz_sha256"]

    return _read_checked(path, (), make)


def unpack_features(arrays: Arrays) -> dict[str, Any]:
    """Array fields of a `FeatureSet` from the arrays of a packed file."""
    unpacked = {key: _dequantised(arrays[key], arrays["scale"]) for key in ("query", "database")}
    return unpacked | {key: arrays[key] for key in ("query_labels", "database_labels", "train_index")}


def _dequantised(codes: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply codes of shape (..., d) by the steps of their d components."""
    return np.asarray(codes * scale, dtype=np.float32)


def _read_checked(path: Path, fields: Sequence[str], make: Callable[[Arrays, dict[str, Any]], T]) -> T:
    """Make something of the arrays of a packed file and its manifest, whose fields and hash are checked."""
    manifest_path = path.with_suffix(".json")
    for file in (manifest_path, path):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: data file is missing; install sdclib again, or make it with the scripts of the repository"
            )
    manifest = read_json(manifest_path)
    for field in (*fields, "npz_sha256"):
        if not isinstance(manifest, dict) or field not in manifest:
            raise ValueError(f"{manifest_path}: damaged manifest, missing entry {field!r}")
    if (digest := file_sha256(path)) != manifest["npz_sha256"]:
        raise ValueError(
            f"{path}: damaged data file, expected SHA-256 {manifest['npz_sha256']}, got {digest}"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return make(dict(archive), manifest)
    except Exception as error:  # zipfile and NumPy fail in many ways
        raise ValueError(f"{path}: unexpected content ({error})") from error
