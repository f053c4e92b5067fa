"""Image sets from split lists in the authors' format: one image a line, its path, then a class id or a 0/1 vector."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_name
from sdclib.data.image_sets.sources import LOADERS
from sdclib.data.images import ImageSet, data_root, file_reader
from sdclib.data.tables import listed

__all__ = ["IMAGENET100", "LISTED_SETS", "MSCOCO", "NUSWIDE", "ListedSet", "read_list"]


def read_list(path: Path, n_labels: int, *, multi_label: bool) -> tuple[list[str], NDArray[np.integer]]:
    """Read a split list. Fields are separated by blanks, so paths hold none; empty lines do not count.

    With `multi_label`, every line holds a vector of `n_labels` zeros and ones; otherwise a class id from 0, or a vector
    with a single one, which is read as an id.

    Returns
    -------
    paths : list of str
    labels : ndarray, shape (n_images, n_labels), uint8, if `multi_label`, else shape (n_images,), int64

    Raises
    ------
    ValueError
        If the file is missing or empty, a line is not as described or repeats an image; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file ({error})") from error
    ids = {str(i): i for i in range(n_labels)}
    labels: dict[str, int | list[int]] = {}
    for number, line in enumerate(lines, start=1):
        image, *fields = line.split() or [""]
        if not image:
            continue
        if image in labels:
            raise ValueError(f"{path}, line {number}: expected every image once, got {image} again")
        vector = [int(field) for field in fields if field in ("0", "1")]
        whole = len(fields) == len(vector) == n_labels
        if multi_label and whole:
            labels[image] = vector
        elif not multi_label and whole and n_labels > 1 and sum(vector) == 1:
            labels[image] = vector.index(1)
        elif not multi_label and len(fields) == 1 and fields[0] in ids:
            labels[image] = ids[fields[0]]
        else:
            kind = "" if multi_label else f"a class id from 0 to {n_labels - 1}, or a single 1 among "
            raise ValueError(
                f"{path}, line {number}: expected a path and {kind}{n_labels} numbers 0 or 1, got {line[:60]!r}"
            )
    if not labels:
        raise ValueError(f"{path}: expected at least one image, found none")
    return list(labels), np.array(list(labels.values()), dtype=np.uint8 if multi_label else np.int64)


@dataclass(frozen=True)
class ListedSet:
    """A set whose split is given as lists, with the paper's protocol; attributes as in `read_list` and `ImageSet`."""

    name: str
    n_labels: int
    multi_label: bool
    top_k: int
    licence: str
    citation: str

    def load(self, *, root: Path | str | None = None, missing: str = "error") -> ImageSet:
        """Read the lists test.txt (queries), database.txt and train.txt, and look whether their images are there.

        `root` is the folder of the lists, which their paths start from, ``data_root() / name`` by default. Ids are the
        paths as listed. Training images that are all in the database are its `train_index`, otherwise `separate_train`.
        ValueError that says where if a list is not as described, lists contradict each other, or images are missing;
        with ``missing="skip"`` missing images are left out of all lists, with a warning.
        """
        check_name(missing, "missing", ("error", "skip"))
        folder = data_root() / self.name if root is None else Path(root)
        files = [folder / f"{role}.txt" for role in ("test", "database", "train")]
        no_list = [file.name for file in files if not file.is_file()]
        if no_list:
            fields = f"{self.n_labels} numbers 0 or 1" if self.multi_label else "a class id"
            raise ValueError(
                f"{folder}: expected the lists test.txt, database.txt, train.txt, one image a line (its path from "
                f"here, then {fields}), but {', '.join(no_list)} not found"
            )
        number: dict[str, int] = {}
        absent: dict[str, None] = {}
        labels: list[NDArray[np.integer]] = []
        parts = []
        for file in files:
            paths, of_list = read_list(file, self.n_labels, multi_label=self.multi_label)
            for path, label in zip(paths, of_list, strict=True):
                if path not in number and not os.path.isfile(folder / path):
                    absent[path] = None
                elif number.setdefault(path, len(labels)) == len(labels):
                    labels.append(label)
                elif not np.array_equal(labels[number[path]], label):
                    raise ValueError(f"{file}: expected the same labels of {path} as in the other lists")
            parts.append(np.array([number[path] for path in paths if path in number], dtype=np.int64))
        if absent:
            n_listed = len(number) + len(absent)
            lost = f"{len(absent)} of the {n_listed} images of the lists are missing ({listed(list(absent))})"
            if missing == "error" or not number:
                raise ValueError(f"{folder}: expected all images, but {lost}; missing='skip' leaves them out")
            warnings.warn(f"{folder}: {lost} and left out", stacklevel=2)
        query, database, train = parts
        inside = np.isin(train, database).all()
        position = {image: i for i, image in enumerate(database.tolist())}
        train_index = [position[image] for image in train.tolist()] if inside else []
        return ImageSet(
            name=self.name,
            ids=tuple(number),
            read=file_reader([folder / path for path in number]),
            labels=np.array(labels),
            query=query,
            database=database,
            train_index=np.array(train_index, dtype=np.int64),
            separate_train=None if inside else train,
            top_k=self.top_k,
            licence=self.licence,
            citation=self.citation,
            class_names=tuple(f"label {i}" for i in range(self.n_labels)),
            empty="skip" if self.multi_label else "zero",
        )


IMAGENET100 = ListedSet(
    name="imagenet100",
    n_labels=100,
    multi_label=False,
    top_k=1000,
    licence="ImageNet's terms of access: research and education, no redistribution",
    citation="J. Deng, W. Dong, R. Socher, L.-J. Li, K. Li, L. Fei-Fei: ImageNet: a Large-Scale Hierarchical Image "
    "Database, CVPR 2009; 100 classes as in Z. Cao, M. Long, J. Wang, P. S. Yu: HashNet, ICCV 2017",
)
NUSWIDE = ListedSet(
    name="nuswide",
    n_labels=21,
    multi_label=True,
    top_k=5000,
    licence="images: Flickr users' own licences; labels for research",
    citation="T.-S. Chua, J. Tang, R. Hong, H. Li, Z. Luo, Y. Zheng: NUS-WIDE: a Real-World Web Image Database from "
    "National University of Singapore, CIVR 2009",
)
MSCOCO = ListedSet(
    name="mscoco",
    n_labels=80,
    multi_label=True,
    top_k=5000,
    licence="images: Flickr users' own licences; annotations CC BY 4.0",
    citation="T.-Y. Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014",
)
LISTED_SETS: dict[str, ListedSet] = {listed.name: listed for listed in (IMAGENET100, NUSWIDE, MSCOCO)}
LOADERS.update({name: listed.load for name, listed in LISTED_SETS.items()})
