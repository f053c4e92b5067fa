"""One run of the study: which method, on which data, with which settings, and what came out."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.catalogue import load_features
from sdclib.checks import check_int, check_name
from sdclib.data.features import FeatureSet
from sdclib.evaluation import evaluate_codes, evaluate_features
from sdclib.extract.views import VIEWS_VERSION, Views, load_tokens, load_views
from sdclib.methods import METHODS, BaseHasher, make_hasher

__all__ = ["COSINE", "Experiment", "RunSpec", "expand_config", "fit_hasher", "measure", "run_experiment"]

COSINE = "cosine"  # the baseline without codes: float features ranked by their cosine


@dataclass(frozen=True)
class RunSpec:
    """What determines the result of a run.

    Parameters
    ----------
    data : str
        Name of a feature set, see `sdclib.catalogue.load_features`.
    method : str
        Name of a hashing method, see `sdclib.methods.METHODS`, or ``"cosine"`` for the float features themselves.
    n_bits : int or None
        Code length; None for ``"cosine"``.
    seed : int
    parameters : dict
        Parameters of the method that differ from its defaults; ``{"center": True}`` centres ``"cosine"``.
    """

    data: str
    method: str
    n_bits: int | None = 64
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.method, "method", [*METHODS, COSINE])
        check_int(self.seed, "seed", minimum=0)
        if self.method == COSINE:
            object.__setattr__(self, "n_bits", None)
            for name in self.parameters:
                check_name(name, f"parameters of method {COSINE!r}", {"center"})
        else:
            check_int(self.n_bits, "n_bits", minimum=1)
            hasher = self.make_hasher()
            if hasher.method != self.method:  # a preset that is a method of its own
                object.__setattr__(self, "method", hasher.method)
                object.__setattr__(
                    self, "parameters", {k: v for k, v in self.parameters.items() if k != "preset"}
                )

    def make_hasher(self) -> BaseHasher:
        """Make the hasher that this run fits."""
        assert self.n_bits is not None
        return make_hasher(self.method, self.n_bits, seed=self.seed, **self.parameters)

    @property
    def all_parameters(self) -> dict[str, Any]:
        """The method's parameters with defaults filled in, as tables have them; without those that are None."""
        if self.method == COSINE:
            return {"center": False, **self.parameters}
        return self.make_hasher().given_parameters()

    def determinants(self, data_sha256: str | None = None) -> dict[str, Any]:
        """All that the codes depend on: data, settings with presets resolved, and numbers raised by hand.

        Parameters
        ----------
        data_sha256 : str, optional
            Hash of the features, or its first 16 digits; by default that of the set which `data` names.
        """
        found = {
            "data": self.data,
            "data_sha256": (data_sha256 or _data_sha256(self.data))[:16],
            "method": self.method,
            "n_bits": self.n_bits,
            "seed": self.seed,
        }
        if self.method == COSINE:
            return {**found, "parameters": self.all_parameters, "results_version": 1}
        hasher = self.make_hasher()
        if hasher.needs_views:  # the rest of what views depend on is in the features
            found["views_version"] = VIEWS_VERSION
        return {
            **found,
            "parameters": hasher.resolved_parameters(),
            "results_version": hasher.results_version,
        }

    def make_id(self, data_sha256: str | None = None) -> str:
        """First 16 hexadecimal digits of the SHA-256 of `determinants`; see there for `data_sha256`."""
        text = json.dumps(self.determinants(data_sha256), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def id(self) -> str:
        """Name of the run, made from what determines its codes."""
        return self.make_id()


@functools.cache
def _data_sha256(name: str) -> str:
    return load_features(name).sha256


@dataclass(frozen=True)
class Experiment:
    """Outcome of a run.

    Attributes
    ----------
    spec : RunSpec
    id : str
        See `RunSpec.id`; taken when the run started.
    data_sha256 : str
        Hash of the features.
    top_k : int
        The R of mAP@R.
    metrics : dict
        See `sdclib.evaluation.evaluate_codes`.
    histogram : DataFrame
        similarity, positive, negative.
    history : DataFrame or None
        One row an epoch, for methods that train.
    query_codes, database_codes : ndarray of uint8, shapes (n, n_bits), or None
        None for ``"cosine"``.
    fit_seconds, encode_seconds, evaluate_seconds : float
        Wall time of fitting, of encoding queries and database, of measuring.
    """

    spec: RunSpec
    id: str
    data_sha256: str
    top_k: int
    metrics: dict[str, float]
    histogram: pd.DataFrame
    history: pd.DataFrame | None
    query_codes: NDArray[np.uint8] | None
    database_codes: NDArray[np.uint8] | None
    fit_seconds: float
    encode_seconds: float
    evaluate_seconds: float


def fit_hasher(
    spec: RunSpec,
    features: FeatureSet,
    *,
    views: Views | None = None,
    tokens: Views | None = None,
    progress: bool = True,
) -> BaseHasher:
    """Fit the method of a run on the training features, and on labels, views or tokens where it needs them.

    Parameters
    ----------
    spec : RunSpec
    features : FeatureSet
    views, tokens : Views, optional
        Those of the training images, where they are loaded already.
    progress : bool
        Show progress bars.

    Raises
    ------
    ValueError
        If the method learns from labels and the set has none of its training rows, or as `fit` of the method says.
    """
    hasher = spec.make_hasher()
    if "progress" in hasher.get_params():
        hasher.set_params(progress=progress)
    more: dict[str, Any] = {}
    if hasher.needs_views:
        more["views"] = (views or load_views(spec.data)).features
    if hasher.needs_tokens:  # of fewer views than there are features of
        more["tokens"] = (tokens or load_tokens(spec.data)).features
        more["views"] = more["views"][: len(more["tokens"])]
    if hasher.needs_labels:
        more["y"] = _training_labels(features, spec.method)
    return hasher.fit(features.train, **more)


def measure(
    spec: RunSpec,
    features: FeatureSet,
    query_codes: NDArray[np.uint8] | None = None,
    database_codes: NDArray[np.uint8] | None = None,
) -> tuple[dict[str, float], pd.DataFrame]:
    """Measure the codes of a run, or the features themselves where its method is ``"cosine"``.

    Returns
    -------
    metrics : dict
    histogram : DataFrame
        See `sdclib.evaluation.evaluate_codes`.
    """
    protocol: Any = {"junk": features.junk, "denominator": features.denominator, "empty": features.empty}
    if query_codes is not None and database_codes is not None:
        return evaluate_codes(query_codes, database_codes, features.relevant, features.top_k, **protocol)
    query, database = features.query, features.database
    if spec.parameters.get("center", False):
        mean = features.train.mean(axis=0)
        query, database = query - mean, database - mean
    return evaluate_features(query, database, features.relevant, features.top_k, **protocol)


def run_experiment(
    spec: RunSpec,
    features: FeatureSet | None = None,
    *,
    views: Views | None = None,
    progress: bool = True,
) -> Experiment:
    """Fit on the training features, encode queries and database, measure; see `fit_hasher` and `measure`.

    Parameters
    ----------
    spec : RunSpec
    features : FeatureSet, optional
        The data, where it is loaded already.
    views : Views, optional
    progress : bool
    """
    features = load_features(spec.data) if features is None else features
    name = spec.make_id(features.sha256)
    history = query_codes = database_codes = None
    start = fitted = time.perf_counter()
    if spec.method != COSINE:
        hasher = fit_hasher(spec, features, views=views, progress=progress)
        fitted = time.perf_counter()
        query_codes, database_codes = hasher.transform(features.query), hasher.transform(features.database)
        history = getattr(hasher, "history_", None)
    encoded = time.perf_counter()
    metrics, histogram = measure(spec, features, query_codes, database_codes)
    return Experiment(
        spec=spec,
        id=name,
        data_sha256=features.sha256,
        top_k=features.top_k,
        metrics=metrics,
        histogram=histogram,
        history=history,
        query_codes=query_codes,
        database_codes=database_codes,
        fit_seconds=fitted - start,
        encode_seconds=encoded - fitted,
        evaluate_seconds=time.perf_counter() - encoded,
    )


def _training_labels(features: FeatureSet, method: str) -> NDArray[np.integer]:
    """Labels of the training rows; no label of a query or of another database row is among them."""
    labels = features.database_labels[features.train_index]
    if not len(labels) or labels.shape[1:] == (0,):
        raise ValueError(
            f"features: {method} learns from labels of the training rows, but {features.name} has none of them"
        )
    return labels


def expand_config(config: Mapping[str, Any]) -> list[RunSpec]:
    """List the runs of a sweep's configuration.

    Parameters
    ----------
    config : mapping
        ``data``, ``n_bits`` and ``seeds`` (lists) at the top, and ``runs``: a list of mappings with ``method``,
        ``parameters`` and, where they differ from the top, ``data``, ``n_bits`` and ``seeds``. A list as the value
        of a parameter means every one of its values in turn.

    Returns
    -------
    list of RunSpec
        Without repetitions.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or a run cannot be.
    """
    for name in _mapping(config, "config"):
        check_name(name, "config", {"table", "measures", "data", "n_bits", "seeds", "runs"})
    specs: list[RunSpec] = []
    for entry in _listed(config.get("runs") or []):
        for name in _mapping(entry, "config: runs"):
            check_name(name, "config: runs", {"method", "parameters", "data", "n_bits", "seeds"})
        settings = {**config, **entry}
        for name in ("method", "data", "seeds"):
            if name not in settings:
                raise ValueError(f"config: expected a value of {name!r} for the run {dict(entry)}, got none")
        parameters = _mapping(settings.get("parameters") or {}, "config: parameters")
        grid = {name: _listed(value) for name, value in parameters.items()}
        for data, n_bits, seed, *values in itertools.product(
            _listed(settings["data"]),
            _listed(settings.get("n_bits")),
            _listed(settings["seeds"]),
            *grid.values(),
        ):
            if not isinstance(data, str):
                raise ValueError(f"config: expected names of feature sets as 'data', got {data!r}")
            spec = RunSpec(data, settings["method"], n_bits, seed, dict(zip(grid, values, strict=True)))
            if spec not in specs:
                specs.append(spec)
    if not specs:
        raise ValueError("config: expected at least one entry under 'runs', got none")
    return specs


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a mapping, got {type(value).__name__}")
    return value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
