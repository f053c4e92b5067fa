"""Sets of features to hash: what they hold, the embedded default, and the pure functions that make it small."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_int, check_labels, check_name
from sdclib.files import read_json

__all__ = [
    "FEATURE_SETS",
    "FeatureSet",
    "Split",
    "class_split",
    "dequantise",
    "energy_preserving_map",
    "load_features",
    "quantisation_scale",
    "quantise",
    "read_packed",
    "split_sha256",
    "unpack_features",
]

DATA = Path(__file__).resolve().parent / "data"


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
        (n_query, n_labels) and (n_database, n_labels), uint8: relevant where a label is shared.
    train_index : ndarray, shape (n_train,), int64
        Rows of `database` that are for training, each at most once.
    top_k : int
        The R of mAP@R, at most n_database.
    licence, citation : str
    sha256 : str
        Hash of the data, 64 hexadecimal digits.

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
        train_index = _check_index(self.train_index, "train_index", len(database))
        top_k = check_int(self.top_k, "top_k", minimum=1)
        if top_k > len(database):
            raise ValueError(
                f"top_k: expected at most the {len(database)} items of the database, got {top_k}"
            )
        if not re.fullmatch("[0-9a-f]{64}", str(self.sha256)):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, got {self.sha256!r}")
        for field, value in {
            "query": query,
            "database": database,
            "query_labels": query_labels,
            "database_labels": database_labels,
            "train_index": train_index,
            "top_k": top_k,
        }.items():
            object.__setattr__(self, field, value)

    @property
    def train(self) -> NDArray[np.float32]:
        """Training features, a copy of the rows `train_index` of the database, shape (n_train, d), float32."""
        return self.database[self.train_index]

    @property
    def relevant(self) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Ground truth as the metrics take it: (query_labels, database_labels)."""
        return self.query_labels, self.database_labels


def load_features(name: str = "cifar10-embedded") -> FeatureSet:
    """Load a set of features by name.

    Parameters
    ----------
    name : str
        One of `FEATURE_SETS`. "cifar10-embedded" comes with the package: 1,000 queries, a database of 10,000 and
        5,000 training images of CIFAR-10 as 256 values each, made from EfficientNet-Lite0's features by
        ``scripts/make_embedded_features.py``; ``data/cifar10_embedded.json`` says how and how faithful it is.

    Returns
    -------
    FeatureSet

    Raises
    ------
    ValueError
        If `name` is unknown, or a data file is damaged; the message names the file.
    FileNotFoundError
        If a data file is missing.
    """
    return _REGISTRY[check_name(name, "name", _REGISTRY)]()


def _load_cifar10_embedded() -> FeatureSet:
    return read_packed(DATA / "cifar10_embedded.npz")


_REGISTRY: dict[str, Callable[[], FeatureSet]] = {"cifar10-embedded": _load_cifar10_embedded}

FEATURE_SETS = tuple(sorted(_REGISTRY))
"""Names that `load_features` knows."""


def read_packed(path: Path | str) -> FeatureSet:
    """Read a packed feature file and the manifest beside it (same name, ``.json``), and check them.

    Parameters
    ----------
    path : path-like
        An .npz with ``query`` and ``database`` (int8), ``scale`` (float32), ``query_labels``,
        ``database_labels``, ``train_index``; no pickles. The manifest holds ``name``, ``top_k``, ``licence``,
        ``citation``, ``npz_bytes`` and ``npz_sha256``.

    Returns
    -------
    FeatureSet

    Raises
    ------
    FileNotFoundError
        If either file is missing.
    ValueError
        If size or SHA-256 are not the manifest's, or the content is not as described.
    """
    path = Path(path)
    manifest_path = path.with_suffix(".json")
    for file in (manifest_path, path):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: data file is missing; install sdclib again, or make it with the scripts of the repository"
            )
    manifest = read_json(manifest_path)
    data = path.read_bytes()
    try:
        size, digest = int(manifest["npz_bytes"]), str(manifest["npz_sha256"])
        texts: dict[str, Any] = {key: str(manifest[key]) for key in ("name", "licence", "citation")}
        top_k = manifest["top_k"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{manifest_path}: damaged manifest, missing or wrong entry {error}") from error
    if len(data) != size:
        raise ValueError(f"{path}: damaged data file, expected {size} bytes, got {len(data)}")
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest:
        raise ValueError(f"{path}: damaged data file, expected SHA-256 {digest}, got {actual}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            fields: dict[str, Any] = unpack_features(archive)
        return FeatureSet(**fields, **texts, top_k=top_k, sha256=digest)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: unexpected content ({error})") from error


def unpack_features(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Turn the arrays of a packed file into the array fields of a `FeatureSet`.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As in `read_packed`; other entries are left out.

    Returns
    -------
    dict of str to ndarray
        ``query``, ``database`` (float32), ``query_labels``, ``database_labels``, ``train_index``.

    Raises
    ------
    KeyError
        If an entry is missing.
    ValueError
        If codes are not int8 or the scale does not fit.
    """
    scale = arrays["scale"]
    unpacked = {key: dequantise(arrays[key], scale) for key in ("query", "database")}
    return unpacked | {key: arrays[key] for key in ("query_labels", "database_labels", "train_index")}


def quantisation_scale(values: ArrayLike) -> NDArray[np.float32]:
    """Step of each component so that the largest magnitude becomes 127.

    Parameters
    ----------
    values : array-like, shape (n, d)

    Returns
    -------
    ndarray, shape (d,), float32
        Positive; 1 for a component that is all zeros.

    Raises
    ------
    ValueError
        If `values` is not a finite feature matrix.
    """
    largest = np.abs(check_features(values, "values")).max(axis=0)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)


def quantise(values: ArrayLike, scale: ArrayLike) -> NDArray[np.int8]:
    """Round each component to a whole number of steps from -127 to 127; what lies beyond is clipped.

    Parameters
    ----------
    values : array-like, shape (n, d)
    scale : array-like, shape (d,)
        Steps, see `quantisation_scale`.

    Returns
    -------
    ndarray, shape (n, d), int8
        Within half a step of ``values / scale`` where nothing is clipped; halves go to the even number.

    Raises
    ------
    ValueError
        If `values` is not a finite feature matrix or `scale` does not fit it.
    """
    array = check_features(values, "values")
    steps = _check_scale(scale, array.shape[1])
    return np.clip(np.rint(array / steps), -127, 127).astype(np.int8)


def dequantise(codes: ArrayLike, scale: ArrayLike) -> NDArray[np.float32]:
    """Inverse of `quantise` up to half a step: codes times scale.

    Parameters
    ----------
    codes : array-like, shape (n, d), int8
    scale : array-like, shape (d,)

    Returns
    -------
    ndarray, shape (n, d), float32

    Raises
    ------
    ValueError
        If `codes` is not a 2-D int8 array or `scale` does not fit it.
    """
    array = np.asarray(codes)
    if array.ndim != 2 or array.dtype != np.int8:
        raise ValueError(f"codes: expected int8 of shape (n, d), got {array.dtype} of shape {array.shape}")
    steps = _check_scale(scale, array.shape[1])
    return np.asarray(array * steps, dtype=np.float32)


def energy_preserving_map(
    database: ArrayLike, n_components: int, *, n_folds: int = 10
) -> NDArray[np.float64]:
    """Linear map to the first singular directions, uncentred, that keeps the mean squared norm.

    Projecting x on the first k right singular vectors v_j of the database shortens it, so all cosines grow: for
    the features here the mean cosine would rise from 0.41 to 0.46. The lost share t of the squared norm is
    therefore given back in equal parts, delta = t * sum(l) / k with l_j the squared singular values:
    z_j = sqrt(1 + delta / l_j) * <v_j, x>. Among all maps of rank k that keep the trace this is the closest to
    the Gram matrix (its k largest eigenvalues, each raised by the same amount), and the order of the directions
    stays. As the directions fit the rows they were computed from better than new ones, t is measured on rows
    left out, by `n_folds`-fold cross-validation; queries play no part.

    Parameters
    ----------
    database : array-like, shape (n, d)
        Rows in random order: fold of row i is i modulo `n_folds`.
    n_components : int
        k, at most the rank of the rows outside a fold.
    n_folds : int
        At least 2, at most n.

    Returns
    -------
    ndarray, shape (d, k), float64
        Use as ``features @ map``. The entry of largest magnitude of each column is positive.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    rows = check_features(database, "database").astype(np.float64)
    k = check_int(n_components, "n_components", minimum=1)
    n_folds = check_int(n_folds, "n_folds", minimum=2)
    if n_folds > len(rows):
        raise ValueError(f"n_folds: expected at most the {len(rows)} rows of the database, got {n_folds}")
    gram = rows.T @ rows
    values, vectors = _largest(gram, k)
    lost = 0.0
    for fold in range(n_folds):
        held_out = rows[fold::n_folds]
        _, directions = _largest(gram - held_out.T @ held_out, k)
        lost += float(np.sum(held_out**2) - np.sum((held_out @ directions) ** 2))
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(k)]
    weights = np.sqrt(1 + max(lost, 0.0) / k / values)
    return np.asarray(vectors * np.sign(peaks) * weights, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are queries, database and for training.

    Attributes
    ----------
    query, database : ndarray, shapes (n_query,), (n_database,), int64
        Image numbers, no image in both; the order mixes the classes.
    train_index : ndarray, shape (n_train,), int64
        Positions in `database`, ascending.
    """

    query: NDArray[np.int64]
    database: NDArray[np.int64]
    train_index: NDArray[np.int64]


def class_split(
    pixel_sha256: Sequence[str],
    labels: ArrayLike,
    *,
    seed: int,
    n_query: int,
    n_train: int,
    n_database: int | None = None,
) -> Split:
    """Split a single-label set with the same number of images a class; the order of the images plays no part.

    Images are sorted by SHA-256 of "SEED:PIXELS", where PIXELS is the hexadecimal SHA-256 of their raw pixels.
    In each class the first `n_query` are queries, the next `n_database` the database, of which the first `n_train`
    are for training. So a smaller database is part of a larger one, with the same queries and training images.

    Parameters
    ----------
    pixel_sha256 : sequence of str
        One an image, 64 hexadecimal digits: what identifies it whatever file it comes from.
    labels : array-like, shape (n_images,), whole numbers
    seed : int
        At least 0.
    n_query, n_train : int
        Images a class, at least 1.
    n_database : int, optional
        Images a class, at least `n_train`; all that are left by default.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If an argument is not as described, or a class has too few images.
    """
    ids = check_labels(labels, "labels", n=len(pixel_sha256))
    if ids.ndim != 1 or len(ids) == 0:
        raise ValueError(f"labels: expected ids of shape (n_images,), at least one, got shape {ids.shape}")
    check_int(seed, "seed", minimum=0)
    check_int(n_query, "n_query", minimum=1)
    check_int(n_train, "n_train", minimum=1)
    if n_database is not None:
        check_int(n_database, "n_database", minimum=n_train)
    keys = [hashlib.sha256(f"{seed}:{pixels}".encode()).hexdigest() for pixels in pixel_sha256]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    rank = np.empty(len(ids), dtype=np.int64)  # of an image, in sorted order, within its class
    for label in np.unique(ids):
        members = order[ids[order] == label]
        needed = n_query + (n_train if n_database is None else n_database)
        if len(members) < needed:
            raise ValueError(
                f"labels: expected at least {needed} images a class, got {len(members)} of {label}"
            )
        rank[members] = np.arange(len(members))
    rank = rank[order]
    last = len(ids) if n_database is None else n_query + n_database
    in_database = (rank >= n_query) & (rank < last)
    return Split(
        query=order[rank < n_query],
        database=order[in_database],
        train_index=np.flatnonzero(rank[in_database] < n_query + n_train),
    )


def split_sha256(split: Split, pixel_sha256: Sequence[str]) -> str:
    """Hash of a split: SHA-256 of its lines "ROLE PIXELS", queries, then database, in order.

    Parameters
    ----------
    split : Split
    pixel_sha256 : sequence of str
        As for `class_split`.

    Returns
    -------
    str
        64 hexadecimal digits; ROLE is "query", "train" (also in the database) or "database".
    """
    train = set(split.train_index.tolist())
    lines = [f"query {pixel_sha256[i]}\n" for i in split.query]
    for position, image in enumerate(split.database):
        lines.append(f"{'train' if position in train else 'database'} {pixel_sha256[image]}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _largest(gram: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the k largest eigenvalues, descending, and their eigenvectors as columns."""
    values, vectors = np.linalg.eigh(gram)
    rank = int(np.count_nonzero(values > values[-1] * len(gram) * np.finfo(np.float64).eps))
    if k > rank:
        raise ValueError(
            f"n_components: expected at most the rank {rank} of the rows outside a fold, got {k}"
        )
    return values[::-1][:k], vectors[:, ::-1][:, :k]


def _check_scale(scale: ArrayLike, d: int) -> NDArray[np.float32]:
    """Check steps and return them as float32."""
    steps = np.asarray(scale)
    if steps.shape != (d,) or steps.dtype.kind not in "fiu" or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(
            f"scale: expected {d} positive finite numbers, got {steps.dtype} of shape {steps.shape}"
        )
    return steps.astype(np.float32)


def _check_index(index: ArrayLike, name: str, n: int) -> NDArray[np.int64]:
    """Check indices into n rows and return them as int64."""
    array = np.asarray(index)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected whole numbers of shape (n,), n >= 1, got {array.dtype} {array.shape}"
        )
    if array.min() < 0 or array.max() >= n:
        raise ValueError(f"{name}: expected indices from 0 to {n - 1}, got {array.min()} to {array.max()}")
    if np.unique(array).size != array.size:
        raise ValueError(f"{name}: expected every index at most once, got some twice")
    return array.astype(np.int64)
