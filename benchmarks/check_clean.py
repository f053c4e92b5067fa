"""Do the README's commands work for a stranger? Clone the last commit and call make with an empty home and no caches.

python3 -m benchmarks.check_clean [--order study test] [--set ATEN_CPU_CAPABILITY=default ...] [--keep]

The clone lies in a folder whose name has a space and an umlaut. Each target has to end well and leave no file of the
commit changed. What was found is added to results/check_clean.json. It takes a quarter of an hour, 7 GB of disk and the
standard library alone; the interpreter that runs it makes the clone's virtual environment.
"""

from __future__ import annotations

import argparse
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

PROJECT_ROOT = Path(__file__).resolve().parents[1]
REPORT = PROJECT_ROOT / "results" / "check_clean.json"
# Of the environment only what says where packages come from is handed on.
HANDED_ON = re.compile(r"PATH|LANG|(https?|no|all)_proxy|SSL_CERT_\w+|(PIP|UV)_\w+", re.IGNORECASE)


def main() -> None:
    """Clone, call make, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--order", nargs="+", default=["study", "test"], metavar="TARGET", help="of make")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="variables for make")
    parser.add_argument("--keep", action="store_true", help="leave the clone, as after a failure")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="check clean ü "))
    clone, home, temporary = folder / "study", folder / "home", folder / "tmp"
    for path in (home, temporary):
        path.mkdir()
    environment = {name: value for name, value in os.environ.items() if HANDED_ON.fullmatch(name)}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        **dict(pair.split("=", 1) for pair in options.set),
    }
    subprocess.run(["git", "clone", "--quiet", str(PROJECT_ROOT), str(clone)], check=True)

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", *command], cwd=clone, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    processor = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    found = {
        "commit": git("rev-parse", "--short=12", "HEAD").strip(),
        "python": platform.python_version(),
        "processor": processor[1] if processor else platform.processor(),
        "cores": os.cpu_count(),
        "variables": options.set,
        "targets": [],
    }
    for target in (
        ["env", *options.order] if "test" in options.order[:1] else [".venv/.study", *options.order]
    ):
        log = folder / f"{target.strip('./').replace('/', '-')}.log"
        print(f"make {target}, see {log}", flush=True)
        begun = time.monotonic()
        with log.open("w") as file:
            command = ["make", f"PYTHON={sys.executable}", target]
            code = subprocess.run(command, cwd=clone, env=environment, stdout=file, stderr=file).returncode
        lines = log.read_text(errors="replace").splitlines()
        outcome = {
            "target": target,
            "exit_code": code,
            "seconds": round(time.monotonic() - begun),
            "changed_files": git("status", "--porcelain").splitlines(),
            "passed": [line.strip("= ") for line in lines if re.search(r"\d+ passed", line)],
        }
        found["targets"].append(outcome)
        print(json.dumps(outcome, indent=1) if not code else "\n".join(lines[-40:]), flush=True)
    report = json.loads(REPORT.read_text()) if REPORT.is_file() else []
    whole = REPORT.with_suffix(".tmp")
    whole.write_text(json.dumps([*report, found], indent=1) + "\n")
    whole.replace(REPORT)
    failed = any(outcome["exit_code"] or outcome["changed_files"] for outcome in found["targets"])
    if options.keep or failed:
        print(folder)
    else:
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
