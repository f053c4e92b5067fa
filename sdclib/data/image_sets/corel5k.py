"""Corel-5k: several words an image, with its given split."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import Found
from sdclib.data.images import file_reader
from sdclib.data.splits import Split
from sdclib.data.tables import read_csv

__all__ = ["COREL5K", "find", "read_labels"]


def read_labels(path: Path) -> tuple[list[str], list[str], NDArray[np.uint8], tuple[str, ...]]:
    """Read ``labels.csv``: path, split ("train" or "test"), words separated by spaces.

    Returns
    -------
    paths, splits : list of str
    labels : ndarray, shape (n_images, n_words), uint8
    words : tuple of str
        All words, sorted.

    Raises
    ------
    ValueError
        If the file is missing or a line is not as described; the message names file and line.
    """
    if not path.is_file():
        raise ValueError(f"{path}: expected a file with the columns path, split, labels, found none")
    table = read_csv(path, dtype=str, keep_default_na=False)
    if not {"path", "split", "labels"} <= set(table.columns):
        raise ValueError(
            f"{path}: expected the columns path,split,labels, got {','.join(map(str, table.columns))}"
        )
    rows = [
        (str(row.path), str(row.split), set(str(row.labels).split())) for row in table.itertuples(index=False)
    ]
    for number, (image, part, words) in enumerate(rows, start=2):
        if part not in ("train", "test") or not image or not words or image == "nan":
            raise ValueError(
                f"{path}, line {number}: expected path,split,labels with split train or test, got "
                f"{image!r}, {part!r}, {' '.join(sorted(words))!r}"
            )
    if not rows:
        raise ValueError(f"{path}: expected at least one image, found none")
    known = tuple(sorted(set().union(*(words for _, _, words in rows))))
    labels = np.array([[word in words for word in known] for _, _, words in rows], dtype=np.uint8)
    return [row[0] for row in rows], [row[1] for row in rows], labels, known


def find(root: Path, download: bool) -> Found:
    """Find the images that ``root/labels.csv`` names; ids are SPLIT/STEM. Nothing is downloaded.

    Raises
    ------
    ValueError
        If the list or images it names are missing.
    """
    paths, splits, labels, words = read_labels(root / "labels.csv")
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        raise ValueError(
            f"{root}: expected the images of labels.csv, but {len(missing)} are missing, first {missing[0]}"
        )
    ids = [f"{split}/{PurePosixPath(path).stem}" for split, path in zip(splits, paths, strict=True)]
    return Found(ids, labels, words, file_reader([root / path for path in paths]))


def protocol(found: Found) -> Split:
    """Split as given, test = queries, train = database = for training, in an order by SHA-256 of "42:ID"."""
    order = sorted(
        range(len(found.ids)), key=lambda i: hashlib.sha256(f"42:{found.ids[i]}".encode()).hexdigest()
    )
    query = [i for i in order if found.ids[i].startswith("test/")]
    database = [i for i in order if found.ids[i].startswith("train/")]
    return Split(np.array(query, np.int64), np.array(database, np.int64), np.arange(len(database)))


COREL5K = register(
    CommittedSet(
        name="corel5k",
        find=find,
        rule=protocol,
        rule_text="as given: test = queries, train = database = for training; order by SHA-256 of 42:SPLIT/STEM",
        by_pixels=False,
        top_k=1000,
        licence="Corel stock photographs, for research; no licence for redistribution",
        citation="P. Duygulu, K. Barnard, J. F. G. de Freitas, D. A. Forsyth: Object Recognition as Machine "
        "Translation: Learning a Lexicon for a Fixed Image Vocabulary, ECCV 2002",
        empty="skip",
    )
)
