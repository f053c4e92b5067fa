"""Extraction into the cache: batches prepared ahead in threads, shards written one by one, under a lock."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int, check_name
from sdclib.extract.feature_cache.layout import (
    VERSION,
    CachedFeatures,
    Images,
    Network,
    cache_key,
    check_shard,
    describe,
    feature_folder,
    missing_shards,
    read_manifest,
    shard_file,
)
from sdclib.files import write_bytes, write_json
from sdclib.progress import tqdm

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BROKEN", "SHARD_SIZE", "extract_features"]

BROKEN = ("error", "skip")
"""What to do with a broken image: stop and name it, or leave it out and list it in the manifest."""

SHARD_SIZE = 1024
"""Images a shard; the last one may have fewer."""

N_WORKERS = 2  # threads that read and prepare images
PREFETCH = 3  # batches that wait prepared, at most


class Extractor(Network, Protocol):
    """What turns images into features; `sdclib.extract.backbones.Backbone` does."""

    @property
    def n_features(self) -> int:
        """Values a feature."""

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """Prepare one image."""

    def extract(self, batch: ArrayLike) -> NDArray[np.float32]:
        """Features of prepared images."""


def extract_features(
    images: Images,
    backbone: Extractor,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
    broken: str = "error",
    progress: bool = True,
) -> CachedFeatures:
    """Extract the features of all images of a set, or of those that are not in the cache yet.

    Two processes that extract the same features at once do not disturb each other: the second waits for the
    first, by a lock on ``.lock`` that ends with its process, and finds the work done. Where the system has no such
    locks both do the work and write the same bytes.

    Parameters
    ----------
    images : ImageSet
    backbone : Backbone
    cache : path-like, optional
        The folder that holds the folders of features, ``cache_dir() / "features"`` by default. The features go into
        its folder ``SET-BACKBONE-KEY`` with the first 16 digits of `cache_key`.
    batch_size : int
        Images a batch. An extraction that was begun is gone on with at the batch size it was begun with, so that
        the features do not depend on where it was cut.
    broken : {"error", "skip"}
        A broken image stops the extraction (complete shards are kept), or is left out and listed in the manifest.
        With "error", shards from which images were left out earlier are made again.
    progress : bool
        Whether to show a bar with images/s and time left.

    Returns
    -------
    CachedFeatures

    Raises
    ------
    ValueError
        If an option is not as described, an image is broken, or a shard in the cache is damaged; the message names
        image or file.
    OSError
        If the cache cannot be written, say because the disk is full; nothing is left half-written, and the next call
        goes on from the shards that are complete.
    """
    check_name(broken, "broken", BROKEN)
    check_int(batch_size, "batch_size", minimum=1)
    key = cache_key(images, backbone)
    folder = feature_folder(images, backbone, key, cache)
    manifest = read_manifest(folder, key)
    if manifest is not None and not _to_do(folder, manifest, broken):
        return CachedFeatures(folder, manifest)
    with _locked(folder, tell=progress):
        manifest = read_manifest(folder, key) or {
            "version": VERSION,
            "key": key,
            "set": images.name,
            "backbone": describe(backbone),
            "n_images": len(images.ids),
            "n_features": backbone.n_features,
            "dtype": "float32",
            "shard_size": SHARD_SIZE,
            "batch_size": batch_size,
            "shards": [None] * -(-len(images.ids) // SHARD_SIZE),
        }
        to_do = _to_do(folder, manifest, broken)
        for shard, entry in enumerate(manifest["shards"]):
            if shard not in to_do:
                check_shard(folder, entry)
        _extract_shards(images, backbone, folder, manifest, to_do, broken=broken, progress=progress)
    return CachedFeatures(folder, manifest)


def _to_do(folder: Path, manifest: dict[str, Any], broken: str) -> list[int]:
    """Numbers of the shards to make: what is missing, and with "error" what lacks images."""
    missing = set(missing_shards(folder, manifest))
    return [
        shard
        for shard, entry in enumerate(manifest["shards"])
        if shard in missing or (broken == "error" and entry["skipped"])
    ]


def _extract_shards(
    images: Images,
    backbone: Extractor,
    folder: Path,
    manifest: dict[str, Any],
    to_do: Sequence[int],
    *,
    broken: str,
    progress: bool,
) -> None:
    """Make the shards `to_do`, and write the manifest after each."""
    size = manifest["shard_size"]
    ranges = [range(shard * size, min((shard + 1) * size, manifest["n_images"])) for shard in to_do]
    step = manifest["batch_size"]
    batches = (
        images_of[start : start + step] for images_of in ranges for start in range(0, len(images_of), step)
    )
    with (
        tqdm(
            total=manifest["n_images"],
            initial=manifest["n_images"] - sum(map(len, ranges)),
            desc=f"{images.name} {backbone.name}",
            unit="image",
            disable=not progress,
        ) as bar,
        contextlib.closing(_prepared(images, backbone, batches, broken)) as prepared,
    ):
        for shard, numbers in zip(to_do, ranges, strict=True):
            features = np.empty((len(numbers), manifest["n_features"]), dtype=np.float32)
            skipped: list[dict[str, Any]] = []
            for start in range(0, len(numbers), step):
                batch, errors = next(prepared)
                rows = features[start : start + len(batch)]
                rows[:] = backbone.extract(batch)
                for i, error in errors.items():
                    rows[i - numbers[start]] = np.nan
                    skipped.append({"image": i, "id": images.ids[i], "error": error})
                bar.update(len(batch))
            data = _npy_bytes(features)
            entry: dict[str, Any] = {
                "file": shard_file(shard),
                "sha256": hashlib.sha256(data).hexdigest(),
                "skipped": skipped,
            }
            manifest["shards"][shard] = entry
            done = sum(entry is not None for entry in manifest["shards"]) - 1
            with _explained(folder, f"{done} of {len(manifest['shards'])} shards are complete and kept"):
                write_bytes(folder / entry["file"], data)
                write_json(folder / "manifest.json", manifest)


def _prepared(
    images: Images, backbone: Extractor, batches: Iterator[range], broken: str
) -> Generator[tuple[NDArray[np.float32], dict[int, str]], None, None]:
    """Read and prepare batches ahead of their use, in threads, in order; with what is wrong with broken images.

    A broken image is all zeros in its batch, so that the other images' features do not depend on it.
    """

    def prepare(i: int) -> NDArray[np.float32] | str:
        try:
            return backbone.preprocess(images.read(i))
        except ValueError as error:
            return f"{error}"

    def collect(numbers: range, futures: list[Future[NDArray[np.float32] | str]]) -> Any:
        results = [future.result() for future in futures]
        errors = {i: result for i, result in zip(numbers, results, strict=True) if isinstance(result, str)}
        if errors and broken == "error":
            i, error = next(iter(errors.items()))
            raise ValueError(
                f"images: image {i} of {images.name} ({images.ids[i]}) is broken: {error}; pass broken='skip' to "
                "leave broken images out"
            )
        shape = (3, backbone.image_size, backbone.image_size)
        blank = np.zeros(shape, dtype=np.float32)
        return np.stack([blank if isinstance(result, str) else result for result in results]), errors

    pool = ThreadPoolExecutor(N_WORKERS)
    try:
        waiting: deque[tuple[range, list[Future[NDArray[np.float32] | str]]]] = deque()
        for numbers in batches:
            waiting.append((numbers, [pool.submit(prepare, i) for i in numbers]))
            if len(waiting) > PREFETCH:
                yield collect(*waiting.popleft())
        while waiting:
            yield collect(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _npy_bytes(features: NDArray[np.float32]) -> bytes:
    """Content of the .npy file of an array."""
    file = io.BytesIO()
    np.save(file, features, allow_pickle=False)
    return file.getvalue()


@contextlib.contextmanager
def _explained(folder: Path, state: str) -> Iterator[None]:
    """Say what a failed write means for the cache."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"the feature cache cannot be written ({error.strerror or error}); {state}, so make room or choose "
            "another cache, and run again",
            str(folder),
        ) from error


@contextlib.contextmanager
def _locked(folder: Path, *, tell: bool) -> Iterator[None]:
    """Hold the folder's lock; it ends with the process, however that ends."""
    with _explained(folder, "nothing was extracted"):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    with file:
        if _wait_for_lock(file, folder, tell):
            for path in folder.glob(".*.tmp"):  # what a killed process was just writing
                path.unlink(missing_ok=True)
        yield


def _wait_for_lock(file: IO[str], folder: Path, tell: bool) -> bool:
    """Whether the lock is held now; without locks processes at once do the same work twice."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if tell:
            print(f"{folder}: another process extracts these features, waiting for it", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True
