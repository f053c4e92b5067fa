"""Layout of the cache: what identifies features, where they lie, and how they are read and checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.data.vectors import load_npy
from sdclib.files import cache_dir, file_sha256, read_json

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "VERSION",
    "CachedFeatures",
    "Images",
    "Network",
    "cache_key",
    "check_shard",
    "describe",
    "feature_folder",
    "find_cached",
    "missing_shards",
    "read_manifest",
    "shard_file",
]

VERSION = 1  # of the layout and of what the key is made of
N_PROBES = 16  # images whose pixels are part of the key


class Images(Protocol):
    """What is needed of a `sdclib.data.images.ImageSet`."""

    @property
    def name(self) -> str:
        """Name of the set."""

    @property
    def ids(self) -> Sequence[str]:
        """One an image."""

    @property
    def read(self) -> Callable[[int], Image.Image]:
        """Read one image by its number; called from several threads."""


class Network(Protocol):
    """What identifies a backbone; `sdclib.extract.backbones.BackboneInfo` and `Backbone` have it."""

    @property
    def name(self) -> str:
        """Name of the backbone."""

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights."""

    @property
    def preprocessing(self) -> str:
        """How images are prepared."""

    @property
    def image_size(self) -> int:
        """Side of the input square in pixels."""

    @property
    def runtime(self) -> str:
        """What runs the network."""


@dataclass(eq=False)
class CachedFeatures:
    """Features on disk, memory-mapped; made by `extract_features` and `find_cached`.

    Attributes
    ----------
    folder : pathlib.Path
        Where shards and manifest lie.
    manifest : dict
        Content of ``manifest.json``: ``key``, ``set``, ``n_images``, ``n_features``, ``dtype``, ``shard_size``,
        ``batch_size``, ``backbone`` (name, weights' hash, preprocessing, image size, runtime) and ``shards``, each
        with ``file``, ``sha256`` and ``skipped`` (``image``, ``id`` and ``error`` of each broken image).
    """

    folder: Path
    manifest: dict[str, Any] = field(repr=False)
    _shards: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def n_images(self) -> int:
        """Images of the set, broken ones included."""
        return int(self.manifest["n_images"])

    @property
    def n_features(self) -> int:
        """Values a feature has."""
        return int(self.manifest["n_features"])

    @property
    def skipped(self) -> dict[int, str]:
        """Broken images that have no features: image number to what was wrong."""
        return {s["image"]: s["error"] for shard in self.manifest["shards"] for s in shard["skipped"]}

    @property
    def sha256(self) -> str:
        """Hash of all features, 64 hexadecimal digits, from the manifest alone: no shard is read."""
        lines = "".join(f"{shard['sha256']}\n" for shard in self.manifest["shards"])
        return hashlib.sha256(lines.encode()).hexdigest()

    def rows(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Read the features of some images.

        A shard's SHA-256 is checked when it is first used.

        Parameters
        ----------
        indices : array-like, shape (n,), int
            Image numbers, in any order, also several times.

        Returns
        -------
        ndarray, shape (n, n_features), float32

        Raises
        ------
        ValueError
            If `indices` are not image numbers, an image was skipped as broken, or a shard is missing or damaged;
            the message names the image or file.
        """
        numbers = np.asarray(indices)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise ValueError(
                f"indices: expected whole numbers of shape (n,), got {numbers.dtype} of shape {numbers.shape}"
            )
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.n_images):
            raise ValueError(
                f"indices: expected 0 to {self.n_images - 1}, got {numbers.min()} to {numbers.max()}"
            )
        skipped = self.skipped
        missing = sorted(set(numbers.tolist()) & set(skipped)) if skipped else []
        if missing:
            raise ValueError(
                f"indices: expected images with features, got {len(missing)} that were skipped as broken, first is "
                f"image {missing[0]} ({skipped[missing[0]]})"
            )
        shards = numbers // self.manifest["shard_size"]
        parts = {shard: self._shard(shard) for shard in np.unique(shards).tolist()}
        features = np.empty((len(numbers), self.n_features), dtype=np.float32)
        for shard, rows in parts.items():
            here = shards == shard
            features[here] = rows[numbers[here] - shard * self.manifest["shard_size"]]
        return features

    def verify(self) -> None:
        """Check the SHA-256 of every shard now.

        Raises
        ------
        ValueError
            If a shard is missing or damaged; the message names it.
        """
        for shard in range(len(self.manifest["shards"])):
            check_shard(self.folder, self.manifest["shards"][shard])

    def _shard(self, shard: int) -> NDArray[np.float32]:
        """Shard number `shard`, memory-mapped, checked the first time."""
        if shard not in self._shards:
            entry = self.manifest["shards"][shard]
            path = check_shard(self.folder, entry)
            array = load_npy(path)
            size = self.manifest["shard_size"]
            expected = (min(size, self.n_images - shard * size), self.n_features)
            if array.shape != expected or array.dtype != np.float32:
                raise ValueError(
                    f"{path}: expected float32 of shape {expected}, got {array.dtype} of shape {array.shape}"
                )
            self._shards[shard] = array
        return self._shards[shard]


def cache_key(images: Images, backbone: Network) -> str:
    """Identify features by what they are made of.

    Parameters
    ----------
    images : ImageSet
        Counted are its ids in their order and the pixels of 16 evenly spaced images, which tells apart other
        images under the same ids; neither its name nor its split, which change no feature.
    backbone : Backbone or BackboneInfo
        Counted are name, hash of the weights, image size, preprocessing and runtime (whose features differ by
        rounding).

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    content = {
        "version": VERSION,
        "ids": hashlib.sha256(json.dumps(list(images.ids)).encode()).hexdigest(),
        "pixels": [_probe(images, i) for i in _evenly_spaced(len(images.ids), N_PROBES)],
        "backbone": describe(backbone),
        "dtype": "float32",
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def find_cached(images: Images, backbone: Network, *, cache: Path | None = None) -> CachedFeatures | None:
    """Find features that are completely extracted; reads their manifest only.

    Parameters
    ----------
    images, backbone
        As in `cache_key`.
    cache : path-like, optional
        The folder that holds the folders of features, ``cache_dir() / "features"`` by default.

    Returns
    -------
    CachedFeatures or None
        None if they are not there or not complete.

    Raises
    ------
    ValueError
        If the manifest is damaged; the message names it.
    """
    key = cache_key(images, backbone)
    folder = feature_folder(images, backbone, key, cache)
    manifest = read_manifest(folder, key)
    if manifest is None or missing_shards(folder, manifest):
        return None
    return CachedFeatures(folder, manifest)


def describe(backbone: Network) -> dict[str, Any]:
    """Say what identifies the backbone, for key and manifest."""
    return {
        "name": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "image_size": backbone.image_size,
        "preprocessing": backbone.preprocessing,
        "runtime": backbone.runtime,
    }


def feature_folder(images: Images, backbone: Network, key: str, cache: Path | None) -> Path:
    """Folder of these features: the one that has the key, whatever the set is called there, else a new one."""
    base = cache_dir() / "features" if cache is None else Path(cache)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{images.name}-{backbone.name}") + f"-{key[:16]}"
    if not (base / name).is_dir() and base.is_dir():
        same = sorted(path for path in base.glob(f"*-{key[:16]}") if path.is_dir())
        if same:
            return same[0]
    return base / name


def read_manifest(folder: Path, key: str) -> dict[str, Any] | None:
    """Read and check the manifest, if there is one."""
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    manifest = read_json(path)
    try:
        numbers = [manifest[name] for name in ("n_images", "n_features", "shard_size", "batch_size")]
        good = (
            manifest["version"] == VERSION
            and manifest["key"] == key
            and all(type(number) is int and number >= 1 for number in numbers)
            and isinstance(manifest["shards"], list)
            and len(manifest["shards"]) == -(-manifest["n_images"] // manifest["shard_size"])
            and all(
                entry is None or _is_shard(entry, shard) for shard, entry in enumerate(manifest["shards"])
            )
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged manifest, missing or wrong entry {error}") from error
    if not good:
        raise ValueError(
            f"{path}: damaged manifest, expected layout {VERSION} of key {key}, got {manifest['version']} of "
            f"{manifest.get('key')}; delete the folder to extract the features again"
        )
    return dict(manifest)


def shard_file(shard: int) -> str:
    """Name of a shard's file."""
    return f"shard-{shard:05d}.npy"


def _is_shard(entry: Any, shard: int) -> bool:
    """Whether the manifest's entry of a shard is as described in `CachedFeatures`."""
    return (
        entry["file"] == shard_file(shard)
        and isinstance(entry["sha256"], str)
        and isinstance(entry["skipped"], list)
        and all(type(image["image"]) is int and isinstance(image["error"], str) for image in entry["skipped"])
    )


def missing_shards(folder: Path, manifest: dict[str, Any]) -> list[int]:
    """Numbers of the shards that are not made or not there."""
    return [
        shard
        for shard, entry in enumerate(manifest["shards"])
        if entry is None or not (folder / entry["file"]).is_file()
    ]


def check_shard(folder: Path, entry: dict[str, Any]) -> Path:
    """Check that a shard is there and has its hash; return its path."""
    path = folder / entry["file"]
    if not path.is_file():
        raise ValueError(f"{path}: shard is missing; extract the features again, only it is made anew")
    actual = file_sha256(path)
    if actual != entry["sha256"]:
        raise ValueError(
            f"{path}: damaged shard, expected SHA-256 {entry['sha256']}, got {actual}; delete this file and extract "
            "the features again, only it is made anew"
        )
    return path


def _evenly_spaced(n: int, count: int) -> list[int]:
    """At most `count` numbers from 0 to n - 1, the first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(np.int64)).tolist()


def _probe(images: Images, i: int) -> str:
    """Hash of one image's pixels, or that it is broken."""
    try:
        image = images.read(i)
    except ValueError:
        return "broken"
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
