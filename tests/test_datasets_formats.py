"""Caltech-101, COIL-20, Corel5K and Fashion-MNIST as they are published, and errors that name what is wrong."""

from __future__ import annotations

import dataclasses
import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sdclib.data.image_sets import committed, fashion_mnist
from sdclib.data.image_sets.caltech101 import CALTECH101
from sdclib.data.image_sets.coil20 import COIL20
from sdclib.data.image_sets.corel5k import COREL5K
from sdclib.data.image_sets.fashion_mnist import FASHION_MNIST, read_idx
from sdclib.data.images import open_rgb
from sdclib.evaluation import evaluate_features
from tests.image_sets import few_a_class, picture, pixel_features, small_splits, to_metric, write


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return small_splits(tmp_path, monkeypatch)


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
        r"24 images of the committed split, but 1 missing \(ant/image_0001\) and "
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


def test_broken_image_is_named_when_read(caltech101: committed.CommittedSet, tmp_path: Path) -> None:
    images = caltech101.load()
    for i in range(len(images.ids)):
        path = tmp_path / "data" / "caltech101" / f"{images.ids[i]}.png"
        if i == 4:
            path.write_bytes(path.read_bytes()[:60])
        if i == 5:
            path.write_bytes(b"")
        if i == 6:
            path.unlink()
    for i in (4, 5, 6):
        with pytest.raises(ValueError, match=rf"{images.ids[i]}\.png: missing or broken image"):
            images.read(i)
    images.read(7)


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


def test_idx_files_that_are_damaged(tmp_path: Path) -> None:
    good = idx_bytes(np.zeros((3, 2), np.uint8))
    plain, packed = tmp_path / "x-ubyte", tmp_path / "x-ubyte.gz"
    plain.write_bytes(good)
    assert read_idx(plain).shape == (3, 2)
    for data in (good[:-1], good + b"\0", b"\0\0\x0d\x01" + good[4:], b""):
        plain.write_bytes(data)
        with pytest.raises(ValueError, match=r"x-ubyte: (damaged file|expected an IDX file)"):
            read_idx(plain)
    for data in (gzip.compress(good)[:-5], b"no gzip", gzip.compress(good)[:12] + b"\xff" * 30):
        packed.write_bytes(data)
        with pytest.raises(ValueError, match=r"x-ubyte\.gz: damaged file"):
            read_idx(packed)
