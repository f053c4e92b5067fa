"""Features of image sets, kept on disk: extracted once, resumable after a kill, checked when read.

The features of one image set by one backbone lie in one folder: shards of 1,024 images (``shard-00000.npy``, ...,
float32) and ``manifest.json`` with each shard's SHA-256. Shards and manifest are written to a temporary name and
renamed, the manifest after every shard, so a kill at any moment costs the shard in the making and no more. A shard
is always made of the same batches, wherever an extraction was cut, so a resumed one gives the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int
from sdclib.data.vectors import load_npy
from sdclib.files import cache_dir, file_sha256, read_json, write_bytes, write_json
from sdclib.progress import tqdm

if TYPE_CHECKING:
    from sdclib.data.images import ImageSet
    from sdclib.extract.backbones import Backbone
    from sdclib.extract.views import AugmentedImages

__all__ = ["SHARD_SIZE", "CachedFeatures", "cache_key", "check_shard", "extract_features"]

SHARD_SIZE = 1024
"""Images a shard; the last one may have fewer."""

VERSION = 1  # of the layout and of what the key is made of
N_PROBES = 16  # images whose pixels are part of the key
N_WORKERS = 2  # threads that read and prepare images
PREFETCH = 3  # batches that wait prepared, at most


Images: TypeAlias = "ImageSet | AugmentedImages"


@dataclass(eq=False)
class CachedFeatures:
    """Features on disk, memory-mapped; made by `extract_features`.

    Attributes
    ----------
    folder : pathlib.Path
        Where shards and manifest lie.
    manifest : dict
        Content of ``manifest.json``.
    """

    folder: Path
    manifest: dict[str, Any] = field(repr=False)
    _shards: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def n_images(self) -> int:
        """Images of the set."""
        return int(self.manifest["n_images"])

    @property
    def sha256(self) -> str:
        """Hash of all features, 64 hexadecimal digits, from the manifest alone: no shard is read."""
        lines = "".join(f"{shard['sha256']}\n" for shard in self.manifest["shards"])
        return hashlib.sha256(lines.encode()).hexdigest()

    def rows(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Read the features of images by their numbers, in any order: shape (n, n_features), float32.

        A shard's SHA-256 is checked when it is first used; ValueError if one is missing or damaged.
        """
        numbers = np.asarray(indices)
        whole = numbers.ndim == 1 and (numbers.size == 0 or numbers.dtype.kind in "iu")
        if not whole or not ((numbers >= 0) & (numbers < self.n_images)).all():
            raise ValueError(
                f"indices: expected image numbers from 0 to {self.n_images - 1}, got {numbers.dtype} of shape "
                f"{numbers.shape}, {numbers.min()} to {numbers.max()}"
            )
        size = self.manifest["shard_size"]
        features = np.empty((len(numbers), self.manifest["n_features"]), dtype=np.float32)
        for shard in np.unique(numbers // size).tolist():
            here = numbers // size == shard
            features[here] = self._shard(shard)[numbers[here] - shard * size]
        return features

    def _shard(self, shard: int) -> NDArray[np.float32]:
        if shard not in self._shards:
            self._shards[shard] = load_npy(check_shard(self.folder, self.manifest["shards"][shard]))
        return self._shards[shard]


def extract_features(
    images: Images,
    backbone: Backbone,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> CachedFeatures:
    """Extract the features of all images of a set, or of those that are not in the cache yet.

    Of two processes that extract the same features at once, the second waits for the first and finds the work done.

    Parameters
    ----------
    images : ImageSet
    backbone : Backbone
    cache : path-like, optional
        The folder that holds the folders of features, ``cache_dir() / "features"`` by default. The features go into
        its folder ``SET-BACKBONE-KEY`` with the first 16 digits of `cache_key`.
    batch_size : int
        An extraction that was begun is gone on with at the batch size it was begun with, so that the features do not
        depend on where it was cut.
    progress : bool
        Whether to show a bar with images/s and time left.

    Raises
    ------
    ValueError
        If an option is not as described, an image is broken (complete shards are kept), or a shard in the cache is
        damaged; the message names image or file.
    OSError
        If the cache cannot be written, as when the disk is full; nothing is left half-written, and the next call
        goes on from the shards that are complete.
    """
    new: dict[str, Any] = {
        "version": VERSION,
        "key": cache_key(images, backbone),
        "set": images.name,
        "backbone": _described(backbone),
        "n_images": len(images.ids),
        "n_features": int(backbone.n_features),
        "dtype": "float32",
        "shard_size": SHARD_SIZE,
        "batch_size": check_int(batch_size, "batch_size", minimum=1),
        "shards": [None] * -(-len(images.ids) // SHARD_SIZE),
    }
    folder = _folder(new, cache)
    manifest = _read_manifest(folder, new)
    if not _to_do(folder, manifest):
        return CachedFeatures(folder, manifest)
    with _locked(folder):
        manifest = _read_manifest(folder, new)
        to_do = _to_do(folder, manifest)
        for shard, entry in enumerate(manifest["shards"]):
            if shard not in to_do:
                check_shard(folder, entry)
        _extract_shards(images, backbone, folder, manifest, to_do, progress=progress)
    return CachedFeatures(folder, manifest)


def cache_key(images: Images, backbone: Backbone) -> str:
    """Identify features by what they are made of: SHA-256, 64 hexadecimal digits.

    Of the images, their ids in their order and the pixels of 16 evenly spaced ones count, which tells apart other
    images under the same ids; neither name nor split, which change no feature. Of the backbone, name, hash of the
    weights, image size, preprocessing and runtime (whose features differ by rounding).
    """
    n = len(images.ids)
    probes = np.unique(np.linspace(0, n - 1, min(n, N_PROBES)).round().astype(np.int64)).tolist()
    content = {
        "version": VERSION,
        "ids": hashlib.sha256(json.dumps(list(images.ids)).encode()).hexdigest(),
        "pixels": [_probe(images, i) for i in probes],
        "backbone": _described(backbone),
        "dtype": "float32",
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _probe(images: Images, i: int) -> str:
    """Hash of one image's pixels, or that it is broken."""
    try:
        image = images.read(i)
    except ValueError:
        return "broken"
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()


def _described(backbone: Backbone) -> dict[str, Any]:
    names = ("name", "weights_sha256", "image_size", "preprocessing", "runtime")
    return {name: getattr(backbone, name) for name in names}


# Layout


def _folder(manifest: dict[str, Any], cache: Path | None) -> Path:
    """Folder of these features: the one that has the key, whatever the set is called there, else a new one."""
    base = cache_dir() / "features" if cache is None else Path(cache)
    end = f"-{manifest['key'][:16]}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{manifest['set']}-{manifest['backbone']['name']}") + end
    same = sorted(path for path in base.glob(f"*{end}") if path.is_dir())
    return base / name if base / name in same or not same else same[0]


def _read_manifest(folder: Path, new: dict[str, Any]) -> dict[str, Any]:
    """Give the manifest of these features with the shards and the batch size of the file, where there is one."""
    path = folder / "manifest.json"
    if not path.is_file():
        return new | {"shards": new["shards"].copy()}
    found = read_json(path)
    try:
        same = all(
            found[name] == new[name] for name in ("version", "key", "n_images", "n_features", "shard_size")
        )
        batch_size = check_int(found["batch_size"], "batch_size", minimum=1)
        shards = [  # of earlier layouts, those that lack images are made again
            {"file": _shard_file(i), "sha256": entry["sha256"]}
            if entry is not None and not entry.get("skipped")
            else None
            for i, entry in enumerate(found["shards"])
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        same = False
    if not same or len(shards) != len(new["shards"]):
        raise ValueError(
            f"{path}: damaged manifest, expected layout {VERSION} of key {new['key']}, {len(new['shards'])} shards; "
            "delete the folder to extract the features again"
        )
    return new | {"batch_size": batch_size, "shards": shards}


def _shard_file(shard: int) -> str:
    return f"shard-{shard:05d}.npy"


def check_shard(folder: Path, entry: dict[str, Any]) -> Path:
    """Check that a shard is there and has its hash, else ValueError; return its path."""
    path = folder / entry["file"]
    if not path.is_file():
        raise ValueError(f"{path}: shard is missing; extract the features again, only it is made anew")
    actual = file_sha256(path)
    if actual != entry["sha256"]:
        raise ValueError(
            f"{path}: damaged shard, expected SHA-256 {entry['sha256']}, got {actual}; delete this file and extract "
            "the features again, only it is made anew"
        )
    return path


def _to_do(folder: Path, manifest: dict[str, Any]) -> list[int]:
    """Numbers of the shards that are missing."""
    entries = enumerate(manifest["shards"])
    return [shard for shard, entry in entries if entry is None or not (folder / entry["file"]).is_file()]


# Extraction


def _extract_shards(
    images: Images,
    backbone: Backbone,
    folder: Path,
    manifest: dict[str, Any],
    to_do: list[int],
    *,
    progress: bool,
) -> None:
    """Make the shards `to_do`, and write the manifest after each."""
    size, step, n = manifest["shard_size"], manifest["batch_size"], manifest["n_images"]
    ranges = [range(shard * size, min((shard + 1) * size, n)) for shard in to_do]
    batches = (numbers[i : i + step] for numbers in ranges for i in range(0, len(numbers), step))
    with (
        tqdm(
            total=n,
            initial=n - sum(map(len, ranges)),
            desc=f"{images.name} {backbone.name}",
            unit="image",
            disable=not progress,
        ) as bar,
        contextlib.closing(_prepared(images, backbone, batches)) as prepared,
    ):
        for shard, numbers in zip(to_do, ranges, strict=True):
            features = np.empty((len(numbers), manifest["n_features"]), dtype=np.float32)
            for start in range(0, len(numbers), step):
                batch = np.stack(next(prepared))
                features[start : start + len(batch)] = backbone.extract(batch)
                bar.update(len(batch))
            file = io.BytesIO()
            np.save(file, features, allow_pickle=False)
            digest = hashlib.sha256(file.getvalue()).hexdigest()
            manifest["shards"][shard] = {"file": _shard_file(shard), "sha256": digest}
            write_bytes(folder / _shard_file(shard), file.getvalue())
            write_json(folder / "manifest.json", manifest)


def _prepared(
    images: Images, backbone: Backbone, batches: Iterable[range]
) -> Generator[list[NDArray[np.float32]], None, None]:
    """Read and prepare batches ahead of their use, in threads, in order.

    Threads, not a DataLoader's processes: Pillow and NumPy let go of the lock, and nothing is copied or forked.
    """

    def prepare(i: int) -> NDArray[np.float32]:
        try:
            return backbone.preprocess(images.read(i))
        except ValueError as error:
            raise ValueError(
                f"images: image {i} of {images.name} ({images.ids[i]}) is broken: {error}"
            ) from error

    pool = ThreadPoolExecutor(N_WORKERS)
    try:
        waiting: deque[Iterator[NDArray[np.float32]]] = deque()
        for numbers in batches:
            waiting.append(pool.map(prepare, numbers))
            if len(waiting) > PREFETCH:
                yield list(waiting.popleft())
        yield from map(list, waiting)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it ends with the process, however that ends."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process extracts these features, waiting for it", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        reason = f"{error.strerror or error}; make room or choose another place for the feature cache"
        raise OSError(error.errno, reason, str(folder)) from error
    try:
        for path in folder.glob(".*.tmp"):  # what a killed process was just writing
            path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
