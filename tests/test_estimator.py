"""The methods under scikit-learn's own checks of estimators, in pipelines, and cloned.

Where a check fails, `EXPECTED` says why: mostly as the library's messages (`sdclib.checks`) say what was expected in
words other than scikit-learn's. No check fails as a method computes something else than it says.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from sdclib.methods import (
    METHODS,
    BaseHasher,
    ITQHasher,
    PCAHHasher,
    SDCHasher,
    make_hasher,
)

EXPECTED = {
    "check_n_features_in_after_fitting": "the message is '... expected 4 features a row, got 1'",
    "check_estimators_dtypes": "its whole numbers have a row of zeros, whose cosine is undefined: refused",
    "check_complex_data": "the message is '... expected a numeric array, got dtype complex128'",
    "check_dtype_object": "arrays of objects are refused, also where all of them are numbers",
    "check_estimators_empty_data_messages": "the message is '... expected at least one column, got 0 feature(s)'",
    "check_transformer_preserve_dtypes": "codes are uint8 whatever the features are; there is no tag that says so",
    "check_fit2d_predict1d": "the message is '... expected a 2D array of shape (n_samples, n_features)'",
}
# Not every time or machine: rows of a matrix product in single precision differ in the last place with their position.
ROUNDING = {
    "check_methods_sample_order_invariance": "the tolerance is 1e-7; codes are float32",
    "check_methods_subset_invariance": "likewise",
}
LABELS = {
    "check_estimators_nan_inf": "its labels are not whole numbers",
    "check_requires_y_none": "the message is 'y: ... learns from labels of the training rows, ... got none'",
    "check_fit2d_1sample": "the message is 'y: expected labels of at least two classes, got 1'",
}


def small(method: str) -> BaseHasher:
    """One bit, one epoch, batches of eight: the checks' arrays have a few rows and columns."""
    known = inspect.signature(METHODS[method]).parameters
    settings: dict[str, Any] = {"preset": "release", "epochs": 1, "batch_size": 8, "n_neighbors": 3}
    if method == "greedyhash":  # whose steps grow with the features, and some of the checks' are near 100
        settings["learning_rate"] = 1e-9
    return make_hasher(method, 1, **{name: value for name, value in settings.items() if name in known})


def expected(hasher: BaseHasher) -> dict[str, str]:
    more = LABELS if hasher.needs_labels else {}
    if hasher.method == "neighbour-sdc":
        more = {"check_fit2d_1sample": "a single row less the mean is zeros, and the message speaks of those"}
    return EXPECTED | ROUNDING | more


HASHERS = [hasher for hasher in map(small, sorted(METHODS)) if not hasher.needs_views]


@parametrize_with_checks(HASHERS, expected_failed_checks=expected)
def test_checks_of_scikit_learn(estimator: BaseHasher, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("method", ["itq", "logits"])
def test_every_expected_failure_is_one(method: str) -> None:
    hasher = small(method)
    outcomes = check_estimator(hasher, on_fail=None, on_skip=None)
    failed = {outcome["check_name"] for outcome in outcomes if outcome["status"] == "failed"}
    assert failed - set(ROUNDING) == set(expected(hasher)) - set(ROUNDING)


def test_only_methods_that_learn_from_views_are_left_out() -> None:
    left_out = set(METHODS) - {hasher.method for hasher in HASHERS}
    assert left_out == {"cibhash", "crovca", "nsh", "wch"}
    for method in left_out:
        with pytest.raises(ValueError, match=f"views: {method} learns from augmented views"):
            small(method).fit(np.eye(9))


@pytest.fixture(scope="module")
def X() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 24)) * 2
    return (centres[np.arange(300) % 5] + rng.standard_normal((300, 24))).astype(np.float32)


QUICK = (ITQHasher(8), PCAHHasher(8), SDCHasher(8, "release", epochs=2))


@pytest.mark.parametrize("hasher", QUICK)
def test_in_a_pipeline(hasher: BaseHasher, X: NDArray[np.float32]) -> None:
    pipeline = make_pipeline(StandardScaler(), clone(hasher)).fit(X)
    scaled = StandardScaler().fit(X).transform(X)
    np.testing.assert_array_equal(pipeline.transform(X), clone(hasher).fit(scaled).transform(scaled))
    np.testing.assert_array_equal(
        pipeline.decision_function(X), clone(hasher).fit(scaled).decision_function(scaled)
    )


def test_neighbours_by_hamming_distance_and_a_search_for_the_code_length(X: NDArray[np.float32]) -> None:
    pipeline = make_pipeline(ITQHasher(), KNeighborsClassifier(5, metric="hamming"))
    search = GridSearchCV(pipeline, {"itqhasher__n_bits": [1, 16]}, cv=3).fit(X, np.arange(300) % 5)
    assert search.best_params_ == {"itqhasher__n_bits": 16}
    assert search.best_score_ > 0.9


@pytest.mark.parametrize("hasher", QUICK)
def test_a_clone_has_the_settings_and_nothing_learned(hasher: BaseHasher, X: NDArray[np.float32]) -> None:
    fitted = clone(hasher).fit(X)
    copy = clone(fitted).set_params(n_bits=6)
    assert copy.get_params() == fitted.get_params() | {"n_bits": 6}
    with pytest.raises(NotFittedError):
        copy.transform(X)
    assert copy.fit(X).transform(X).shape == (300, 6)
    assert fitted.transform(X).shape == (300, 8)
