"""Augmented views of training images, as features and as patch tokens: what contrastive methods learn from.

Every training image is changed at random a few times, as in the authors' code, and each result goes through the frozen
backbone once. The features lie in the feature cache like any others, so training draws from them and runs no network.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_name
from sdclib.data.features import DATA, read_packed, read_packed_views
from sdclib.data.image_sets import IMAGE_SETS, has_images, named_images
from sdclib.data.images import ImageSet
from sdclib.data.variants import HOLDOUT, UNSEEN, holdout_rows, moved, parse_bias
from sdclib.extract.backbones import load_backbone
from sdclib.extract.feature_cache import extract_features

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["VIEWS_VERSION", "AugmentedImages", "Views", "augment", "load_tokens", "load_views"]

N_VIEWS = 4
N_TOKEN_VIEWS = 2  # patch tokens of an image take about 200 times the room of its feature
SEED = 0
VIEWS_VERSION = 2  # raised by hand when views are made another way; runs that learn from them are then stale

PACKAGED = {"cifar10-embedded": "cifar10_embedded"}


@dataclass(frozen=True, eq=False)
class Views:
    """Features of augmented views of the training images of a feature set.

    float32 of shape (n_views, n_train, d), or (n_views, n_train, n_tokens, token_size) for tokens; a hash of the data.
    """

    features: NDArray[np.float32]
    sha256: str


def augment(image: Image.Image, size: int, seed: int) -> Image.Image:
    """Change an image at random, as the authors' code does for its contrastive term.

    In this order: a crop of 50 to 100 % of the area and an aspect ratio of 3/4 to 4/3, brought to `size` x `size`
    pixels; a mirror image with probability 0.5; brightness, contrast and saturation by up to 40 % and hue by up to
    10 % of the circle, in a random order, with probability 0.7; grey with probability 0.2; always a Gaussian blur
    of 0.1 to 2 pixels with a kernel of 3 x 3 pixels.

    Image and result are RGB; the seed is at least 0, below 2**64. Torch's generator is put back afterwards.

    References
    ----------
    kamwoh/sdc, configs/transforms/cibhash.yaml; after Qiu et al., "Unsupervised hashing with contrastive information
    bottleneck", IJCAI 2021, whose code blurs with probability 0.5.
    """
    from torch.random import fork_rng, manual_seed

    with _ONE_AT_A_TIME, fork_rng(devices=[]):  # torch has one generator for all threads
        manual_seed(seed)
        return _transforms(size)(image)


_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def _transforms(size: int) -> Any:
    from torchvision import transforms  # type: ignore[import-untyped]

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.5, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.7),
            transforms.RandomGrayscale(p=0.2),
            transforms.GaussianBlur(3),
        ]
    )


@dataclass(frozen=True, eq=False)
class AugmentedImages:
    """Augmented views of the training images of a set, in the form that the feature cache takes.

    Number v * n_train + i is view v of training image i. What becomes of an image depends on its id, the view and
    `SEED` alone.
    """

    images: ImageSet
    n_views: int
    size: int  # of a side, in pixels: the backbone's, so that it is resized once

    @property
    def name(self) -> str:
        """NAME-views."""
        return f"{self.images.name}-views"

    @property
    def ids(self) -> tuple[str, ...]:
        """IMAGE#VIEW."""
        train = [self.images.ids[i] for i in self.images.train]
        return tuple(f"{image}#{view}" for view in range(self.n_views) for image in train)

    def read(self, number: int) -> Image.Image:
        """Read and change one image; ValueError as `ImageSet.read`."""
        view, i = divmod(number, len(self.images.train))
        image = int(self.images.train[i])
        digest = hashlib.sha256(f"{SEED}:{view}:{self.images.ids[image]}".encode()).digest()
        return augment(self.images.read(image), self.size, int.from_bytes(digest[:8], "little"))


def load_views(name: str) -> Views:
    """Load the features of four augmented views of each training image; extract and cache what is not there yet.

    The name is that of a feature set made from images: "IMAGE_SET/BACKBONE" or "cifar10-embedded" (which comes with two
    views), see `sdclib.catalogue.load_features`; with "+holdout", the views of the rows that then are for training.
    With "+bias(NUMBER)", views are moved like the features. "+unseen" changes nothing. ValueError for other sets.
    """
    return _load(name, tokens=False)


def load_tokens(name: str) -> Views:
    """Load the patch tokens of the first two augmented views of each training image, see `load_views`.

    ValueError also if the backbone has none.
    """
    return _load(name, tokens=True)


def _load(name: str, *, tokens: bool) -> Views:
    name = name.removesuffix(UNSEEN)
    if name.endswith(HOLDOUT):  # the rows that `sdclib.data.variants.hold_out` leaves for training
        views = _load(name.removesuffix(HOLDOUT), tokens=tokens)
        _, train = holdout_rows(views.features.shape[1])
        digest = hashlib.sha256(f"{views.sha256} holdout".encode()).hexdigest()
        return Views(np.ascontiguousarray(views.features[:, train]), digest)
    if (bias := parse_bias(name)) is not None and not tokens:  # moved by the mean that moves the features
        base, amount = bias
        views = _load(base, tokens=False)
        digest = hashlib.sha256(f"{views.sha256} bias {amount!r}".encode()).hexdigest()
        return Views(moved(views.features, _training_features(base), amount), digest)
    if name in PACKAGED and not tokens:
        return Views(*read_packed_views(DATA / f"{PACKAGED[name]}_views.npz"))
    if not has_images(name):
        known = (*(() if tokens else PACKAGED), *(f"{image_set}/BACKBONE" for image_set in IMAGE_SETS))
        check_name(
            name, f"name ({'patch tokens' if tokens else 'augmented views'} are made from images)", known
        )
    images, backbone_name = named_images(name)
    backbone = load_backbone(backbone_name)
    shape: tuple[int, ...] = (backbone.n_features,)
    network, n_views, batch_size = backbone, N_VIEWS, 32
    if tokens:
        shape = (backbone.n_tokens, backbone.token_size)
        network, n_views, batch_size = backbone.with_tokens_as_features(), N_TOKEN_VIEWS, 8
    cached = extract_features(
        AugmentedImages(images, n_views, backbone.image_size), network, batch_size=batch_size
    )
    return Views(cached.rows(np.arange(cached.n_images)).reshape(n_views, -1, *shape), cached.sha256)


def _training_features(name: str) -> NDArray[np.float32]:
    if name in PACKAGED:
        return read_packed(DATA / f"{PACKAGED[name]}.npz").train
    images, backbone = named_images(name)
    return extract_features(images, load_backbone(backbone)).rows(images.train)
