"""What users of scikit-learn expect of a method, and what a fit must leave alone."""

import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sdclib.methods import METHODS, BaseHasher, ITQHasher, LSHHasher, SDCHasher, SignHasher, make_hasher
from sdclib.search.encoding import load_hasher
from tests.hashers import extras, fit, quick

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


def test_two_methods_of_one_name_are_refused():
    with pytest.raises(
        ValueError, match="method: expected a name of its own for Other, got 'itq' of ITQHasher"
    ):
        type("Other", (BaseHasher,), {"method": "itq", "label": "Other", "color": "#000000"})


@pytest.mark.filterwarnings("ignore:.*collapse")
@pytest.mark.parametrize("method", METHODS)
def test_the_length_of_features_does_not_matter(X, method):
    """Powers of two round nothing, so codes are the same; SH and ITQ go through a decomposition that rounds."""
    more = extras(quick(method), X + 0.5)

    def codes(scale):
        given = more | ({"views": scale * more["views"]} if "views" in more else {})
        scaled = (scale * (X + 0.5)).astype(np.float32)
        return quick(method, 8).fit(scaled, **given).transform(scaled)

    for scale in (2.0**-20, 2.0**20):
        assert (codes(scale) == codes(1)).mean() >= (0.99 if method in ("pcah", "sh", "itq") else 1)


def test_one_very_long_row_is_one_row_among_many(X):
    longer = X.copy()
    longer[7] *= 1e12
    codes = [fit(quick("sdc", 8, epochs=5), rows).transform(X) for rows in (X, longer)]
    assert (codes[0] == codes[1]).mean() > 0.8


def test_codes_that_collapse_are_not_silent(X):
    with pytest.warns(UserWarning, match=r"sign: the codes of the training rows collapse: 1 codes for 200"):
        SignHasher(8).fit(np.abs(X) + 1)
    with pytest.warns(UserWarning, match=r"sdc: the codes of the training rows collapse"):
        SDCHasher(8, **QUICK, norm="none").fit(X + 1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SDCHasher(8, **QUICK).fit(X)
        ITQHasher(8).fit(X)
