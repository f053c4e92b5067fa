"""The teacher's ranking of training rows, against a plain loop."""

import dataclasses

import numpy as np
import pytest
from study.chapters.teacher import teacher_quality

from sdclib import load_features
from sdclib.methods.neighbours import smooth_over_neighbours


def test_ranks_training_rows_alone_as_a_plain_loop_does():
    data = load_features("cifar10-embedded")
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


def test_needs_labels_of_training_rows():
    data = load_features("cifar10-embedded")
    apart = dataclasses.replace(data, train_features=data.train, train_index=np.zeros(0, np.int64))
    with pytest.raises(
        ValueError, match="features: expected labels of the training rows of cifar10-embedded"
    ):
        teacher_quality(apart)
