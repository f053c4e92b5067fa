"""Feature sets by the name of an image set and a backbone, extracted when first asked for."""

from __future__ import annotations

import functools
import hashlib

from sdclib.backbones import load_backbone
from sdclib.datasets import IMAGE_SETS, load_image_set
from sdclib.feature_cache import extract_features
from sdclib.features import FeatureSet
from sdclib.images import ImageSet

__all__ = ["has_images", "load_extracted", "named_images"]

DISJOINT = "-disjoint"


def has_images(name: str) -> bool:
    """Whether `name` is ``"IMAGE_SET/BACKBONE"``, see `load_extracted`."""
    image_set, slash, backbone = name.partition("/")
    return bool(slash and backbone) and image_set.removesuffix(DISJOINT) in IMAGE_SETS


def named_images(name: str) -> tuple[ImageSet, str]:
    """Take ``"IMAGE_SET/BACKBONE"`` apart, see `load_extracted`: the images, and the backbone's name."""
    image_set, _, backbone = name.partition("/")
    in_database = not image_set.endswith(DISJOINT)
    return load_image_set(image_set.removesuffix(DISJOINT), train_in_database=in_database), backbone


@functools.lru_cache(maxsize=2)
def load_extracted(name: str) -> FeatureSet:
    """Load the features of an image set by a backbone; extract and cache what is not there yet.

    Parameters
    ----------
    name : str
        ``"IMAGE_SET/BACKBONE"``, such as ``"caltech101/efficientnet-lite0"``: see `sdclib.datasets.IMAGE_SETS` and
        `sdclib.backbones.BACKBONES`. With ``-disjoint`` after the image set the training images are not in the
        database.

    Returns
    -------
    FeatureSet

    Raises
    ------
    ValueError
        If a name is unknown, images are not those of the committed split, or a cached file is damaged.
    """
    images, backbone = named_images(name)
    cached = extract_features(images, load_backbone(backbone))
    return FeatureSet(
        name=name,
        query=cached.rows(images.query),
        database=cached.rows(images.database),
        query_labels=images.labels[images.query],
        database_labels=images.labels[images.database],
        train_index=images.train_index,
        train_features=None if images.separate_train is None else cached.rows(images.train),
        top_k=images.top_k,
        licence=images.licence,
        citation=images.citation,
        denominator=images.denominator,
        empty=images.empty,
        sha256=hashlib.sha256(f"{images.sha256} {cached.sha256}".encode()).hexdigest(),
    )
