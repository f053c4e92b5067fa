"""Do the README's commands work for a stranger? Clone the last commit, and call make with an empty home and no caches.

python3 -m benchmarks.check_clean [--keep] [--again FOLDER [--targets check]]

It takes 30 minutes and 6 GB of disk, and longer where PyTorch is downloaded slowly.

Of the environment only what says where packages come from is handed on. The interpreter that runs this file makes the
clone's virtual environment, so each version of Python has an entry of its own in results/check_clean.json: tests that
passed, minutes, and how far the main table that was made lies from the committed one. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT_ROOT = Path(__file__).resolve().parents[1]
REPORT = PROJECT_ROOT / "results" / "check_clean.json"
TARGETS = ("env", "study", "test", "check")
HANDED_ON = re.compile(r"PATH|LANG|(https?|no|all)_proxy|SSL_CERT_\w+|PIP_\w+", re.IGNORECASE)
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|xfailed|xpassed|errors?)\b")
SUM = re.compile(r"=* ?\d+ (passed|failed|skipped|error).* in [\d.]+s( \(.*\))? ?=*")
KEY = ("data", "method", "n_bits", "seed", "parameters")


def environment(folder: Path) -> dict[str, str]:
    """Make an empty home and temporary folder; hand on where packages come from and nothing else."""
    names = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    for path in names.values():
        path.mkdir(exist_ok=True)
    handed_on = {name: value for name, value in os.environ.items() if HANDED_ON.fullmatch(name)}
    return handed_on | {name: str(path) for name, path in names.items()}


def counts(output: str) -> list[dict[str, int]]:
    """Tests by their outcome, of every line in which pytest sums up."""
    lines = [line for line in output.splitlines() if SUM.fullmatch(line)]
    return [{outcome: int(number) for number, outcome in COUNTS.findall(line)} for line in lines]


def points(made: str, committed: str) -> dict[str, Any]:
    """Compare two tables as CSV: their rows, and the largest difference in expected mAP in points."""
    first, second = (
        {
            tuple(row[name] for name in KEY): 100 * float(row["map_expected"])
            for row in csv.DictReader(io.StringIO(text))
        }
        for text in (made, committed)
    )
    if first.keys() != second.keys():
        raise ValueError(f"made: expected the {len(second)} rows of the committed table, got {len(first)}")
    return {"rows": len(first), "map_points": max(abs(first[key] - second[key]) for key in first)}


def main() -> None:
    """Clone, call make, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the clone and what make printed, as after a failure"
    )
    parser.add_argument(
        "--again", type=Path, help="a clone that was left: take the last commit, call what failed"
    )
    parser.add_argument("--targets", nargs="+", choices=TARGETS, help="with --again: these alone")
    options = parser.parse_args()
    if options.targets and not options.again:
        parser.error("--targets: expected --again with it")
    version = ".".join(platform.python_version_tuple()[:2])
    report = json.loads(REPORT.read_text()) if REPORT.is_file() else {}
    folder = options.again or Path(tempfile.mkdtemp(prefix="check-clean-"))
    clone = folder / "study"

    def printed(*command: str) -> str:
        done = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    if options.again:
        found = report[version]
        for command in (("fetch", "--quiet", "origin"), ("reset", "--quiet", "--hard", "FETCH_HEAD")):
            printed("git", *command)
    else:
        subprocess.run(["git", "clone", "--quiet", str(PROJECT_ROOT), str(clone)], check=True)
        found = {"commits": {}, "seconds": {}, "failed": list(TARGETS)}
    targets = options.targets or list(found["failed"])
    given = environment(folder)
    found |= {
        "python": platform.python_version(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "as_root": os.geteuid() == 0,
        "failed": [target for target in found["failed"] if target not in targets],
    }
    commit = printed("git", "rev-parse", "--short=12", "HEAD")
    table = clone / "results" / "main.csv"
    committed = table.read_text()
    if "study" in targets:  # which is to make these
        table.unlink()
        shutil.rmtree(clone / "results" / "runs", ignore_errors=True)
    for number, target in enumerate(targets, 1):
        log = folder / f"{target}.log"
        print(f"{number} of {len(targets)}: make {target}, see {log}", flush=True)
        begun = time.monotonic()
        with log.open("w") as file:
            command = ["make", f"PYTHON={sys.executable}", target]
            code = subprocess.run(command, cwd=clone, env=given, stdout=file, stderr=file).returncode
        found["seconds"][target] = round(time.monotonic() - begun, 1)
        found["commits"][target] = commit
        if code:
            found["failed"].append(target)
            print(f"make {target}: exit code {code}\n" + "\n".join(log.read_text().splitlines()[-30:]))
            if target == "env":
                break
    if "test" in targets and (folder / "test.log").is_file():
        tested = counts((folder / "test.log").read_text(errors="replace"))
        found |= dict(zip(("tests", "cells"), tested, strict=False))
    found["pages"] = len(list((clone / "book" / "_build" / "html").rglob("*.html")))
    if "env" not in found["failed"]:
        asked = "import json; from sdclib.provenance import *; print(json.dumps([machine(), versions()]))"
        found["machine"], found["versions"] = json.loads(printed(".venv/bin/python", "-c", asked))
    if "study" in targets and table.is_file():
        found["main_table"] = points(table.read_text(), committed)
    report[version] = found
    whole = REPORT.with_suffix(".tmp")
    whole.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    whole.replace(REPORT)
    print(json.dumps(found, indent=1, sort_keys=True))
    if options.keep or found["failed"]:
        print(folder)
    else:
        shutil.rmtree(folder)
    sys.exit(bool(found["failed"]))


if __name__ == "__main__":
    main()
