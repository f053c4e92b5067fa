"""COIL-20: 20 objects on a turntable, 72 views each; which object it is counts, not which kind of thing."""

from __future__ import annotations

from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import find_classes
from sdclib.data.splits import class_split

__all__ = ["COIL20"]

COIL20 = register(
    CommittedSet(
        name="coil20",
        # root/obj1/obj1__0.*, ids are OBJECT/STEM
        find=lambda root, download: find_classes(root, suffix=False),
        rule=lambda found: class_split(found.ids, found.labels, seed=42, n_query=10, n_train=62),
        rule_text="class_split by SHA-256 of 42:OBJECT/STEM; an object: 10 views queries, 62 database, all of it "
        "for training",
        by_pixels=False,
        top_k=100,
        denominator="relevant",  # as for the landmark sets, which it stands in for
        licence="for research; COIL-20 names no licence",
        citation="S. A. Nene, S. K. Nayar, H. Murase: Columbia Object Image Library (COIL-20), technical report "
        "CUCS-005-96, Columbia University, 1996",
    )
)
