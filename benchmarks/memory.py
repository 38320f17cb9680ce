"""Peak memory of a simulation with a population of 1,000 and of 1,000,000.

Each run is a process of its own; its peak (Linux's VmHWM) and those of its workers are added
up. A client costs memory while it trains and no longer, so the two should be alike.

    python benchmarks/memory.py [--workers 2] [--rounds 5]

Needs MNIST (`umbel data fetch mnist`) and Linux. Prints a line a population, and JSON with
--json; exits with 1 where the larger population takes over 10 % more.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umbel.experiment import Experiment
from umbel.server.observer import Silent
from umbel.simulation.engine import simulate

COHORT = 50
ALLOWED = 1.10


def peak(process: int | str) -> int:
    """A living process's peak resident memory in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(found.group(1)) if found else 0


class Meter(Silent):
    """An observer that reads the peaks of this process and its workers after each round."""

    def __init__(self) -> None:
        self.highest = 0

    def round_finished(self, record: Mapping[str, Any]) -> None:
        children = Path("/proc/self/task").glob("*/children")
        workers = {child for path in children for child in path.read_text().split()}
        self.highest = max(self.highest, peak("self") + sum(peak(worker) for worker in workers))


def run(population: int, workers: int, rounds: int) -> int:
    """Simulate in this process; its peak and its workers' in bytes."""
    experiment = Experiment(
        experiment={"rounds": rounds},
        data={
            "source": "mnist",
            "clients": population,
            "partition": {"name": "bootstrap", "examples": 40},
        },
        model={"name": "mlp", "hidden": [128]},
        strategy={"name": "fedavg", "fraction": COHORT / population},
        client={"batch_size": 10},
        evaluation={"central": False, "clients": COHORT},
        simulation={"workers": workers},
    )
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        simulate(experiment, out=Path(folder) / "run", observer=meter)
    return meter.highest


def measure(population: int, workers: int, rounds: int) -> int:
    """`run` in a fresh process."""
    command = [sys.executable, __file__, "--one", str(population)]
    command += ["--workers", str(workers), "--rounds", str(rounds)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(run(arguments.one, arguments.workers, arguments.rounds))
        return 0
    populations = (1_000, 1_000_000)
    peaks = [measure(n, arguments.workers, arguments.rounds) for n in populations]
    for population, highest in zip(populations, peaks, strict=True):
        print(f"{population:>9,} clients: {highest / 1e6:.0f} MB", file=sys.stderr)
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f} (target at most {ALLOWED})", file=sys.stderr)
    if arguments.json:
        facts = {"peak_bytes": dict(zip(populations, peaks, strict=True)), "ratio": ratio}
        print(json.dumps(facts))
    return 1 if ratio > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
