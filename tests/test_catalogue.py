"""Feature sets by name, from any source to a metric; and the held-out part of the training rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdclib import load_features
from sdclib.catalogue import FEATURE_SETS
from sdclib.data.features import FeatureSet
from sdclib.data.variants import hold_out, holdout_rows
from study.runs import RunSpec, run_experiment
from tests.landmarks import N_DATABASE, vectors, write_gldv2, write_revisited
from tests.test_embeddings import blobs


def test_landmark_sets_by_name_to_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    write_gldv2(tmp_path / "gldv2")
    np.save(tmp_path / "gldv2" / "index.npy", vectors(120, 1))
    (tmp_path / "gldv2" / "index_ids.txt").write_text("".join(f"i{i}\n" for i in range(120)))
    assert run_experiment(RunSpec("gldv2", "itq", 8)).metrics["map_expected"] > 0
    for protocol in ("easy", "medium", "hard"):
        write_revisited(tmp_path / "rparis6k", "rparis6k", imlist=[f"i_{i}" for i in range(120)])
        np.save(tmp_path / "rparis6k" / "database.npy", vectors(120, 4))
        np.save(tmp_path / "rparis6k" / "train.npy", vectors(40, 5))
        name = f"rparis-{protocol}"
        assert name in FEATURE_SETS
        assert run_experiment(RunSpec(name, "itq", 8)).metrics["map_expected"] > 0
    assert N_DATABASE < 120  # the cut of 100 needs more than the other tests have


@pytest.mark.parametrize("absolute", [False, True])
def test_embeddings_by_file_to_a_metric(
    absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, labels = blobs()
    np.savez(tmp_path / "mine.npz", embeddings=rows, labels=labels)
    monkeypatch.setenv("SDC_DATA", str(tmp_path / "elsewhere" if absolute else tmp_path))
    name = f"embeddings/{tmp_path / 'mine.npz'}" if absolute else "embeddings/mine.npz"
    features = load_features(name)
    assert (features.name, len(features.query), features.database.shape) == (name, 10, (90, 12))
    experiment = run_experiment(RunSpec(name, "itq", 8))
    assert experiment.data_sha256 == features.sha256
    assert experiment.metrics["map_expected"] > 0.5


@pytest.mark.parametrize("name", ["mnist", "embeddings/", "caltech101/", "gldv2/vgg16", "roxford"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=r"name: expected one of .*embeddings/FILE.*roxford-hard"):
        load_features(name)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"nothing\.npy: expected a file of vectors, found none"):
        load_features("embeddings/nothing.npy")
    with pytest.raises(ValueError, match=r"gldv2: expected a file of features query"):
        load_features("gldv2")


class TestHoldout:
    def test_rows_are_a_tenth_and_the_rest(self) -> None:
        query, train = holdout_rows(50)
        assert len(query) == 5
        np.testing.assert_array_equal(np.sort(np.concatenate([query, train])), np.arange(50))
        np.testing.assert_array_equal(query, holdout_rows(50)[0])
        assert not np.array_equal(query, holdout_rows(50, seed=1)[0])
        with pytest.raises(ValueError, match="n: expected at least 2 training rows"):
            holdout_rows(1)

    def test_only_training_rows_are_in_it(self, tiny: FeatureSet) -> None:
        held = hold_out(tiny)
        training = {row.tobytes() for row in tiny.train}
        assert {row.tobytes() for row in np.concatenate([held.query, held.database])} == training
        assert not {row.tobytes() for row in held.query} & {row.tobytes() for row in held.database}
        np.testing.assert_array_equal(held.train, held.database)
        assert held.top_k == round(100 * len(held.database) / len(tiny.database))
        # every row kept its label
        label = {row.tobytes(): value for row, value in zip(tiny.database, tiny.database_labels, strict=True)}
        assert [label[row.tobytes()] for row in held.query] == held.query_labels.tolist()
        assert [label[row.tobytes()] for row in held.database] == held.database_labels.tolist()

    def test_by_name_to_a_metric(self) -> None:
        held = load_features("cifar10-embedded+holdout")
        assert (len(held.query), len(held.database), held.top_k) == (500, 4500, 450)
        assert held.sha256 != load_features("cifar10-embedded").sha256
        run = run_experiment(RunSpec("cifar10-embedded+holdout", "itq", 16))
        assert 0.4 < run.metrics["map_expected"] < 0.8

    def test_without_labels_there_is_nothing_to_tune_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SDC_DATA", str(tmp_path))
        np.save(tmp_path / "plain.npy", vectors(200, 0))
        with pytest.raises(
            ValueError, match="expected labelled training rows in the database of embeddings/"
        ):
            load_features("embeddings/plain.npy+holdout")
