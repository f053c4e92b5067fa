"""Give every reader damaged and made-up files: does each return a value or an error that names the file?

python -m benchmarks.check_fuzz [--examples 5000] [--seconds 60]     half an hour

First the fuzz tests, with so many examples each and others every time; then tests/fuzz_atheris.py, which is guided by
the lines that its bytes reach, for so many seconds a reader (Linux on x86-64; elsewhere it is left out). What stops a
reader is kept in build/fuzz. Writes results/check_fuzz.json; the exit code is 1 if there was a problem.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from benchmarks.check_clean import counts
from sdclib.files import write_json
from sdclib.provenance import PROJECT_ROOT, RESULTS, git_commit, machine

EXAMPLES = re.compile(r"(\d+) passing, (\d+) failing,? and (\d+) invalid")
RUNS = re.compile(r"Done (\d+) runs in (\d+) second")
COVERED = re.compile(r"cov: (\d+) ")


def run(*command: str, **variables: str) -> tuple[int, str]:
    """Run Python in the project's root; return the exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT_ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


def made_up(path: Path, examples: int) -> dict[str, Any]:
    """Run one file of fuzz tests; tests by outcome, examples, seconds, and what was printed where it failed."""
    begun = time.monotonic()
    code, output = run(
        "-m", "pytest", "--hypothesis-show-statistics", str(path), SDC_FUZZ_EXAMPLES=str(examples)
    )
    (outcomes,) = counts(output) or [{}]
    return {
        "tests": outcomes,
        "examples": sum(int(passing) for passing, _, _ in EXAMPLES.findall(output)),
        "seconds": round(time.monotonic() - begun, 1),
        "problem": failures(output) if code else None,
    }


def failures(output: str) -> str:
    """What pytest printed of tests that failed, with the bytes that did it; all it printed if it got no further."""
    _, begin, rest = output.partition("= FAILURES =")
    return rest.split("= Hypothesis Statistics =")[0].strip("= \n") if begin else output


def guided(reader: str, seconds: int) -> dict[str, Any]:
    """Fuzz one reader by coverage; files tried, branches reached (counted by the fuzzer) at first and in the end."""
    kept = PROJECT_ROOT / "build" / "fuzz" / reader
    kept.mkdir(parents=True, exist_ok=True)
    code, output = run(
        "-m", "tests.fuzz_atheris", reader, f"-max_total_time={seconds}", f"-artifact_prefix={kept}/"
    )
    done, reached = RUNS.search(output), [int(number) for number in COVERED.findall(output)]
    return {
        "files": int(done[1]) if done else 0,
        "reached_at_first": reached[0] if reached else 0,
        "reached": reached[-1] if reached else 0,
        "seconds": int(done[2]) if done else 0,
        "problem": None if code == 0 and done else "\n".join(output.splitlines()[-40:]),
    }


def main() -> None:
    """Run both kinds, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=5000, help="of every test")
    parser.add_argument("--seconds", type=int, default=60, help="of guided fuzzing a reader")
    arguments = parser.parse_args()
    tests = sorted((PROJECT_ROOT / "tests").glob("test_fuzz_*.py"))
    readers: list[str] = []
    if importlib.util.find_spec("atheris"):
        from tests.fuzz_atheris import READERS

        readers = list(READERS)
    else:
        print("atheris is not installed: no guided fuzzing")
    report: dict[str, Any] = {
        "examples_a_test": arguments.examples,
        "seconds_a_reader": arguments.seconds,
        "made_up": {},
        "guided": {},
        "commit": git_commit(),
        "machine": machine(),
    }
    with tqdm(total=len(tests) + len(readers)) as bar:
        for path in tests:
            name = path.stem.removeprefix("test_fuzz_")
            bar.set_description(name)
            report["made_up"][name] = made_up(path, arguments.examples)
            bar.update()
        for reader in readers:
            bar.set_description(f"{reader}, guided")
            report["guided"][reader] = guided(reader, arguments.seconds)
            bar.update()
    print(write_json(RESULTS / "check_fuzz.json", report))
    problems = [
        found for kind in ("made_up", "guided") for found in report[kind].values() if found["problem"]
    ]
    for found in problems:
        print(found["problem"])
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
