"""Sets of features to hash: what they hold, and how a packed file of them is read."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_features, check_int, check_labels, check_name
from sdclib.data.splits import check_rows
from sdclib.files import read_json
from sdclib.metrics.ranking import DENOMINATORS, EMPTY
from sdclib.metrics.relevance import check_relevance

__all__ = ["DATA", "FeatureSet", "read_packed", "read_packed_views", "unpack_features"]

DATA = Path(__file__).resolve().parent


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of queries and a database, their labels, and which database items are for training.

    Attributes
    ----------
    name : str
    query : ndarray, shape (n_query, d), float32
    database : ndarray, shape (n_database, d), float32
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
    licence, citation : str
    sha256 : str
        Hash of the data, 64 hexadecimal digits.
    ground_truth : tuple of ndarray, shapes (n_relevant,), int64, optional
        One a query: rows of `database` that are relevant to it, whatever the labels say.
    junk : tuple of ndarray, shapes (n_junk,), int64, optional
        One a query: rows of `database` that are taken out of its ranking; none of them in its `ground_truth`.
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
        if query_labels.shape[1:] != database_labels.shape[1:]:
            raise ValueError(
                "query_labels, database_labels: expected both ids of shape (n,) or both 0/1 vectors with as many "
                f"columns, got shapes {query_labels.shape} and {database_labels.shape}"
            )
        if self.ground_truth is None and query_labels.shape[1:] == (0,):
            raise ValueError(
                "query_labels: expected at least one label column or a ground_truth, got neither"
            )
        ground_truth, junk = self._lists("ground_truth"), self._lists("junk")
        if ground_truth is not None or junk is not None:
            relevant = (query_labels, database_labels) if ground_truth is None else list(ground_truth)
            try:
                check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)
            except ValueError as error:
                raise ValueError(f"ground_truth, junk: {error}") from error
        train = self.train_features
        if train is None:
            train_index = self.train_index
            if ground_truth is None or np.size(train_index):
                train_index = check_rows(train_index, "train_index", len(database))
        else:
            train = check_features(train, "train_features", n_features=query.shape[1])
            if np.size(self.train_index):
                raise ValueError(
                    f"train_index: expected none beside train_features, got {np.size(self.train_index)}"
                )
            train_index = np.zeros(0, dtype=np.int64)
        top_k = check_int(self.top_k, "top_k", minimum=1)
        if top_k > len(database):
            raise ValueError(
                f"top_k: expected at most the {len(database)} items of the database, got {top_k}"
            )
        if not re.fullmatch("[0-9a-f]{64}", str(self.sha256)):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, got {self.sha256!r}")
        check_name(self.denominator, "denominator", DENOMINATORS)
        check_name(self.empty, "empty", EMPTY)
        for field, value in {
            "query": query,
            "database": database,
            "query_labels": query_labels,
            "database_labels": database_labels,
            "train_index": np.asarray(train_index, dtype=np.int64),
            "top_k": top_k,
            "ground_truth": ground_truth,
            "junk": junk,
            "train_features": train,
        }.items():
            object.__setattr__(self, field, value)

    @property
    def train(self) -> NDArray[np.float32]:
        """Training features, shape (n_train, d), float32: `train_features`, or a copy of the database's `train_index`.

        Raises
        ------
        ValueError
            If the set has neither.
        """
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

    def _lists(self, field: str) -> tuple[NDArray[np.int64], ...] | None:
        """Bring lists of indices to int64 where they are whole numbers; `check_relevance` checks them."""
        lists = getattr(self, field)
        if lists is None:
            return None
        arrays = (np.asarray(indices) for indices in lists)
        return tuple(
            array.astype(np.int64) if array.size == 0 or array.dtype.kind in "iu" else array
            for array in arrays
        )


def read_packed(path: Path | str) -> FeatureSet:
    """Read a packed feature file and the manifest beside it (same name, ``.json``), and check them.

    Parameters
    ----------
    path : path-like
        An .npz with ``query`` and ``database`` (int8), ``scale`` (float32), ``query_labels``,
        ``database_labels``, ``train_index``; no pickles. The manifest holds ``name``, ``top_k``, ``licence``,
        ``citation``, ``npz_bytes`` and ``npz_sha256``.

    Raises
    ------
    FileNotFoundError
        If either file is missing.
    ValueError
        If size or SHA-256 are not the manifest's, or the content is not as described.
    """
    fields = ("name", "licence", "citation", "top_k")
    arrays, manifest = _read_checked(Path(path), fields)
    try:
        described = {field: manifest[field] for field in fields}
        return FeatureSet(**unpack_features(arrays), **described, sha256=str(manifest["npz_sha256"]))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: unexpected content ({error})") from error


def read_packed_views(path: Path | str) -> tuple[NDArray[np.float32], str]:
    """Read a packed file of augmented views: ``views`` (int8, shape (n_views, n, d)) and ``scale`` (float32).

    Returns
    -------
    views : ndarray, shape (n_views, n, d), float32
    sha256 : str
        Hash of the file.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_packed`.
    """
    arrays, manifest = _read_checked(Path(path), ())
    try:
        views = [_dequantised(view, arrays["scale"]) for view in arrays["views"]]
        return np.stack(views), str(manifest["npz_sha256"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: unexpected content ({error})") from error


def unpack_features(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Array fields of a `FeatureSet` from the arrays of a packed file; KeyError or ValueError if they do not fit."""
    unpacked = {key: _dequantised(arrays[key], arrays["scale"]) for key in ("query", "database")}
    return unpacked | {key: arrays[key] for key in ("query_labels", "database_labels", "train_index")}


def _dequantised(codes: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.float32]:
    """Multiply codes, int8 of shape (n, d), by the steps of their d components."""
    if codes.ndim != 2 or codes.dtype != np.int8:
        raise ValueError(f"codes: expected int8 of shape (n, d), got {codes.dtype} of shape {codes.shape}")
    if scale.shape != codes.shape[1:] or scale.dtype != np.float32:
        raise ValueError(
            f"scale: expected {codes.shape[1]} of float32, got {scale.dtype} of shape {scale.shape}"
        )
    return np.asarray(codes * scale, dtype=np.float32)


def _read_checked(path: Path, fields: Sequence[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays of a packed file and its manifest, whose fields and hash are checked."""
    manifest_path = path.with_suffix(".json")
    for file in (manifest_path, path):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: data file is missing; install sdclib again, or make it with the scripts of the repository"
            )
    manifest = read_json(manifest_path)
    for field in (*fields, "npz_bytes", "npz_sha256"):
        if not isinstance(manifest, dict) or field not in manifest:
            raise ValueError(f"{manifest_path}: damaged manifest, missing or wrong entry {field!r}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    for what, expected, got in (
        ("bytes", manifest["npz_bytes"], len(data)),
        ("SHA-256", manifest["npz_sha256"], digest),
    ):
        if expected != got:
            raise ValueError(f"{path}: damaged data file, expected {what} {expected}, got {got}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive), manifest
    except Exception as error:  # zipfile and NumPy fail in many ways
        raise ValueError(f"{path}: unexpected content ({error})") from error
