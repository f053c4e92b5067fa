"""Caltech-101 without its background folder, from torchvision's download or plain class folders."""

from __future__ import annotations

from pathlib import Path

from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import Found, by_torchvision, find_classes
from sdclib.data.splits import class_split

__all__ = ["CALTECH101", "find"]


def find(root: Path, download: bool) -> Found:
    """Find ``CLASS/*`` in `root`, root/101_ObjectCategories or root/caltech101/101_ObjectCategories.

    Ids are CLASS/STEM, so that copies in another file format are the same images. ValueError if there are no class
    folders (and they cannot be downloaded).
    """
    folders = [root / "caltech101" / "101_ObjectCategories", root / "101_ObjectCategories"]
    if download and not any(folder.is_dir() for folder in (*folders, root / "accordion")):
        from torchvision.datasets import Caltech101  # type: ignore[import-untyped]

        by_torchvision(lambda: Caltech101(root, download=True), root, "Caltech-101's class folders")
    folder = next((folder for folder in folders if folder.is_dir()), root)
    return find_classes(folder, leave_out=("BACKGROUND_Google",), suffix=False)


CALTECH101 = register(
    CommittedSet(
        name="caltech101",
        find=find,
        rule=lambda found: class_split(found.ids, found.labels, seed=42, n_query=10, n_train=20),
        rule_text="class_split by SHA-256 of 42:CLASS/STEM; a class: 10 queries, the rest database, 20 of it "
        "for training",
        by_pixels=False,
        top_k=100,
        licence="CC BY 4.0 (CaltechDATA)",
        citation="L. Fei-Fei, R. Fergus, P. Perona: Learning generative visual models from few training examples, "
        "CVPR Workshop on Generative-Model Based Vision, 2004",
    )
)
