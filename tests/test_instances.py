"""Landmark sets: solution files, ground truth, features and their ids."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdclib.data.features import FeatureSet
from sdclib.data.instances import INSTANCE_SETS, load_instance_set, missing_files, read_gnd, read_solution
from tests.landmarks import N_DATABASE, QUERY, SOLUTION, gnd, vectors, write_gldv2, write_revisited


def lists(items: Any) -> list[list[int]]:
    return [rows.tolist() for rows in items]


# GLDv2


def test_gldv2(tmp_path: Path) -> None:
    write_gldv2(tmp_path)
    features = load_instance_set("gldv2", root=tmp_path, top_k=20)
    assert (features.database.shape, features.train.shape) == ((30, 12), (40, 12))
    np.testing.assert_array_equal(features.query, vectors(5, 0)[[3, 1, 0]])  # q0, q2, q3
    assert lists(features.relevant) == [[3, 4, 5], [0], [7, 29]]
    assert (features.denominator, features.empty, features.junk) == ("relevant", "zero", None)
    with pytest.raises(ValueError, match="top_k: expected at most the 30 items of the database, got 100"):
        load_instance_set("gldv2", root=tmp_path)
    (tmp_path / "train.safetensors").unlink()
    with pytest.raises(ValueError, match="train_features: expected features to train on, but gldv2 has none"):
        _ = load_instance_set("gldv2", root=tmp_path, top_k=20).train


def test_gldv2_features_that_are_missing(tmp_path: Path) -> None:
    write_gldv2(tmp_path)
    solution, ids = tmp_path / "retrieval_solution_v2.1.csv", tmp_path / "index_ids.txt"
    for path, text, message in (
        (
            solution,
            SOLUTION.replace("i29", "i99").replace("i0", "i88"),
            "in index, but 2 have none, first i88",
        ),
        (solution, SOLUTION + "q9,i1,Public\n", "in query, but 1 have none, first q9"),
        (ids, "i0\n" * 30, "expected every id of index once"),
        (ids, None, r"expected ids of the images in index, .* in index_ids\.txt"),
        (tmp_path / "index.npy", None, r"expected a file of features index \(\.npy, .*found none"),
    ):
        whole = path.read_bytes()
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_instance_set("gldv2", root=tmp_path)
        path.write_bytes(whole)


def test_missing_files_are_those_of_the_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    write_gldv2(tmp_path / "gldv2")
    write_revisited(tmp_path / "roxford5k")
    assert missing_files("gldv2") == []
    assert missing_files("roxford-hard") == [tmp_path / "roxford5k" / "train.npy"]
    names = ("query.npy", "database.npy", "train.npy", "gnd_rparis6k.pkl")
    assert missing_files("rparis-easy") == [tmp_path / "rparis6k" / name for name in names]
    with pytest.raises(ValueError, match="name: expected one of"):
        missing_files("roxford")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,images\nq0,i1\n", "expected the columns id,images,Usage, got id,images"),
        *(
            (f"{SOLUTION}{line}\n", f"line 6: expected every query once, .* got {line}")
            for line in (
                "q1,i1,Public",
                "q9,i1 i2 i1,Public",
                "q9,None,Public",
                "q9,,Private",
                "q9,i1,public",
            )
        ),
        ("id,images,Usage\nq1,None,Ignored\n", "expected at least one Public or Private query"),
        ("", "expected a CSV file"),
        (None, "expected GLDv2's retrieval solution, found none"),
    ],
)
def test_solutions_that_are_not_as_described(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "solution.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"solution\.csv.*{message}"):
        read_solution(tmp_path / "solution.csv")


# Revisited Oxford and Paris


@pytest.mark.parametrize(
    ("name", "relevant", "junk"),
    [
        ("easy", [[0, 1], [], [9]], [[2, 3, 4, 5], [7], [10, 11, 12]]),
        ("medium", [[0, 1, 2, 3, 4], [7], [9]], [[5], [], [10, 11, 12]]),
        ("hard", [[2, 3, 4], [7], []], [[0, 1, 5], [], [9, 10, 11, 12]]),
    ],
)
def test_revisited(
    name: str,
    relevant: Any,
    junk: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    write_revisited(tmp_path / "rparis6k", "rparis6k")
    assert f"rparis-{name}" in INSTANCE_SETS
    features = load_instance_set(f"rparis-{name}", top_k=20)
    assert features.name == f"rparis-{name}"
    assert lists(features.relevant) == relevant
    assert features.junk is not None
    assert lists(features.junk) == junk
    assert (features.denominator, features.empty) == ("relevant", "skip")
    with pytest.raises(ValueError, match="expected features to train on"):
        _ = features.train


def test_revisited_with_training_features_and_ids(tmp_path: Path) -> None:
    def load() -> FeatureSet:
        return load_instance_set("roxford-medium", root=tmp_path, top_k=20)

    write_revisited(tmp_path)
    np.save(tmp_path / "train.npy", vectors(50, 5))
    plain = load()
    assert plain.train.shape == (50, 12)
    order = np.random.default_rng(0).permutation(N_DATABASE)
    names = np.array(gnd()["imlist"])
    (tmp_path / "database.npy").unlink()
    np.savez(tmp_path / "database.npz", features=vectors(N_DATABASE, 4)[order], ids=names[order])
    shuffled = load()
    assert shuffled.sha256 == plain.sha256
    np.testing.assert_array_equal(shuffled.database, plain.database)
    np.savez(tmp_path / "database.npz", features=vectors(4, 4), ids=names[:4])
    with pytest.raises(ValueError, match="in database, but 26 have none, first all_souls_000004"):
        load()
    np.save(tmp_path / "query.npy", vectors(4, 3))
    with pytest.raises(ValueError, match=r"expected 3 features in query, one for each image of .*, got 4"):
        load()
    with pytest.raises(ValueError, match=r"name: expected one of gldv2, .*got 'roxford'"):
        load_instance_set("roxford")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "TypeError"),
        ({"imlist": []}, "KeyError.*qimlist"),
        (gnd(imlist=3), "TypeError"),
        (gnd(gnd=[QUERY]), "3 queries, 1 of them with lists"),
        (gnd(gnd=[QUERY, QUERY, {"ok": [], "junk": []}]), "older 'ok' lists.*KeyError.*easy"),
        (gnd(gnd=[QUERY, QUERY | {"easy": [30]}, QUERY]), "query 1, easy: expected numbers from 0 to 29"),
        (gnd(gnd=[QUERY, QUERY | {"hard": [[1], [2, 3]]}, QUERY]), "inhomogeneous"),
    ],
)
def test_ground_truth_that_is_not_as_described(value: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(
        ValueError, match=rf"gnd\.pkl: expected a dict with imlist, qimlist and gnd.*{message}"
    ):
        read_gnd(tmp_path / "gnd.pkl")


@pytest.mark.parametrize(
    ("other", "message"),
    [("hard", "expected every index at most once"), ("junk", "no item that is also relevant")],
)
def test_images_in_two_lists_of_a_query(other: str, message: str, tmp_path: Path) -> None:
    write_revisited(tmp_path, gnd=[QUERY, QUERY | {other: [0]}, QUERY])
    with pytest.raises(ValueError, match=message):
        load_instance_set("roxford-medium", root=tmp_path, top_k=20)
