"""Image sets: by name and folder, committed splits, the published files of each, split lists, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import pickle
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sdclib.data.features import DATA
from sdclib.data.image_sets import (
    COMMITTED_SETS,
    IMAGE_SETS,
    LISTED_SETS,
    committed,
    fashion_mnist,
    load_image_set,
)
from sdclib.data.image_sets.caltech101 import CALTECH101
from sdclib.data.image_sets.cifar10 import BATCHES, CIFAR10, CLASSES
from sdclib.data.image_sets.coil20 import COIL20
from sdclib.data.image_sets.corel5k import COREL5K
from sdclib.data.image_sets.fashion_mnist import FASHION_MNIST, read_idx
from sdclib.data.image_sets.lists import read_list
from sdclib.data.images import ImageSet, data_root, file_reader, open_rgb
from sdclib.evaluation import evaluate_features
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


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return small_splits(tmp_path, monkeypatch)


# The image set itself


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "ids": ("a", "b", "c", "d", "e"),
        "read": file_reader([Path("x")] * 5),
        "labels": np.array([0, 1, 1, 0, 1]),
        "query": np.array([4]),
        "database": np.array([2, 0, 1]),
        "train_index": np.array([1]),
        "top_k": 2,
        "licence": "none",
        "citation": "none",
        "class_names": ("x", "y"),
    } | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ("a", "a", "c", "d", "e")}, "ids: expected at least one, each once"),
        ({"ids": ()}, "ids: expected at least one"),
        ({"labels": np.array([0, 1])}, r"labels: expected labels of shape \(5,\)"),
        ({"labels": np.array([0, 1, 1, 0, -1])}, "labels: expected ids of at least 0"),
        ({"labels": np.full((5, 2), 2)}, "labels: expected 0/1"),
        ({"class_names": ("x",)}, "class_names: expected 2 names, got 1"),
        ({"labels": np.eye(5)}, "class_names: expected 5 names, got 2"),
        ({"query": np.array([5])}, "query: expected numbers from 0 to 4"),
        ({"query": np.array([], int)}, "query: expected whole numbers"),
        ({"query": np.array([2])}, "query, database: expected no image in both, got 'c'"),
        ({"database": np.array([0, 0])}, "database: expected every number once"),
        ({"train_index": np.array([3])}, "train_index: expected numbers from 0 to 2"),
        ({"train_index": np.array([], int)}, "training images in exactly one of them, got 0 and none"),
        ({"separate_train": np.array([3])}, "training images in exactly one of them, got 1 and 1"),
        ({"top_k": 4}, "top_k: expected at most the 3 images"),
        ({"top_k": 0}, "top_k"),
        ({"denominator": "all"}, "denominator: expected one of"),
        ({"empty": "drop"}, "empty: expected one of"),
    ],
)
def test_image_set_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSet(**fields(**changes))


def test_hash_is_of_the_data_not_of_the_numbering() -> None:
    first = ImageSet(**fields())
    order = np.array([3, 4, 2, 0, 1])  # new number i is old number order[i]
    new = np.argsort(order)
    same = ImageSet(
        **fields(
            ids=tuple(first.ids[i] for i in order),
            labels=first.labels[order],
            query=new[first.query],
            database=new[first.database],
        )
    )
    assert same.sha256 == first.sha256
    changes: list[dict[str, Any]] = [
        {"labels": np.array([0, 1, 1, 0, 0])},
        {"train_index": np.array([0])},
        {"database": np.array([0, 2, 1])},
        {"ids": ("a", "b", "c", "d", "f")},
    ]
    for change in changes:
        assert ImageSet(**fields(**change)).sha256 != first.sha256
    assert ImageSet(**fields(labels=np.array([0, 1, 1, 1, 1]))).sha256 == first.sha256  # image d is unused


# Any folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(40):
        write(tmp_path / "pets" / ("cat" if i % 2 else "dog") / f"{i}.png", picture(i))
    return tmp_path / "pets"


def test_digits_are_there_without_a_download_and_get_to_a_metric() -> None:
    images = load_image_set("digits")
    assert (len(images.query), len(images.database), len(images.train)) == (100, 500, 200)
    assert np.bincount(images.labels[images.query]).tolist() == [10] * 10
    assert images.sha256 == load_image_set("digits").sha256
    assert images.read(0).mode == "RGB"
    assert to_metric(pixel_features(images)) > 0.3
    assert load_image_set("digits", train_in_database=False).database.size == 300


def test_folder_to_a_metric(folder: Path) -> None:
    images = load_image_set("folder", root=folder, n_query=3, n_train=5, top_k=10)
    assert (images.name, images.class_names) == ("pets", ("cat", "dog"))
    assert (len(images.query), len(images.database), len(images.train)) == (6, 34, 10)
    assert images.ids[0] in {f"{name}/{i}.png" for name in ("cat", "dog") for i in range(40)}
    to_metric(pixel_features(images))
    assert load_image_set("folder", root=folder, n_query=3, n_train=5, seed=1, top_k=10).ids != images.ids
    disjoint = load_image_set("folder", root=folder, n_query=3, n_train=5, top_k=10, train_in_database=False)
    assert (disjoint.name, len(disjoint.database), len(disjoint.train)) == ("pets-disjoint", 24, 10)
    assert not np.isin(disjoint.train, disjoint.database).any()
    assert {disjoint.ids[i] for i in disjoint.train} == {images.ids[i] for i in images.train}
    assert disjoint.sha256 != images.sha256
    to_metric(pixel_features(disjoint))
    with pytest.raises(ValueError, match="expected at least 30 images a class, got 20"):
        load_image_set("folder", root=folder)


def test_unknown_names_and_options() -> None:
    assert {"cifar10", "caltech101", "fashion_mnist", "corel5k", "coil20", "folder"} <= set(IMAGE_SETS)
    assert {"imagenet100", "nuswide", "mscoco"} <= set(IMAGE_SETS)
    with pytest.raises(ValueError, match=r"name: expected one of caltech101, cifar10, .*, got 'mnist'"):
        load_image_set("mnist")
    with pytest.raises(ValueError, match=r"options of image set 'cifar10': .*download.*, got 'seed'"):
        load_image_set("cifar10", seed=1)


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SDC_DATA", "/a")
    assert data_root() == Path("/a")
    monkeypatch.delenv("SDC_DATA")
    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    assert data_root() == tmp_path / "images"


# The committed splits themselves


def committed_ids(name: str) -> dict[str, list[Any]]:
    """Ids by role, from the file alone; the database of sets told apart by pixels is not in it."""
    path = COMMITTED_SETS[name].file
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {role: archive[role].tolist() for role in ("query", "train")}
    table = pd.read_csv(path, dtype=str)
    return {role: table.id[table.role == role].tolist() for role in ("query", "database", "train")}


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
def test_committed_splits(name: str, query: int, database: int, train: int) -> None:
    made, entry, ids = COMMITTED_SETS[name], MANIFEST[name], committed_ids(name)
    assert hashlib.sha256(made.file.read_bytes()).hexdigest() == entry["file_sha256"]
    assert entry["rule"] == made.rule_text
    assert [entry["counts"][role] for role in ("query", "database", "train")] == [query, database, train]
    assert (len(ids["query"]), len(ids["train"])) == (query, train)
    together = [image for images in ids.values() for image in images]
    assert len(set(together)) == len(together)
    if not made.by_pixels:
        assert len(together) == query + database
    if name in ("caltech101", "coil20"):  # made again from the names alone, in another order
        everything = sorted(together)
        labels = np.unique([image.split("/")[0] for image in everything], return_inverse=True)[1]
        split = made.rule(SimpleNamespace(ids=everything, labels=labels))
        assert [everything[i] for i in split.query] == ids["query"]
        assert [everything[i] for i in split.database[split.train_index]] == ids["train"]
        assert set(np.bincount(labels[split.query]).tolist()) == {10}


def test_committed_files_are_small_and_of_known_sets() -> None:
    files = sorted(path.name for path in SPLITS.iterdir())
    assert files == sorted([*(made.file.name for made in COMMITTED_SETS.values()), "splits.json"])
    assert sum(path.stat().st_size for path in SPLITS.iterdir()) < 300_000


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
    again = pickle.loads(pickle.dumps(images.read))  # in another process
    assert again(3).tobytes() == images.read(3).tobytes()


def write_batches(root: Path) -> None:
    """The same images as torchvision unpacks them, in another order."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    order = np.random.default_rng(1).permutation(60)
    for name, part in zip(BATCHES, np.split(order, 6), strict=True):
        pixels = np.stack([np.asarray(picture(i, (32, 32))) for i in part]).transpose(0, 3, 1, 2)
        batch = {"data": pixels.reshape(len(part), -1), "labels": (part % 10).tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def test_cifar10_is_the_same_from_torchvision(
    cifar10: committed.CommittedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cifar10.load()
    monkeypatch.setattr("torchvision.datasets.CIFAR10", lambda root, *, download: write_batches(root))
    monkeypatch.delenv("SDC_DATA")
    for _ in range(2):  # downloaded, then found
        images = cifar10.load()
        assert (images.ids, images.sha256) == (expected.ids, expected.sha256)
        np.testing.assert_array_equal(images.labels, expected.labels)
        assert images.read(3).tobytes() == expected.read(3).tobytes()
    folder = tmp_path / "cache" / "images" / "cifar10" / "cifar-10-batches-py"
    whole = (folder / "test_batch").read_bytes()
    for content in (None, whole[:-9], pickle.dumps({"data": [1]}), pickle.dumps({}), pickle.dumps([])):
        (folder / "test_batch").unlink()
        if content is not None:
            (folder / "test_batch").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"test_batch: missing or damaged file of CIFAR-10; delete .* unpack cifar-10"
        ):
            cifar10.load()
        (folder / "test_batch").write_bytes(whole)


def test_failed_download_says_what_is_needed_where(
    cifar10: committed.CommittedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    for name in ("CIFAR10", "Caltech101", "FashionMNIST"):
        monkeypatch.setattr(f"torchvision.datasets.{name}", offline)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    for name, needed in (
        ("cifar10", "train/CLASS/"),
        ("caltech101", "class folders"),
        ("fashion_mnist", "train-images"),
    ):
        with pytest.raises(ValueError, match=rf"elsewhere: expected .*{needed}.*download failed.*not known"):
            load_image_set(name, root=tmp_path / "elsewhere", download=True)
    with pytest.raises(ValueError, match=r"elsewhere: expected CIFAR-10 as .*, found neither; download=True"):
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
    keys = {role: {f"{key:016x}" for key in ids} for role, ids in committed_ids("cifar10").items()}
    files = {
        hashlib.sha256(np.asarray(open_rgb(path)).tobytes()).hexdigest()[:16]: path
        for path in root.glob("*/*/*.png")
    }
    query, train = (files[sorted(keys[role])[0]] for role in ("query", "train"))
    other = next(path for key, path in files.items() if key not in keys["query"] | keys["train"])
    changes: list[tuple[Path, Any, str]] = [
        (query, picture(99, (32, 32)), rf"cifar10: .*, but 1 missing \({sorted(keys['query'])[0]}\)"),
        (train, None, rf"but 1 missing \({sorted(keys['train'])[0]}\)"),
        (other, None, "expected the 60 images of the committed split .*, but there are 59"),
        (other, picture(99, (32, 32)), "some images of the database are others"),
    ]
    for path, image, message in changes:
        content = path.read_bytes()
        path.unlink()
        if image is not None:
            write(path, image)
        with pytest.raises(ValueError, match=message):
            cifar10.load()
        path.write_bytes(content)
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


# The other sets as they are published


@pytest.fixture
def caltech101(tmp_path: Path, small: Any) -> committed.CommittedSet:
    for i in range(24):
        name = ("accordion", "ant", "Faces")[i % 3]
        write(tmp_path / "data" / "caltech101" / name / f"image_{i:04}.png", picture(i, (9, 8)))
    return small(few_a_class(CALTECH101, 2, 3))


def test_caltech101_in_all_layouts(caltech101: committed.CommittedSet, tmp_path: Path) -> None:
    expected = caltech101.load()
    assert expected.class_names == ("Faces", "accordion", "ant")
    assert np.bincount(expected.labels[expected.query]).tolist() == [2, 2, 2]
    root = tmp_path / "torchvision"
    for nested in (root / "caltech101" / "101_ObjectCategories", root / "101_ObjectCategories"):
        for path in (tmp_path / "data" / "caltech101").glob("*/*.png"):
            write(nested / path.parent.name / f"{path.stem}.jpg", open_rgb(path))
        write(nested / "BACKGROUND_Google" / "image_0001.jpg", picture(0))
        (nested / ".DS_Store").write_bytes(b"\0")
        (nested / "tmp").write_bytes(b"not a folder")
        images = caltech101.load(root=nested.parents[1] if nested.parent.name == "caltech101" else root)
        assert (images.ids, images.sha256) == (expected.ids, expected.sha256)
        assert images.read(0).size == (9, 8)
        if nested.parent != root:
            nested.parent.rename(tmp_path / "moved")
    to_metric(pixel_features(expected))


def test_caltech101_names_what_differs(caltech101: committed.CommittedSet, tmp_path: Path) -> None:
    root = tmp_path / "data" / "caltech101"
    first = root / "ant" / "image_0001.png"
    first.rename(root / "ant" / "image_9999.png")
    message = (
        r"24 images of the committed split of caltech101, but 1 missing \(ant/image_0001\) and "
        r"1 not in the split \(ant/image_9999\)"
    )
    with pytest.raises(ValueError, match=message):
        caltech101.load()
    write(root / "ant" / "image_0001.png", picture(1))
    (root / "ant" / "image_9999.png").rename(root / "ant" / "image_0001.bmp")
    with pytest.raises(ValueError, match=r"1 there twice \(ant/image_0001\)"):
        caltech101.load()
    with pytest.raises(ValueError, match=r"nothing: expected a folder with one folder of images a class"):
        caltech101.load(root=tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected one folder of images a class, found no folder"):
        caltech101.load(root=tmp_path / "empty")


def test_coil20_to_a_metric(tmp_path: Path, small: Any) -> None:
    for i in range(30):
        path = tmp_path / "data" / "coil20" / f"obj{i % 3 + 1}" / f"obj{i % 3 + 1}__{i // 3}.png"
        write(path, picture(i, mode="L"))
    made = small(few_a_class(COIL20, 2, 8))
    images = made.load()
    assert (len(images.query), len(images.database), len(images.train)) == (6, 24, 24)
    assert images.read(0).mode == "RGB"
    assert (images.denominator, images.class_names) == ("relevant", ("obj1", "obj2", "obj3"))
    to_metric(pixel_features(images))
    with pytest.raises(ValueError, match="without its 24 training images 0 of 24 are left"):
        images.disjoint()


def write_corel5k(root: Path, lines: list[str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text("\n".join(["path,split,labels", *lines]) + "\n")
    for i, line in enumerate(lines):
        write(root / line.split(",")[0], picture(i, (12, 8)))


COREL_LINES = [
    *(
        f"images/{i}.jpg,train,{words}"
        for i, words in enumerate(("sun sea", "bear snow", "sea", "snow sun") * 4)
    ),
    "images/100.jpg,test,sun",
    "images/101.jpg,test,bear tiger",
    "images/102.jpg,test,tiger",
]


def test_corel5k_to_a_metric(tmp_path: Path, small: Any) -> None:
    write_corel5k(tmp_path / "data" / "corel5k", COREL_LINES)
    images = small(dataclasses.replace(COREL5K, top_k=10)).load()
    assert (len(images.query), len(images.database), len(images.train)) == (3, 16, 16)
    assert images.class_names == ("bear", "sea", "snow", "sun", "tiger")
    words = {images.ids[i]: np.flatnonzero(images.labels[i]).tolist() for i in range(len(images.ids))}
    assert (words["test/101"], words["train/0"]) == ([0, 4], [1, 3])
    features = pixel_features(images)
    to_metric(features)
    values = evaluate_features(features.query, features.database, features.relevant, 10, empty="skip")[0]
    zero = evaluate_features(features.query, features.database, features.relevant, 10)[0]
    assert values["map_authors"] * 2 == pytest.approx(zero["map_authors"] * 3)  # "tiger" alone finds nothing


def test_corel5k_names_what_is_wrong(tmp_path: Path, small: Any) -> None:
    root = tmp_path / "data" / "corel5k"
    write_corel5k(root, COREL_LINES)
    made = small(dataclasses.replace(COREL5K, top_k=10))
    write_corel5k(root, [*COREL_LINES[:-2], "images/101.jpg,test,bear snow", COREL_LINES[-1]])
    with pytest.raises(ValueError, match="same images with other labels"):
        made.load()
    (root / "images" / "7.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 are missing, first images/7\.jpg"):
        made.load()
    for line, number in (("images/1.jpg,validation,sun", 2), ("images/1.jpg,test,", 2), ("images/1.jpg", 2)):
        (root / "labels.csv").write_text(f"path,split,labels\n{line}\n")
        with pytest.raises(ValueError, match=rf"labels\.csv, line {number}: expected path,split,labels"):
            made.load()
    (root / "labels.csv").write_text("path,split,labels\n")
    with pytest.raises(ValueError, match="expected at least one image"):
        made.load()
    (root / "labels.csv").unlink()
    with pytest.raises(ValueError, match=r"labels\.csv: expected a file"):
        made.load()


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_fashion_mnist(folder: Path, suffix: str = ".gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    labels = (np.arange(60) % 10).astype(np.uint8)
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        for kind, array in (("images-idx3", pixels[rows]), ("labels-idx1", labels[rows])):
            data = idx_bytes(array)
            path = folder / f"{part}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(data) if suffix else data)


def test_fashion_mnist_from_all_folders(tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data" / "fashion_mnist"
    write_fashion_mnist(root)
    made = small(few_a_class(FASHION_MNIST, 1, 2))
    expected = made.load()
    assert (len(expected.query), len(expected.database), len(expected.train)) == (10, 50, 20)
    assert (expected.read(0).mode, expected.read(0).size) == ("RGB", (28, 28))
    to_metric(pixel_features(expected))
    write_fashion_mnist(tmp_path / "other" / "FashionMNIST" / "raw", suffix="")
    assert made.load(root=tmp_path / "other").sha256 == expected.sha256
    write_fashion_mnist(tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    assert made.load(root=tmp_path / "nothing").sha256 == expected.sha256
    (tmp_path / "debian" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"expected a file t10k-labels-idx1-ubyte\.gz, found none"):
        made.load(root=tmp_path / "nothing")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"nothing: expected train-images-idx3-ubyte\.gz"):
        made.load(root=tmp_path / "nothing")


@pytest.mark.parametrize("damage", [b"", b"\0\0\x0d\x01", None])
def test_idx_files_that_are_damaged(tmp_path: Path, damage: bytes | None) -> None:
    good = idx_bytes(np.zeros((3, 2), np.uint8))
    for name, pack in (("x-ubyte", bytes), ("x-ubyte.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(pack(good))
        assert read_idx(path).shape == (3, 2)
        path.write_bytes(pack(good)[:-1] if damage is None else pack(damage + good[4:-1]))
        with pytest.raises(ValueError, match=rf"{name}: (damaged file|expected an IDX file)"):
            read_idx(path)


# Split lists in the authors' format


def write_lists(root: Path, lines: dict[str, list[str]]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for role, rows in lines.items():
        (root / f"{role}.txt").write_text("".join(f"{row}\n" for row in rows))
    for i, path in enumerate(sorted({row.split()[0] for rows in lines.values() for row in rows if row})):
        write(root / path, picture(i))


def vector(n_labels: int, *ones: int) -> str:
    return " ".join("1" if i in ones else "0" for i in range(n_labels))


def multi_lines(n_labels: int) -> dict[str, list[str]]:
    database = [f"images/{i}.jpg {vector(n_labels, i % 3, i % 5)}" for i in range(30)]
    return {
        "test": [f"images/q{i}.jpg {vector(n_labels, i, n_labels - 1)}" for i in range(4)],
        "database": database,
        "train": database[5:25],
    }


@pytest.mark.parametrize(("name", "n_labels"), [("nuswide", 21), ("mscoco", 80)])
def test_multi_label_lists_to_a_metric(name: str, n_labels: int, tmp_path: Path) -> None:
    write_lists(tmp_path, multi_lines(n_labels))
    images = load_image_set(name, root=tmp_path, top_k=10)
    assert LISTED_SETS[name].top_k == 5000
    assert (len(images.query), len(images.database), len(images.train)) == (4, 30, 20)
    assert images.labels.shape == (34, n_labels)
    assert [images.ids[i] for i in images.train] == [f"images/{i}.jpg" for i in range(5, 25)]
    row = dict(zip(images.ids, images.labels, strict=True))["images/7.jpg"]
    assert np.flatnonzero(row).tolist() == [1, 2]
    assert images.empty == "skip"
    to_metric(pixel_features(images))
    with pytest.raises(ValueError, match="top_k: expected at most the 30 images"):
        load_image_set(name, root=tmp_path)


@pytest.mark.parametrize("one_hot", [False, True])
def test_imagenet100_lists_to_a_metric(one_hot: bool, tmp_path: Path) -> None:
    def line(path: str, label: int) -> str:
        return f"{path} {vector(100, label) if one_hot else label}"

    database = [line(f"train/n{i % 4}/{i}.JPEG", i % 4 * 33) for i in range(20)]
    lists = {
        "test": [line(f"val/{i}.JPEG", i * 33) for i in range(4)],
        "database": database,
        "train": database[::2],
    }
    write_lists(tmp_path / "lists", lists)
    (tmp_path / "images").mkdir()
    for part in ("train", "val"):
        (tmp_path / "lists" / part).rename(tmp_path / "images" / part)
    images = load_image_set("imagenet100", root=tmp_path / "images", lists=tmp_path / "lists", top_k=10)
    assert images.labels[images.query].tolist() == [0, 33, 66, 99]
    assert (LISTED_SETS["imagenet100"].top_k, images.empty) == (1000, "zero")
    np.testing.assert_array_equal(images.train_index, np.arange(0, 20, 2))
    to_metric(pixel_features(images))


def test_training_images_that_are_not_in_the_database(tmp_path: Path) -> None:
    lines = multi_lines(21)
    lines["train"] = [f"images/t{i}.jpg {vector(21, i)}" for i in range(12)]
    write_lists(tmp_path, lines)
    images = load_image_set("nuswide", root=tmp_path, top_k=10)
    assert (len(images.database), len(images.train), len(images.train_index)) == (30, 12, 0)
    assert images.disjoint() is images
    to_metric(pixel_features(images))
    write_lists(tmp_path, lines | {"train": lines["train"] + lines["database"][:3]})
    mixed = load_image_set("nuswide", root=tmp_path, top_k=10)
    assert (len(mixed.database), len(mixed.train)) == (30, 15)
    assert (len(mixed.disjoint().database), len(mixed.disjoint().train)) == (27, 15)


def test_missing_images_are_named_or_skipped(tmp_path: Path) -> None:
    write_lists(tmp_path, multi_lines(21))
    for name in ("q1", "3", "7"):
        (tmp_path / "images" / f"{name}.jpg").unlink()
    message = (
        r"expected the 34 images of the lists .* but 3 are missing \(images/q1\.jpg, images/3\.jpg, images/7"
    )
    with pytest.raises(ValueError, match=message):
        load_image_set("nuswide", root=tmp_path, top_k=10)
    images = load_image_set("nuswide", root=tmp_path, top_k=10, missing="skip")
    assert images.skipped == ("images/q1.jpg", "images/3.jpg", "images/7.jpg")
    assert (len(images.query), len(images.database), len(images.train)) == (3, 28, 19)
    to_metric(pixel_features(images))
    with pytest.raises(ValueError, match="missing: expected one of error, skip, got 'ignore'"):
        load_image_set("nuswide", root=tmp_path, missing="ignore")
    with pytest.raises(ValueError, match="34 are missing"):
        load_image_set("nuswide", root=tmp_path / "nowhere", lists=tmp_path, missing="skip")


@pytest.mark.parametrize("labels", [vector(20), vector(22), "4", "", f"{vector(20)} 2"])
def test_lines_that_are_no_vectors(labels: str, tmp_path: Path) -> None:
    path = tmp_path / "database.txt"
    path.write_text(f"images/0.jpg {vector(21, 0)}\n\nimages/9.jpg {labels}\n")
    with pytest.raises(
        ValueError, match=r"database\.txt, line 3: expected a path and 21 numbers 0 or 1, got"
    ):
        read_list(path, 21, multi_label=True)
    path.write_text("a.jpg 0\na.jpg 1\n")
    with pytest.raises(ValueError, match=r"line 2: expected every image once, got a\.jpg again"):
        read_list(path, 2, multi_label=False)


@pytest.mark.parametrize("labels", ["100", "-1", "cat", "1 2", "\u00b2", vector(100, 3, 5), vector(100)])
def test_lines_that_are_no_class_ids(labels: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(f"a.jpg {labels}\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 1: expected a path and a class id from 0 to 99"):
        read_list(tmp_path / "train.txt", 100, multi_label=False)


def test_lists_that_are_missing_empty_or_contradict(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the lists test\.txt, .* 21 numbers 0 or 1\), but test\.txt, database"
    ):
        load_image_set("nuswide", root=tmp_path)
    lines = multi_lines(21)
    write_lists(tmp_path, lines | {"train": ["images/0.jpg " + vector(21, 20)]})
    with pytest.raises(ValueError, match=r"train\.txt: expected the same labels of images/0\.jpg"):
        load_image_set("nuswide", root=tmp_path, top_k=10)
    write_lists(tmp_path, lines | {"test": lines["database"][:1]})
    with pytest.raises(ValueError, match=r"query, database: expected no image in both, got 'images/0\.jpg'"):
        load_image_set("nuswide", root=tmp_path, top_k=10)
    (tmp_path / "test.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"test\.txt: expected at least one image"):
        load_image_set("nuswide", root=tmp_path)
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"test\.txt: expected a text file"):
        load_image_set("nuswide", root=tmp_path)


# The real images


def real(name: str) -> ImageSet:
    if not os.environ.get("SDC_DATA"):
        pytest.skip("SDC_DATA is not set: no image sets to look at")
    if not (data_root() / name).is_dir():
        pytest.skip(f"{data_root() / name}: no such folder")
    return load_image_set(name)


@pytest.mark.images
@pytest.mark.parametrize("name", sorted(COMMITTED_SETS))
def test_real_images_are_those_of_the_committed_split(name: str) -> None:
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
    assert splits_script().main(["--check", name]) == 0
