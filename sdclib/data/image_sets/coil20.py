"""COIL-20: 20 objects on a turntable, 72 views each; which object it is counts, not which kind of thing."""

from __future__ import annotations

from pathlib import Path

from sdclib.data.image_sets.committed import CommittedSet, Found
from sdclib.data.image_sets.folder import find_classes
from sdclib.data.splits import Split, class_split

__all__ = ["COIL20", "find"]


def find(root: Path, download: bool) -> Found:
    """Find ``root/obj1/obj1__0.*`` and so on; ids are OBJECT/STEM. Nothing is downloaded.

    Raises
    ------
    ValueError
        If there are no folders of images.
    """
    return find_classes(root, suffix=False)


def protocol(found: Found) -> Split:
    """Split with 10 views an object as queries, the other 62 database and for training."""
    return class_split(found.ids, found.labels, seed=42, n_query=10, n_train=62)


COIL20 = CommittedSet(
    name="coil20",
    find=find,
    rule=protocol,
    rule_text="class_split by SHA-256 of 42:OBJECT/STEM; an object: 10 views queries, 62 database, "
    "all of it for training",
    by_pixels=False,
    top_k=100,
    denominator="relevant",  # as for the landmark sets, which it stands in for
    licence="for research; COIL-20 names no licence",
    citation="S. A. Nene, S. K. Nayar, H. Murase: Columbia Object Image Library (COIL-20), technical report "
    "CUCS-005-96, Columbia University, 1996",
)
