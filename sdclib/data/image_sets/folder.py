"""Any folder of images, one folder a class, split by a seeded rule."""

from __future__ import annotations

from pathlib import Path

from sdclib.data.image_sets.sources import LOADERS, find_classes, split_images
from sdclib.data.images import ImageSet, data_root
from sdclib.data.splits import class_split

__all__ = ["load_folder"]


def load_folder(
    *,
    root: Path | str | None = None,
    n_query: int = 10,
    n_train: int = 20,
    top_k: int | None = None,
    seed: int = 42,
) -> ImageSet:
    """Make an image set of a folder ``ROOT/CLASS/*``: images by CLASS/FILE, split by `sdclib.data.splits.class_split`.

    Parameters
    ----------
    root : path-like, optional
        ``data_root() / "folder"`` by default; the set is called like it.
    n_query, n_train : int
        Images a class; what is left beside the queries is the database, training images are part of it.
    top_k : int, optional
        R, by default 1000 or the size of the database.
    seed : int
    """
    folder = data_root() / "folder" if root is None else Path(root)
    found = find_classes(folder)
    split = class_split(found.ids, found.labels, seed=seed, n_query=n_query, n_train=n_train)
    return split_images(
        found,
        split,
        name=folder.resolve().name,
        top_k=min(1000, len(split.database)) if top_k is None else top_k,
        licence="the images' own",
        citation="",
    )


LOADERS["folder"] = load_folder
