"""Run one sweep of 24 runs with one job at a time and with two, one of its runs failing: how much faster is the second?

python -m benchmarks.check_throughput [--least 1.6]

Prints both wall times and ends with exit code 1 if two jobs at a time are not `--least` times as fast as one, or if the
other 23 runs did not finish, the exit code was 0, or the failing run was not named. It works in a temporary folder and
touches no results; anything else that works on the machine makes its figures meaningless.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.check_faults import finished, start_sweep
from benchmarks.harness import arguments_of
from study.runs import expand_config

CONFIG = """\
table: throughput
data: cifar10-embedded
n_bits: [16, 64]
seeds: [0, 1, 2, 3, 4]
runs:
  - {method: sdc, parameters: {preset: release, epochs: 50}}
  - {method: itq}
  - {method: lsh, n_bits: 16, seeds: [0, 1, 2]}
  - {method: itq, n_bits: 300, seeds: 0}  # more bits than features: fails
"""


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--least", type=float, default=1.6)
    given = parser.parse_args()
    specs = expand_config(yaml.safe_load(CONFIG))
    (bad,) = [spec for spec in specs if spec.n_bits == 300]
    seconds, right = {}, True
    with tempfile.TemporaryDirectory(prefix="check-throughput-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "throughput.yaml").write_text(CONFIG)
        for jobs in (1, 2):
            results, work, begun = folder / f"jobs-{jobs}", folder / f"work-{jobs}", time.perf_counter()
            options = ("--cores", str(jobs))
            code = start_sweep(folder / "throughput.yaml", results, *options, folder=work).wait()
            seconds[jobs] = time.perf_counter() - begun
            done = len(finished(results))
            named = bad.id in (results / "runs" / "failures.md").read_text()
            kept = (results / "runs" / bad.id / "error.txt").is_file()
            right &= code != 0 and done == len(specs) - 1 and named and kept
            print(
                f"{jobs} at a time: {seconds[jobs]:.0f} s, {done} of {len(specs)} runs finished, exit code {code}, "
                f"failing run named: {named}, its error kept: {kept}",
                flush=True,
            )
    ratio = seconds[1] / seconds[2]
    print(f"two at a time are {ratio:.2f} times as fast as one")
    sys.exit(0 if right and ratio >= given.least else 1)


if __name__ == "__main__":
    main()
