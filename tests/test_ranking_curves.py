"""Curves by k and by radius, against counting by hand."""

import numpy as np
import pandas as pd
import pytest
from study.chapters.ranking_curves import at_k, collect_curves, pooled_precision_recall

from sdclib import load_features
from study.runs import RunSpec, run_experiment, write_record


def test_radii_are_counted_pair_by_pair():
    rng = np.random.default_rng(0)
    similarity = rng.integers(0, 9, 500) / 4 - 1
    positive = rng.random(500) < 0.3
    levels = np.unique(similarity)
    histogram = pd.DataFrame(
        {
            "similarity": [*levels, 1.25],
            "positive": [*((similarity == s) & positive for s in levels), [False]],
            "negative": [*((similarity == s) & ~positive for s in levels), [False]],
        }
    )
    histogram[["positive", "negative"]] = histogram[["positive", "negative"]].map(np.sum)
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
    spec = RunSpec("cifar10-embedded", "sign", 16, parameters={"center": True})
    experiment = run_experiment(spec, progress=False)
    write_record(experiment, tmp_path)
    table = collect_curves([RunSpec("cifar10-embedded", "cosine"), spec], tmp_path)
    data = load_features("cifar10-embedded")
    assert set(table["id"]) == {spec.id}
    query, database = experiment.query_codes[:20], experiment.database_codes
    few = at_k(experiment.query_codes, database, data)
    pd.testing.assert_frame_equal(table[few.columns].reset_index(drop=True), few)
    assert (few["recall"].diff().dropna() >= 0).all()
    assert few["hit_rate"].iloc[-1] == pytest.approx(1, abs=1e-6)
    # All items at one distance or nearer: no order of ties matters there.
    distances = (query[:, None, :] != database[None]).sum(axis=2)
    labels = data.query_labels[:20, None] == data.database_labels
    k = 1000
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    by_index = np.take_along_axis(labels, order, axis=1).mean()
    assert few.set_index("k").loc[k, "precision"] == pytest.approx(by_index, abs=0.1)
    with pytest.raises(ValueError, match="specs: expected runs that made codes, got none"):
        collect_curves([RunSpec("cifar10-embedded", "cosine")], tmp_path)
