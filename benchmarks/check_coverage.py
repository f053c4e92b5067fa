"""Run all tests and count the lines and branches of sdclib that they reach.

python -m benchmarks.check_coverage [--least 95]     twenty minutes

Writes results/check_coverage.json; the exit code is 1 if a test fails or less than so many percent are reached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.check_clean import counts
from sdclib.files import write_json
from sdclib.provenance import PROJECT_ROOT, RESULTS, git_commit, machine


def main() -> None:
    """Run, sum up, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--least", type=float, default=95, help="percent of lines and branches")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        options = ("--cov=sdclib", "--cov-branch", "--cov-report=term", f"--cov-report=json:{path}")
        command = [sys.executable, "-m", "pytest", *options]
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        code = process.wait()
        found = json.loads(path.read_text())
    totals = found["totals"]
    report = {
        "percent": totals["percent_covered"],
        "least": arguments.least,
        "statements": totals["num_statements"],
        "statements_reached": totals["covered_lines"],
        "branches": totals["num_branches"],
        "branches_reached": totals["covered_branches"],
        "percent_by_module": {
            name: entry["summary"]["percent_covered"] for name, entry in found["files"].items()
        },
        "tests": counts("".join(lines))[-1],
        "seconds": round(time.monotonic() - begun, 1),
        "commit": git_commit(),
        "machine": machine(),
    }
    print(write_json(RESULTS / "check_coverage.json", report))
    sys.exit(code != 0 or report["percent"] < arguments.least)


if __name__ == "__main__":
    main()
