import contextlib

from sdclib.kernels import use_portable_kernels

with contextlib.suppress(RuntimeError):  # a plugin of pytest was first; golden codes then have a tolerance
    use_portable_kernels()

import numpy as np
import pytest

from sdclib import catalogue
from sdclib.data.features import FeatureSet


def make_features(n_query=40, n_database=400, d=20, n_classes=4, seed=0):
    """Small clustered features with a positive bias, as a feature set."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_classes, d))
    labels = rng.integers(0, n_classes, n_query + n_database)
    rows = (centres[labels] + rng.standard_normal((len(labels), d)) + 0.7).astype(np.float32)
    return FeatureSet(
        name="tiny",
        query=rows[:n_query],
        database=rows[n_query:],
        query_labels=labels[:n_query],
        database_labels=labels[n_query:],
        train_index=np.arange(0, n_database, 2),
        top_k=100,
        licence="none",
        citation="none",
        sha256="0" * 64,
    )


@pytest.fixture(scope="session")
def tiny():
    return make_features()


@pytest.fixture
def tiny_data(tiny, monkeypatch):
    """Make the name "tiny" known as a feature set; return the set."""
    monkeypatch.setitem(catalogue._PACKAGED, "tiny", lambda: tiny)
    return tiny
