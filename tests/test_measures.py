"""What is measured of stored codes beside a run's metrics, against counting by hand and the set's evaluation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from sdclib import load_features
from sdclib.data.embeddings import nearest_neighbours
from sdclib.data.variants import class_sizes, leave_out_training, long_tail, longtail_sizes
from sdclib.evaluation import evaluate_codes
from sdclib.methods.neighbours import smooth_over_neighbours
from sdclib.search.index import HammingIndex
from sdclib.search.recall import neighbour_recall
from study.chapters.measures import (
    at_k,
    class_precision,
    collect_classes,
    collect_curves,
    collect_neighbours,
    collect_unseen,
    pooled_precision_recall,
    teacher_quality,
    unseen_precision,
)
from study.runs import RunSpec, run_experiment, write_record

EMBEDDED = "cifar10-embedded"


def evaluated(query, database, features):
    metrics, _ = evaluate_codes(
        query,
        database,
        features.relevant,
        features.top_k,
        junk=features.junk,
        denominator=features.denominator,
    )
    return metrics["map_expected"]


@pytest.fixture
def codes():
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 2, (n, 12)).astype(np.uint8) for n in (40, 400))


def test_radii_are_counted_pair_by_pair():
    rng = np.random.default_rng(0)
    similarity, positive = rng.integers(0, 9, 500) / 4 - 1, rng.random(500) < 0.3
    levels = np.unique(similarity)
    histogram = pd.DataFrame(
        {
            "similarity": [*levels, 1.25],
            "positive": [*(np.sum((similarity == s) & positive) for s in levels), 0],
            "negative": [*(np.sum((similarity == s) & ~positive) for s in levels), 0],
        }
    )
    table = pooled_precision_recall(histogram)
    assert list(table["similarity"]) == sorted(levels, reverse=True), (
        "an empty radius is no point of the curve"
    )
    for row in table.itertuples():
        within = similarity >= row.similarity
        assert row.precision == pytest.approx(positive[within].mean())
        assert row.recall == pytest.approx(positive[within].sum() / positive.sum())
    with pytest.raises(ValueError, match="histogram: expected positive pairs, got none"):
        pooled_precision_recall(histogram.assign(positive=0))


def test_curves_of_a_record_are_those_of_its_codes(tmp_path):
    spec, floats = RunSpec(EMBEDDED, "sign", 16, parameters={"center": True}), RunSpec(EMBEDDED, "cosine")
    experiment = run_experiment(spec, progress=False)
    write_record(experiment, tmp_path)
    table = collect_curves([floats, spec], tmp_path)
    data = load_features(EMBEDDED)
    assert set(table["id"]) == {spec.id}
    few = at_k(experiment.query_codes, experiment.database_codes, data)
    pd.testing.assert_frame_equal(table[few.columns].reset_index(drop=True), few)
    assert (few["recall"].diff().dropna() >= 0).all()
    assert few["hit_rate"].iloc[-1] == pytest.approx(1, abs=1e-6)
    query, database = experiment.query_codes[:20], experiment.database_codes
    order = np.argsort((query[:, None, :] != database[None]).sum(axis=2), axis=1, kind="stable")[:, :1000]
    labels = data.query_labels[:20, None] == data.database_labels
    by_index = np.take_along_axis(labels, order, axis=1).mean()
    assert few.set_index("k").loc[1000, "precision"] == pytest.approx(by_index, abs=0.1)
    with pytest.raises(ValueError, match="specs: expected runs that made codes, got none"):
        collect_curves([floats], tmp_path)


def test_class_precision_averages_to_the_whole(tiny, codes):
    features = long_tail(tiny, 5)
    table = class_precision(*codes, features)
    assert table["n_train"].tolist() == list(class_sizes(features).values())
    assert table["n_query"].sum() == 40
    whole = np.average(table["map_expected"], weights=table["n_query"])
    assert whole == pytest.approx(evaluated(*codes, features))


def test_unseen_precision_is_that_of_the_rows_left(tiny, codes):
    by_class = class_precision(*codes, tiny)
    values = unseen_precision(*codes, tiny, tiny.train_index)
    unseen = evaluated(*codes, leave_out_training(tiny))  # by junk instead
    assert np.average(values, weights=by_class["n_query"]) == pytest.approx(unseen)
    assert unseen_precision(*codes, tiny, tiny.train_index[:0]) == pytest.approx(
        by_class["map_expected"].to_numpy()
    )
    with pytest.raises(ValueError, match=r"trained: expected at least R = 100 other rows .*, found 99"):
        unseen_precision(*codes, tiny, np.arange(301))


def test_classes_of_records(tmp_path):
    tail = f"{EMBEDDED}+longtail-100"
    specs = [RunSpec(tail, "sign", 8), RunSpec(EMBEDDED, "sign", 8), RunSpec(tail, "cosine")]
    run = run_experiment(specs[0])
    with pytest.raises(FileNotFoundError):
        collect_classes(specs, tmp_path)
    write_record(run, tmp_path)
    table = collect_classes(specs, tmp_path)
    assert (len(table), set(table["id"])) == (10, {specs[0].id})
    assert table["map_expected"].mean() == pytest.approx(run.metrics["map_expected"])
    assert table["n_train"].tolist() == longtail_sizes(500, 10, 100)
    unseen = load_features(f"{EMBEDDED}+unseen")  # without all 5,000, of which the run saw 1,236
    assert table["map_unseen"].mean() == pytest.approx(evaluated(run.query_codes, run.database_codes, unseen))
    with pytest.raises(ValueError, match="specs: expected runs on long-tailed sets"):
        collect_classes(specs[1:2], tmp_path)


def test_unseen_rows_of_records_are_those_of_the_set_without_training_rows(tmp_path):
    spec, other = RunSpec(EMBEDDED, "sign", 8), RunSpec(f"{EMBEDDED}+holdout", "sign", 8)
    run = run_experiment(spec)
    write_record(run, tmp_path)
    table = collect_unseen([RunSpec(EMBEDDED, "cosine"), spec], tmp_path)
    unseen = load_features(f"{EMBEDDED}+unseen")
    expected = evaluated(run.query_codes, run.database_codes, unseen)
    assert table[["id", "map_unseen"]].to_numpy().tolist() == [[spec.id, pytest.approx(expected)]]
    assert expected != pytest.approx(run.metrics["map_expected"])
    near = collect_neighbours([spec], tmp_path).iloc[0]
    found = HammingIndex(run.database_codes).search(run.query_codes, 100)[1]
    truth = nearest_neighbours(unseen.query, unseen.database, 10)
    assert near["recall_10"] == pytest.approx(neighbour_recall(found, truth, unseen.query, unseen.database))
    among = [np.isin(true, items).mean() for true, items in zip(truth, found, strict=True)]
    assert near["rescored_10"] == pytest.approx(np.mean(among), abs=0.002)  # of equal cosines
    with pytest.raises(ValueError, match="specs: expected runs on sets with rows that are not for training"):
        collect_unseen([other], tmp_path)


def test_the_teacher_ranks_training_rows_alone_as_a_plain_loop_does():
    data = load_features(EMBEDDED)
    table = teacher_quality(data, [10], [0, 2], n_asked=30).set_index("n_steps")
    labels = data.database_labels[data.train_index]
    order = np.random.default_rng(0).permutation(len(labels))
    asked, others = order[:30], order[30:]
    top_k = table["top_k"].iloc[0]
    assert top_k == round(data.top_k * len(others) / len(data.database))
    for steps in (0, 2):
        teacher = smooth_over_neighbours(data.train - data.train.mean(axis=0), 10, steps)
        unit = teacher / np.linalg.norm(teacher, axis=1, keepdims=True)
        values = []
        for row in asked:
            ranked = others[np.argsort(-(unit[others] @ unit[row]), kind="stable")[:top_k]]
            hits = labels[ranked] == labels[row]
            values.append((hits * np.cumsum(hits) / np.arange(1, top_k + 1)).sum() / max(hits.sum(), 1))
        assert table.loc[steps, "map"] == pytest.approx(np.mean(values), abs=1e-4)
    assert table.loc[2, "map"] > table.loc[0, "map"] + 0.05
    apart = dataclasses.replace(data, train_features=data.train, train_index=np.zeros(0, np.int64))
    with pytest.raises(ValueError, match=f"features: expected labels of the training rows of {EMBEDDED}"):
        teacher_quality(apart)
