"""Published tables of runs, one column a setting, and the names that readers know sets and configurations by."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sdclib.data.vectors import read_csv
from sdclib.methods import METHOD_LABELS, METHODS
from sdclib.methods.presets import PRESETS, settings_from_preset
from study.provenance import PROJECT_ROOT, RESULTS

__all__ = [
    "Config",
    "ask",
    "ask_histograms",
    "by_setting",
    "find",
    "kernels_of",
    "method_label",
    "published",
    "published_histograms",
    "read_results",
    "renamed",
    "set_name",
    "setting_name",
    "settings_of",
    "settings_text",
    "where",
]

CONFIG = PROJECT_ROOT / "config"
SET_NAMES = {
    "cifar10-embedded": "CIFAR-10 (packaged)",
    "cifar10/efficientnet-lite0": "CIFAR-10",
    "caltech101/efficientnet-lite0": "Caltech-101",
    "corel5k/efficientnet-lite0": "Corel-5k",
    "coil20/efficientnet-lite0": "COIL-20",
    "embeddings/text/wordnet-nouns.npz": "WordNet (text)",
    **{f"embeddings/text/wordnet-nouns-depth{n}.npz": f"WordNet, depth {n}" for n in (3, 4, 5)},
}
DEFAULT_PRESET = "paper-no-contrastive"


@dataclass(frozen=True)
class Config:
    """A method with its settings: what runs share that differ in data, code length and seed.

    Configurations are equal where method and settings are; ``str`` gives the name for readers.

    Parameters
    ----------
    method : str
    parameters : str
        JSON object, as in tables of runs.
    label : str, optional
        What readers are to know it by; `method_label` by default.
    """

    method: str
    parameters: str = "{}"
    label: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.label or _label(self.method, self.parameters)

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other)


@functools.cache
def _label(method: str, parameters: str) -> str:
    return method_label(method, json.loads(parameters))


def method_label(method: str, parameters: Mapping[str, Any]) -> str:
    """Name a method as readers know it, with what sets it apart in brackets; `parameters` has the defaults too."""
    remarks: list[str] = []
    usual: dict[str, Any] = {}
    if method == "sdc":
        preset = parameters.get("preset", DEFAULT_PRESET)
        remarks.append(preset)
        usual = {**_usual(preset), "preset": preset}
    elif method in METHODS:
        usual = {name: p.default for name, p in inspect.signature(METHODS[method]).parameters.items()}
    remarks += [
        f"{name}={value}"
        for name, value in parameters.items()
        if name != "center" and value != usual.get(name)
    ]
    if parameters.get("center"):
        remarks.append("centred")
    label = METHOD_LABELS.get(method, method)
    return f"{label} ({', '.join(remarks)})" if remarks else label


def settings_text(parameters: Mapping[str, Any]) -> str:
    """Write settings in words: ``batch size 32, learning rate 0.01``; "none" where there are none."""
    words = []
    for name, value in parameters.items():
        if name == "center":
            words.append("centred" if value else "not centred")
        elif isinstance(value, bool):
            words.append(f"{name.replace('_', ' ')} {'yes' if value else 'no'}")
        else:
            words.append(f"{name.removeprefix('n_').replace('_', ' ')} {value}")
    return ", ".join(words) or "none"


def set_name(data: str) -> str:
    """Name a data set as readers know it; what is added to its name, such as ``+unseen``, comes after a comma."""
    base, *suffixes = data.split("+")
    return ", ".join([SET_NAMES.get(base, base), *suffixes])


def setting_name(data: str, n_bits: int) -> str:
    """Name a data set and a code length: "Caltech-101, 64 bits"."""
    return f"{set_name(data)}, {n_bits} bits"


def by_setting(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Give data set, code length and rows of each setting of a table, in its order."""
    key: tuple[str, int]
    for key, rows in table.groupby(["data", "n_bits"], sort=False):  # type: ignore[assignment]
        yield key[0], int(key[1]), rows


def read_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of runs and add the column `config`, see `Config`, and one column a setting.

    SDC has all settings of its preset; other methods have those that the table names, others are missing.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is not such a table; the message names it.
    """
    path = Path(path)
    return _with_settings(read_csv(path, dtype={"id": str}), path)  # hexadecimal digits, never a number


def _with_settings(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    missing = {"id", "data", "method", "n_bits", "seed", "parameters"} - set(table.columns)
    if missing:
        raise ValueError(f"{path}: expected the columns of a table of runs, {sorted(missing)} missing")
    try:
        table["n_bits"] = table["n_bits"].astype("Int64")
        settings = [_settings(*row) for row in table[["method", "parameters"]].itertuples(index=False)]
        table.insert(
            3, "config", [Config(*row) for row in zip(table["method"], table["parameters"], strict=True)]
        )
        return table.join(pd.DataFrame(settings, index=table.index, dtype=object))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected whole numbers or nothing as n_bits, and parameters as a JSON object ({error})"
        ) from error


def _settings(method: str, parameters: str) -> dict[str, Any]:
    given = dict(json.loads(parameters).items())
    if method != "sdc":
        return given
    preset = given.get("preset", DEFAULT_PRESET)
    return _usual(preset) | given | {"preset": preset}


def _usual(preset: str) -> dict[str, Any]:
    return settings_of(preset) if preset in PRESETS else {}


def settings_of(preset: str, **changed: Any) -> dict[str, Any]:
    """All settings of a preset of SDC with some changed."""
    return asdict(settings_from_preset(preset, **changed))


def published(*names: str) -> pd.DataFrame:
    """Read published tables of runs as one, by default those of all sweeps; a run in two counts once for each rule."""
    if not names:
        names = tuple(sorted(_stems(RESULTS, "*.csv") & _stems(CONFIG, "*.yaml")))
    table = pd.concat([read_results(RESULTS / f"{name}.csv") for name in names], ignore_index=True)
    return table.drop_duplicates(["id", *({"rule"} & set(table))], ignore_index=True)


def _stems(folder: Path, pattern: str) -> set[str]:
    return {path.stem for path in folder.glob(pattern)}


def published_histograms(*names: str) -> pd.DataFrame:
    """Read the pair histograms beside published tables as one: id, similarity, positive, negative."""
    tables = [pd.read_csv(RESULTS / f"{name}_histograms.csv", dtype={"id": str}) for name in names]
    return pd.concat(tables, ignore_index=True).drop_duplicates(["id", "similarity"], ignore_index=True)


def ask(*names: str, **knobs: Any) -> pd.DataFrame:
    """Give the runs of sweeps, as `published` does; with other knobs those that are published, and compute the rest.

    What is in the reader's own records already is not computed again. Where a data set has fewer training rows than
    the sweep's batches, these are halved until they fit, which is printed.

    Parameters
    ----------
    *names : str
        Names of files in `config`, which list what runs.
    **knobs
        In place of the values there, see `study.runs.turned`: data, n_bits, seeds, methods, and parameters. With none,
        or with None as all of their values, nothing is computed.
    """
    known = published(*names)
    if all(value is None for value in knobs.values()):
        return known
    from study.runs import (
        RunSpec,
        collect_records,
        expand_config,
        read_config,
        run_all,
        runs_folder,
        suited_to_data,
        turned,
    )

    elsewhere = published()
    elsewhere = elsewhere[~elsewhere["id"].isin(known["id"])].drop_duplicates("id")  # whatever its rule
    known = pd.concat([known, elsewhere], ignore_index=True)
    configs = [read_config(CONFIG / f"{name}.yaml")[0] for name in names]
    hashes = known.groupby("data")["data_sha256"].unique()
    ids, found = set(known["id"]), []
    missing: list[RunSpec] = []
    for spec in (spec for config in turned(*configs, **knobs) for spec in expand_config(config)):
        # The data need not be here for what is published: their hash is in the table.
        ours = [name for text in hashes.get(spec.data, ()) if (name := spec.make_id(text)) in ids]
        if ours:
            found += ours
        elif spec not in missing:
            missing.append(spec)
    parts = [known[known["id"].isin(found)]]
    if missing:
        missing = suited_to_data(missing)
        run_all(missing)
        parts.append(_with_settings(collect_records(missing), runs_folder()))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def ask_histograms(results: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Give the pair histograms of runs from beside published tables, else from the reader's own records."""
    tables = published_histograms(*names)
    parts = [tables[tables["id"].isin(results["id"])]]
    if missing := sorted(set(results["id"]) - set(tables["id"])):
        from study.runs import read_histogram

        parts += [read_histogram(name) for name in missing]
    return pd.concat(parts, ignore_index=True)


def where(results: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Keep the rows that have these values in these columns; None stands for a missing value."""
    kept = pd.Series(True, index=results.index)
    for name, value in values.items():
        kept &= results[name].isna() if value is None else results[name] == value
    return results[kept]


def find(results: pd.DataFrame, **values: Any) -> Config:
    """Give the one configuration of a table that has these values in these columns, see `where`.

    Raises
    ------
    ValueError
        If there is none or more than one; the message names them.
    """
    found: list[Config] = list(where(results, **values)["config"].unique())
    if len(found) != 1:
        names = ", ".join(map(str, found)) or "none"
        raise ValueError(f"results: expected one configuration with {values}, got {names}")
    return found[0]


def kernels_of(results: pd.DataFrame) -> pd.Series:
    """Kernels of each run: "portable", "native", or "not recorded" as in older rows."""
    return results["machine"].map(lambda machine: json.loads(machine).get("kernels", "not recorded"))


def renamed(results: pd.DataFrame, labels: Iterable[Any]) -> pd.DataFrame:
    """Give the configuration of each row another name for readers; a missing one leaves the usual name."""
    pairs = zip(results["config"], labels, strict=True)
    configs = [config if pd.isna(label) else replace(config, label=label) for config, label in pairs]
    return results.assign(config=configs)
