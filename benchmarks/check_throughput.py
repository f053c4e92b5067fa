"""Run one sweep of 23 runs with one job at a time and with two: how much faster is the second?

python -m benchmarks.check_throughput [--least 1.6]

Prints both wall times and ends with exit code 1 if two jobs at a time are not `--least` times as fast as one, or if a
run did not finish. It works in a temporary folder and touches no results; anything else that works on the machine makes
its figures meaningless.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.check_faults import finished, start_sweep
from benchmarks.harness import arguments_of

CONFIG = """\
table: throughput
data: cifar10-embedded
n_bits: [16, 64]
seeds: [0, 1, 2, 3, 4]
runs:
  - {method: sdc, parameters: {preset: release, epochs: 50}}
  - {method: itq}
  - {method: lsh, n_bits: 16, seeds: [0, 1, 2]}
"""


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--least", type=float, default=1.6)
    given = parser.parse_args()
    seconds = {}
    with tempfile.TemporaryDirectory(prefix="check-throughput-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        config = folder / "throughput.yaml"
        config.write_text(CONFIG)
        for jobs in (1, 2):
            results, begun = folder / f"jobs-{jobs}", time.perf_counter()
            code = start_sweep(config, results, "--cores", str(jobs), folder=folder / f"work-{jobs}").wait()
            seconds[jobs] = time.perf_counter() - begun
            n_runs = len(finished(results))
            print(f"{jobs} at a time: {seconds[jobs]:.0f} s, {n_runs} runs finished", flush=True)
            if code:
                sys.exit(f"the sweep failed, exit code {code}")
    ratio = seconds[1] / seconds[2]
    print(f"two at a time are {ratio:.2f} times as fast as one")
    sys.exit(ratio < given.least)


if __name__ == "__main__":
    main()
