"""Image sets by name, each with its split: `load_image_set`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sdclib.checks import check_name
from sdclib.data.image_sets.caltech101 import CALTECH101
from sdclib.data.image_sets.cifar10 import CIFAR10
from sdclib.data.image_sets.coil20 import COIL20
from sdclib.data.image_sets.committed import CommittedSet
from sdclib.data.image_sets.corel5k import COREL5K
from sdclib.data.image_sets.digits import load_digits
from sdclib.data.image_sets.fashion_mnist import FASHION_MNIST
from sdclib.data.image_sets.folder import load_folder
from sdclib.data.image_sets.lists import LISTED_SETS
from sdclib.data.images import ImageSet

__all__ = ["COMMITTED_SETS", "IMAGE_SETS", "LISTED_SETS", "has_images", "load_image_set", "named_images"]

DISJOINT = "-disjoint"

COMMITTED_SETS: dict[str, CommittedSet] = {
    committed.name: committed for committed in (CALTECH101, CIFAR10, COIL20, COREL5K, FASHION_MNIST)
}

_LOADERS: dict[str, Callable[..., ImageSet]] = {
    **{name: committed.load for name, committed in COMMITTED_SETS.items()},
    **{name: listed.load for name, listed in LISTED_SETS.items()},
    "digits": load_digits,
    "folder": load_folder,
}

IMAGE_SETS = tuple(sorted(_LOADERS))
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
        `CommittedSet.load` (``download``), `ListedSet.load` (``lists``, ``missing``, ...) and `load_folder`
        (``n_query``, ``n_train``, ``top_k``, ``seed``).

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        If the name or an option is unknown, or the images are not those expected; the message says which.
    """
    loader = _LOADERS[check_name(name, "name", _LOADERS)]
    known = set(inspect.signature(loader).parameters)
    for option in options:
        check_name(option, f"options of image set {name!r}", known)
    images = loader(**options)
    return images if train_in_database else images.disjoint()


def has_images(name: str) -> bool:
    """Whether `name` is ``"IMAGE_SET/BACKBONE"``, see `sdclib.catalogue.load_extracted`."""
    image_set, slash, backbone = name.partition("/")
    return bool(slash and backbone) and image_set.removesuffix(DISJOINT) in IMAGE_SETS


def named_images(name: str) -> tuple[ImageSet, str]:
    """Take ``"IMAGE_SET/BACKBONE"`` apart into the images and the backbone's name."""
    image_set, _, backbone = name.partition("/")
    in_database = not image_set.endswith(DISJOINT)
    return load_image_set(image_set.removesuffix(DISJOINT), train_in_database=in_database), backbone
