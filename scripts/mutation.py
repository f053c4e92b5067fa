"""Mutation testing of losses, calibration and metrics: which changes of the code the tests do not notice.

    python scripts/mutation.py

runs mutmut (settings: scripts/mutation.cfg) in a copy of the code, build/mutation, and writes results/mutation.json:
counts by module, and every mutant that survived with the reason that tests/mutation_survivors.toml gives for it.
Fails if less than 90 % of the mutants are killed or a survivor has no reason.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sdclib.files import write_json
from study.provenance import PROJECT_ROOT, RESULTS, git_commit, machine

WORK = PROJECT_ROOT / "build" / "mutation"
REASONS = PROJECT_ROOT / "tests" / "mutation_survivors.toml"
LEAST_KILLED = 0.9
DETECTED = ("killed", "timeout", "segfault")
MUTANT = re.compile(r"(?P<module>[\w.]+)\.(?:x_|xǁ(?P<cls>\w+)ǁ)(?P<function>\w+?)__mutmut_\d+")


def mutmut(*arguments: str, output: int | None = subprocess.PIPE) -> str:
    """Run mutmut; return what it printed."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return (
        subprocess.run(command, cwd=WORK, env=environment, stdout=output, text=True, check=True).stdout or ""
    )


def copy_tree() -> None:
    """Copy sources, tests and settings into an empty folder."""
    shutil.rmtree(WORK, ignore_errors=True)
    for name in ("sdclib", "tests"):
        shutil.copytree(PROJECT_ROOT / name, WORK / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "pyproject.toml", WORK)
    shutil.copy(PROJECT_ROOT / "scripts" / "mutation.cfg", WORK / "setup.cfg")


def describe(name: str) -> dict[str, Any]:
    """Say where a mutant is and which lines it changes into which."""
    match = MUTANT.fullmatch(name)
    assert match is not None, name
    lines = mutmut("show", name).splitlines()
    before, after = (
        " ".join(
            line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(3 * sign)
        )
        for sign in "-+"
    )
    function = f"{match['cls']}.{match['function']}" if match["cls"] else match["function"]
    return {"module": match["module"], "function": function, "before": before, "after": after}


def find_reason(mutant: dict[str, Any], entries: list[dict[str, str]]) -> str | None:
    """Find why no test can notice a mutant; None where no entry fits."""
    where = f"{mutant['module']}.{mutant['function']}"
    fitting = (
        e["reason"]
        for e in entries
        if fnmatch(where, e["where"]) and re.search(e["pattern"], mutant["after"])
    )
    return next(fitting, None)


def main() -> None:
    """Run mutmut, write the result, print the counts and the survivors without a reason."""
    start = time.monotonic()
    copy_tree()
    mutmut("run", "--max-children", str(os.cpu_count()), output=None)
    lines = mutmut("results", "--all", "true").splitlines()
    status = dict(line.strip().rsplit(": ", 1) for line in lines if "__mutmut_" in line)
    modules: dict[str, Counter[str]] = {}
    for name in sorted(status):
        modules.setdefault(name.rsplit(".", 1)[0], Counter())[status[name]] += 1
    entries = tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivor"]
    survivors = [describe(name) for name in sorted(status) if status[name] not in DETECTED]
    survivors = [mutant | {"reason": find_reason(mutant, entries)} for mutant in survivors]
    total = sum(modules.values(), Counter())
    share = total["killed"] / total.total()
    result = {
        "tool": f"mutmut {importlib.metadata.version('mutmut')}",
        "modules": modules,
        "total": total,
        "killed_share": round(share, 4),
        "seconds": round(time.monotonic() - start),
        "survivors": survivors,
        "commit": git_commit(),
        "machine": machine(),
    }
    print(write_json(RESULTS / "mutation.json", result))
    print(f"{total['killed']} of {total.total()} mutants killed ({share:.1%}): {dict(total)}")
    without = [mutant for mutant in survivors if mutant["reason"] is None]
    for mutant in without:
        print(f"no reason: {mutant['module']}.{mutant['function']}: {mutant['after']}")
    if share < LEAST_KILLED or without:
        sys.exit(1)


if __name__ == "__main__":
    main()
