"""Kill work with SIGKILL at random moments, take it up again, and compare with what undisturbed work makes.

python -m benchmarks.check_faults [--kills 60] [--seed 0]

Four kinds of work are killed: features extracted into the cache, a run trained by papermill over and over, a sweep
with two jobs at a time, and the collection of its tables. The disk is made slow, so that many kills fall into a
write. After every kill what reads as whole must be what undisturbed work made; what was whole must not be made again;
at the end everything must be there, and no temporary file left. Prints a summary as JSON, writes it to
`results/check_faults.json`, and ends with exit code 1 if anything differs. Needs no images; takes some 15 minutes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml
from PIL import Image

from benchmarks.harness import arguments_of
from sdclib.extract.feature_cache import check_shard
from sdclib.files import file_sha256, read_json, write_json
from study.provenance import PROJECT_ROOT, git_commit, machine
from study.runs import read_record

# Python reads a module of this name when it starts: every process waits where it writes.
SLOW_DISK = """\
import os, time
def slow(function):
    def later(*arguments, **more):
        time.sleep(0.25)
        return function(*arguments, **more)
    return later
os.fsync, os.replace = slow(os.fsync), slow(os.replace)
"""
EXTRACTION = """\
import sys
from pathlib import Path
from sdclib.extract.backbones import load_backbone
from sdclib.data.image_sets.folder import load_folder
from sdclib.extract import feature_cache
feature_cache.SHARD_SIZE = 8
images = load_folder(root=sys.argv[1], n_query=2, n_train=4)
backbone = load_backbone("efficientnet-lite0", weights="random", runtime="torch")
print("begins", flush=True)
feature_cache.extract_features(images, backbone, cache=Path(sys.argv[2]), batch_size=4, progress=False)
"""
N_IMAGES = 64
TRAINED: dict[str, Any] = {"method": "sdc", "parameters": {"epochs": 3}}
RUN = {"table": "one", "data": "cifar10-embedded", "n_bits": 16, "seeds": 0, "runs": [TRAINED]}
SWEEP = RUN | {
    "table": "faults",
    "runs": [TRAINED, {"method": "lsh"}, {"method": "itq", "n_bits": [8, 16]}],
}
OLD = "table of an earlier time\n"
PROBLEM = "PROBLEM"  # name of a piece that is damaged


MEASURED = ["id", "data", "method", "n_bits", "seed", "parameters", "top_k", "results_version", "data_sha256"]
METRICS = ("map_", "intersection", "overlap", "bit_", "unique")


def started(command: list[str], folder: Path = PROJECT_ROOT, **more: Any) -> subprocess.Popen:
    """Start Python in a process group of its own, silent but for what is piped."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | more
    return subprocess.Popen([sys.executable, *command], cwd=folder, start_new_session=True, **streams)


def start_sweep(config: Path, results: Path, *options: str, folder: Path) -> subprocess.Popen:
    """Start a sweep from a folder that takes Snakemake's records."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("notebooks", "workflow"):
        if not (folder / name).exists():
            (folder / name).symlink_to(PROJECT_ROOT / name)
    command = [str(PROJECT_ROOT / "scripts/sweep.py"), str(config), *options]
    return started(command, folder, env=os.environ | {"SDC_RESULTS": str(results)})


def finished(results: Path) -> dict[str, int]:
    """Time of writing of every whole record, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in results.glob("runs/*/record.json")}


class Work:
    """Some work that can be killed and taken up again in a folder: `start`, and what there is after it.

    `pieces` gives what reads as whole, with a damaged piece by the name `PROBLEM`; `kept` gives when the pieces were
    written that are not to be made again.
    """

    share: float  # of all kills
    moments: tuple[float, float]  # when it is killed, as a share of the time that it takes undisturbed
    orphaned = 0.0  # share of the kills that hit the command alone: what it has started goes on
    repeats = False  # whether work that is done is done again

    def prepare(self, place: Path) -> None:
        """Make what the work finds when it begins."""
        place.mkdir(parents=True)

    def start(self, place: Path) -> subprocess.Popen:
        raise NotImplementedError

    def pieces(self, place: Path) -> dict[str, Any]:
        raise NotImplementedError

    def kept(self, place: Path) -> dict[str, int]:
        return {}  # all may be made again


class Extraction(Work):
    """Features of a folder of images, by a small network with random weights."""

    share, moments = 0.35, (0.0, 0.25)

    def __init__(self, folder: Path):
        self.images = folder / "images"
        rng = np.random.default_rng(0)
        for i in range(N_IMAGES):
            path = self.images / f"class{i % 4}" / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)

    def start(self, place: Path) -> subprocess.Popen:
        process = started(["-c", EXTRACTION, str(self.images), str(place)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        return process

    def _shards(self, place: Path) -> dict[Path, dict[str, Any]]:
        return {
            path.parent / entry["file"]: entry
            for path in place.glob("*/manifest.json")
            for entry in read_json(path)["shards"]
            if entry is not None
        }

    def pieces(self, place: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        try:
            for path, entry in self._shards(place).items():
                found[path.name] = file_sha256(check_shard(path.parent, entry))
        except ValueError as error:
            found[PROBLEM] = str(error)
        return found

    def kept(self, place: Path) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self._shards(place)}


class Training(Work):
    """One run by papermill alone, which does it again where its record is whole."""

    share, moments, repeats = 0.2, (0.4, 1.1), True

    def start(self, place: Path) -> subprocess.Popen:
        parameters = {**TRAINED, "data": RUN["data"], "n_bits": RUN["n_bits"], "runs": str(place / "runs")}
        notebook = ["notebooks/train.ipynb", str(place / "out.ipynb"), "--cwd", "notebooks"]
        return started(["-m", "papermill", *notebook, "-y", json.dumps(parameters)])

    def pieces(self, place: Path) -> dict[str, Any]:
        return records(place)


class Sweep(Work):
    """Several runs, two at a time."""

    share, moments, orphaned = 0.2, (0.15, 0.8), 0.25

    def __init__(self, folder: Path):
        self.config = folder / f"{type(self).__name__}.yaml"
        self.config.write_text(yaml.safe_dump(SWEEP))

    def start(self, place: Path) -> subprocess.Popen:
        return start_sweep(self.config, place / "results", "--cores", "2", folder=place / "work")

    def pieces(self, place: Path) -> dict[str, Any]:
        return records(place / "results") | tables(place / "results")

    def kept(self, place: Path) -> dict[str, int]:
        return finished(place / "results")


class Collection(Sweep):
    """The tables of a sweep whose runs are done, and whose tables are old."""

    share, moments = 0.25, (0.5, 1.05)

    def __init__(self, folder: Path, done: Path):
        super().__init__(folder)
        self.done = done / "results"

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        shutil.copytree(self.done, place / "results")
        for path in (place / "results").glob("*.csv"):
            path.write_text(OLD)

    def pieces(self, place: Path) -> dict[str, Any]:
        found = super().pieces(place)
        lost = [f"{path.name} is gone" for path in self.done.glob("*.csv") if path.name not in found]
        return found | ({PROBLEM: lost} if lost else {})


def records(results: Path) -> dict[str, Any]:
    """What the whole records of a folder say, but for times and origin."""
    found: dict[str, Any] = {}
    for path in results.glob("runs/*/record.json"):
        try:
            record = read_record(path.parent)
        except (OSError, ValueError) as error:
            found[PROBLEM] = str(error)
            continue
        files = {name: digest for name, digest in record["files"].items() if name != "history.csv"}
        found[record["id"]] = {"metrics": record["metrics"], "files": files}
        if "history.csv" in record["files"]:
            history = pd.read_csv(path.parent / "history.csv").drop(columns="seconds")
            found[record["id"]]["history"] = history.to_csv()
    return found


def tables(results: Path) -> dict[str, Any]:
    """Tables of a folder without times and origin; old ones as they are."""
    found: dict[str, Any] = {}
    for path in results.glob("*.csv"):
        text = path.read_text()
        if text != OLD and not path.stem.endswith("_histograms"):
            table = pd.read_csv(path, dtype={"id": str})
            text = table[MEASURED + [name for name in table if name.startswith(METRICS)]].to_csv()
        found[path.name] = text
    return found


def temporary(place: Path) -> set[Path]:
    """Files that a write leaves where it is killed."""
    return {
        Path(folder, name)
        for folder, _, names in os.walk(place)
        for name in names
        if Path(folder).name.startswith(".record.") or (name.startswith(".") and name.endswith(".tmp"))
    }


class Trial:
    """Kills of one kind of work, and what was wrong after them."""

    def __init__(self, work: Work, folder: Path, rng: random.Random):
        self.work, self.folder, self.rng = work, folder, rng
        self.problems: list[str] = []
        self.kills = self.orphaned = self.in_a_write = self.rounds = 0
        self.begun = time.perf_counter()
        self.undisturbed = self._new_place()
        self._wait(self.undisturbed)
        self.reference = self.work.pieces(self.undisturbed)
        if not self.reference:
            raise RuntimeError(f"{self.name}: the undisturbed work made nothing")
        self.of_one = time.perf_counter() - self.begun

    @property
    def name(self) -> str:
        return type(self.work).__name__.lower()

    def _new_place(self) -> Path:
        place = self.folder / self.name / f"{self.rounds}"
        self.work.prepare(place)
        self.rounds += 1
        return place

    def _wait(self, place: Path) -> None:
        code = self.work.start(place).wait()
        if code:
            self._note(f"exit code {code} without a kill")

    def _note(self, problem: str) -> None:
        self.problems.append(f"{self.name}, after {self.kills} kills: {problem}")

    def _look(self, place: Path, kept: dict[str, int], *, complete: bool) -> dict[str, int]:
        """Compare what reads as whole with what the undisturbed work made; return what is to be kept from now on."""
        pieces, after = self.work.pieces(place), self.work.kept(place)
        for name, piece in pieces.items():
            if name == PROBLEM or piece not in (self.reference.get(name), *([] if complete else [OLD])):
                self._note(f"{name} is {str(piece)[:200]}, not as undisturbed")
        for name, written in kept.items():
            if after.get(name) != written:
                self._note(f"{name} was whole and is made again")
        if complete:
            for name in sorted(self.reference.keys() - pieces.keys()):
                self._note(f"{name} is missing")
            for path in sorted(temporary(place)):
                self._note(f"{path.relative_to(place)} is left")
        return after

    def run(self, kills: int) -> None:
        """Kill the work so many times, in as many rounds as it takes, and let it end."""
        place = self._new_place()
        kept: dict[str, int] = {}
        while self.kills < kills:
            before = temporary(place)
            process = self.work.start(place)
            ended = self._cut(process)
            if ended and process.returncode:
                self._note(f"exit code {process.returncode} without a kill")
            self.in_a_write += not ended and not temporary(place) <= before
            kept = self._look(place, kept, complete=ended)
            if not (ended or self.work.repeats) and self.work.pieces(place) == self.reference:
                self._wait(place)
                kept = self._look(place, kept, complete=True)
                ended = True
            print(f"{self.name}: {self.kills} of {kills} kills, {len(kept)} pieces whole", file=sys.stderr)
            if ended:
                place, kept = self._new_place(), {}
        self._wait(place)
        self._look(place, kept, complete=True)
        self.seconds = round(time.perf_counter() - self.begun, 1)

    def _cut(self, process: subprocess.Popen) -> bool:
        """Kill the work at a random moment; whether it had ended before."""
        try:
            process.wait(self.of_one * self.rng.uniform(*self.work.moments))
            return True
        except subprocess.TimeoutExpired:
            pass
        self.kills += 1
        if self.rng.random() < self.work.orphaned:
            self.orphaned += 1
            process.kill()
        else:
            family = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
            psutil.wait_procs(family, timeout=60)  # kernels, in sessions of their own, see it within a second
        process.wait()
        return False


def check(folder: Path, kills: int, rng: random.Random) -> dict[str, Trial]:
    """Try all kinds of work."""

    def tried(work: Work) -> Trial:
        trial = Trial(work, folder, rng)
        trial.run(round(kills * work.share))
        return trial

    trials = [tried(Extraction(folder)), tried(Training()), sweep := tried(Sweep(folder))]
    trials.append(tried(Collection(folder, sweep.undisturbed)))
    return {trial.name: trial for trial in trials}


def main() -> None:
    parser = arguments_of(__doc__, "check_faults.json")
    parser.add_argument("--kills", type=int, default=60, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    begun = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="check-faults-"))
    (folder / "sitecustomize.py").write_text(SLOW_DISK)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    (folder / "tmp").mkdir()
    os.environ |= {"PYTHONPATH": path, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    try:
        trials = check(folder, given.kills, random.Random(given.seed))
    finally:
        for process in psutil.Process().children(recursive=True):
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)
    fields = ("kills", "orphaned", "in_a_write", "rounds", "seconds")
    of_each = {field: {name: getattr(trial, field) for name, trial in trials.items()} for field in fields}
    problems = [problem for trial in trials.values() for problem in trial.problems]
    summary = {
        "seed": given.seed,
        "total_kills": sum(of_each["kills"].values()),
        **of_each,
        "problems": problems,
        "total_seconds": round(time.perf_counter() - begun, 1),
        "commit": git_commit(),
        "machine": machine(),
    }
    print(json.dumps(summary, indent=1))
    write_json(given.out, summary)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
