"""Sets of images to extract features from: which are queries, database and for training, and how to read one."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_int, check_labels
from sdclib.data.splits import check_rows
from sdclib.files import cache_dir

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageSet", "data_root", "file_reader", "open_rgb"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, their labels, and their part in retrieval. No image is both query and in the database.

    Attributes
    ----------
    name, top_k, licence, citation, denominator, empty
        As in `sdclib.data.features.FeatureSet`.
    ids : tuple of str
        One an image, each once: what identifies it on every machine, such as the SHA-256 of its pixels.
    read : callable
        ``read(i)`` gives image number i as an RGB `PIL.Image.Image`; ValueError naming the file if it is broken
        or missing.
    labels : ndarray, shape (n_images,), int64, or (n_images, n_labels), uint8
        Ids from 0 (relevant where equal) or 0/1 vectors (relevant where a label is shared).
    query, database : ndarray, shapes (n_query,), (n_database,), int64
        Image numbers, each once.
    train_index : ndarray, shape (n_train,), int64
        Positions in `database` of the training images, each once; empty if there is a `separate_train`.
    class_names : tuple of str
        Names of the ids 0, 1, ... or of the label columns.
    separate_train : ndarray, shape (n_train,), int64, optional
        Numbers of the training images where they are not in the database.

    Raises
    ------
    ValueError
        If anything is not as described; the message names the field.
    """

    name: str
    ids: tuple[str, ...]
    read: Callable[[int], Image.Image]
    labels: NDArray[np.integer]
    query: NDArray[np.int64]
    database: NDArray[np.int64]
    train_index: NDArray[np.int64]
    top_k: int
    licence: str
    citation: str
    class_names: tuple[str, ...]
    separate_train: NDArray[np.int64] | None = None
    denominator: str = "retrieved"
    empty: str = "zero"

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(set(self.ids)) != n or n == 0:
            raise ValueError(
                f"ids: expected at least one, each once, got {n}, {len(set(self.ids))} different"
            )
        labels = check_labels(self.labels, "labels", n=n)
        n_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        if len(self.class_names) < n_classes:
            raise ValueError(f"class_names: expected {n_classes} names, got {len(self.class_names)}")
        query, database = (check_rows(getattr(self, key), key, n) for key in ("query", "database"))
        separate = self.separate_train
        if separate is not None:
            separate = check_rows(separate, "separate_train", n)
        train_index = check_rows(self.train_index, "train_index", len(database), may_be_empty=True)
        if (separate is None) == (len(train_index) == 0):
            raise ValueError(
                "train_index, separate_train: expected training images in exactly one of them, got "
                f"{len(train_index)} and {'none' if separate is None else len(separate)}"
            )
        for key, other in (("database", database), ("separate_train", separate)):
            if other is not None and len(both := np.intersect1d(query, other)):
                raise ValueError(
                    f"query, {key}: expected no image in both, got {self.ids[both[0]]!r} in both"
                )
        check_int(self.top_k, "top_k", minimum=1, maximum=len(database), of="images of the database")
        vars(self).update(
            labels=labels,
            query=query,
            database=database,
            train_index=train_index,
            separate_train=separate,
        )

    @property
    def train(self) -> NDArray[np.int64]:
        """Numbers of the training images, shape (n_train,), int64."""
        return self.database[self.train_index] if self.separate_train is None else self.separate_train

    @cached_property
    def sha256(self) -> str:
        """Hash of the data: ids, labels and split, in the split's order; not of how the images are numbered.

        SHA-256 of the lines "ROLE ID LABELS" of queries, database and separate training images in their order,
        with ROLE "query", "train" (training images), or "database", and the numbers of labels joined by commas.
        """
        separate = np.zeros(0, dtype=np.int64) if self.separate_train is None else self.separate_train
        in_database = np.full(len(self.database), "database")
        in_database[self.train_index] = "train"
        roles = ["query"] * len(self.query) + in_database.tolist() + ["train"] * len(separate)
        images = np.concatenate([self.query, self.database, separate])
        labels = self.labels[images]
        ids = labels.ndim == 1
        texts = [str(x) if ids else ",".join(map(str, np.flatnonzero(x))) for x in labels]
        lines = (
            f"{role} {self.ids[image]} {text}\n"
            for role, image, text in zip(roles, images, texts, strict=True)
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def disjoint(self) -> ImageSet:
        """Make the variant NAME-disjoint, whose training images are not in the database; the set itself if none is.

        Raises
        ------
        ValueError
            If fewer than `top_k` images are left in the database.
        """
        if self.separate_train is not None and not np.isin(self.separate_train, self.database).any():
            return self
        rest = self.database[~np.isin(self.database, self.train)]
        if len(rest) < self.top_k:
            raise ValueError(
                f"train_in_database: expected True for {self.name}, as without its {len(self.train)} training "
                f"images {len(rest)} of {len(self.database)} are left in the database, and R is {self.top_k}"
            )
        return dataclasses.replace(
            self,
            name=f"{self.name}-disjoint",
            database=rest,
            train_index=np.zeros(0, dtype=np.int64),
            separate_train=self.train,
        )


def data_root() -> Path:
    """Folder of the image sets: ``$SDC_DATA`` if set, else ``images`` in the cache folder. It may not exist."""
    return Path(os.environ["SDC_DATA"]) if os.environ.get("SDC_DATA") else cache_dir() / "images"


def open_rgb(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file as RGB; ValueError that names it if it is missing, broken or no image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds: OSError, SyntaxError, struct.error, ...
        raise ValueError(f"{os.fspath(path)}: missing or broken image ({error})") from error


def file_reader(paths: Sequence[Path]) -> Callable[[int], Image.Image]:
    """Make the `read` of an `ImageSet` whose image number i is the file ``paths[i]``."""
    return lambda image: open_rgb(paths[image])
