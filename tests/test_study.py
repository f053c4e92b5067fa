"""What the study says of the embedded data, trained afresh: 64 bits, three seeds (minutes on two cores)."""

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed

from sdclib import load_features
from sdclib.evaluation import evaluate_codes
from sdclib.methods import make_hasher
from tests.reference import reference_sdc

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


def trained(method, seed, parameters):
    """Metrics of one training at 64 bits, on one thread."""
    torch.set_num_threads(1)
    data = load_features("cifar10-embedded")
    if method == "reference":
        encode = reference_sdc(data.train, 64, seed=seed)
    else:
        encode = make_hasher(method, 64, seed=seed, **parameters).fit(data.train).transform
    return evaluate_codes(encode(data.query), encode(data.database), data.relevant, data.top_k)[0]


@pytest.fixture(scope="module")
def metrics():
    """Mean over seeds of intersection and mAP (authors' definition) of each way to train."""
    ways = {
        "release": ("sdc", {"preset": "release"}),
        "collapsed": ("sdc", {"preset": "release", "calibration": "beta(0.2, 0.2)"}),
        "reference": ("reference", {}),
        "lsh": ("lsh", {}),
        "sign": ("sign", {}),
    }
    jobs = [(name, seed) for name in ways for seed in SEEDS]
    results = Parallel(n_jobs=2)(delayed(trained)(ways[name][0], seed, ways[name][1]) for name, seed in jobs)
    values = {name: {"map_authors": [], "intersection": []} for name in ways}
    for (name, _), result in zip(jobs, results, strict=True):
        for metric in values[name]:
            values[name][metric].append(result[metric])
    return {name: {metric: np.mean(v) for metric, v in by.items()} for name, by in values.items()}


def test_sdc_collapses_less_than_the_sign_of_raw_features_and_lsh(metrics):
    assert metrics["release"]["intersection"] < metrics["sign"]["intersection"]
    assert metrics["release"]["intersection"] < metrics["lsh"]["intersection"]


def test_a_u_shaped_target_costs_at_least_ten_points(metrics):
    assert metrics["collapsed"]["map_authors"] <= metrics["release"]["map_authors"] - 0.10


def test_release_is_within_a_point_of_a_plain_reference(metrics):
    assert metrics["release"]["map_authors"] == pytest.approx(metrics["reference"]["map_authors"], abs=0.010)


def test_same_seed_same_codes_on_the_embedded_data():
    data = load_features("cifar10-embedded")
    first, second = (
        make_hasher("sdc", 64, seed=7, preset="paper", epochs=2).fit(data.train).pack(data.database)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
