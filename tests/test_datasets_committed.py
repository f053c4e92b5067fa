"""Committed splits: what is in them, that the real images are theirs, and CIFAR-10, told apart by its pixels."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import pickle
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdclib.data.features import DATA
from sdclib.data.image_sets import COMMITTED_SETS, committed, fashion_mnist, load_image_set
from sdclib.data.image_sets.cifar10 import CIFAR10, CLASSES
from sdclib.data.images import ImageSet, data_root, open_rgb
from tests.image_sets import (
    few_a_class,
    picture,
    pixel_features,
    small_splits,
    splits_script,
    to_metric,
    write,
)

SPLITS = DATA / "splits"
MANIFEST = json.loads((SPLITS / "splits.json").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return splits_script()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return small_splits(tmp_path, monkeypatch)


# The committed splits themselves


def committed_ids(name: str) -> dict[str, list[Any]]:
    """Ids by role, from the file alone; the database of sets told apart by pixels is not in it."""
    path = COMMITTED_SETS[name].file
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {role: archive[role].tolist() for role in ("query", "train")}
    roles: dict[str, list[Any]] = {"query": [], "database": [], "train": []}
    for row in csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())):
        roles[row["role"]].append(row["id"])
    return roles


def test_every_committed_file_is_in_the_manifest_and_they_are_small() -> None:
    files = sorted(path.name for path in SPLITS.iterdir())
    assert files == sorted([*(c.file.name for c in COMMITTED_SETS.values()), "splits.json"])
    assert sum(path.stat().st_size for path in SPLITS.iterdir()) < 300_000
    for name, entry in MANIFEST.items():
        assert hashlib.sha256(COMMITTED_SETS[name].file.read_bytes()).hexdigest() == entry["file_sha256"]
        assert entry["rule"] == COMMITTED_SETS[name].rule_text


@pytest.mark.parametrize(
    ("name", "query", "database", "train"),
    [
        ("cifar10", 1000, 59000, 5000),
        ("fashion_mnist", 1000, 69000, 5000),
        ("caltech101", 1010, 7667, 2020),
        ("corel5k", 499, 4500, 4500),
        ("coil20", 200, 1240, 1240),
    ],
)
def test_committed_counts(name: str, query: int, database: int, train: int) -> None:
    counts = MANIFEST[name]["counts"]
    assert (counts["query"], counts["database"], counts["train"]) == (query, database, train)
    ids = committed_ids(name)
    assert (len(ids["query"]), len(ids["train"])) == (query, train)
    if "database" in ids:
        assert len(ids["database"]) + train == database
    together = [image for images in ids.values() for image in images]
    assert len(set(together)) == len(together)


@pytest.mark.parametrize(("name", "per_query", "per_train"), [("caltech101", 10, 20), ("coil20", 10, 62)])
def test_committed_counts_by_class(name: str, per_query: int, per_train: int) -> None:
    ids = committed_ids(name)
    for role, expected in (("query", per_query), ("train", per_train)):
        _, counts = np.unique([image.split("/")[0] for image in ids[role]], return_counts=True)
        assert set(counts.tolist()) == {expected}
        assert len(counts) == MANIFEST[name]["counts"]["labels"]


@pytest.mark.parametrize("name", ["caltech101", "coil20"])
def test_committed_split_follows_its_rule(name: str) -> None:
    """Made again from the names alone, in another order."""
    ids = committed_ids(name)
    everything = sorted(image for images in ids.values() for image in images)
    labels = np.unique([image.split("/")[0] for image in everything], return_inverse=True)[1]
    split = COMMITTED_SETS[name].rule(SimpleNamespace(ids=everything, labels=labels))  # type: ignore[arg-type]
    assert [everything[i] for i in split.query] == ids["query"]
    assert [everything[i] for i in split.database[split.train_index]] == ids["train"]


def test_cifar10_is_the_split_of_the_embedded_features() -> None:
    embedded = json.loads((DATA / "cifar10_embedded.json").read_text())
    assert MANIFEST["cifar10"]["split_sha256"] == embedded["whole_split_sha256"]
    with np.load(DATA / "cifar10_embedded.npz", allow_pickle=False) as file:
        ids = committed_ids("cifar10")
        assert file["query_ids"].tolist() == ids["query"]
        assert file["database_ids"][file["train_index"]].tolist() == ids["train"]


# CIFAR-10, on small images


@pytest.fixture
def cifar10(tmp_path: Path, small: Any) -> committed.CommittedSet:
    """Six images of 32 x 32 a class, four in train and two in test."""
    for i in range(60):
        part = "train" if i < 40 else "test"
        write(tmp_path / "data" / "cifar10" / part / CLASSES[i % 10] / f"{i}.png", picture(i, (32, 32)))
    return small(few_a_class(CIFAR10, 1, 2))


def test_cifar10_to_a_metric(cifar10: committed.CommittedSet) -> None:
    images = cifar10.load()
    assert (len(images.query), len(images.database), len(images.train)) == (10, 50, 20)
    assert np.bincount(images.labels[images.query]).tolist() == [1] * 10
    assert images.class_names == CLASSES
    assert hashlib.sha256(np.asarray(images.read(7)).tobytes()).hexdigest() == images.ids[7]
    to_metric(pixel_features(images))
    to_metric(pixel_features(images.disjoint()))


def test_cifar10_reader_can_be_sent_to_another_process(cifar10: committed.CommittedSet) -> None:
    images = cifar10.load()
    again = pickle.loads(pickle.dumps(images.read))
    assert again(3).tobytes() == images.read(3).tobytes()


def test_cifar10_is_the_same_from_torchvision(
    cifar10: committed.CommittedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.stack([np.asarray(picture(i, (32, 32))) for i in range(60)])
    order = np.random.default_rng(1).permutation(60)
    asked = []

    def batches(root: Path, *, train: bool, download: bool) -> SimpleNamespace:
        asked.append((root, download))
        part = order[:40] if train else order[40:]
        return SimpleNamespace(data=pixels[part], targets=(part % 10).tolist(), classes=list(CLASSES))

    monkeypatch.setattr("torchvision.datasets.CIFAR10", batches)
    expected = cifar10.load()
    monkeypatch.delenv("SDC_DATA")
    images = cifar10.load()
    assert asked == [(tmp_path / "cache" / "images" / "cifar10", True)] * 2
    assert (images.ids, images.sha256) == (expected.ids, expected.sha256)
    np.testing.assert_array_equal(images.labels, expected.labels)
    assert images.read(3).tobytes() == expected.read(3).tobytes()


def test_failed_download_says_what_is_needed_where(
    cifar10: committed.CommittedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    monkeypatch.setattr("torchvision.datasets.Caltech101", offline)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", offline)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    for name, needed in (
        ("cifar10", "train/CLASS/"),
        ("caltech101", "class folders"),
        ("fashion_mnist", "train-images"),
    ):
        with pytest.raises(ValueError, match=rf"elsewhere: expected .*{needed}.*download failed.*not known"):
            load_image_set(name, root=tmp_path / "elsewhere", download=True)
    with pytest.raises(ValueError, match=r"airplane: expected a folder of images, found none"):
        load_image_set("cifar10", root=tmp_path / "elsewhere")


def test_cifar10_names_a_broken_image(cifar10: committed.CommittedSet, tmp_path: Path) -> None:
    file = tmp_path / "data" / "cifar10" / "train" / "cat" / "3.png"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cat/3\.png: missing or broken image"):
        cifar10.load()
    write(file, picture(3, (31, 32)))
    with pytest.raises(ValueError, match=r"cat/3\.png: expected 32 x 32 pixels, got 31 x 32"):
        cifar10.load()


def test_cifar10_names_what_is_not_of_the_split(cifar10: committed.CommittedSet, tmp_path: Path) -> None:
    root = tmp_path / "data" / "cifar10"
    with np.load(cifar10.file) as archive:
        keys = {role: {f"{key:016x}" for key in archive[role].tolist()} for role in archive.files}
    files = {
        hashlib.sha256(np.asarray(open_rgb(path)).tobytes()).hexdigest()[:16]: path
        for path in root.glob("*/*/*.png")
    }
    query, train = (files[sorted(keys[role])[0]] for role in ("query", "train"))
    other = next(path for key, path in files.items() if key not in keys["query"] | keys["train"])
    content = query.read_bytes()
    write(query, picture(99, (32, 32)))
    message = r"cifar10: .*1 of 10 query images are missing, first .* starts with " + sorted(keys["query"])[0]
    with pytest.raises(ValueError, match=message):
        cifar10.load()
    query.write_bytes(content)
    content = train.read_bytes()
    train.unlink()
    with pytest.raises(ValueError, match="1 of 20 train images are missing"):
        cifar10.load()
    train.write_bytes(content)
    content = other.read_bytes()
    other.unlink()
    with pytest.raises(ValueError, match="cifar10: expected 60 images as in the committed split, got 59"):
        cifar10.load()
    write(other, picture(99, (32, 32)))
    with pytest.raises(ValueError, match="some images of the database are others"):
        cifar10.load()
    other.write_bytes(content)
    cifar10.load()


def test_identities_are_kept_until_a_file_changes(
    cifar10: committed.CommittedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cifar10.load().sha256
    (kept,) = (tmp_path / "cache" / "pixel-ids").iterdir()
    monkeypatch.setattr(
        "sdclib.data.image_sets.sources.open_rgb", lambda path: pytest.fail(f"{path} read again")
    )
    assert cifar10.load().sha256 == expected
    monkeypatch.undo()
    monkeypatch.setenv("SDC_CACHE", str(tmp_path / "cache"))
    kept.write_text("damaged\n")
    root = tmp_path / "data" / "cifar10"
    assert len(set(cifar10.find(root, False).ids)) == 60
    assert len(kept.read_text().split()) == 60


def test_damaged_split(cifar10: committed.CommittedSet) -> None:
    data = cifar10.file.read_bytes()
    cifar10.file.write_bytes(data[:-1] + b"x")
    with pytest.raises(ValueError, match=r"cifar10\.npz: damaged data file, expected SHA-256"):
        cifar10.load()
    cifar10.file.unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar10\.npz: data file is missing"):
        cifar10.load()
    committed.MANIFEST.write_text("{}")
    with pytest.raises(ValueError, match=r"splits\.json: expected an entry 'cifar10'"):
        cifar10.load()


# The real images


def real(name: str) -> ImageSet:
    if not os.environ.get("SDC_DATA"):
        pytest.skip("SDC_DATA is not set: no image sets to look at")
    if not (data_root() / name).is_dir():
        pytest.skip(f"{data_root() / name}: no such folder")
    return load_image_set(name)


@pytest.mark.images
@pytest.mark.parametrize("name", sorted(COMMITTED_SETS))
def test_real_images_are_those_of_the_committed_split(name: str, script: ModuleType) -> None:
    images = real(name)
    counts = MANIFEST[name]["counts"]
    assert images.sha256 == MANIFEST[name]["data_sha256"]
    assert (len(images.query), len(images.database)) == (counts["query"], counts["database"])
    assert len(images.train) == counts["train"]
    assert not np.isin(images.query, images.database).any()
    if images.labels.ndim == 1:
        for part, key in ((images.query, "query_per_class"), (images.train, "train_per_class")):
            assert sorted(set(np.bincount(images.labels[part]).tolist())) == counts[key]
    for i in (0, len(images.ids) - 1):
        assert images.read(i).mode == "RGB"
    assert script.main(["--check", name]) == 0
