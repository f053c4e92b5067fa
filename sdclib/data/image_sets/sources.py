"""How images lie on disk: class folders, pixels in arrays, and what identifies an image by its pixels."""

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

from sdclib.data.images import open_rgb
from sdclib.files import cache_dir, write_text
from sdclib.progress import tqdm

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ArrayReader", "array_ids", "class_folders", "file_ids", "list_images", "try_download"]

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def class_folders(root: Path, *, leave_out: Sequence[str] = ()) -> list[str]:
    """List the folders of `root` that hold images, sorted; hidden ones and those to leave out are not among them.

    Raises
    ------
    ValueError
        If `root` is no folder or has none.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder with one folder of images a class, found none")
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in leave_out
    )
    names = [name for name in names if list_images(root / name)]
    if not names:
        raise ValueError(f"{root}: expected one folder of images a class, found no folder with images")
    return names


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder by their suffix, sorted by name; hidden files are no images."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of images, found none")
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def array_ids(images: NDArray[np.uint8]) -> list[str]:
    """SHA-256 of each image's pixels, hexadecimal; images of shape (n, height, width[, 3])."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]


def file_ids(paths: Sequence[Path], size: tuple[int, int]) -> list[str]:
    """SHA-256 of the RGB pixels of image files, hexadecimal; kept in the cache folder until a file changes.

    Parameters
    ----------
    paths : sequence of pathlib.Path
    size : (width, height)
        That every image must have.

    Returns
    -------
    list of str

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


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Reads image number i from an array, shape (n, height, width[, 3]), uint8."""

    images: NDArray[np.uint8]

    def __call__(self, image: int) -> Image.Image:
        """Read image number `image` as RGB."""
        from PIL import Image

        return Image.fromarray(self.images[image]).convert("RGB")


def try_download(make: Callable[[], Any], root: Path, expected: str) -> Any:
    """Call torchvision's data set; if it cannot download, say what it needs where.

    Parameters
    ----------
    make : callable
        Makes the data set, downloading into `root`.
    root : pathlib.Path
    expected : str
        What would be read without a download, for the message.

    Raises
    ------
    ValueError
        If it fails.
    """
    try:
        return make()
    except (OSError, RuntimeError) as error:  # no network, no space; torchvision's check of what came
        raise ValueError(f"{root}: expected {expected}, and a download failed ({error})") from error
