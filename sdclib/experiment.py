"""One run of the study: which method, on which data, with which settings, and what came out."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.catalogue import load_features
from sdclib.checks import check_int, check_name
from sdclib.evaluation import evaluate_codes, evaluate_features
from sdclib.features import FeatureSet
from sdclib.methods import METHODS, BaseHasher, SDCHasher, make_hasher
from sdclib.provenance import code_sha256
from sdclib.views import Views, load_tokens, load_views

__all__ = ["COSINE", "Experiment", "RunSpec", "expand_config", "run_experiment", "run_id"]

COSINE = "cosine"  # the baseline without codes: float features ranked by their cosine
NOT_DETERMINING = {"n_bits", "random_state", "device", "progress"}


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

    def determinants(self, data_sha256: str | None = None, views_sha256: str | None = None) -> dict[str, Any]:
        """All that the result depends on: settings with defaults filled in, code and data hashes.

        Parameters
        ----------
        data_sha256, views_sha256 : str, optional
            Hash of the features, and of the augmented views where the method needs them; by default those that the
            name of the data stands for.
        """
        resolved: dict[str, Any] = {}
        if self.method == COSINE:
            parameters: dict[str, Any] = {"center": False, **self.parameters}
            modules: tuple[str, ...] = ()
        else:
            hasher = self.make_hasher()
            parameters = {k: v for k, v in hasher.get_params().items() if k not in NOT_DETERMINING}
            modules = (METHODS[self.method].__module__,)
            if isinstance(hasher, SDCHasher):  # what the preset's name stands for
                resolved["settings"] = {
                    **asdict(hasher.settings),
                    "calibration": str(hasher.settings.calibration),
                }
            if hasher.needs_views:
                resolved["views_sha256"] = views_sha256 or _views_sha256(self.data)
        return {
            "data": self.data,
            "data_sha256": data_sha256 or _data_sha256(self.data),
            **resolved,
            "method": self.method,
            "n_bits": self.n_bits,
            "seed": self.seed,
            "parameters": {name: value for name, value in parameters.items() if value is not None},
            "code_sha256": code_sha256("sdclib.evaluation", "sdclib.features", *modules),
        }

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of what determines the result."""
        return run_id(self.determinants())


@functools.cache
def _data_sha256(name: str) -> str:
    return load_features(name).sha256


@functools.cache
def _views_sha256(name: str) -> str:
    return load_views(name).sha256


def run_id(determinants: Mapping[str, Any]) -> str:
    """Make a run's id from what determines its result, see `RunSpec.determinants`."""
    text = json.dumps(determinants, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Experiment:
    """Outcome of a run.

    Attributes
    ----------
    spec : RunSpec
    determinants : dict
        See `RunSpec.determinants`; taken when the run started.
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
    determinants: dict[str, Any]
    top_k: int
    metrics: dict[str, float]
    histogram: pd.DataFrame
    history: pd.DataFrame | None
    query_codes: NDArray[np.uint8] | None
    database_codes: NDArray[np.uint8] | None
    fit_seconds: float
    encode_seconds: float
    evaluate_seconds: float


def run_experiment(
    spec: RunSpec,
    features: FeatureSet | None = None,
    *,
    views: Views | None = None,
    progress: bool = True,
) -> Experiment:
    """Fit on the training features, encode queries and database, measure.

    Parameters
    ----------
    spec : RunSpec
    features : FeatureSet, optional
        The data, where it is loaded already.
    views : Views, optional
        The augmented views of its training images, where the method needs them and they are loaded already.
    progress : bool
        Show progress bars.

    Raises
    ------
    ValueError
        If the method learns from labels and the set has none of its training rows.
    """
    features = load_features(spec.data) if features is None else features
    protocol: Any = {"junk": features.junk, "denominator": features.denominator, "empty": features.empty}
    history = query_codes = database_codes = None
    views_sha256 = None
    if spec.method == COSINE:
        start = time.perf_counter()
        query, database = features.query, features.database
        if spec.parameters.get("center", False):
            mean = features.train.mean(axis=0)
            query, database = query - mean, database - mean
        fitted = encoded = time.perf_counter()
        metrics, histogram = evaluate_features(query, database, features.relevant, features.top_k, **protocol)
    else:
        hasher = spec.make_hasher()
        if "progress" in hasher.get_params():
            hasher.set_params(progress=progress)
        more: dict[str, Any] = {}
        if hasher.needs_views:
            views = load_views(spec.data) if views is None else views
            views_sha256 = views.sha256
            more["views"] = views.features
        if hasher.needs_tokens:  # of fewer views than there are features of
            more["tokens"] = load_tokens(spec.data).features
            more["views"] = more["views"][: len(more["tokens"])]
        if getattr(hasher, "needs_labels", False):
            more["y"] = _training_labels(features, spec.method)
        start = time.perf_counter()
        hasher.fit(features.train, **more)
        fitted = time.perf_counter()
        query_codes, database_codes = hasher.transform(features.query), hasher.transform(features.database)
        encoded = time.perf_counter()
        metrics, histogram = evaluate_codes(
            query_codes, database_codes, features.relevant, features.top_k, **protocol
        )
        history = getattr(hasher, "history_", None)
    return Experiment(
        spec=spec,
        determinants=spec.determinants(features.sha256, views_sha256),
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
        check_name(name, "config", {"table", "data", "n_bits", "seeds", "runs"})
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
