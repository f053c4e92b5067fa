"""Mutation testing of losses, calibration and metrics: which changes of the code the tests do not notice.

    python scripts/mutation.py [--work FOLDER] [--processes N]

runs mutmut (settings: scripts/mutation.cfg) in a copy of the code and writes results/mutation.json:
counts by module, and every mutant that survived with the reason that tests/mutation_survivors.toml gives for it.
Stopped, it goes on where it was, and tries those again that survived. A new folder starts afresh.
Fails if less than 90 % of the mutants are killed or a survivor has no reason.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from sdclib.files import read_json, write_json
from study.provenance import PROJECT_ROOT, RESULTS, git_commit, machine

COPIED = {
    "sdclib": "sdclib",
    "tests": "tests",
    "pyproject.toml": "pyproject.toml",
    "scripts/mutation.cfg": "setup.cfg",
}
REASONS = PROJECT_ROOT / "tests" / "mutation_survivors.toml"
LEAST_KILLED = 0.9
DETECTED = ("killed", "timeout", "segfault")
MUTANT = re.compile(r"(?P<module>[\w.]+)\.(?:x_|xǁ(?P<cls>\w+)ǁ)(?P<function>\w+?)__mutmut_\d+")


def mutmut(*arguments: str, work: Path) -> str:
    """Run mutmut in `work`; return what it printed."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    output = None if arguments[0] == "run" else subprocess.PIPE
    done = subprocess.run(command, cwd=work, env=environment, stdout=output, text=True, check=True)
    return done.stdout or ""


def copy_tree(work: Path) -> None:
    """Bring sources and tests in `work` up to date; files that did not change keep their times."""
    work.mkdir(parents=True, exist_ok=True)
    for source, target in ((PROJECT_ROOT / name, work / copy) for name, copy in COPIED.items()):
        if source.is_file():
            shutil.copy2(source, target)
        else:
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def drop_damaged(work: Path) -> None:
    """Remove mutants whose results were being written when mutmut was killed; it makes and tries them anew."""
    for path in (work / "mutants").rglob("*.py.meta"):
        try:
            read_json(path)
        except ValueError:
            path.unlink()
            path.with_suffix("").unlink(missing_ok=True)


def statuses(work: Path) -> dict[str, str]:
    """Status of every mutant by its name, such as "killed" or "survived"."""
    lines = mutmut("results", "--all", "true", work=work).splitlines()
    return dict(line.strip().rsplit(": ", 1) for line in lines if "__mutmut_" in line)


def undetected(status: dict[str, str]) -> list[str]:
    """Names of the mutants that no test noticed."""
    return sorted(name for name in status if status[name] not in DETECTED)


def describe(name: str, work: Path) -> dict[str, Any]:
    """Say where a mutant is and which lines it changes into which."""
    match = MUTANT.fullmatch(name)
    assert match is not None, name
    lines = mutmut("show", name, work=work).splitlines()
    before, after = (
        " ".join(
            line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(3 * sign)
        )
        for sign in "-+"
    )
    function = f"{match['cls']}.{match['function']}" if match["cls"] else match["function"]
    return {"module": match["module"], "function": function, "before": before, "after": after}


def add_reasons(survivors: list[dict[str, Any]]) -> None:
    """Give each survivor its reason; None where no entry fits."""
    entries = tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivor"]
    for mutant in survivors:
        where = f"{mutant['module']}.{mutant['function']}"
        fitting = [e for e in entries if e["where"] == where and mutant["after"] in e["mutants"]]
        mutant["reason"] = fitting[0]["reason"] if fitting else None


def add_seconds(work: Path, seconds: float) -> float:
    """Add to the seconds that the run took so far, return them all; a run that was killed has not added its own."""
    path = work / "seconds.json"
    total = seconds + (read_json(path) if path.is_file() else 0)
    write_json(path, total)
    return total


def main() -> None:
    """Run mutmut, write the result, print the counts and the survivors without a reason."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=PROJECT_ROOT / "build" / "mutation", help="folder for the run"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="mutants tested at a time")
    options = parser.parse_args()
    start = time.monotonic()
    copy_tree(options.work)
    drop_damaged(options.work)
    processes = ("--max-children", str(options.processes))
    taken_up = (options.work / "mutants").is_dir()
    mutmut("run", *processes, work=options.work)
    if taken_up and (left := undetected(statuses(options.work))):  # there may be new tests
        mutmut("run", *processes, *left, work=options.work)

    status = statuses(options.work)
    modules: dict[str, Counter[str]] = {}
    for name in sorted(status):
        modules.setdefault(name.rsplit(".", 1)[0], Counter())[status[name]] += 1
    survivors = [describe(name, options.work) for name in undetected(status)]
    add_reasons(survivors)
    total = sum(modules.values(), Counter())
    share = total["killed"] / total.total()
    result = {
        "tool": f"mutmut {importlib.metadata.version('mutmut')}",
        "modules": modules,
        "total": total,
        "killed_share": round(share, 4),
        "seconds": round(add_seconds(options.work, time.monotonic() - start)),
        "survivors": survivors,
        "commit": git_commit(),
        "machine": machine(),
    }
    print(write_json(RESULTS / "mutation.json", result))
    print(f"{total['killed']} of {total.total()} mutants killed ({share:.1%}): {dict(total)}")
    without = [m for m in survivors if m["reason"] is None]
    for mutant in without:
        print(f"no reason: {mutant['module']}.{mutant['function']}: {mutant['after']}")
    if share < LEAST_KILLED or without:
        sys.exit(1)


if __name__ == "__main__":
    main()
