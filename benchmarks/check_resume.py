"""Kill a sweep of 24 runs three times with SIGKILL, take it up each time with the same command, compare the tables.

python -m benchmarks.check_resume [--kills 3] [--seed 0]

Prints what was found and ends with exit code 1 if the table differs from that of an undisturbed sweep in any row, or
if a run that was finished before a kill was run again. It works in a temporary folder and touches no results.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.check_faults import Sweep, Trial
from benchmarks.harness import arguments_of


class Resume(Sweep):
    """24 short runs, killed with all that they have started."""

    moments, orphaned, options = (0.4, 0.9), 0.0, ()
    plan: dict[str, Any] = {  # noqa: RUF012
        "table": "resumed",
        "data": "cifar10-embedded",
        "n_bits": [8, 16, 32, 64],
        "seeds": [0, 1, 2],
        "runs": [{"method": "lsh"}, {"method": "itq", "parameters": {"n_iterations": 500}}],
    }


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; random by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="check-resume-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        trial = Trial(Resume(folder), folder, random.Random(given.seed))
        trial.run(given.kills)
        records, tables = len(trial.reference) - 2, "equal row for row" if not trial.problems else "not equal"
    print(f"{records} runs, {trial.kills} kills: tables {tables}", *trial.problems, sep="\n")
    sys.exit(1 if trial.problems else 0)


if __name__ == "__main__":
    main()
