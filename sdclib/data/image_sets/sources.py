"""What the image sets share: how images lie on disk, what identifies them, and how a split of them becomes a set."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdclib.data.images import ImageSet, file_reader, open_rgb
from sdclib.data.splits import Split
from sdclib.files import cache_dir, write_text
from sdclib.progress import tqdm

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "LOADERS",
    "Found",
    "array_ids",
    "array_reader",
    "by_torchvision",
    "file_ids",
    "find_classes",
    "list_images",
    "split_images",
]

LOADERS: dict[str, Callable[..., ImageSet]] = {}
"""What makes an image set of each name; a set registers itself by an entry here."""

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Found:
    """The images of a set as they lie on this machine, in any order; fields as in `ImageSet`."""

    ids: Sequence[str]
    labels: NDArray[np.integer]
    class_names: tuple[str, ...]
    read: Callable[[int], Image.Image]


def split_images(found: Found, split: Split, *, name: str, top_k: int, **fields: Any) -> ImageSet:
    """Make the image set of a split, its images numbered in the split's order: queries, then the database.

    So their numbers do not depend on the machine. Other fields are those of `ImageSet`.
    """
    order = np.concatenate([split.query, split.database])
    return ImageSet(
        name=name,
        ids=tuple(found.ids[i] for i in order),
        read=lambda image: found.read(int(order[image])),
        labels=found.labels[order],
        query=np.arange(len(split.query)),
        database=np.arange(len(split.query), len(order)),
        train_index=split.train_index,
        top_k=top_k,
        class_names=found.class_names,
        **fields,
    )


def find_classes(root: Path, *, leave_out: Sequence[str] = (), suffix: bool = True) -> Found:
    """Find ``root/CLASS/*``; ids are CLASS/FILE, or CLASS/STEM without `suffix`, labels the sorted class names.

    Hidden folders and those to leave out or without images are no classes; ValueError if there is none.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder with one folder of images a class, found none")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in leave_out)
    files = {path.name: list_images(path) for path in folders if not path.name.startswith(".")}
    files = {name: paths for name, paths in files.items() if paths}
    if not files:
        raise ValueError(f"{root}: expected one folder of images a class, found no folder with images")
    return Found(
        ids=[f"{name}/{p.name if suffix else p.stem}" for name, paths in files.items() for p in paths],
        labels=np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()]),
        class_names=tuple(files),
        read=file_reader([path for paths in files.values() for path in paths]),
    )


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder by their suffix, sorted by name; hidden files are no images."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of images, found none")
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def array_ids(images: NDArray[np.uint8]) -> list[str]:
    """SHA-256 of each image's pixels, hexadecimal; images of shape (n, height, width[, 3])."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def array_reader(images: NDArray[np.uint8]) -> Callable[[int], Image.Image]:
    """Make the `read` of an `ImageSet` whose images lie in an array, shape (n, height, width[, 3])."""
    from PIL import Image

    return lambda image: Image.fromarray(images[image]).convert("RGB")


def file_ids(paths: Sequence[Path], size: tuple[int, int]) -> list[str]:
    """SHA-256 of the RGB pixels of image files of this (width, height); kept in the cache until a file changes.

    Raises
    ------
    ValueError
        If an image is broken, missing or of another size; the message names it.
    """
    listing = "".join(
        f"{path.absolute()} {s.st_size} {s.st_mtime_ns}\n" for path in paths for s in [path.stat()]
    )
    cache = cache_dir() / "pixel-ids" / f"{hashlib.sha256(listing.encode()).hexdigest()[:32]}.txt"
    if cache.is_file():
        ids = cache.read_text(encoding="ascii", errors="replace").split()
        if len(ids) == len(paths) and all(re.fullmatch("[0-9a-f]{64}", image) for image in ids):
            return ids
    ids = []
    for path in tqdm(paths, desc="identify images", unit="image"):
        image = open_rgb(path)
        if image.size != size:
            raise ValueError(
                f"{path}: expected {size[0]} x {size[1]} pixels, got {image.size[0]} x {image.size[1]}"
            )
        ids += array_ids(np.asarray(image)[None])
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_text(cache, "\n".join(ids) + "\n")
    return ids


def by_torchvision(make: Callable[[], Any], root: Path, expected: str) -> Any:
    """Let torchvision read or download a data set in `root`; if it cannot, ValueError with what is `expected` there."""
    try:
        return make()
    except (OSError, RuntimeError) as error:  # nothing there, no network, no space; or files of another hash
        raise ValueError(f"{root}: expected {expected}, but torchvision says: {error}") from error
