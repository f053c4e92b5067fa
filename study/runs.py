"""One run of the study, and its record: which method, on which data, with which settings, and what came out.

A record is one folder a run, written so that it is either whole or not there.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.catalogue import EMBEDDINGS, load_features
from sdclib.checks import check_int, check_name
from sdclib.codes import pack_codes, unpack_codes
from sdclib.data.features import FeatureSet
from sdclib.data.vectors import read_csv
from sdclib.evaluation import EVALUATION_VERSION, evaluate_codes, evaluate_features
from sdclib.extract.views import VIEWS_VERSION, Views, load_tokens, load_views
from sdclib.files import file_sha256, read_json, write_bytes, write_json, write_text
from sdclib.methods import METHODS, BaseHasher, make_hasher
from sdclib.progress import tqdm
from study.provenance import OWN_RESULTS, git_commit, machine, peak_memory_mb, versions
from study.rules import by_rule

__all__ = [
    "COSINE",
    "Experiment",
    "RunSpec",
    "collect_histograms",
    "collect_measures",
    "collect_records",
    "expand_config",
    "failed_runs",
    "fit_hasher",
    "is_whole",
    "measure",
    "measure_again",
    "read_codes",
    "read_config",
    "read_histogram",
    "read_record",
    "run_all",
    "run_experiment",
    "runs_folder",
    "stale_rows",
    "suited_to_data",
    "turned",
    "write_record",
]

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
    rule : str, optional
        By which the parameters were made, see `study.rules`; a column of tables, and nothing else.
    """

    data: str
    method: str
    n_bits: int | None = 64
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rule: str | None = None

    def __post_init__(self) -> None:
        check_name(self.method, "method", [*METHODS, COSINE])
        check_int(self.seed, "seed", minimum=0)
        if not isinstance(self.parameters, Mapping):
            raise ValueError(f"parameters: expected a mapping, got {self.parameters!r}")
        if self.method == COSINE:
            object.__setattr__(self, "n_bits", None)
            for name in self.parameters:
                check_name(name, f"parameters of method {COSINE!r}", {"center"})
        else:
            check_int(self.n_bits, "n_bits", minimum=1)
            hasher = self.make_hasher()
            hasher.resolved_parameters()  # refuses what the method cannot take
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

        `data_sha256` is the hash of the features, by default that of the set which `data` names.
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
    """Outcome of a run: metrics and histogram of `sdclib.evaluation.evaluate_codes`, codes in {0, 1}, wall times."""

    spec: RunSpec
    id: str  # see `RunSpec.id`; taken when the run started
    data_sha256: str
    top_k: int
    metrics: dict[str, float]
    histogram: pd.DataFrame
    history: pd.DataFrame | None  # one row an epoch, for methods that train
    query_codes: NDArray[np.uint8] | None  # shape (n, n_bits); None for "cosine"
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

    `views` and `tokens` of the training images are loaded where they are not given.
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

    See `sdclib.evaluation.evaluate_codes` for the metrics and the histogram.
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

    `features` are loaded where they are not given.
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
        ``parameters``, ``rule`` (see `study.rules`) and, where they differ from the top, ``data``, ``n_bits`` and
        ``seeds``. A list as the value of a parameter or a rule means every one of its values in turn. Repetitions are
        left out. Instead of ``runs``, or beside them, ``claims``: what these need, see `study.claims`.
    """
    for name in _mapping(config, "config"):
        check_name(name, "config", {"table", "measures", "data", "n_bits", "seeds", "runs", "claims"})
    specs: list[RunSpec] = []
    entries = [entry for claim in config.get("claims", ()) for entry in claim_runs(claim)]
    for entry in [*_listed(config.get("runs") or []), *entries]:
        for name in _mapping(entry, "config: runs"):
            check_name(name, "config: runs", {"method", "parameters", "rule", "data", "n_bits", "seeds"})
        settings = {**config, **entry}
        for name in ("method", "data", "seeds"):
            if name not in settings:
                raise ValueError(f"config: expected a value of {name!r} for the run {dict(entry)}, got none")
        parameters = _mapping(settings.get("parameters") or {}, "config: parameters")
        grid = {name: _listed(value) for name, value in parameters.items()}
        for rule, data, n_bits, seed, *values in itertools.product(
            _listed(entry.get("rule")),
            _listed(settings["data"]),
            _listed(settings.get("n_bits")),
            _listed(settings["seeds"]),
            *grid.values(),
        ):
            if not isinstance(data, str):
                raise ValueError(f"config: expected names of feature sets as 'data', got {data!r}")
            method, chosen = settings["method"], dict(zip(grid, values, strict=True))
            if rule is not None:
                chosen = by_rule(rule, check_name(method, "config: method", METHODS), chosen)
            spec = RunSpec(data, method, n_bits, seed, chosen, rule)
            if spec not in specs:
                specs.append(spec)
    if not specs:
        raise ValueError("config: expected at least one entry under 'runs', got none")
    return specs


def claim_runs(claim: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the runs of a claim as entries of a configuration, with its data and code lengths in each."""
    shared = {name: claim[name] for name in ("data", "n_bits") if name in claim}
    return [{**shared, **entry} for side in ("plus", "minus") for entry in claim[side]]


def turned(*configs: Mapping[str, Any], **knobs: Any) -> list[dict[str, Any]]:
    """Turn knobs of sweeps: give their configurations with other values; those that then have no runs are left out.

    Parameters
    ----------
    *configs : mapping
        See `expand_config`.
    **knobs
        ``data``, ``n_bits`` and ``seeds`` stand in for all that the sweeps have. ``methods`` are those that are kept of
        them. Any other is a parameter, given to every method that takes it, in place of the sweep's values.
        Those that are None are left as they are.

    Raises
    ------
    ValueError
        If no run of the sweeps has a method of ``methods``, or none takes a parameter.
    """
    given = {name: value for name, value in knobs.items() if value is not None}
    top: dict[str, Any] = {name: given.pop(name) for name in ("data", "n_bits", "seeds") if name in given}
    known = {entry["method"] for config in configs for entry in _listed(config.get("runs") or [])}
    kept = set(_listed(given.pop("methods", list(known))))
    if unknown := kept - known:
        raise ValueError(f"methods: expected some of the sweep's, got {', '.join(sorted(unknown))}")
    takes = {method: set(make_hasher(method, 8).get_params()) & set(given) for method in kept - {COSINE}}
    if useless := set(given).difference(*takes.values()):
        name = min(useless)
        raise ValueError(f"{name}: expected a parameter of a method of the sweep, and none of them takes it")
    changed = []
    for config in configs:
        runs = []
        for entry in (e for e in _listed(config.get("runs") or []) if e["method"] in kept):
            here = {name: given[name] for name in given if name in takes.get(entry["method"], ())}
            parameters = {**(entry.get("parameters") or {}), **here}
            runs.append({**entry, **top, **({"parameters": parameters} if parameters else {})})
        if runs:
            changed.append({**config, **top, "runs": runs})
    return changed


def suited_to_data(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Change runs to what their data allow, and print what is changed.

    Batches that are larger than the training rows are halved until they fit, and runs that need augmented views are
    left out where there are no images.
    """
    n_train = functools.cache(lambda data: len(load_features(data).train))
    suited, changes = [], set()
    for spec in specs:
        hasher = None if spec.method == COSINE else spec.make_hasher()
        if hasher is not None and hasher.needs_views and spec.data.startswith(f"{EMBEDDINGS}/"):
            changes.add(
                f"{spec.data} has no augmented views: {spec.method} with {dict(spec.parameters)} is left out"
            )
            continue
        size = wanted = hasher.resolved_parameters().get("batch_size") if hasher is not None else None
        while size and size > n_train(spec.data):
            size //= 2
        if size != wanted:
            changes.add(
                f"{spec.data} has {n_train(spec.data)} training rows: batches of {size} instead of {wanted}"
            )
            spec = replace(spec, parameters={**spec.parameters, "batch_size": size})
        if spec not in suited:
            suited.append(spec)
    for line in sorted(changes):
        print(line)
    return suited


def read_config(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[RunSpec]]:
    """Read a sweep's configuration from a YAML file; give its settings and `expand_config` of them.

    Raises
    ------
    ValueError
        If it is not there, no YAML, or lacks something; in one line that names the file.
    """
    import yaml

    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        specs = expand_config(config)
        if not isinstance(config.get("table"), str):
            raise ValueError(f"config: expected a name as 'table', got {config.get('table')!r}")
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return config, specs


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a mapping, got {type(value).__name__}")
    return value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


FORMAT_VERSION = 2
# Columns of `collect_records` before and after the metrics, and those after what `collect_measures` gives.
RUN = ["id", "data", "method", "n_bits", "seed", "parameters", "top_k"]
REST = [
    *("fit_seconds", "encode_seconds", "evaluate_seconds", "peak_memory_mb", "finished", "commit"),
    *("results_version", "evaluation_version", "data_sha256", "codes_sha256", "versions", "machine"),
]
ORIGIN = ["commit", "results_version", "data_sha256", "machine"]
ERROR = "error.txt"  # in the folder of a run that ended in an error: what Python says of it
FILES = {"histogram.csv", "history.csv", "codes.npz"}  # beside `record.json`
# What `record.json` holds, whatever the method.
ENTRIES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(["id", "data", "method", "finished", "data_sha256"], (str,)),
    **dict.fromkeys(["seed", "top_k", "results_version", "evaluation_version"], (int,)),
    **dict.fromkeys(["fit_seconds", "encode_seconds", "evaluate_seconds", "peak_memory_mb"], (int, float)),
    **dict.fromkeys(["parameters", "metrics", "versions", "machine", "files"], (dict,)),
    "n_bits": (int, type(None)),
    **dict.fromkeys(["commit", "codes_sha256"], (str, type(None))),
}


def runs_folder() -> Path:
    """Where run records lie: `runs` in ``$SDC_RESULTS``, else in `results/local`."""
    return OWN_RESULTS / "runs"


def write_record(experiment: Experiment, runs: str | os.PathLike[str] | None = None) -> Path:
    """Write the record of a run, at once.

    ``histogram.csv``, ``history.csv`` (if the method trains) and ``codes.npz`` (packed, if it makes codes) come
    with ``record.json``, which holds their SHA-256: a record without it is not whole. All are written into a folder
    beside their place and then renamed, ``record.json`` last, by one writer at a time: an earlier record stays as it
    is until the new one lies on disk, and files of two writers never mix.

    Gives the record's folder, named by the run's id, in `runs` (`runs_folder()` by default).

    Raises
    ------
    OSError
        If it cannot be written, as when the disk is full; the message names the folder, and an earlier record is
        then untouched.
    """
    spec = experiment.spec
    files = {"histogram.csv": experiment.histogram.to_csv(index=False).encode()}
    if experiment.history is not None:
        files["history.csv"] = experiment.history.to_csv(index=False).encode()
    codes_sha256 = None
    if experiment.query_codes is not None and experiment.database_codes is not None:
        packed = [pack_codes(codes) for codes in (experiment.query_codes, experiment.database_codes)]
        codes_sha256 = hashlib.sha256(b"".join(codes.tobytes() for codes in packed)).hexdigest()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, query=packed[0], database=packed[1])
        files["codes.npz"] = buffer.getvalue()
    record = {
        "format_version": FORMAT_VERSION,
        "id": experiment.id,
        **spec.determinants(experiment.data_sha256),
        "parameters": spec.all_parameters,
        "data_sha256": experiment.data_sha256,
        "top_k": experiment.top_k,
        "codes_sha256": codes_sha256,
        "metrics": experiment.metrics,
        "evaluation_version": EVALUATION_VERSION,
        "fit_seconds": round(experiment.fit_seconds, 3),
        "encode_seconds": round(experiment.encode_seconds, 3),
        "evaluate_seconds": round(experiment.evaluate_seconds, 3),
        "peak_memory_mb": round(peak_memory_mb()),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": versions(),
        "machine": machine(),
    }
    return _write(Path(runs_folder() if runs is None else runs) / experiment.id, record, files)


def measure_again(spec: RunSpec, runs: str | os.PathLike[str] | None = None) -> Path:
    """Measure the codes of a record once more and write the record anew; nothing is fitted."""
    folder = Path(runs_folder() if runs is None else runs) / spec.id
    record, start = read_record(folder), time.perf_counter()
    codes = (None, None) if spec.method == COSINE else read_codes(folder)
    metrics, histogram = measure(spec, load_features(spec.data), *codes)
    files = {name: (folder / name).read_bytes() for name in record["files"]}
    files["histogram.csv"] = histogram.to_csv(index=False).encode()
    measured = {
        "metrics": metrics,
        "evaluation_version": EVALUATION_VERSION,
        "evaluate_seconds": round(time.perf_counter() - start, 3),
    }
    return _write(folder, {**record, **measured}, files)


def _write(folder: Path, record: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write the files of a record into a stage beside their place, then rename them, ``record.json`` last."""
    metrics = {name: None if np.isnan(value) else value for name, value in record["metrics"].items()}
    record = {**record, "metrics": metrics}  # JSON has no NaN
    try:
        with _only_writer(folder):
            stage = Path(tempfile.mkdtemp(prefix=".record.", suffix=".tmp", dir=folder))
            try:
                for name, content in files.items():
                    write_bytes(stage / name, content)
                hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
                write_json(stage / "record.json", {**record, "files": hashes})
                record_file = folder / "record.json"
                record_file.unlink(missing_ok=True)
                for path in sorted(stage.iterdir(), key=lambda path: path.name == record_file.name):
                    os.replace(path, folder / path.name)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the run record cannot be written ({error.strerror or error}); an earlier one is untouched, so make room "
            "or choose another folder, and run again",
            str(folder),
        ) from error
    return folder


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold a record's lock, which ends with its process, and clear away what a killed writer left."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
            for path in folder.glob(".record.*.tmp"):
                shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read `record.json` and check the record's files against it.

    Raises
    ------
    FileNotFoundError
        If there is no `record.json` (a run that was cut), or a file it names is gone.
    ValueError
        If a file is damaged or not as described; the message names it, and the folder to delete.
    """
    try:
        return _checked_record(Path(folder))
    except ValueError as error:
        raise ValueError(f"{error}; delete {folder} and run again") from error


def _checked_record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / "record.json")
    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{folder / 'record.json'}: expected a run record of format_version {FORMAT_VERSION}"
        )
    for name, kinds in ENTRIES.items():
        if name not in record or not isinstance(record[name], kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            got = type(record[name]).__name__ if name in record else "nothing"
            raise ValueError(f"{folder / 'record.json'}: expected {expected} as {name!r}, got {got}")
    if not set(record["files"]) <= FILES:
        raise ValueError(
            f"{folder / 'record.json'}: expected no files but {', '.join(sorted(FILES))}, got "
            f"{', '.join(sorted(set(record['files']) - FILES))}"
        )
    for name, digest in record["files"].items():
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{folder / name}: damaged, its SHA-256 is not the one in record.json")
    return record


def read_codes(folder: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read query and database codes of a record, shapes (n, n_bits), uint8 in {0, 1}; errors as `read_record`."""
    record, path = read_record(folder), Path(folder) / "codes.npz"
    if path.name not in record["files"]:
        raise FileNotFoundError(f"{folder}: the record of a {record['method']} run has no codes")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            query, database = (unpack_codes(arrays[name], record["n_bits"]) for name in ("query", "database"))
    except Exception as error:  # zipfile and NumPy fail in many ways
        raise ValueError(f"{path}: expected packed codes of {record['n_bits']} bits ({error})") from error
    return query, database


def is_whole(folder: str | os.PathLike[str], *, measured: bool = False) -> bool:
    """Whether a record is there and undamaged; with `measured`, also whether its metrics are those of today."""
    try:
        record = read_record(folder)
    except (OSError, ValueError):
        return False
    return not measured or record["evaluation_version"] == EVALUATION_VERSION


def run_all(
    specs: Sequence[RunSpec],
    runs: str | os.PathLike[str] | None = None,
    *,
    again: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Run one after the other and write the record of each at once; what is recorded already is not run again.

    With `again` even what is recorded is run. Gives the folders of the records, in order. A bar counts the runs, or
    the epochs of a single one.

    Raises
    ------
    RuntimeError
        At the end, if a run ended in an error, which then is in ``error.txt`` of its folder; the others are recorded.
    """
    runs = Path(runs_folder() if runs is None else runs)
    load = functools.lru_cache(maxsize=1)(load_features)  # one at a time: runs come set by set
    folders, failures = [], []
    for spec in tqdm(specs, unit="run", disable=not progress or len(specs) < 2):
        folder = runs / spec.id
        folders.append(folder)
        if not again and is_whole(folder, measured=True):
            continue
        try:
            if not again and is_whole(folder):
                measure_again(spec, runs)
            else:
                write_record(
                    run_experiment(spec, load(spec.data), progress=progress and len(specs) < 2), runs
                )
            (folder / ERROR).unlink(missing_ok=True)
        except Exception as error:
            write_text(folder / ERROR, traceback.format_exc())
            failures.append(f"{folder.name}: {type(error).__name__}: {error}")
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(specs)} runs failed\n" + "\n".join(failures))
    return folders


def collect_records(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect the records of the given runs into a tidy table, one row a run, in their order."""
    runs, specs, rows = Path(runs_folder() if runs is None else runs), list(specs), []
    by_rules = any(spec.rule for spec in specs)
    for spec in specs:
        record = read_record(runs / spec.id)
        metrics = {name: np.nan if value is None else value for name, value in record["metrics"].items()}
        record["parameters"] = json.dumps(spec.all_parameters, sort_keys=True, default=str)
        for name in ("data_sha256", "codes_sha256"):
            record[name] = (record[name] or "")[:16]
        for name in ("versions", "machine"):
            record[name] = json.dumps(record[name], sort_keys=True)
        run = {key: record[key] for key in RUN} | ({"rule": spec.rule} if by_rules else {})
        rows.append(run | metrics | {key: record[key] for key in REST})
    return pd.DataFrame(rows).astype({"n_bits": "Int64"})


def collect_measures(
    specs: Iterable[RunSpec],
    measure: Callable[[RunSpec, NDArray[np.uint8], NDArray[np.uint8]], pd.DataFrame],
    runs: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Measure the codes of the given runs once more, and put what each run is and where it comes from beside it.

    Parameters
    ----------
    specs : iterable of RunSpec
        Runs that made codes, at least one.
    measure : callable
        ``measure(spec, query_codes, database_codes)`` gives the rows of a run; codes as `read_codes` gives them.
    runs : path-like, optional
        Folder of the records, `runs_folder` by default.
    """
    folder = Path(runs_folder() if runs is None else runs)
    tables = []
    for spec in specs:
        run = collect_records([spec], folder)
        rows = measure(spec, *read_codes(folder / spec.id))
        tables.append(run[RUN].merge(rows, how="cross").merge(run[ORIGIN], how="cross"))
    return pd.concat(tables, ignore_index=True)


def collect_histograms(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect the pair histograms of the given runs: id, similarity, positive, negative; see `collect_records`."""
    return pd.concat([read_histogram(spec.id, runs) for spec in specs], ignore_index=True)


def read_histogram(name: str, runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Read the pair histogram of the run of this id; see `collect_histograms`."""
    path = Path(runs_folder() if runs is None else runs) / name / "histogram.csv"
    if path.name not in read_record(path.parent)["files"]:
        raise FileNotFoundError(f"{path.parent}: the record has no histogram")
    table = read_csv(path)
    if list(table.columns) != ["similarity", "positive", "negative"]:
        raise ValueError(
            f"{path}: expected the columns similarity,positive,negative, got {','.join(table.columns)}"
        )
    table.insert(0, "id", name)
    return table


def failed_runs(
    specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None
) -> list[tuple[RunSpec, str, Path]]:
    """Find the runs that ended in an error: each with its last error line and the file that has all of it.

    A run that was cut or has not started is not among them.
    """
    runs = Path(runs_folder() if runs is None else runs)
    failures = []
    for spec in specs:
        path = runs / spec.id / ERROR
        if (runs / spec.id / "record.json").is_file() or not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        failures.append((spec, lines[-1] if lines else "", path))
    return failures


def stale_rows(table: pd.DataFrame, specs: Iterable[RunSpec]) -> pd.DataFrame:
    """Rows of a table of runs that are not those of any given run, or were measured by an older evaluation."""
    current = table["id"].isin({spec.id for spec in specs})
    return table[~current | (table["evaluation_version"] != EVALUATION_VERSION)]
