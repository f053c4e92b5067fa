"""Split lists in the authors' format: to a metric, images that are missing, and lines that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdclib.data.image_sets import LISTED_SETS, load_image_set
from sdclib.data.image_sets.lists import read_list
from tests.image_sets import picture, pixel_features, to_metric, write


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"images/9.jpg {vector(20)}", "line 3: expected a path and 21 numbers 0 or 1, got 20 fields"),
        (f"images/9.jpg {vector(22)}", "line 3: expected a path and 21 numbers 0 or 1, got 22 fields"),
        ("images/9.jpg 4", "line 3: expected a path and 21 numbers 0 or 1, got 1 fields"),
        ("images/9.jpg", "line 3: expected a path and 21 numbers 0 or 1, got 0 fields"),
        (f"images/9.jpg {vector(20)} 2", "among them '2'"),
        (
            f"images/0.jpg {vector(21, 0)}",
            "line 3: expected every image once, got images/0.jpg again, first in line 1",
        ),
    ],
)
def test_lists_with_a_wrong_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "database.txt"
    path.write_text(f"images/0.jpg {vector(21, 0)}\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"database\.txt, .*{message}"):
        read_list(path, 21, multi_label=True)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("100", "expected a class id from 0 to 99, got '100'"),
        ("-1", "expected a class id from 0 to 99, got '-1'"),
        ("cat", "expected a class id from 0 to 99, got 'cat'"),
        ("1 2", "expected a path and 100 numbers 0 or 1, got 2 fields"),
        (vector(100, 3, 5), "expected a single class, got 2 ones"),
        (vector(100), "expected a single class, got 0 ones"),
    ],
)
def test_single_label_lists_with_a_wrong_line(labels: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(f"a.jpg {labels}\n")
    with pytest.raises(ValueError, match=rf"train\.txt, line 1: {message}"):
        read_list(tmp_path / "train.txt", 100, multi_label=False)


def test_lists_that_are_missing_empty_or_contradict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test\.txt: expected a list with one image a line"):
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
