"""Image sets: any folder, names and options, and what an image set refuses and is known by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdclib.data.image_sets import IMAGE_SETS, load_image_set
from sdclib.data.images import ImageSet, data_root, file_reader
from tests.image_sets import picture, pixel_features, to_metric, write

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


def test_folder_refuses(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 30 images a class, got 20"):
        load_image_set("folder", root=folder)
    with pytest.raises(ValueError, match="top_k: expected at most the 34 images"):
        load_image_set("folder", root=folder, n_query=3, n_train=5, top_k=99)


# Names and the image set itself


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
