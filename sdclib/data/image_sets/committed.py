"""Image sets whose split is committed: made once by a seeded rule, the same on every machine, checked when loaded."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdclib.data.images import ImageSet, data_root
from sdclib.data.splits import Split, split_sha256
from sdclib.files import file_sha256, read_json

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MANIFEST", "SPLITS", "CommittedSet", "Found", "id_keys", "in_split_order", "split_bytes"]

SPLITS = Path(__file__).resolve().parent.parent / "splits"
MANIFEST = SPLITS / "splits.json"


@dataclass(frozen=True)
class Found:
    """The images of a set as they lie on this machine, in any order; fields as in `ImageSet`."""

    ids: Sequence[str]
    labels: NDArray[np.integer]
    class_names: tuple[str, ...]
    read: Callable[[int], Image.Image]


@dataclass(frozen=True)
class CommittedSet:
    """A set with a committed split.

    Attributes
    ----------
    name : str
    find : callable
        ``find(root, download)`` gives the `Found` images of the folder `root`.
    rule : callable
        ``rule(found)`` gives the `Split`; for sets told apart by pixels it is applied again when they are loaded,
        as the file holds queries and training images only.
    rule_text : str
        What the rule is, for the manifest.
    by_pixels : bool
        Ids are SHA-256 of pixels (the committed file is an .npz of their first 8 bytes) rather than names (.csv.gz).
    top_k, licence, citation, denominator, empty
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
        """Find the images, check that they are those of the committed split, and number them in its order.

        Parameters
        ----------
        root : path-like, optional
            Folder of the set, ``data_root() / name`` by default.
        download : bool, optional
            Let torchvision download into `root` what is missing, where it can. By default only where neither
            `root` nor SDC_DATA says where the images are.

        Returns
        -------
        ImageSet

        Raises
        ------
        ValueError
            If images are missing, too many or other ones; the message names them.
        """
        if download is None:
            download = root is None and not os.environ.get("SDC_DATA")
        folder = data_root() / self.name if root is None else Path(root)
        found = self.find(folder, download)
        split = self._pixel_split(found) if self.by_pixels else self._named_split(found)
        images = self.image_set(found, split)
        expected = self._entry()["data_sha256"]
        if images.sha256 != expected:
            raise ValueError(
                f"{folder}: expected the images of the committed split of {self.name} with its labels (data hash "
                f"{expected}), got the same images with other labels ({images.sha256})"
            )
        return images

    def image_set(self, found: Found, split: Split) -> ImageSet:
        """Make the image set of a split, its images numbered in the split's order."""
        order, split = in_split_order(split)
        return ImageSet(
            name=self.name,
            ids=tuple(found.ids[i] for i in order),
            read=_Reordered(found.read, order),
            labels=found.labels[order],
            query=split.query,
            database=split.database,
            train_index=split.train_index,
            top_k=self.top_k,
            licence=self.licence,
            citation=self.citation,
            class_names=found.class_names,
            denominator=self.denominator,
            empty=self.empty,
        )

    def _entry(self) -> dict[str, Any]:
        """Manifest entry, the committed file checked against it."""
        entry = read_json(MANIFEST).get(self.name)
        if entry is None:
            raise ValueError(f"{MANIFEST}: expected an entry {self.name!r}, found none")
        if not self.file.is_file():
            raise FileNotFoundError(f"{self.file}: data file is missing; install sdclib again")
        digest = file_sha256(self.file)
        if digest != entry["file_sha256"]:
            raise ValueError(
                f"{self.file}: damaged data file, expected SHA-256 {entry['file_sha256']}, got {digest}"
            )
        return dict(entry)

    def _named_split(self, found: Found) -> Split:
        self._entry()
        try:
            rows = list(csv.DictReader(io.StringIO(gzip.decompress(self.file.read_bytes()).decode())))
            ids, roles = [str(row["id"]) for row in rows], np.array([str(row["role"]) for row in rows])
        except (OSError, EOFError, KeyError, UnicodeDecodeError, csv.Error, zlib.error) as error:
            raise ValueError(f"{self.file}: damaged data file ({error})") from error
        _check_same(self.name, "image", ids, found.ids)
        number = {image: i for i, image in enumerate(found.ids)}
        order = np.array([number[image] for image in ids], dtype=np.int64)
        in_database = roles != "query"
        return Split(order[~in_database], order[in_database], np.flatnonzero(roles[in_database] == "train"))

    def _pixel_split(self, found: Found) -> Split:
        entry = self._entry()
        try:
            with self.file.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                keys = {role: archive[role].astype(np.uint64) for role in ("query", "train")}
        except Exception as error:  # zipfile and NumPy fail in many ways
            raise ValueError(f"{self.file}: damaged data file ({error})") from error
        here = set(id_keys(found.ids).tolist())
        for role, expected in keys.items():
            missing = [key for key in expected.tolist() if key not in here]
            if missing:
                raise ValueError(
                    f"{self.name}: expected the images of the committed split, but {len(missing)} of "
                    f"{len(expected)} {role} images are missing, first is the one whose SHA-256 of pixels starts "
                    f"with {missing[0]:016x}; are these the pixels as published?"
                )
        n_images = sum(entry["counts"][role] for role in ("query", "database"))
        if len(found.ids) != n_images:
            raise ValueError(
                f"{self.name}: expected {n_images} images as in the committed split, got {len(found.ids)}"
            )
        split = self.rule(found)
        if split_sha256(split, found.ids) != entry["split_sha256"]:
            raise ValueError(
                f"{self.name}: expected the images of the committed split (hash {entry['split_sha256']}), but some "
                "images of the database are others, or in other classes"
            )
        return split


def in_split_order(split: Split) -> tuple[NDArray[np.int64], Split]:
    """Renumber images in the order of a split, so that their numbers do not depend on the machine.

    Returns
    -------
    order : ndarray, shape (n_query + n_database,), int64
        Old numbers: queries, then the database.
    split : Split
        With the new numbers.
    """
    n_query, n = len(split.query), len(split.query) + len(split.database)
    renumbered = Split(np.arange(n_query), np.arange(n_query, n), split.train_index)
    return np.concatenate([split.query, split.database]), renumbered


def id_keys(ids: Sequence[str]) -> NDArray[np.uint64]:
    """First 8 bytes of ids that are hexadecimal SHA-256, shape (n,), uint64."""
    return np.array([int(image[:16], 16) for image in ids], dtype=np.uint64)


def split_bytes(committed: CommittedSet, found: Found, split: Split) -> bytes:
    """Content of the committed file of a split; the same split gives the same bytes."""
    if committed.by_pixels:
        keys = id_keys(found.ids)
        file = io.BytesIO()
        arrays = {"query": keys[split.query], "train": keys[split.database[split.train_index]]}
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()
    roles = np.full(len(split.database), "database")
    roles[split.train_index] = "train"
    rows = [(found.ids[i], "query") for i in split.query]
    rows += [(found.ids[i], role) for i, role in zip(split.database, roles, strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("id", "role"), *rows])
    return gzip.compress(text.getvalue().encode(), mtime=0)


@dataclass(frozen=True)
class _Reordered:
    """Reads image number i as number ``order[i]`` of another reader; can be sent to another process."""

    read: Callable[[int], Image.Image]
    order: NDArray[np.int64]

    def __call__(self, image: int) -> Image.Image:
        return self.read(int(self.order[image]))


def _check_same(name: str, what: str, expected: Sequence[str], got: Sequence[str]) -> None:
    """Check that both hold the same ids, each once; else name what differs."""
    twice = [image for image, count in Counter(got).items() if count > 1]
    missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    parts = [
        f"{len(ids)} {kind} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
        for kind, ids in (("missing", missing), ("not in the split", extra), ("there twice", twice))
        if ids
    ]
    if parts:
        raise ValueError(
            f"{name}: expected the {len(expected)} {what}s of the committed split, but {' and '.join(parts)}"
        )
