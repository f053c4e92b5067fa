"""All feature sets by name: `load_features`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

from sdclib.checks import check_name
from sdclib.data.embeddings import load_embeddings
from sdclib.data.features import DATA, FeatureSet, read_packed
from sdclib.data.image_sets import IMAGE_SETS, has_images, named_images
from sdclib.data.images import data_root
from sdclib.data.instances import INSTANCE_SETS, load_instance_set
from sdclib.data.variants import (
    HOLDOUT,
    UNSEEN,
    hold_out,
    leave_out_training,
    long_tail,
    move_mean,
    parse_bias,
    parse_longtail,
)
from sdclib.extract.backbones import load_backbone
from sdclib.extract.feature_cache import extract_features

__all__ = ["FEATURE_SETS", "load_extracted", "load_features"]

EMBEDDINGS = "embeddings"

_PACKAGED: dict[str, Callable[[], FeatureSet]] = {
    "cifar10-embedded": lambda: read_packed(DATA / "cifar10_embedded.npz")
}

FEATURE_SETS = (
    *_PACKAGED,
    *INSTANCE_SETS,
    *(f"{name}/BACKBONE" for name in IMAGE_SETS),
    f"{EMBEDDINGS}/FILE",
)
"""Names that `load_features` knows; BACKBONE and FILE stand for names of their own."""


def load_features(name: str = "cifar10-embedded") -> FeatureSet:
    """Load a set of features by name.

    Parameters
    ----------
    name : str
        - "cifar10-embedded" comes with the package: 1,000 queries, a database of 10,000 and 5,000 training images of
          CIFAR-10 as 256 values each, made from EfficientNet-Lite0's features by ``scripts/make_embedded_features.py``;
          ``data/cifar10_embedded.json`` says how and how faithful it is.
        - "IMAGE_SET/BACKBONE", such as "caltech101/efficientnet-lite0": extracted when first asked for, see
          `load_extracted`.
        - "gldv2", "roxford-medium" and so on: feature files of one's own, see `sdclib.data.instances`.
        - "embeddings/FILE": any vectors; FILE is an absolute path or one in `sdclib.data.images.data_root`, see
          `sdclib.data.embeddings.load_embeddings`.

        Behind any of them a variant may stand, or several, see `sdclib.data.variants`:

        - ``+holdout``: a part of its training rows as queries and the rest as database and for training, so that
          settings can be tuned without a look at queries (`hold_out`)
        - ``+longtail-RATIO``, ``+longtail-RATIO-control``: fewer training rows, the largest class with RATIO times
          those of the smallest, or as many rows in classes of equal size (`long_tail`)
        - ``+unseen``: the training rows are left out of every query's ranking (`leave_out_training`)
        - ``+bias(NUMBER)``: that many times the mean of the training rows is added to all features (`move_mean`)

    Raises
    ------
    ValueError
        If `name` is unknown, a variant does not fit the set, or a data file is damaged; the message names the file.
    FileNotFoundError
        If a data file is missing.
    """
    if name.endswith(HOLDOUT):
        return hold_out(load_features(name.removesuffix(HOLDOUT)))
    if name.endswith(UNSEEN):
        return leave_out_training(load_features(name.removesuffix(UNSEEN)))
    if (bias := parse_bias(name)) is not None:
        return move_mean(load_features(bias[0]), bias[1])
    if (tail := parse_longtail(name)) is not None:
        base, ratio, control = tail
        return long_tail(load_features(base), ratio, control=control)
    if has_images(name):
        return load_extracted(name)
    kind, _, file = name.partition("/")
    if file and kind == EMBEDDINGS:
        return load_embeddings(data_root() / file, name=name)
    if name in INSTANCE_SETS:
        return load_instance_set(name)
    return _PACKAGED[check_name(name, "name", {*_PACKAGED, *FEATURE_SETS})]()


@functools.lru_cache(maxsize=2)
def load_extracted(name: str) -> FeatureSet:
    """Load the features of an image set by a backbone; extract and cache what is not there yet.

    The name is ``"IMAGE_SET/BACKBONE"``, see `sdclib.data.image_sets.IMAGE_SETS` and
    `sdclib.extract.backbones.BACKBONES`. With ``-disjoint`` after the image set the training images are not in the
    database. ValueError if images are not those of the committed split, or a cached file is damaged.
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
