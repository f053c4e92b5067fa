"""All feature sets by name: `load_features`."""

from __future__ import annotations

from collections.abc import Callable

from sdclib.checks import check_name
from sdclib.datasets import IMAGE_SETS
from sdclib.embeddings import load_embeddings
from sdclib.extracted import has_images, load_extracted
from sdclib.features import DATA, FeatureSet, read_packed
from sdclib.holdout import hold_out
from sdclib.images import data_root
from sdclib.instances import INSTANCE_SETS, load_instance_set
from sdclib.longtail import long_tail, parse_longtail
from sdclib.unseen import UNSEEN, leave_out_training

__all__ = ["FEATURE_SETS", "HOLDOUT", "load_features"]

EMBEDDINGS = "embeddings"
HOLDOUT = "+holdout"

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
          `sdclib.extracted.load_extracted`.
        - "gldv2", "roxford-medium" and so on: feature files of one's own, see `sdclib.instances`.
        - "embeddings/FILE": any vectors; FILE is an absolute path or one in `sdclib.images.data_root`, see
          `sdclib.embeddings.load_embeddings`.

        With ``+holdout`` after any of them: a part of its training rows as queries and the rest as database and for
        training, so that settings can be tuned without a look at queries, see `sdclib.holdout.hold_out`.

        With ``+longtail-RATIO`` after a set with one label an image, such as "cifar10-embedded+longtail-50": fewer
        training rows, the largest class with RATIO times those of the smallest; with ``+longtail-RATIO-control`` as
        many rows in classes of equal size; queries and database stay, see `sdclib.longtail.long_tail`.

        With ``+unseen``: the training rows are left out of every query's ranking, see
        `sdclib.unseen.leave_out_training`.

    Returns
    -------
    FeatureSet

    Raises
    ------
    ValueError
        If `name` is unknown, its suffix does not fit the set, or a data file is damaged; the message names the file.
    FileNotFoundError
        If a data file is missing.
    """
    if name.endswith(HOLDOUT):
        return hold_out(load_features(name.removesuffix(HOLDOUT)))
    if name.endswith(UNSEEN):
        return leave_out_training(load_features(name.removesuffix(UNSEEN)))
    if (tail := parse_longtail(name)) is not None:
        base, ratio, control = tail
        return long_tail(load_features(base), ratio, control=control)
    if has_images(name):
        return load_extracted(name)
    kind, _, rest = name.partition("/")
    if rest and kind == EMBEDDINGS:
        return load_embeddings(data_root() / rest, name=name)
    if name in INSTANCE_SETS:
        return load_instance_set(name)
    return _PACKAGED[check_name(name, "name", {*_PACKAGED, *FEATURE_SETS})]()
