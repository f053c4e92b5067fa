"""Ways to store vectors in 8, 16 and 32 bytes: `python -m benchmarks.bench_bytes`, two to three hours on one core.

Needs SDC_DATA and the embeddings that scripts/make_text_embeddings.py makes. On images and text, with three seeds: what
queries find by codes alone, with float queries and re-scored, for both goals, see `sdclib.search.compare`; and the time
of a search among a million. What is done is kept in results/local/bench_bytes, or in the folder of SDC_RESULTS, and not
done again. Writes results/bench_bytes.json. With --quick it takes the packaged features and few methods.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.harness import arguments_of, in_turn, load_average, medians, publish, threads
from sdclib import load_features
from sdclib.files import read_json, write_json
from sdclib.search.compare import compare, make_quantizer
from sdclib.search.index import HammingIndex
from sdclib.search.report import SDC_PARAMETERS
from study.provenance import OWN_RESULTS, git_commit

SETS = ("cifar10/efficientnet-lite0", "caltech101/efficientnet-lite0", "embeddings/text/wordnet-nouns.npz")
METHODS = (
    "int8",
    "pq",
    "opq",
    "rabitq",
    "rotation",
    "pcah",
    "itq",
    "neighbour-itq",
    "neighbour-sdc",
    "sdc",
    "bihalf",
)
# BiHalf as config/rules_tuning.yaml found it on held-out training images of CIFAR-10.
PARAMETERS: dict[str, dict[str, Any]] = {
    "sign": {"center": True},
    "sdc": SDC_PARAMETERS,
    "bihalf": {"learning_rate": 0.01, "gamma": 3.0},
}
N_BYTES = (8, 16, 32)
KS, DEPTHS = (1, 10, 100), (100, 500)
MILLION = 1_000_000
WIDTH = 384  # values of a float vector in the search among a million
CANDIDATES = 1000


def measured(name: str, seed: int, methods: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Scores and costs of all methods on one set with one seed; read where they are kept already."""
    path = folder / f"{name.replace('/', '-')}-{seed}.json"
    if path.is_file():
        return read_json(path)  # type: ignore[no-any-return]
    data = load_features(name)
    width = data.train.shape[1]
    common: dict[str, Any] = {
        "ks": KS,
        "depths": DEPTHS,
        "relevant": data.relevant,
        "top_k": data.top_k,
        "denominator": data.denominator,
        "seed": seed,
        "parameters": PARAMETERS,
        "progress": True,
    }
    parts = [
        compare(data.train, data.query, data.database, methods=chosen, n_bits=bits, **common)
        for chosen, bits in ((methods, [8 * n for n in N_BYTES]), (("sign",), [width]))
    ]
    scores, costs = (pd.concat(tables) for tables in zip(*parts, strict=True))
    costs = costs.drop_duplicates(["method", "n_bits"])
    scores = scores.drop_duplicates(["method", "n_bits", "query", "goal", "k", "depth"])
    found = {
        "data": name,
        "data_sha256": data.sha256[:16],
        "seed": seed,
        "commit": git_commit(),
        "load_average": load_average(),
        "shape": {
            "train": len(data.train),
            "query": len(data.query),
            "database": len(data.database),
            "width": width,
        },
        "scores": _columns(scores.round({"value": 5, "error": 5})),
        "costs": _columns(costs.round(3)),
    }
    write_json(path, found)
    return found


def search_a_million(repeats: int, n: int, n_query: int = 100) -> dict[str, Any]:
    """Milliseconds a query, one thread, of every kind of search among random vectors and codes."""
    import faiss

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, WIDTH), dtype=np.float32)
    query = rng.standard_normal((n_query, WIDTH), dtype=np.float32)
    calls: dict[str, Any] = {}
    bytes_of = {"float": 4 * WIDTH, "int8": WIDTH}
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(vectors)  # type: ignore[call-arg]
    indexes: dict[str, Any] = {"float": flat}
    for name in ("int8", *(f"{kind} {n_bytes}" for kind in ("pq", "rabitq") for n_bytes in N_BYTES)):
        kind, _, n_bytes = name.partition(" ")
        if kind == "rabitq" and n_bytes == "8":
            continue
        indexes[name] = make_quantizer(kind, WIDTH, int(n_bytes or WIDTH))
        indexes[name].train(vectors[:5000])
        indexes[name].add(vectors)
        bytes_of[name] = int(n_bytes or WIDTH)
    for name, index in indexes.items():
        calls[name] = lambda index=index: index.search(query, CANDIDATES)
    del vectors
    for n_bytes in N_BYTES:
        codes = rng.integers(0, 256, (n, n_bytes), dtype=np.uint8)
        asked = rng.integers(0, 256, (n_query, n_bytes), dtype=np.uint8)
        continuous = rng.standard_normal((n_query, 8 * n_bytes), dtype=np.float32)
        index = HammingIndex(codes, n_bits=8 * n_bytes)
        index.search_continuous(continuous[:1], 1)  # gets ready
        calls[f"hamming {n_bytes}"] = lambda i=index, q=asked: i.search(q, CANDIDATES, packed=True)
        calls[f"float query {n_bytes}"] = lambda i=index, q=continuous: i.search_continuous(q, CANDIDATES)
        calls[f"float query by candidates {n_bytes}"] = lambda i=index, q=continuous: i.search_continuous(
            q, 100, n_candidates=CANDIDATES
        )
        for kind in ("hamming", "float query", "float query by candidates"):
            bytes_of[f"{kind} {n_bytes}"] = n_bytes
    typical = medians(in_turn(calls, repeats))
    return {
        "n_database": n,
        "n_query": n_query,
        "k": CANDIDATES,
        "load_average": load_average(),
        "ms_a_query": {name: 1000 * seconds / n_query for name, seconds in typical.items()},
        "megabytes": {name: n * size / 1e6 for name, size in bytes_of.items()},
    }


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    clean = table.astype(object).where(table.notna(), None)
    return {name: clean[name].tolist() for name in clean}


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "bench_bytes.json")
    parser.add_argument("--quick", action="store_true", help="the packaged features, figures of no use")
    parser.add_argument("--repeats", type=int, default=3, help="turns of the searches among a million")
    given = parser.parse_args(arguments)
    sets, methods, seeds, n = SETS, METHODS, (0, 1, 2), MILLION
    folder = OWN_RESULTS / "bench_bytes"
    if given.quick:
        sets, methods, seeds, n = (
            ("cifar10-embedded",),
            ("int8", "pq", "rabitq", "itq", "neighbour-itq"),
            (0,),
            20_000,
        )
        folder = given.out.parent / "bench_bytes"
    with threads(1):
        parts = [measured(name, seed, methods, folder) for seed in seeds for name in sets]
        million = search_a_million(given.repeats, n)
    publish(given.out, {"threads": 1, "parameters": PARAMETERS, "parts": parts, "million": million})


if __name__ == "__main__":
    main()
