"""Corel-5k: several words an image, with its given split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import Found
from sdclib.data.images import file_reader
from sdclib.data.splits import Split, seeded_order
from sdclib.data.tables import read_csv

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COREL5K", "find", "read_labels"]


def read_labels(path: Path) -> pd.DataFrame:
    """Read ``labels.csv``: columns path, split ("train" or "test"), labels (words separated by blanks).

    ValueError that names file and line if it is missing or not as described.
    """
    if not path.is_file():
        raise ValueError(f"{path}: expected a file with the columns path, split, labels, found none")
    table = read_csv(path, dtype=str, keep_default_na=False).fillna("")
    if not {"path", "split", "labels"} <= set(table.columns):
        raise ValueError(f"{path}: expected the columns path,split,labels, got {','.join(table.columns)}")
    if table.empty:
        raise ValueError(f"{path}: expected at least one image, found none")
    good = (
        table["split"].isin(["train", "test"]) & (table["path"] != "") & (table["labels"].str.strip() != "")
    )
    if not good.all():
        number = int(np.argmin(good))
        raise ValueError(
            f"{path}, line {number + 2}: expected path,split,labels with split train or test, got "
            f"{','.join(table.iloc[number])}"
        )
    return table


def find(root: Path, download: bool) -> Found:
    """Find the images that ``root/labels.csv`` names; ids are SPLIT/STEM. Nothing is downloaded.

    ValueError if the list or images it names are missing.
    """
    table = read_labels(root / "labels.csv")
    missing = [path for path in table["path"] if not (root / path).is_file()]
    if missing:
        raise ValueError(
            f"{root}: expected the images of labels.csv, but {len(missing)} are missing, first {missing[0]}"
        )
    words = table["labels"].str.get_dummies(sep=" ")
    return Found(
        ids=[f"{part}/{Path(path).stem}" for part, path in zip(table["split"], table["path"], strict=True)],
        labels=words.to_numpy(np.uint8),
        class_names=tuple(words.columns),
        read=file_reader([root / path for path in table["path"]]),
    )


def protocol(found: Found) -> Split:
    """Split as given, test = queries, train = database = for training, in an order by SHA-256 of "42:ID"."""
    order = seeded_order(found.ids, seed=42)
    is_query = np.array([found.ids[i].startswith("test/") for i in order])
    return Split(order[is_query], order[~is_query], np.arange((~is_query).sum()))


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
