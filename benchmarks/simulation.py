"""What a simulated round costs beside a bare PyTorch loop over the same clients.

The loop only trains: `torch.optim.SGD`, `loss.backward()`, one thread, the shards ready in
memory; it selects nobody, averages nothing and records nothing. umbel does all of that. Both
take turns, several times, and the medians of their seconds a round are compared.

    python benchmarks/simulation.py [mlp] [cnn] [--repeats 5]

Needs MNIST (`umbel data fetch mnist`). Prints a table, and JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umbel import registry
from umbel.data import load_dataset, make_shards
from umbel.data.shard import Dataset
from umbel.data.tensors import to_inputs
from umbel.experiment import Experiment
from umbel.simulation.engine import simulate


@dataclass(frozen=True)
class Case:
    """One row of the table; `targets` are the ratios not to exceed, by number of workers."""

    name: str
    model: dict[str, Any]
    clients: int
    examples: int
    cohort: int
    rounds: int
    targets: dict[int, float]

    def experiment(self, workers: int) -> Experiment:
        return Experiment(
            experiment={"name": self.name, "rounds": self.rounds, "seed": 1},
            data={
                "source": "mnist",
                "clients": self.clients,
                "partition": {"name": "bootstrap", "examples": self.examples},
                "held_out": 0.0,
            },
            model=self.model,
            strategy={"name": "fedavg", "fraction": self.cohort / self.clients},
            client={"epochs": 1, "batch_size": 10, "optimizer": {"name": "sgd", "lr": 0.05}},
            evaluation={"federated": False, "central": False},
            simulation={"workers": workers},
        )


CASES = {
    "mlp": Case("mlp", {"name": "mlp", "hidden": [128]}, 1000, 40, 50, 40, {1: 1.0, 2: 0.6}),
    "cnn": Case("cnn", {"name": "cnn"}, 100, 100, 10, 3, {1: 1.05, 2: 0.55}),
}


def bare_rounds(case: Case, dataset: Dataset, cohorts: list[list[int]]) -> list[float]:
    """Seconds of each round of the bare loop, for the cohorts that umbel drew."""
    shards = make_shards(case.experiment(1), dataset)
    data: dict[int, tuple[Tensor, Tensor]] = {}
    for client in {client for cohort in cohorts for client in cohort}:
        shard = shards.shard(client)
        labels = torch.tensor(shard.arrays["y"], dtype=torch.int64)
        data[client] = (to_inputs(shard.arrays["x"], shard.schema), labels)
    parameters = {name: value for name, value in case.model.items() if name != "name"}
    model: nn.Module = registry.build("model", case.model["name"], parameters, dataset.schema)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for cohort in cohorts:
        started = time.perf_counter()
        for client in cohort:
            model.load_state_dict(start)
            train(model, *data[client])
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    return seconds


def train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """One epoch in batches of 10, as anyone would write it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    order = torch.randperm(len(y))
    for batch in order.split(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()


def umbel_rounds(case: Case, workers: int) -> tuple[list[float], list[list[int]]]:
    """Seconds of each round of umbel's, and the cohorts it drew; the first round is left out,
    for the worker processes build their models in it."""
    with tempfile.TemporaryDirectory() as folder:
        records = simulate(case.experiment(workers), out=Path(folder) / "run").records[1:]
    cohorts = [
        [int(row["client"].removeprefix("client-")) for row in record["clients"]]
        for record in records
    ]
    return [record["seconds"]["total"] for record in records], cohorts


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Medians over all rounds of all repeats."""
    dataset = load_dataset("mnist")
    umbel: dict[int, list[float]] = {workers: [] for workers in case.targets}
    bare: list[float] = []
    for _ in range(repeats):
        for workers in case.targets:
            seconds, cohorts = umbel_rounds(case, workers)
            umbel[workers] += seconds
            bare += bare_rounds(case, dataset, cohorts)
    loop = statistics.median(bare)
    return {
        "case": case.name,
        "bare_seconds": loop,
        "workers": {
            workers: {
                "seconds": statistics.median(seconds),
                "ratio": statistics.median(seconds) / loop,
                "target": case.targets[workers],
            }
            for workers, seconds in umbel.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = [measure(CASES[name], arguments.repeats) for name in arguments.cases or CASES]
    for result in results:
        print(
            f"{result['case']}: bare loop {result['bare_seconds']:.3f} s a round", file=sys.stderr
        )
        for workers, row in result["workers"].items():
            print(
                f"  umbel, {workers} worker(s): {row['seconds']:.3f} s a round, "
                f"{row['ratio']:.2f}x (target {row['target']}x)",
                file=sys.stderr,
            )
    if arguments.json:
        print(json.dumps(results))
    missed = [
        r for result in results for r in result["workers"].values() if r["ratio"] > r["target"]
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
