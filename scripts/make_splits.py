"""Make the committed splits of the image sets again: the files of ``sdclib/data/splits`` and their manifest.

    SDC_DATA=FOLDER python scripts/make_splits.py [NAME ...]

The rules are seeded, so the same images give the same bytes on every machine. With ``--check`` nothing is written, and
it fails where a file would differ.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
from typing import Any

import numpy as np
import pandas as pd

from sdclib.checks import check_name
from sdclib.data.image_sets import COMMITTED_SETS
from sdclib.data.image_sets.committed import MANIFEST, CommittedSet
from sdclib.data.image_sets.sources import Found
from sdclib.data.images import data_root
from sdclib.data.splits import Split, split_sha256
from sdclib.files import read_json, write_bytes, write_json


def split_bytes(committed: CommittedSet, found: Found, split: Split) -> bytes:
    """Content of the committed file of a split; the same split gives the same bytes."""
    if committed.by_pixels:
        keys = np.array([int(image[:16], 16) for image in found.ids], dtype=np.uint64)
        file = io.BytesIO()
        arrays = {"query": keys[split.query], "train": keys[split.database[split.train_index]]}
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()
    roles = np.full(len(found.ids), "database")
    roles[split.query] = "query"
    roles[split.database[split.train_index]] = "train"
    rows = pd.DataFrame({"id": found.ids, "role": roles}).iloc[[*split.query, *split.database]]
    return gzip.compress(rows.to_csv(index=False, lineterminator="\n").encode(), mtime=0)


def make_split(committed: CommittedSet) -> tuple[bytes, dict[str, Any]]:
    """Make the content of a committed file and its manifest entry from the images in ``data_root() / name``."""
    found = committed.find(data_root() / committed.name, False)
    split = committed.rule(found)
    images = committed.image_set(found, split)
    data = split_bytes(committed, found, split)
    counts: dict[str, Any] = {role: len(getattr(images, role)) for role in ("query", "database", "train")}
    counts["labels"] = len(images.class_names)
    if images.labels.ndim == 1:
        for role in ("query", "train"):
            per_class = np.bincount(images.labels[getattr(images, role)], minlength=counts["labels"])
            counts[f"{role}_per_class"] = np.unique(per_class).tolist()
    entry = {
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "data_sha256": images.sha256,
        "split_sha256": split_sha256(split, found.ids),
        "rule": committed.rule_text,
        "counts": counts,
    }
    return data, entry


def main(argv: list[str] | None = None) -> int:
    """Make the files; return 1 where ``--check`` found a difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMMITTED_SETS))
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        check_name(name, "NAME", COMMITTED_SETS)
    manifest = read_json(MANIFEST) if MANIFEST.is_file() else {}
    status = 0
    for name in arguments.names or COMMITTED_SETS:
        committed = COMMITTED_SETS[name]
        data, entry = make_split(committed)
        print(f"{committed.file.name}: {len(data)} bytes, {entry['counts']}")
        if not arguments.check:
            write_bytes(committed.file, data)
            write_json(MANIFEST, manifest := manifest | {name: entry})
        elif manifest.get(name) != entry or committed.file.read_bytes() != data:
            print(f"{committed.file.name}: differs from the committed file")
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
