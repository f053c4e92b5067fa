"""Image sets: by name and folder, committed splits, the published files of each, split lists, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sdclib.data.features import DATA
from sdclib.data.image_sets import (
    COMMITTED_SETS,
    IMAGE_SETS,
    LISTED_SETS,
    committed,
    fashion_mnist,
    load_image_set,
    sources,
)
from sdclib.data.image_sets.caltech101 import CALTECH101
from sdclib.data.image_sets.cifar10 import CIFAR10, CLASSES
from sdclib.data.image_sets.coil20 import COIL20
from sdclib.data.image_sets.corel5k import COREL5K
from sdclib.data.image_sets.fashion_mnist import FASHION_MNIST
from sdclib.data.image_sets.lists import read_list
from sdclib.data.images import ImageSet, data_root, file_reader, open_rgb
from tests.image_sets import few_a_class, picture, small_splits, splits_script, write

SPLITS = DATA / "splits"
MANIFEST = json.loads((SPLITS / "splits.json").read_text())


def sizes(images: ImageSet) -> tuple[int, int, int]:
    return len(images.query), len(images.database), len(images.train)


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
        ({"labels": np.array([0, 1])}, r"labels: expected labels of shape \(5,\)"),
        ({"class_names": ("x",)}, "class_names: expected 2 names, got 1"),
        ({"labels": np.eye(5)}, "class_names: expected 5 names, got 2"),
        ({"query": np.array([2])}, "query, database: expected no image in both, got 'c'"),
        ({"database": np.array([0, 0])}, "database: expected every number once"),
        ({"train_index": np.array([3])}, "train_index: expected numbers from 0 to 2"),
        ({"train_index": np.array([], int)}, "training images in exactly one of them, got 0 and none"),
        ({"separate_train": np.array([3])}, "training images in exactly one of them, got 1 and 1"),
        ({"top_k": 4}, "top_k: expected at most the 3 images"),
    ],
)
def test_image_set_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSet(**fields(**changes))


def test_hash_is_of_the_data_not_of_the_numbering() -> None:
    first = ImageSet(**fields())
    order = np.array([3, 4, 2, 0, 1])  # new number i is old number order[i]
    new = np.argsort(order)
    same = fields(
        ids=tuple(first.ids[i] for i in order),
        labels=first.labels[order],
        query=new[first.query],
        database=new[first.database],
    )
    unused = fields(labels=np.array([0, 1, 1, 1, 1]))  # of image d, which has no part
    others: list[dict[str, Any]] = [
        {"labels": np.array([0, 1, 1, 0, 0])},
        {"train_index": np.array([0])},
        {"database": np.array([0, 2, 1])},
        {"ids": ("a", "b", "c", "d", "f")},
    ]
    for changed in (same, unused):
        assert ImageSet(**changed).sha256 == first.sha256
    for changes in others:
        assert ImageSet(**fields(**changes)).sha256 != first.sha256


# Sets without a committed split


def test_digits_are_there_without_a_download() -> None:
    images = load_image_set("digits")
    assert sizes(images) == (100, 500, 200)
    assert np.bincount(images.labels[images.query]).tolist() == [10] * 10
    assert images.read(0).mode == "RGB"


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{('cat', 'dog')[i % 2]}/{i}.png" for i in range(40)]
    for i, name in enumerate(names):
        write(tmp_path / "folder" / name, picture(i))
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    options: dict[str, Any] = {"n_query": 3, "n_train": 5, "top_k": 10}
    images = load_image_set("folder", **options)
    assert (images.name, images.class_names) == ("folder", ("cat", "dog"))
    assert sizes(images) == (6, 34, 10)
    for i in (0, 39):
        assert images.read(i).tobytes() == picture(names.index(images.ids[i])).tobytes()
    assert load_image_set("folder", **options, seed=1).ids != images.ids
    disjoint = load_image_set("folder", **options, train_in_database=False)
    assert (disjoint.name, sizes(disjoint)) == ("folder-disjoint", (6, 24, 10))
    assert not np.isin(disjoint.train, disjoint.database).any()
    assert {disjoint.ids[i] for i in disjoint.train} == {images.ids[i] for i in images.train}
    assert disjoint.sha256 != images.sha256
    assert disjoint.disjoint() is disjoint
    with pytest.raises(ValueError, match="expected at least 30 images a class, got 20"):
        load_image_set("folder")


def test_unknown_names_and_options() -> None:
    assert {*COMMITTED_SETS, *LISTED_SETS, "digits", "folder"} == set(IMAGE_SETS)
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
    assert len(set(together)) == len(together) == query + (train if made.by_pixels else database)
    if name in ("caltech101", "coil20"):  # made again from the names alone, in another order
        everything = sorted(together)
        labels = np.unique([image.split("/")[0] for image in everything], return_inverse=True)[1]
        split = made.rule(SimpleNamespace(ids=everything, labels=labels))
        assert [everything[i] for i in split.query] == ids["query"]
        assert [everything[i] for i in split.database[split.train_index]] == ids["train"]


def test_cifar10_is_the_split_of_the_embedded_features() -> None:
    embedded = json.loads((DATA / "cifar10_embedded.json").read_text())
    assert MANIFEST["cifar10"]["split_sha256"] == embedded["whole_split_sha256"]
    with np.load(DATA / "cifar10_embedded.npz", allow_pickle=False) as file:
        ids = committed_ids("cifar10")
        assert file["query_ids"].tolist() == ids["query"]
        assert file["database_ids"][file["train_index"]].tolist() == ids["train"]


# Sets as they are published, on small images


def write_cifar10(root: Path) -> None:
    for i in range(60):
        write(root / ("train" if i < 40 else "test") / CLASSES[i % 10] / f"{i}.png", picture(i, (32, 32)))


def write_caltech101(root: Path) -> None:
    for i in range(24):
        write(root / ("accordion", "ant", "Faces")[i % 3] / f"image_{i:04}.png", picture(i, (9, 8)))


def write_coil20(root: Path) -> None:
    for i in range(30):
        write(root / f"obj{i % 3 + 1}" / f"obj{i % 3 + 1}__{i // 3}.png", picture(i, mode="L"))


WORDS = ["sun sea", "bear snow", "sea", "snow sun"] * 4
COREL_LINES = [f"images/{i}.jpg,train,{words}" for i, words in enumerate(WORDS)]
COREL_LINES += [
    f"images/{i}.jpg,test,{words}" for i, words in ((100, "sun"), (101, "bear tiger"), (102, "tiger"))
]


def write_corel5k(root: Path, lines: list[str] = COREL_LINES) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text("\n".join(["path,split,labels", *lines]) + "\n")
    for i, line in enumerate(lines):
        write(root / line.split(",")[0], picture(i, (12, 8)))


def write_fashion_mnist(root: Path, suffix: str = ".gz") -> None:
    root.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    labels = (np.arange(60) % 10).astype(np.uint8)
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        for kind, array in (("images-idx3", pixels[rows]), ("labels-idx1", labels[rows])):
            data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            path = root / f"{part}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(data) if suffix else data)


PUBLISHED: dict[str, tuple[Any, committed.CommittedSet, tuple[int, int, int], tuple[str, ...]]] = {
    "cifar10": (write_cifar10, few_a_class(CIFAR10, 1, 2), (10, 50, 20), CLASSES),
    "caltech101": (
        write_caltech101,
        few_a_class(CALTECH101, 2, 3),
        (6, 18, 9),
        ("Faces", "accordion", "ant"),
    ),
    "coil20": (write_coil20, few_a_class(COIL20, 2, 8), (6, 24, 24), ("obj1", "obj2", "obj3")),
    "corel5k": (
        *(write_corel5k, dataclasses.replace(COREL5K, top_k=10), (3, 16, 16)),
        ("bear", "sea", "snow", "sun", "tiger"),
    ),
    "fashion_mnist": (
        write_fashion_mnist,
        few_a_class(FASHION_MNIST, 1, 2),
        (10, 50, 20),
        fashion_mnist.CLASSES,
    ),
}


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a small set of the name that is the parameter, and commit its split; its images lie in `root`."""
    write_set, made, _, _ = PUBLISHED[request.param]
    write_set(tmp_path / "data" / request.param)
    return small_splits(tmp_path, monkeypatch)(made)


def of(name: str) -> Any:
    return pytest.mark.parametrize("small", [name], indirect=True)


@pytest.fixture
def root(small: committed.CommittedSet, tmp_path: Path) -> Path:
    return tmp_path / "data" / small.name


@pytest.mark.parametrize("small", PUBLISHED, indirect=True)
def test_published_sets(small: committed.CommittedSet) -> None:
    _, _, expected, names = PUBLISHED[small.name]
    images = small.load()
    assert (sizes(images), images.class_names) == (expected, names)
    assert images.read(0).mode == "RGB"
    if images.labels.ndim == 1:
        assert set(np.bincount(images.labels[images.query])) == {expected[0] // len(names)}
    if small.name == "corel5k":
        words = {images.ids[i]: np.flatnonzero(images.labels[i]).tolist() for i in range(len(images.ids))}
        assert (words["test/101"], words["train/0"]) == ([0, 4], [1, 3])
    if small.name == "coil20":
        with pytest.raises(ValueError, match="without its 24 training images 0 of 24 are left"):
            images.disjoint()


@of("cifar10")
def test_cifar10_is_the_same_from_torchvision(
    small: committed.CommittedSet, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_torchvision_reads(root: Path, *, train: bool, download: bool) -> Any:
        numbers = np.arange(59, 9, -1) if train else np.arange(10)
        pixels = np.stack([np.asarray(picture(i, (32, 32))) for i in numbers])
        return SimpleNamespace(data=pixels, targets=(numbers % 10).tolist())

    expected = small.load()
    monkeypatch.setattr("torchvision.datasets.CIFAR10", as_torchvision_reads)
    images = small.load(root=root / "nothing")
    assert images.sha256 == expected.sha256
    for i in (0, 59):
        assert hashlib.sha256(images.read(i).tobytes()).hexdigest() == images.ids[i]
        assert images.read(i).tobytes() == expected.read(i).tobytes()


def test_what_torchvision_cannot_read_or_download_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    with pytest.raises(ValueError, match=r"elsewhere: expected CIFAR-10 as .* not found or corrupted"):
        load_image_set("cifar10", root=tmp_path / "elsewhere")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    for name, needed in (
        ("CIFAR10", "train/CLASS/"),
        ("Caltech101", "class"),
        ("FashionMNIST", "train-images"),
    ):
        monkeypatch.setattr(f"torchvision.datasets.{name}", offline)
        known = "fashion_mnist" if name == "FashionMNIST" else name.lower()
        with pytest.raises(ValueError, match=rf"elsewhere: expected .*{needed}.* says: .*not known"):
            load_image_set(known, root=tmp_path / "elsewhere", download=True)


@of("cifar10")
def test_cifar10_names_what_is_not_of_the_split(small: committed.CommittedSet, root: Path) -> None:
    keys = {role: {f"{key:016x}" for key in ids} for role, ids in committed_ids("cifar10").items()}
    files = {
        hashlib.sha256(np.asarray(open_rgb(path))).hexdigest()[:16]: path for path in root.glob("*/*/*.png")
    }
    query, train = (files[sorted(keys[role])[0]] for role in ("query", "train"))
    other = next(path for key, path in files.items() if key not in keys["query"] | keys["train"])
    changes: list[tuple[Path, Any, str]] = [
        (query, picture(99, (32, 32)), rf"cifar10: .*, but 1 missing \({sorted(keys['query'])[0]}\)"),
        (train, None, rf"but 1 missing \({sorted(keys['train'])[0]}\)"),
        (other, None, "expected the 60 images of the committed split .*, but there are 59"),
        (other, picture(99, (32, 32)), "some images are others, or have other labels"),
    ]
    for path, image, message in changes:
        content = path.read_bytes()
        path.unlink()
        if image is not None:
            write(path, image)
        with pytest.raises(ValueError, match=message):
            small.load()
        path.write_bytes(content)
    small.file.write_bytes(small.file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"cifar10\.npz: damaged data file, expected SHA-256"):
        small.load()


@of("cifar10")
def test_identities_are_kept_until_a_file_changes(
    small: committed.CommittedSet, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = small.load().sha256
    (kept,) = (tmp_path / "cache" / "pixel-ids").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(sources, "open_rgb", lambda path: pytest.fail(f"{path} read again"))
        assert small.load().sha256 == expected
    kept.write_text("damaged\n")
    assert len(set(small.find(root, False).ids)) == 60
    assert len(kept.read_text().split()) == 60


@of("caltech101")
def test_caltech101_in_all_layouts(small: committed.CommittedSet, root: Path, tmp_path: Path) -> None:
    expected = small.load()
    for name in ("caltech101/101_ObjectCategories", "101_ObjectCategories"):
        other = tmp_path / name.replace("/", "-")
        for path in root.glob("*/*.png"):
            write(other / name / path.parent.name / f"{path.stem}.jpg", open_rgb(path))
        write(other / name / "BACKGROUND_Google" / "image_0001.jpg", picture(0))
        (other / name / ".DS_Store").write_bytes(b"\0")
        (other / name / "tmp").write_bytes(b"not a folder")
        assert small.load(root=other).sha256 == expected.sha256


@of("fashion_mnist")
def test_fashion_mnist_from_all_folders(
    small: committed.CommittedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = small.load()
    write_fashion_mnist(tmp_path / "other" / "FashionMNIST" / "raw", suffix="")
    assert small.load(root=tmp_path / "other").sha256 == expected.sha256
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    write_fashion_mnist(tmp_path / "debian")
    assert small.load(root=tmp_path / "nothing").sha256 == expected.sha256


def put(name: str, content: bytes | str | None) -> Any:
    """What writes a file, or takes it away."""

    def change(root: Path) -> None:
        (root / name).unlink(missing_ok=True)
        if content is not None:
            (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


HEADER = "path,split,labels\n"
OTHER_LABELS = [*COREL_LINES[:-2], "images/101.jpg,test,bear snow", COREL_LINES[-1]]
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("small", "change", "message"),
    [
        ("cifar10", put("train/cat/3.png", b"\x89PNG"), r"cat/3\.png: missing or broken image"),
        (
            "cifar10",
            lambda root: write(root / "train" / "cat" / "3.png", picture(3, (31, 32))),
            r"cat/3\.png: expected 32 x 32 pixels, got 31 x 32",
        ),
        (
            "caltech101",
            lambda root: (root / "ant" / "image_0001.png").rename(root / "ant" / "image_9999.png"),
            r"24 images of the committed split of caltech101, but 1 missing \(ant/image_0001\) and "
            r"1 not in the split \(ant/image_9999\)",
        ),
        ("caltech101", put("ant/image_0001.bmp", b"a copy"), r"but 1 there twice \(ant/image_0001\)"),
        ("caltech101", shutil.rmtree, r"caltech101: expected a folder with one folder of images a class"),
        (
            "coil20",
            lambda root: [shutil.rmtree(path) for path in root.iterdir()],
            "found no folder with images",
        ),
        ("corel5k", lambda root: write_corel5k(root, OTHER_LABELS), "have other labels"),
        ("corel5k", put("images/7.jpg", None), r"1 are missing, first images/7\.jpg"),
        ("corel5k", put("labels.csv", None), r"labels\.csv: expected a file"),
        ("corel5k", put("labels.csv", HEADER), "expected at least one image"),
        ("corel5k", put("labels.csv", "path,words\na.jpg,sun\n"), "expected the columns .*, got path,words"),
        ("corel5k", put("labels.csv", f"{HEADER}a.jpg\n"), r"labels\.csv, line 2: expected"),
        ("corel5k", put("labels.csv", f"{HEADER}a.jpg,other,sun\n"), r"labels\.csv, line 2: expected"),
        ("corel5k", put("labels.csv", f"{HEADER}a.jpg,test,sun\nb.jpg,test, \n"), "line 3: expected"),
        ("fashion_mnist", put(LABELS, gzip.compress(bytes(27))), "as many labels as images, got 59 of 60"),
        ("fashion_mnist", put(IMAGES, gzip.compress(bytes(800))[:-1]), "ubyte.gz: damaged file"),
        ("fashion_mnist", put(IMAGES, gzip.compress(bytes(799))), "ubyte.gz: damaged file"),
        ("fashion_mnist", put(LABELS, None), rf"fashion_mnist: expected .*{LABELS[:-3]} .*found none"),
    ],
    indirect=["small"],
)
def test_what_is_wrong_with_a_set_is_said(
    small: committed.CommittedSet, change: Any, message: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", root / "none")
    change(root)
    with pytest.raises(ValueError, match=message):
        small.load()


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


def listed(name: str, root: Path) -> ImageSet:
    """A listed set with few images."""
    return dataclasses.replace(LISTED_SETS[name], top_k=10).load(root=root)


@pytest.mark.parametrize(("name", "n_labels"), [("nuswide", 21), ("mscoco", 80)])
def test_multi_label_lists(name: str, n_labels: int, tmp_path: Path) -> None:
    write_lists(tmp_path, multi_lines(n_labels))
    images = listed(name, tmp_path)
    assert (sizes(images), images.labels.shape, images.empty) == ((4, 30, 20), (34, n_labels), "skip")
    assert [images.ids[i] for i in images.train] == [f"images/{i}.jpg" for i in range(5, 25)]
    row = dict(zip(images.ids, images.labels, strict=True))["images/7.jpg"]
    assert np.flatnonzero(row).tolist() == [1, 2]
    assert images.read(0).size == (8, 8)
    assert LISTED_SETS[name].top_k == 5000
    with pytest.raises(ValueError, match="top_k: expected at most the 30 images"):
        load_image_set(name, root=tmp_path)


@pytest.mark.parametrize("one_hot", [False, True])
def test_imagenet100_lists(one_hot: bool, tmp_path: Path) -> None:
    def line(path: str, label: int) -> str:
        return f"{path} {vector(100, label) if one_hot else label}"

    database = [line(f"train/n{i % 4}/{i}.JPEG", i % 4 * 33) for i in range(20)]
    queries = [line(f"val/{i}.JPEG", i * 33) for i in range(4)]
    write_lists(tmp_path, {"test": queries, "database": database, "train": database[::2]})
    images = listed("imagenet100", tmp_path)
    assert images.labels[images.query].tolist() == [0, 33, 66, 99]
    assert (LISTED_SETS["imagenet100"].top_k, images.empty) == (1000, "zero")
    np.testing.assert_array_equal(images.train_index, np.arange(0, 20, 2))


def test_training_images_that_are_not_in_the_database(tmp_path: Path) -> None:
    lines = multi_lines(21)
    for own, shared, left in ((12, 0, 30), (12, 3, 27)):
        train = [f"images/t{i}.jpg {vector(21, i)}" for i in range(own)] + lines["database"][:shared]
        write_lists(tmp_path, lines | {"train": train})
        images = listed("nuswide", tmp_path)
        assert (sizes(images), len(images.train_index)) == ((4, 30, own + shared), 0)
        assert sizes(images.disjoint()) == (4, left, own + shared)


@pytest.mark.parametrize(
    ("labels", "multi_label"),
    [
        *((labels, True) for labels in (vector(99), vector(101), "4", "", f"{vector(99)} 2")),
        *(
            (labels, False)
            for labels in ("100", "-1", "cat", "1 2", "\u00b2", vector(100, 3, 5), vector(100))
        ),
    ],
)
def test_lines_that_are_no_labels(labels: str, multi_label: bool, tmp_path: Path) -> None:
    path = tmp_path / "database.txt"
    good = vector(100, 0)
    path.write_text(f"images/0.jpg {good}\n\nimages/9.jpg {labels}\n")
    kind = "100 numbers 0 or 1" if multi_label else "a class id from 0 to 99"
    with pytest.raises(ValueError, match=rf"database\.txt, line 3: expected a path and {kind}"):
        read_list(path, 100, multi_label=multi_label)
    path.write_text(f"a.jpg {good}\na.jpg {good}\n")
    with pytest.raises(ValueError, match=r"line 2: expected every image once, got a\.jpg again"):
        read_list(path, 100, multi_label=multi_label)


def test_lists_that_are_missing_empty_or_contradict(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the lists test\.txt, .* 21 numbers 0 or 1\), but test\.txt, database"
    ):
        listed("nuswide", tmp_path)
    lines = multi_lines(21)
    write_lists(tmp_path, lines | {"train": ["images/0.jpg " + vector(21, 20)]})
    with pytest.raises(ValueError, match=r"train\.txt: expected the same labels of images/0\.jpg"):
        listed("nuswide", tmp_path)
    write_lists(tmp_path, lines | {"test": lines["database"][:1]})
    with pytest.raises(ValueError, match=r"query, database: expected no image in both, got 'images/0\.jpg'"):
        listed("nuswide", tmp_path)
    write_lists(tmp_path, lines)
    for name in ("q1", "3", "7", "8"):
        (tmp_path / "images" / f"{name}.jpg").unlink()
    what = r"4 of the 34 images of the lists are missing \(images/q1\.jpg, .*images/8\.jpg\)"
    with pytest.raises(ValueError, match=f"{what}; missing='skip' leaves them out"):
        listed("nuswide", tmp_path)
    small = dataclasses.replace(LISTED_SETS["nuswide"], top_k=10)
    with pytest.warns(UserWarning, match=f"{what} and left out"):
        images = small.load(root=tmp_path, missing="skip")
    assert (sizes(images), len(images.ids)) == ((3, 27, 18), 30)
    row = dict(zip(images.ids, images.labels, strict=True))["images/9.jpg"]
    assert row.tolist() == [int(one) for one in lines["database"][9].split()[1:]]
    assert [images.ids[i] for i in images.train] == [
        f"images/{i}.jpg" for i in range(5, 25) if i not in (7, 8)
    ]
    for content, message in ((b"\n", "expected at least one image"), (b"\xff\xfe", "expected a text file")):
        (tmp_path / "test.txt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"test\.txt: {message}"):
            listed("nuswide", tmp_path)


# The real images


@pytest.mark.images
@pytest.mark.parametrize("name", sorted(COMMITTED_SETS))
def test_real_images_are_those_of_the_committed_split(name: str) -> None:
    if not os.environ.get("SDC_DATA") or not (data_root() / name).is_dir():
        pytest.skip(f"no images: SDC_DATA names no folder with {name}")
    images = load_image_set(name)
    counts = MANIFEST[name]["counts"]
    assert images.sha256 == MANIFEST[name]["data_sha256"]
    assert sizes(images) == (counts["query"], counts["database"], counts["train"])
    if images.labels.ndim == 1:
        for part, key in ((images.query, "query_per_class"), (images.train, "train_per_class")):
            assert sorted(set(np.bincount(images.labels[part]).tolist())) == counts[key]
    for i in (0, len(images.ids) - 1):
        assert images.read(i).mode == "RGB"
    assert splits_script().main(["--check", name]) == 0
