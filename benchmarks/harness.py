"""What the benchmarks share: turns on one machine, threads, child processes, where a result comes from."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sdclib.files import write_json
from study.provenance import PROJECT_ROOT, RESULTS, git_commit, versions

REPEATS = 3  # of a query that is timed alone


def arguments_of(doc: str | None, out: str | None = None) -> argparse.ArgumentParser:
    """Parser of a benchmark's command line, with the file that it writes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if out:
        parser.add_argument("--out", type=Path, default=RESULTS / out)
    return parser


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call in each turn, after a first one that does not count: other work may share the cores."""
    turns = [{name: seconds_of(call) for name, call in calls.items()} for _ in range(repeats + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in calls}


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in seconds.items()}


def ms_a_query(call: Callable[[slice], Any], n: int) -> float:
    """Milliseconds of a query: one at a time, median of repeats, mean over n queries."""
    call(slice(0, 1))
    seconds = [[seconds_of(lambda i=i: call(slice(i, i + 1))) for i in range(n)] for _ in range(REPEATS)]
    return float(1e3 * np.median(seconds, axis=0).mean())


def random_features() -> np.ndarray:
    """Random numbers of the shape of CIFAR-10's training features: their values do not matter for speed."""
    return np.random.default_rng(0).random((5000, 1280), dtype=np.float32)


def in_fresh_process(module: str, *arguments: object) -> Any:
    """What the last line says, as JSON, that a module prints in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Callable[..., str]]:
    """Start PostgreSQL with pgvector on a local socket; what is yielded runs psql on it with these arguments."""
    import pgserver

    server = pgserver.get_server(folder)
    program = Path(pgserver.__file__).parent / "pginstall" / "bin" / "psql"
    command = [program, server.get_uri(), "-v", "ON_ERROR_STOP=1", "-X", "-q", "-A", "-t"]

    def psql(*arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr}")
        return done.stdout

    try:
        yield psql
    finally:
        server.cleanup()


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Let PyTorch, faiss and BLAS use n threads for a while."""
    import faiss
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        torch.set_num_threads(n)
        faiss.omp_set_num_threads(n)
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])


def load_average() -> float:
    return round(os.getloadavg()[0], 2)


def provenance(*packages: str) -> dict[str, Any]:
    """Commit, machine and versions, of further packages too."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "commit": git_commit(),
        "machine": {
            "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": platform.system(),
            "load_average": load_average(),
        },
        "versions": versions() | {name: version(name) for name in packages},
    }


def publish(path: Path, results: dict[str, Any], *packages: str) -> None:
    """Write results with where they come from."""
    print(write_json(path, results | provenance(*packages)))
