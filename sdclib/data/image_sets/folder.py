"""Any folder of images, one folder a class, split by a seeded rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdclib.checks import check_int
from sdclib.data.image_sets.committed import Found, in_split_order
from sdclib.data.image_sets.sources import class_folders, list_images
from sdclib.data.images import ImageSet, data_root, file_reader
from sdclib.data.splits import class_split

__all__ = ["find_classes", "load_folder"]


def find_classes(root: Path, *, leave_out: Sequence[str] = (), suffix: bool = True) -> Found:
    """Find ``root/CLASS/*``; ids are CLASS/FILE, or CLASS/STEM without `suffix`, labels the sorted class names.

    Raises
    ------
    ValueError
        If there is no folder with images, or two files have one id.
    """
    names = class_folders(root, leave_out=leave_out)
    paths, labels, ids = [], [], []
    for label, name in enumerate(names):
        files = list_images(root / name)
        paths += files
        labels += [label] * len(files)
        ids += [f"{name}/{path.name if suffix else path.stem}" for path in files]
    return Found(ids, np.array(labels, dtype=np.int64), tuple(names), file_reader(paths))


def load_folder(
    *,
    root: Path | str | None = None,
    n_query: int = 10,
    n_train: int = 20,
    top_k: int | None = None,
    seed: int = 42,
    name: str | None = None,
) -> ImageSet:
    """Make an image set of a folder ``ROOT/CLASS/*``: images by CLASS/FILE, split by `sdclib.data.splits.class_split`.

    Parameters
    ----------
    root : path-like, optional
        ``data_root() / "folder"`` by default.
    n_query, n_train : int
        Images a class; what is left beside the queries is the database, training images are part of it.
    top_k : int, optional
        R, by default 1000 or the size of the database.
    seed : int
    name : str, optional
        The folder's name by default.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        If there are no class folders, a class has too few images, or an option is not as described.
    """
    folder = data_root() / "folder" if root is None else Path(root)
    found = find_classes(folder)
    split = class_split(found.ids, found.labels, seed=seed, n_query=n_query, n_train=n_train)
    order, split = in_split_order(split)
    return ImageSet(
        name=folder.resolve().name if name is None else name,
        ids=tuple(found.ids[i] for i in order),
        read=file_reader([found.read.paths[i] for i in order]),  # type: ignore[attr-defined]
        labels=found.labels[order],
        query=split.query,
        database=split.database,
        train_index=split.train_index,
        top_k=min(1000, len(split.database)) if top_k is None else check_int(top_k, "top_k", minimum=1),
        licence="the images' own",
        citation="",
        class_names=found.class_names,
    )
