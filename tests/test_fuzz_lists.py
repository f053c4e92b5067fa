"""Split lists, solutions, label files, IDX files and images: what they say or an error that names the file."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdclib.data.image_sets import committed
from sdclib.data.image_sets.corel5k import read_labels
from sdclib.data.image_sets.digits import load_digits
from sdclib.data.image_sets.fashion_mnist import find, read_idx
from sdclib.data.image_sets.lists import ListedSet, read_list
from sdclib.data.images import ImageSet, open_rgb
from sdclib.data.instances import read_solution
from tests.fuzzing import NUMBERS, attacks, damaged, fuzzed, outcome, write

N_LABELS = 4
PATHS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda text: text.split() == [text]
)
LIST = b"a/1.png 0\na/2.png 3\nb/3.png 1\n\nb/4.png 2\n"
VECTORS = b"a/1.png 0 1 1 0\na/2.png 0 0 0 0\nb/3.png 1 0 0 0\n"
FIELDS = st.sampled_from(
    ["0", "1", "3", "4", "-1", "00", "1.0", "x", "\u00b2", "\u0661", "9" * 5000, "\0", "\ufeff"]
)


@fuzzed
@given(st.dictionaries(PATHS, st.integers(0, N_LABELS - 1), min_size=1, max_size=6), st.booleans())
def test_class_ids_come_back(tmp_path: Path, labels: dict[str, int], one_hot: bool) -> None:
    vectors = np.eye(N_LABELS, dtype=int)
    lines = [
        f"{image} {' '.join(map(str, vectors[label])) if one_hot else label}\n"
        for image, label in labels.items()
    ]
    path = write(tmp_path / "list.txt", "".join(lines).encode())
    images, ids = read_list(path, N_LABELS, multi_label=False)
    assert dict(zip(images, ids.tolist(), strict=True)) == labels


@fuzzed
@given(
    st.binary(max_size=80)
    | damaged(LIST)
    | damaged(VECTORS)
    | st.lists(FIELDS).map(lambda f: " ".join(f).encode()),
    st.booleans(),
)
def test_any_list(tmp_path: Path, content: bytes, multi_label: bool) -> None:
    path = write(tmp_path / "list.txt", content)
    read = outcome(lambda: read_list(path, N_LABELS, multi_label=multi_label), path)
    if read is not None:
        images, labels = read
        assert len(set(images)) == len(images) == len(labels) > 0
        assert labels.shape[1:] == ((N_LABELS,) if multi_label else ())
        assert labels.min() >= 0
        assert labels.max() < (2 if multi_label else N_LABELS)


@fuzzed
@given(
    st.sampled_from(["train.txt", "test.txt", "database.txt"]),
    st.binary(max_size=40)
    | damaged(LIST)
    | st.sampled_from(["n" * 5000, "../1.png", "/", "a\0b"]).map(
        lambda image: LIST + f"{image} 1\n".encode()
    ),
    st.sampled_from(["error", "skip"]),
)
def test_any_list_of_a_set(tmp_path: Path, name: str, content: bytes, missing: str) -> None:
    listed = ListedSet("some", N_LABELS, False, 2, "none", "none")
    (tmp_path / "a").mkdir(exist_ok=True)
    for image in ("1", "2", "3"):
        write(tmp_path / "a" / f"{image}.png", b"not looked at")
    write(tmp_path / "test.txt", b"a/1.png 0\n")
    write(tmp_path / "database.txt", b"a/2.png 1\na/3.png 2\n")
    write(tmp_path / "train.txt", b"a/3.png 2\n")
    write(tmp_path / name, content)
    images = outcome(lambda: listed.load(root=tmp_path, missing=missing), "")
    assert images is None or isinstance(images, ImageSet)


SOLUTION = b"id,images,Usage\nq1,a b c,Public\nq2,None,Ignored\nq3,d,Private\n"


@fuzzed
@given(
    st.binary(max_size=60)
    | damaged(SOLUTION)
    | st.lists(st.sampled_from(["q4", "NA", "a a", "Public", "Other", '"', ",", "\n", "\0"])).map(
        lambda fields: SOLUTION + ",".join(fields).encode()
    )
)
def test_any_solution(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "solution.csv", content)
    solution = outcome(lambda: read_solution(path), path)
    if solution is not None:
        assert solution
        assert all(ids and len(set(ids)) == len(ids) for ids in solution.values())


def test_a_solution_with_a_field_too_many(tmp_path: Path) -> None:
    path = write(tmp_path / "solution.csv", b"id,images,Usage\n0,q1,a b c,Public\n1,q3,d,Private\n")
    with pytest.raises(ValueError, match=r"solution\.csv: expected as many fields"):
        read_solution(path)


LABELS = b"path,split,labels\nimages/1.jpg,train,sky sea\nimages/2.jpg,test,sky\n"


@fuzzed
@given(
    st.binary(max_size=60)
    | damaged(LABELS)
    | st.sampled_from([b"path,split,labels\na,train,\0\n", b"\xff" + LABELS])
)
def test_any_words(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "labels.csv", content)
    read = outcome(lambda: read_labels(path), path)
    if read is not None:
        paths, splits, labels, words = read
        assert labels.shape == (len(paths), len(words))
        assert set(splits) <= {"train", "test"}
        assert labels.any(axis=1).all()


def test_a_field_that_does_not_end(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.csv", b'path,split,labels\na,test,"' + b"x" * 200_000)
    assert outcome(lambda: read_labels(path), path) is None


def idx(shape: tuple[int, ...], data: bytes) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">u4").tobytes() + data


IMAGES, IDS = idx((3, 28, 28), bytes(3 * 28 * 28)), idx((3,), bytes([1, 0, 1]))


@fuzzed
@given(
    st.binary(max_size=40)
    | st.binary(max_size=12).map(lambda tail: b"\0\0\x08" + tail)
    | damaged(st.sampled_from([idx((2, 2), b"abcd"), IDS, gzip.compress(IDS, mtime=0)]))
    | st.lists(st.sampled_from([0, *NUMBERS[:-3]]), max_size=90).map(
        lambda shape: idx(tuple(n % 2**32 for n in shape), b"")
    ),
    st.sampled_from(["", ".gz"]),
)
def test_any_idx(tmp_path: Path, content: bytes, suffix: str) -> None:
    for data in (content, gzip.compress(content, mtime=0)) if suffix else (content,):
        path = write(tmp_path / f"idx-ubyte{suffix}", data)
        array = outcome(lambda path=path: read_idx(path), path)
        assert array is None or array.dtype == np.uint8


@fuzzed
@given(
    st.sampled_from(["images-idx3", "labels-idx1"]),
    damaged(IMAGES) | damaged(IDS) | st.sampled_from([IMAGES, IDS]),
)
def test_any_fashion_mnist(tmp_path: Path, kind: str, content: bytes) -> None:
    for part in ("train", "t10k"):
        write(tmp_path / f"{part}-images-idx3-ubyte", IMAGES)
        write(tmp_path / f"{part}-labels-idx1-ubyte", IDS)
    write(tmp_path / f"train-{kind}-ubyte", content)
    found = outcome(lambda: find(tmp_path, False), tmp_path)
    assert found is None or len(found.ids) == len(found.labels)


def images_of_digits(by_pixels: bool) -> tuple[committed.CommittedSet, committed.Split]:
    """The digits as a set whose split is committed."""
    digits = load_digits()
    split = committed.Split(digits.query, digits.database, digits.train_index)
    found = committed.Found(digits.ids, digits.labels, digits.class_names, digits.read)
    texts = {"rule_text": "", "licence": "none", "citation": "none"}
    return committed.CommittedSet(
        "few", lambda *_: found, lambda _: split, by_pixels=by_pixels, top_k=5, **texts
    ), split


DIGITS = {by_pixels: images_of_digits(by_pixels) for by_pixels in (True, False)}
COMMITTED = {
    by_pixels: committed.split_bytes(some, some.find(Path(), False), split)
    for by_pixels, (some, split) in DIGITS.items()
}


@pytest.mark.parametrize("by_pixels", [True, False])
@fuzzed
@given(data=st.data())
def test_any_committed_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pixels: bool, data: st.DataObject
) -> None:
    """Also where the manifest has the hash of what is there."""
    whole = COMMITTED[by_pixels]
    rows = st.sampled_from([b"", b"id,role\n", b"role\nquery\n", b"id,role\nx\n", b'id,role\n"'])
    other = st.binary(max_size=40) | rows.map(gzip.compress) | damaged(rows).map(gzip.compress)
    content = data.draw(st.just(whole) | damaged(whole) | other)
    load_committed(tmp_path, monkeypatch, by_pixels, content)


@pytest.mark.parametrize("rows", [b"role,id\nquery\n", b"id,role,x\nx\n", b"role,id\nquery\ntrain,a\n"])
def test_a_committed_split_with_fields_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: bytes
) -> None:
    load_committed(tmp_path, monkeypatch, False, gzip.compress(rows))


def load_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pixels: bool, content: bytes) -> None:
    """Load a set whose split is so, and whose manifest has the hash of it."""
    some, split = DIGITS[by_pixels]
    monkeypatch.setattr(committed, "SPLITS", tmp_path)
    monkeypatch.setattr(committed, "MANIFEST", tmp_path / "splits.json")
    found = some.find(tmp_path, False)
    entry: dict[str, Any] = {
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "data_sha256": some.image_set(found, split).sha256,
        "split_sha256": committed.split_sha256(split, found.ids),
        "counts": {"query": len(split.query), "database": len(split.database)},
    }
    write(tmp_path / "splits.json", json.dumps({"few": entry}).encode())
    write(some.file, content)
    images = outcome(lambda: some.load(root=tmp_path), "few")
    if content == COMMITTED[by_pixels]:
        assert images.sha256 == entry["data_sha256"]


def image_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(75, dtype=np.uint8).reshape(5, 5, 3)).save(file, kind)
    return file.getvalue()


@fuzzed
@given(
    st.binary(max_size=60)
    | damaged(st.sampled_from([image_bytes(k) for k in ("png", "jpeg", "bmp", "gif", "tiff")]))
)
def test_any_image(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "image.png", content)
    image = outcome(lambda: open_rgb(path), path)
    assert image is None or image.mode == "RGB"


def test_attacks_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        path = write(tmp_path / "attack.csv", pickle.dumps(attack))
        for read in (
            read_solution,
            read_labels,
            read_idx,
            open_rgb,
            lambda p: read_list(p, 4, multi_label=False),
        ):
            with pytest.raises(ValueError, match=r"attack\.csv"):
                read(path)
    assert not marker.exists()
