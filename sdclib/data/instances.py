"""Landmark retrieval by features of one's own: GLDv2, revisited Oxford and revisited Paris, with their ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_name
from sdclib.data.features import FeatureSet
from sdclib.data.images import data_root
from sdclib.data.plain_pickle import read_plain_pickle
from sdclib.data.splits import check_rows
from sdclib.data.tables import read_csv
from sdclib.data.vectors import SUFFIXES, VectorFile, arrays_sha256, read_vectors

__all__ = ["INSTANCE_SETS", "PROTOCOLS", "load_instance_set", "missing_files", "read_gnd", "read_solution"]

PROTOCOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""Lists of the revisited sets that are relevant, and those that are junk, by protocol."""

SOLUTION = "retrieval_solution_v2.1.csv"
FOLDERS = {"gldv2": "gldv2", "roxford": "roxford5k", "rparis": "rparis6k"}

INSTANCE_SETS = ("gldv2", *(f"{name}-{protocol}" for name in ("roxford", "rparis") for protocol in PROTOCOLS))
"""Names that `load_instance_set` knows."""


def load_instance_set(name: str, *, root: Path | str | None = None, top_k: int = 100) -> FeatureSet:
    """Make a feature set of landmarks from feature files and the ground truth beside them.

    Average precision is over the first R and divided by all relevant items, as in the papers. There may be no features
    to train on (``train``, for the revisited sets those of GLDv2): that is found out when a method asks for them.

    Parameters
    ----------
    name : str
        One of `INSTANCE_SETS`:

        - "gldv2": files ``query`` and ``index`` with the images' ids, in them or in ``query_ids.txt`` and
          ``index_ids.txt``, and the solution ``retrieval_solution_v2.1.csv``; other queries are left out.
        - "roxford-PROTOCOL", "rparis-PROTOCOL": files ``query`` (usually of images cropped to their boxes) and
          ``database`` in the order of ``gnd_roxford5k.pkl`` or ``gnd_rparis6k.pkl``, or with ids in any order. Relevant
          and junk are by protocol easy | junk and hard; easy and hard | junk; hard | junk and easy. Junk is taken out
          of a query's ranking, queries without relevant images do not count.
    root : path-like, optional
        Folder of the files (for suffixes see `sdclib.data.vectors.read_vectors`): gldv2, roxford5k or rparis6k in
        `sdclib.data.images.data_root` by default.
    top_k : int
        R.

    Raises
    ------
    ValueError
        If the name is unknown, a file is missing or not as described, or images have no features; the message names
        them.
    """
    base, _, protocol = check_name(name, "name", INSTANCE_SETS).partition("-")
    folder = data_root() / FOLDERS[base] if root is None else Path(root)
    train = None if _find(folder, "train") is None else _features(folder, "train").vectors
    if base == "gldv2":
        query, database, relevant = _gldv2(folder)
        junk = None
        about: dict[str, Any] = {
            "empty": "zero",
            "licence": "annotations CC BY 4.0; each image its own licence",
            "citation": "T. Weyand, A. Araujo, B. Cao, J. Sim: Google Landmarks Dataset v2, CVPR 2020",
        }
    else:
        truth = read_gnd(folder / f"gnd_{FOLDERS[base]}.pkl")
        query = _in_order(folder, "query", truth["qimlist"])
        database = _in_order(folder, "database", truth["imlist"])
        relevant, junk = (
            [np.concatenate([entry[key] for key in keys]) for entry in truth["gnd"]]
            for keys in PROTOCOLS[protocol]
        )
        about = {
            "empty": "skip",
            "licence": "images: Flickr users' own licences; ground truth for research",
            "citation": "F. Radenovic, A. Iscen, G. Tolias, Y. Avrithis, O. Chum: Revisiting Oxford and Paris: "
            "Large-Scale Image Retrieval Benchmarking, CVPR 2018",
        }
    lists = [np.sort(items) for items in (*relevant, *(junk or ()))]
    return FeatureSet(
        name=name,
        query=query,
        database=database,
        query_labels=np.zeros((len(query), 0), dtype=np.uint8),
        database_labels=np.zeros((len(database), 0), dtype=np.uint8),
        train_index=np.zeros(0, dtype=np.int64),
        top_k=top_k,
        sha256=arrays_sha256(query, database, *([] if train is None else [train]), *lists),
        ground_truth=tuple(relevant),
        junk=None if junk is None else tuple(junk),
        train_features=train,
        denominator="relevant",
        **about,
    )


def missing_files(name: str) -> list[Path]:
    """Name the files of a landmark set that are not in its folder, training features among them; nothing is read.

    Feature files are named as .npy here, other suffixes do as well.
    """
    base = check_name(name, "name", INSTANCE_SETS).partition("-")[0]
    folder = data_root() / FOLDERS[base]
    parts = ("query", "index" if base == "gldv2" else "database", "train")
    truth = folder / (SOLUTION if base == "gldv2" else f"gnd_{folder.name}.pkl")
    lost = [folder / f"{part}.npy" for part in parts if _find(folder, part) is None]
    return lost if truth.is_file() else [*lost, truth]


def read_solution(path: Path) -> dict[str, list[str]]:
    """Read GLDv2's retrieval solution: columns ``id,images,Usage``, the index ids separated by blanks.

    Gives the relevant index ids by query id, in the file's order, without "Ignored" queries, whose list is "None".
    ValueError that names the line if one is not as described.
    """
    if not path.is_file():
        raise ValueError(f"{path}: expected GLDv2's retrieval solution, found none")
    table = read_csv(path, dtype=str, keep_default_na=False).fillna("")
    names = ",".join(map(str, table.columns))
    if names != "id,images,Usage":
        raise ValueError(f"{path}: expected the columns id,images,Usage, got {names}")
    ids, counts = table["images"].str.split(), table["Usage"].isin(["Public", "Private"])
    has_ids = ids.map(lambda images: images not in ([], ["None"]) and len(set(images)) == len(images))
    good = ~table["id"].duplicated() & (counts & has_ids | (table["Usage"] == "Ignored"))
    if not good.all():
        number = int(np.argmin(good))
        raise ValueError(
            f"{path}, line {number + 2}: expected every query once, with Usage Public or Private and index ids, each "
            f"once, or with Usage Ignored, got {','.join(table.iloc[number])}"
        )
    if not counts.any():
        raise ValueError(f"{path}: expected at least one Public or Private query, found none")
    return dict(zip(table["id"][counts], ids[counts], strict=True))


def read_gnd(path: Path) -> dict[str, Any]:
    """Read a revisited set's ground truth pickle, without running what it may hold.

    Gives ``imlist`` and ``qimlist``, names of the database's and the queries' images, and ``gnd``, one dict a query
    with the lists ``easy``, ``hard``, ``junk``: int64 indices into `imlist`. ValueError if the file has another form.
    """
    raw = read_plain_pickle(path)
    try:
        names, queries = ([str(name) for name in raw[key]] for key in ("imlist", "qimlist"))
        truth = [
            {
                key: check_rows(entry[key], f"query {number}, {key}", len(names), may_be_empty=True)
                for key in ("easy", "hard", "junk")
            }
            for number, entry in enumerate(raw["gnd"])
        ]
        if not len(truth) == len(queries) > 0:
            raise ValueError(f"{len(queries)} queries, {len(truth)} of them with lists")
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a dict with imlist, qimlist and gnd, which has lists easy, hard and junk of each query "
            f"(the sets revisited in 2018, whose ground truth is another than the older 'ok' lists): {error!r}"
        ) from error
    return {"imlist": names, "qimlist": queries, "gnd": truth}


def _gldv2(folder: Path) -> tuple[NDArray[Any], NDArray[Any], list[NDArray[np.int64]]]:
    """Features of the solution's queries and of the index, and which of the latter are relevant."""
    answers = read_solution(folder / SOLUTION)
    queries, items = (_features(folder, name) for name in ("query", "index"))
    query = _rows(folder, "query", queries.ids, list(answers))
    ids = [name for images in answers.values() for name in images]
    rows = _rows(folder, "index", items.ids, ids)
    ends = np.cumsum([len(images) for images in answers.values()])
    return queries.vectors[query], items.vectors, np.split(rows, ends[:-1])


def _in_order(folder: Path, name: str, images: Sequence[str]) -> NDArray[Any]:
    """Features of these images, by their ids, or all in their order where there are no ids."""
    file = _features(folder, name)
    if file.ids is not None:
        return file.vectors[_rows(folder, name, file.ids, images)]
    if len(file.vectors) != len(images):
        raise ValueError(
            f"{folder}: expected {len(images)} features in {name}, one for each image of the ground truth, got "
            f"{len(file.vectors)}"
        )
    return file.vectors


def _rows(folder: Path, name: str, ids: Sequence[str] | None, images: Sequence[str]) -> NDArray[np.int64]:
    """Rows of images in a file of features with ids."""
    if ids is None:
        raise ValueError(
            f"{folder}: expected ids of the images in {name}, in the file or one a line in {name}_ids.txt, found none"
        )
    row = {image: i for i, image in enumerate(ids)}
    if len(row) != len(ids):
        raise ValueError(f"{folder}: expected every id of {name} once, got some twice")
    absent = [image for image in images if image not in row]
    if absent:
        raise ValueError(
            f"{folder}: expected features of all images of the ground truth in {name}, but {len(absent)} have none, "
            f"first {absent[0]}"
        )
    return np.array([row[image] for image in images], dtype=np.int64)


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of this name with a suffix that `read_vectors` knows."""
    return next((path for path in (folder / f"{name}{s}" for s in SUFFIXES) if path.is_file()), None)


def _features(folder: Path, name: str) -> VectorFile:
    path = _find(folder, name)
    if path is None:
        raise ValueError(f"{folder}: expected a file of features {name} ({', '.join(SUFFIXES)}), found none")
    return read_vectors(path)
