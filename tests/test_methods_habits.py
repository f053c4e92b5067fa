"""What users of scikit-learn expect of a method, and what a fit must leave alone."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sdclib import methods
from sdclib.methods import BaseHasher, ITQHasher, LSHHasher, SDCHasher, SignHasher, make_hasher
from sdclib.search.encoding import load_hasher

QUICK = {"preset": "release", "epochs": 1, "batch_size": 50}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).standard_normal((200, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def frame(X):
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(12)])


def test_a_frame_keeps_the_names_and_order_of_its_columns(frame, X, tmp_path):
    hasher = ITQHasher(8).fit(frame)
    assert list(hasher.feature_names_in_) == list(frame)
    for fitted in (hasher, load_hasher(hasher.save(tmp_path))):
        np.testing.assert_array_equal(fitted.transform(frame), ITQHasher(8).fit(X).transform(X))
        with pytest.raises(ValueError, match="same order"):
            fitted.transform(frame[frame.columns[::-1]])


def test_output_can_be_a_frame(frame):
    hasher = ITQHasher(8).fit(frame)
    assert list(hasher.get_feature_names_out()) == [f"itqhasher{i}" for i in range(8)]
    codes = hasher.set_output(transform="pandas").transform(frame)
    assert isinstance(codes, pd.DataFrame)
    assert codes.index.equals(frame.index)
    assert hasher.pack(frame).dtype == np.uint8


@pytest.mark.parametrize("make", [LSHHasher, lambda **more: SDCHasher(8, **QUICK, **more)])
def test_no_random_state_is_another_one_each_time_unless_numpy_is_seeded(X, make):
    def codes():
        return make(random_state=None).fit(X).decision_function(X)

    assert not np.array_equal(codes(), codes())
    np.random.seed(3)  # noqa: NPY002
    first = codes()
    np.random.seed(3)  # noqa: NPY002
    np.testing.assert_array_equal(first, codes())


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (lambda: ITQHasher(8), {"n_iterations": 0}),
        (lambda: LSHHasher(8), {"random_state": -1}),
        (lambda: SignHasher(8), {"n_bits": 13}),
        (lambda: SDCHasher(8, **QUICK), {"learning_rate": -1.0}),
        (lambda: SDCHasher(8, **QUICK), {"learning_rate": 1e30}),  # found only while training
    ],
)
def test_a_fit_that_fails_changes_nothing(X, make, bad):
    hasher = make().fit(X)
    before = hasher.decision_function(X)
    names = set(vars(hasher))
    with pytest.raises(ValueError):  # noqa: PT011
        hasher.set_params(**bad).fit(X + 1)
    np.testing.assert_array_equal(hasher.decision_function(X), before)
    assert set(vars(hasher)) == names


@pytest.mark.parametrize("method", ["itq", "sdc"])
def test_parameters_set_after_the_fit_belong_to_the_next_one(X, method, tmp_path):
    hasher = make_hasher(method, 8, **(QUICK if method == "sdc" else {})).fit(X)
    before = hasher.transform(X)
    loaded = load_hasher(hasher.set_params(n_bits=4).save(tmp_path))
    assert loaded.n_bits == 8
    np.testing.assert_array_equal(loaded.transform(X), before)


def test_the_device_belongs_to_the_call(X, tmp_path):
    hasher = SDCHasher(8, **QUICK, progress=False).fit(X)
    folder = hasher.save(tmp_path)
    description = json.loads((folder / "hasher.json").read_text())
    assert not {"device", "progress"} & set(description["parameters"])
    description["parameters"]["device"] = "cuda:7"  # as older versions wrote
    (folder / "hasher.json").write_text(json.dumps(description))
    np.testing.assert_array_equal(load_hasher(folder).transform(X), hasher.transform(X))
    hasher = pickle.loads(pickle.dumps(hasher.set_params(device="cuda:7")))
    with pytest.raises(ValueError, match="device: expected"):
        hasher.transform(X)
    np.testing.assert_array_equal(
        hasher.set_params(device="cpu").transform(X), load_hasher(folder).transform(X)
    )


def test_what_features_come_in(X, frame):
    hasher = SignHasher(8).fit(X)
    expected = hasher.transform(X)
    tensor = torch.from_numpy(X)
    for given in (
        X.tolist(),
        tensor.clone().requires_grad_(),
        frame.convert_dtypes().to_numpy(dtype=object).tolist(),
    ):
        np.testing.assert_array_equal(hasher.transform(given), expected)
    np.testing.assert_array_equal(
        hasher.transform(tensor.bfloat16()), hasher.transform(tensor.bfloat16().float())
    )
    by_frame = SignHasher(8).fit(frame)
    np.testing.assert_array_equal(by_frame.transform(frame.astype("Float32")), expected)
    np.testing.assert_array_equal(by_frame.transform(frame.astype("float32[pyarrow]")), expected)
    with pytest.raises(ValueError, match=r"X: expected a dense array, got a sparse one; X.toarray\(\)"):
        hasher.fit(sparse.csr_array(X))
    missing = frame.astype("Float32")
    missing.iloc[3, 2] = pd.NA
    with pytest.raises(ValueError, match="X: expected finite values, got NaN or infinity in 1 row"):
        by_frame.transform(missing)


def test_a_method_of_ones_own_registers_itself(X, tmp_path, monkeypatch):
    for registry in ("_CLASSES", "METHOD_LABELS", "METHOD_COLORS"):
        monkeypatch.setattr(methods, registry, dict(getattr(methods, registry)))

    class FirstBits(BaseHasher):
        method, label, color = "first-bits", "First bits", "#000000"

        def __init__(self, n_bits=4):
            self.n_bits = n_bits

        def _fit(self, X):
            self.mean_ = X.mean(axis=0)

        def _continuous_codes(self, X):
            return (X - self.mean_)[:, : self.n_bits]

        def _get_state(self):
            return {"mean": self.mean_}

        def _set_state(self, state):
            self.mean_ = state["mean"]

    hasher = make_hasher("first-bits", 4).fit(X)
    np.testing.assert_array_equal(load_hasher(hasher.save(tmp_path)).transform(X), hasher.transform(X))
    with pytest.raises(ValueError, match="method: expected a name of its own for Other, got 'first-bits'"):
        type("Other", (BaseHasher,), {"method": "first-bits", "label": "Other", "color": "#000000"})
