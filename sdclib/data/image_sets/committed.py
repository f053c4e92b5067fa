"""Image sets whose split is committed: made once by a seeded rule, the same on every machine, checked when loaded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdclib.data.image_sets.sources import LOADERS, Found, split_images
from sdclib.data.images import ImageSet, data_root
from sdclib.data.splits import Split
from sdclib.data.tables import listed, read_csv
from sdclib.files import file_sha256, read_json

__all__ = ["COMMITTED_SETS", "MANIFEST", "SPLITS", "CommittedSet", "register"]

SPLITS = Path(__file__).resolve().parent.parent / "splits"
MANIFEST = SPLITS / "splits.json"


@dataclass(frozen=True)
class CommittedSet:
    """A set with a committed split.

    Attributes
    ----------
    find : callable
        ``find(root, download)`` gives the `Found` images of the folder `root`.
    rule, rule_text : callable, str
        ``rule(found)`` gives the `Split`; the text says how, in the manifest.
    by_pixels : bool
        Ids are SHA-256 of pixels (the committed file is an .npz of the first 8 bytes of those of queries and training
        images) rather than names (a .csv.gz of all).
    name, top_k, licence, citation, denominator, empty
        As in `ImageSet`.
    """

    name: str
    find: Callable[[Path, bool], Found]
    rule: Callable[[Found], Split]
    rule_text: str
    by_pixels: bool
    top_k: int
    licence: str
    citation: str
    denominator: str = "retrieved"
    empty: str = "zero"

    @property
    def file(self) -> Path:
        """The committed file."""
        return SPLITS / f"{self.name}.{'npz' if self.by_pixels else 'csv.gz'}"

    def load(self, *, root: Path | str | None = None, download: bool | None = None) -> ImageSet:
        """Find the images, split them by the rule, and check that this is the committed split.

        `root` is the folder of the set, ``data_root() / name`` by default. With `download`, torchvision downloads into
        it what is missing, where it can; by default only where neither `root` nor SDC_DATA says where the images are.
        ValueError that names what differs if images are missing, too many or other ones.
        """
        if download is None:
            download = root is None and not os.environ.get("SDC_DATA")
        folder = data_root() / self.name if root is None else Path(root)
        found = self.find(folder, download)
        entry = read_json(MANIFEST)[self.name]
        self._check_images(found, entry, folder)
        images = self.image_set(found, self.rule(found))
        if images.sha256 != entry["data_sha256"]:
            raise ValueError(
                f"{folder}: expected the images of the committed split of {self.name} with its labels (data hash "
                f"{entry['data_sha256']}), but some images are others, or have other labels ({images.sha256})"
            )
        return images

    def image_set(self, found: Found, split: Split) -> ImageSet:
        """Make the image set of a split."""
        names = ("name", "top_k", "licence", "citation", "denominator", "empty")
        return split_images(found, split, **{name: getattr(self, name) for name in names})

    def _check_images(self, found: Found, entry: dict[str, Any], folder: Path) -> None:
        """Check that the ids are the committed ones, each once; else name what differs."""
        n_images = entry["counts"]["query"] + entry["counts"]["database"]
        ids = [image[:16] for image in found.ids] if self.by_pixels else list(found.ids)
        expected = set(self._committed_ids(entry["file_sha256"]))
        differences = {
            "missing": sorted(expected - set(ids)),
            "not in the split": [] if self.by_pixels else sorted(set(ids) - expected),
            "there twice": [image for image, count in Counter(ids).items() if count > 1],
        }
        parts = [f"{len(names)} {kind} ({listed(names)})" for kind, names in differences.items() if names]
        if not parts and len(ids) != n_images:
            parts = [f"there are {len(ids)}"]
        if parts:
            by = " (by SHA-256 of their pixels as published)" if self.by_pixels else ""
            raise ValueError(
                f"{folder}: expected the {n_images} images of the committed split of {self.name}{by}, but "
                f"{' and '.join(parts)}"
            )

    def _committed_ids(self, sha256: str) -> list[str]:
        if (digest := file_sha256(self.file)) != sha256:
            raise ValueError(f"{self.file}: damaged data file, expected SHA-256 {sha256}, got {digest}")
        if not self.by_pixels:
            return read_csv(self.file, dtype=str, na_filter=False)["id"].tolist()
        with np.load(self.file, allow_pickle=False) as archive:
            keys = np.concatenate([archive[role] for role in ("query", "train")])
        return [f"{key:016x}" for key in keys.tolist()]


COMMITTED_SETS: dict[str, CommittedSet] = {}


def register(committed: CommittedSet) -> CommittedSet:
    """Make a set known to `sdclib.data.image_sets.load_image_set` and ``scripts/make_splits.py``."""
    COMMITTED_SETS[committed.name] = committed
    LOADERS[committed.name] = committed.load
    return committed
