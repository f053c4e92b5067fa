"""Landmark retrieval by features of one's own: GLDv2, revisited Oxford and revisited Paris, with their ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_name
from sdclib.data.features import FeatureSet
from sdclib.data.image_sets.lists import MISSING
from sdclib.data.images import data_root
from sdclib.data.plain_pickle import read_plain_pickle
from sdclib.data.splits import check_rows
from sdclib.data.vectors import SUFFIXES, VectorFile, arrays_sha256, read_csv, read_vectors

__all__ = [
    "INSTANCE_SETS",
    "PROTOCOLS",
    "load_gldv2",
    "load_instance_set",
    "load_revisited",
    "missing_files",
    "read_gnd",
    "read_solution",
]

PROTOCOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""Lists of the revisited sets that are relevant, and those that are junk, by protocol."""

LISTS = ("easy", "hard", "junk")
USAGE = ("Public", "Private", "Ignored")
SOLUTION = "retrieval_solution_v2.1.csv"


def read_solution(path: Path | str, *, usage: Sequence[str] = ("Public", "Private")) -> dict[str, list[str]]:
    """Read GLDv2's retrieval solution: columns ``id,images,Usage``, the index ids separated by blanks.

    Parameters
    ----------
    path : path-like
    usage : sequence of {"Public", "Private"}
        Which queries to keep; "Ignored" ones, whose list is "None", never are.

    Returns
    -------
    dict of str to list of str
        Relevant index ids by query id, in the file's order.

    Raises
    ------
    ValueError
        If the file is missing or a line is not as described; the message names the line.
    """
    path = Path(path)
    for name in usage:
        check_name(name, "usage", USAGE[:2])
    if not path.is_file():
        raise ValueError(f"{path}: expected GLDv2's retrieval solution, found none")
    table = read_csv(path, dtype=str, keep_default_na=False)
    names = ",".join(map(str, table.columns))
    if names != "id,images,Usage":
        raise ValueError(f"{path}: expected the columns id,images,Usage, got {names}")
    solution: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, (query, images, use) in enumerate(table.itertuples(index=False, name=None), start=2):
        ids = str(images).split()
        wrong = (
            (f"Usage to be one of {', '.join(USAGE)}", use not in USAGE),
            ("every query once", query in seen),
            (f"index ids of the {use} query", use in usage and (not ids or ids == ["None"])),
            ("every index id once", use in usage and len(set(ids)) != len(ids)),
        )
        for expected, is_wrong in wrong:
            if is_wrong:
                raise ValueError(f"{path}, line {number}: expected {expected}, got {query},{images},{use}")
        seen.add(query)
        if use in usage:
            solution[query] = ids
    if not solution:
        raise ValueError(f"{path}: expected at least one {' or '.join(usage)} query, found none")
    return solution


def read_gnd(path: Path | str) -> dict[str, Any]:
    """Read a revisited set's ground truth pickle, without running what it may hold.

    Returns
    -------
    dict
        ``imlist``, ``qimlist``: names of the database's and the queries' images; ``gnd``: one dict a query with the
        lists ``easy``, ``hard``, ``junk``: int64 indices into `imlist`.

    Raises
    ------
    ValueError
        If the file is missing, holds anything but plain data, or is not of this form; the message says what.
    """
    raw = read_plain_pickle(path)
    if not isinstance(raw, dict) or not {"imlist", "qimlist", "gnd"} <= set(raw):
        names = sorted(key for key in raw if isinstance(key, str)) if isinstance(raw, dict) else []
        got = names or type(raw).__name__
        raise ValueError(f"{path}: expected a dict with imlist, qimlist and gnd, got {got}")
    for key in ("imlist", "qimlist"):
        names = raw[key]
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: expected {key} to be a list of names")
        if len(set(names)) != len(names):
            raise ValueError(f"{path}: expected every name of {key} once, got some twice")
    n_queries, n = len(raw["qimlist"]), len(raw["imlist"])
    if not isinstance(raw["gnd"], list) or len(raw["gnd"]) != n_queries:
        raise ValueError(f"{path}: expected gnd to be a list with one entry for each of {n_queries} queries")
    truth = []
    for number, entry in enumerate(raw["gnd"]):
        if not isinstance(entry, dict) or not set(LISTS) <= set(entry):
            raise ValueError(
                f"{path}: expected lists easy, hard and junk of query {number} (the sets revisited in 2018; the "
                "older 'ok' lists are another ground truth)"
            )
        lists = {}
        for key in LISTS:
            try:
                lists[key] = check_rows(
                    np.asarray(entry[key]), f"query {number}, {key}", n, may_be_empty=True
                )
            except (TypeError, ValueError) as error:  # lists in lists, of several lengths
                raise ValueError(f"{path}: {error}") from error
        together = np.concatenate(list(lists.values()))
        if len(np.unique(together)) != len(together):
            raise ValueError(
                f"{path}: expected every image in at most one list of query {number}, got some twice"
            )
        truth.append(lists)
    return {"imlist": raw["imlist"], "qimlist": raw["qimlist"], "gnd": truth}


REVISITED = {"roxford": "roxford5k", "rparis": "rparis6k"}
"""Folders of the revisited sets; their ground truth is ``gnd_FOLDER.pkl``."""


def load_gldv2(
    *,
    root: Path | str | None = None,
    query: str = "query",
    index: str = "index",
    train: str | None = "train",
    solution: str = SOLUTION,
    usage: Sequence[str] = ("Public", "Private"),
    missing: str = "error",
    top_k: int = 100,
) -> FeatureSet:
    """Make a feature set of GLDv2's retrieval task from feature files and the solution.

    Average precision is over the first R = 100 and divided by all relevant items, as in the paper.

    Parameters
    ----------
    root : path-like, optional
        Folder of the files, ``data_root() / "gldv2"`` by default.
    query, index, train : str
        Files of features, with or without suffix, see `sdclib.data.vectors.read_vectors`; query and index with the
        images' ids, in the file or in ``query_ids.txt`` and ``index_ids.txt`` beside them. Queries that the solution
        does not have are left out. There may be no training file: its absence is found out when a method asks for
        training features. None: not read even if it is there.
    solution : str
        See `read_solution`.
    usage : sequence of {"Public", "Private"}
    missing : {"error", "skip"}
        Whether queries or relevant images without features are an error or left out; a query that is left without
        any relevant image is then left out too.
    top_k : int

    Returns
    -------
    FeatureSet

    Raises
    ------
    ValueError
        If a file is missing or not as described, or ids have no features; the message names them.
    """
    check_name(missing, "missing", MISSING)
    folder = data_root() / "gldv2" if root is None else Path(root)
    queries, items = (_features(folder, name, need_ids=True) for name in (query, index))
    answers = read_solution(folder / solution, usage=usage)
    query_row, item_row = ({name: i for i, name in enumerate(file.ids or ())} for file in (queries, items))
    lost = {
        "queries": [name for name in answers if name not in query_row],
        "relevant images": [name for ids in answers.values() for name in ids if name not in item_row],
    }
    for what, names in lost.items():
        if names and missing == "error":
            raise ValueError(
                f"{folder}: expected features of all {what} of {solution}, but {len(names)} have none, first "
                f"{names[0]}; missing='skip' leaves them out"
            )
    rows, truth = [], []
    for name, ids in answers.items():
        found = [item_row[image] for image in ids if image in item_row]
        if name in query_row and found:
            rows.append(query_row[name])
            truth.append(np.sort(np.array(found, dtype=np.int64)))
    if not rows:
        raise ValueError(
            f"{folder}: expected features of queries and relevant images of {solution}, found none"
        )
    return _feature_set(
        "gldv2",
        queries.vectors[rows],
        items.vectors,
        truth,
        None,
        _optional_train(folder, train),
        top_k=top_k,
        empty="zero",
        licence="annotations CC BY 4.0; each image its own licence",
        citation="T. Weyand, A. Araujo, B. Cao, J. Sim: Google Landmarks Dataset v2, CVPR 2020",
    )


def load_revisited(
    name: str,
    protocol: str = "medium",
    *,
    root: Path | str | None = None,
    query: str = "query",
    database: str = "database",
    train: str | None = "train",
    gnd: str | None = None,
    top_k: int = 100,
) -> FeatureSet:
    """Make a feature set of revisited Oxford or Paris from feature files and the revisitop ground truth.

    Junk images are taken out of a query's ranking. Average precision is over the first R = 100 and divided by all
    relevant items; queries without any under the protocol do not count.

    Parameters
    ----------
    name : {"roxford", "rparis"}
    protocol : {"easy", "medium", "hard"}
        Relevant and junk: easy | junk and hard; easy and hard | junk; hard | junk and easy.
    root : path-like, optional
        Folder of the files, ``data_root() / "roxford5k"`` or ``data_root() / "rparis6k"`` by default.
    query, database : str
        Files of features, with or without suffix, see `sdclib.data.vectors.read_vectors`, in the order of the ground
        truth's qimlist and imlist, or with these names as ids in any order. Queries are usually cropped to their
        boxes before features are extracted.
    train : str, optional
        Features to train on, for these sets have none (the paper trains on GLDv2). If there is no such file, its
        absence is found out when a method asks for training features. None: not read even if it is there.
    gnd : str, optional
        The pickle, by default "gnd_roxford5k.pkl" or "gnd_rparis6k.pkl".
    top_k : int

    Returns
    -------
    FeatureSet
        Named roxford-medium and so on.

    Raises
    ------
    ValueError
        If a file is missing or not as described.
    """
    place = REVISITED[check_name(name, "name", REVISITED)]
    good, bad = PROTOCOLS[check_name(protocol, "protocol", PROTOCOLS)]
    folder = data_root() / place if root is None else Path(root)
    truth = read_gnd(folder / (f"gnd_{place}.pkl" if gnd is None else gnd))
    values = {}
    for key, file in (("qimlist", query), ("imlist", database)):
        vectors = _features(folder, file)
        names = truth[key]
        if vectors.ids is not None:
            row = {image: i for i, image in enumerate(vectors.ids)}
            absent = [image for image in names if image not in row]
            if absent:
                raise ValueError(
                    f"{folder}: expected features of all {len(names)} images of {key}, but {len(absent)} have none, "
                    f"first {absent[0]}"
                )
            values[key] = vectors.vectors[[row[image] for image in names]]
        elif len(vectors.vectors) != len(names):
            raise ValueError(
                f"{folder}: expected {len(names)} features in {file}, one for each image of {key}, got "
                f"{len(vectors.vectors)}"
            )
        else:
            values[key] = vectors.vectors
    relevant, junk = (
        [np.sort(np.concatenate([entry[key] for key in keys])) for entry in truth["gnd"]]
        for keys in (good, bad)
    )
    return _feature_set(
        f"{name}-{protocol}",
        values["qimlist"],
        values["imlist"],
        relevant,
        junk,
        _optional_train(folder, train),
        top_k=top_k,
        empty="skip",
        licence="images: Flickr users' own licences; ground truth for research",
        citation="F. Radenovic, A. Iscen, G. Tolias, Y. Avrithis, O. Chum: Revisiting Oxford and Paris: Large-Scale "
        "Image Retrieval Benchmarking, CVPR 2018",
    )


INSTANCE_SETS = ("gldv2", *(f"{name}-{protocol}" for name in REVISITED for protocol in PROTOCOLS))
"""Names that `load_instance_set` knows."""


def load_instance_set(name: str, **options: Any) -> FeatureSet:
    """Load a set of landmark features by name: "gldv2", or a revisited set with its protocol as in "roxford-hard".

    Parameters
    ----------
    name : str
        One of `INSTANCE_SETS`.
    **options
        ``root`` (the folder of the files) and others as in `load_gldv2`, `load_revisited`.

    Returns
    -------
    FeatureSet

    Raises
    ------
    ValueError
        If the name is unknown, or as those functions say.
    """
    if check_name(name, "name", INSTANCE_SETS) == "gldv2":
        return load_gldv2(**options)
    revisited, protocol = name.split("-")
    return load_revisited(revisited, protocol, **options)


def missing_files(name: str) -> list[Path]:
    """Name the files of a landmark set that are not in its folder, training features among them; nothing is read.

    Feature files are named as .npy here, other suffixes do as well; errors as in `load_instance_set`.
    """
    base = check_name(name, "name", INSTANCE_SETS).partition("-")[0]
    folder = data_root() / REVISITED.get(base, base)
    parts = ("query", "index" if base == "gldv2" else "database", "train")
    truth = folder / (SOLUTION if base == "gldv2" else f"gnd_{folder.name}.pkl")
    lost = [folder / f"{part}.npy" for part in parts if _find(folder, part) is None]
    return lost if truth.is_file() else [*lost, truth]


def _feature_set(
    name: str,
    query: NDArray[Any],
    database: NDArray[Any],
    relevant: Sequence[NDArray[np.int64]],
    junk: Sequence[NDArray[np.int64]] | None,
    train: NDArray[Any] | None,
    **fields: Any,
) -> FeatureSet:
    lists = [*relevant, *(junk or ())]
    return FeatureSet(
        name=name,
        query=query,
        database=database,
        query_labels=np.zeros((len(query), 0), dtype=np.uint8),
        database_labels=np.zeros((len(database), 0), dtype=np.uint8),
        train_index=np.zeros(0, dtype=np.int64),
        sha256=arrays_sha256(query, database, *([] if train is None else [train]), *lists),
        ground_truth=tuple(relevant),
        junk=None if junk is None else tuple(junk),
        train_features=train,
        denominator="relevant",
        **fields,
    )


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of this name, with a suffix that `read_vectors` knows if it has none."""
    if Path(name).suffix.lower() in SUFFIXES:
        return folder / name if (folder / name).is_file() else None
    return next((path for path in (folder / f"{name}{s}" for s in SUFFIXES) if path.is_file()), None)


def _features(folder: Path, name: str, *, need_ids: bool = False) -> VectorFile:
    path = _find(folder, name)
    if path is None:
        raise ValueError(f"{folder}: expected a file of features {name} ({', '.join(SUFFIXES)}), found none")
    vectors = read_vectors(path)
    if need_ids and vectors.ids is None:
        raise ValueError(
            f"{path}: expected ids of the images, in the file or one a line in {path.stem}_ids.txt, found none"
        )
    if vectors.ids is not None and len(set(vectors.ids)) != len(vectors.ids):
        raise ValueError(f"{path}: expected every id once, got some twice")
    return vectors


def _optional_train(folder: Path, name: str | None) -> NDArray[Any] | None:
    if name is None or (name == "train" and _find(folder, name) is None):
        return None
    return _features(folder, name).vectors
