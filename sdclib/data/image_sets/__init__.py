"""Image sets by name, each with its split: `load_image_set`. A module here that registers a set makes it known."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from sdclib.checks import check_name
from sdclib.data.image_sets.committed import COMMITTED_SETS
from sdclib.data.image_sets.lists import LISTED_SETS
from sdclib.data.image_sets.sources import LOADERS
from sdclib.data.images import ImageSet

__all__ = ["COMMITTED_SETS", "IMAGE_SETS", "LISTED_SETS", "has_images", "load_image_set", "named_images"]

DISJOINT = "-disjoint"

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

IMAGE_SETS = tuple(sorted(LOADERS))
"""Names that `load_image_set` knows."""


def load_image_set(name: str, *, train_in_database: bool = True, **options: Any) -> ImageSet:
    """Load a set of images by name.

    Parameters
    ----------
    name : str
        One of `IMAGE_SETS`.
    train_in_database : bool
        Whether training images stay in the database, as in the paper. False takes them out (they are then
        `ImageSet.separate_train`, and the name ends in -disjoint).
    **options
        ``root``: the set's folder, by default the one called `name` in `sdclib.data.images.data_root`. Others as in
        `CommittedSet.load` (``download``), `ListedSet.load` (``missing``) and `load_folder` (``n_query``, ``n_train``,
        ``top_k``, ``seed``).
    """
    loader = LOADERS[check_name(name, "name", LOADERS)]
    for option in options:
        check_name(option, f"options of image set {name!r}", inspect.signature(loader).parameters)
    images = loader(**options)
    return images if train_in_database else images.disjoint()


def has_images(name: str) -> bool:
    """Whether `name` is ``"IMAGE_SET/BACKBONE"``, see `sdclib.catalogue.load_extracted`."""
    image_set, slash, backbone = name.partition("/")
    return bool(slash and backbone) and image_set.removesuffix(DISJOINT) in LOADERS


def named_images(name: str) -> tuple[ImageSet, str]:
    """Take ``"IMAGE_SET/BACKBONE"`` apart into the images and the backbone's name."""
    image_set, _, backbone = name.partition("/")
    in_database = not image_set.endswith(DISJOINT)
    return load_image_set(image_set.removesuffix(DISJOINT), train_in_database=in_database), backbone
