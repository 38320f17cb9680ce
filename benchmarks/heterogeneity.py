"""Strategies on clients whose data, and whose speed, differ: two published comparisons.

`mnist-...`: MNIST over 10 clients by Dirichlet(0.5), 50 rounds of 10 local epochs, a small CNN
(Li et al. 2022, arXiv 2102.02079), next to the accuracies of Flower's baseline niid_bench. All
use momentum 0.9 at the clients, except SCAFFOLD, whose control variates are of plain SGD: it
takes three times the learning rate instead (with ten times it diverges).

`synthetic-...`: logistic regression on synthetic(1, 1), 200 rounds, 90 % stragglers
(Li et al. 2020, arXiv 1812.06127): FedAvg drops them, so that one client of a cohort of ten is
left, which is a cohort of one; FedProx takes what they did. The order of the paper is FedAvg,
then FedProx with mu = 0 (which is FedAvg, but for what becomes of stragglers), then with mu = 1.

    python benchmarks/heterogeneity.py mnist-fedavg synthetic-fedavg [--out runs/heterogeneity]

Goes on in `--out` where an earlier run was interrupted. Needs MNIST (`umbel data fetch mnist`).
Prints a line a row, and JSON with --json; exits with 1 where a MNIST row ends more than 0.3
points below Flower's, or the synthetic rows are in another order than the paper's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import umbel
from umbel.experiment import Experiment
from umbel.rounds import evaluation
from umbel.server.observer import Silent

FOLDER = Path(__file__).parent / "heterogeneity"
MARGIN = 0.003
LAST = 10
"""A synthetic row's accuracy is the mean over so many last rounds: single ones jump about."""


@dataclass(frozen=True)
class Row:
    """One row: the experiment file, what is set in it, and Flower's accuracy where it has one."""

    file: str
    settings: tuple[str, ...]
    published: float | None = None


PLAIN_SGD = 'client.optimizer={ name = "sgd", lr = 0.03, weight_decay = 0.00001 }'
ROWS = {
    "mnist-fedavg": Row("mnist.toml", ("strategy.name=fedavg",), 0.9889),
    "mnist-scaffold": Row("mnist.toml", ("strategy.name=scaffold", PLAIN_SGD), 0.9907),
    "mnist-fedprox": Row("mnist.toml", ("strategy.name=fedprox", "strategy.mu=0.01"), 0.9902),
    "mnist-fednova": Row("mnist.toml", ("strategy.name=fednova", "strategy.momentum=0.9"), 0.9803),
    "synthetic-fedavg": Row("synthetic.toml", ("client.stragglers=0.0", "strategy.fraction=0.034")),
    "synthetic-fedprox-0": Row("synthetic.toml", ()),
    "synthetic-fedprox-1": Row("synthetic.toml", ("strategy.name=fedprox", "strategy.mu=1.0")),
}
ORDER = ("synthetic-fedavg", "synthetic-fedprox-0", "synthetic-fedprox-1")


class Watch(Silent):
    """Prints each tenth round's test accuracy, or each one's where rounds are long."""

    def __init__(self, label: str, every: int) -> None:
        self._label = label
        self._every = every

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        print(f"{self._label}: {clients} clients, from round {first_round}", file=sys.stderr)

    def round_finished(self, record: Mapping[str, Any]) -> None:
        if record["round"] % self._every == 0:
            accuracy = evaluation(record, "central", "accuracy")
            seconds = record["seconds"]["total"]
            print(
                f"{self._label}: round {record['round']}: {accuracy:.4f} ({seconds:.0f} s)",
                file=sys.stderr,
                flush=True,
            )

    def note(self, text: str) -> None:
        print(f"{self._label}: {text}", file=sys.stderr)


def run(name: str, seed: int, out: Path, overrides: list[str]) -> dict[str, Any]:
    """One run of one row; goes on where an earlier one in `out` was interrupted."""
    row = ROWS[name]
    settings = [*row.settings, f"experiment.seed={seed}", *overrides]
    experiment = umbel.load(FOLDER / row.file, settings)
    folder = out / f"{name}-{seed}"
    begun = (folder / "environment.json").exists()
    result = umbel.simulate(
        experiment,
        out=None if begun else folder,
        resume=folder if begun else None,
        observer=Watch(f"{name}, seed {seed}", every=1 if row.published else 50),
    )
    scores = {
        metric: [evaluation(record, "central", metric) or 0.0 for record in result.records]
        for metric in ("accuracy", "loss")
    }
    return {
        "row": name,
        "seed": seed,
        "rounds": len(result.records),
        "accuracy": scores["accuracy"][-1] if row.published else mean(scores["accuracy"][-LAST:]),
        "best": max(scores["accuracy"]),
        "loss": mean(scores["loss"][-LAST:]),
        "published": row.published,
        "seconds": sum(record["seconds"]["total"] for record in result.records),
        "model_sha256": result.sha256,
    }


def as_published(results: list[dict[str, Any]]) -> bool:
    """Whether the rows are as good as Flower's, and in the paper's order."""
    good = all(r["accuracy"] >= r["published"] - MARGIN for r in results if r["published"])
    found = {result["row"] for result in results}
    order = [name for name in ORDER if name in found]
    means = [mean(r["accuracy"] for r in results if r["row"] == name) for name in order]
    return good and means == sorted(means)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--seed", type=int, action="append", help="default: 42; 0 to 2, synthetic")
    parser.add_argument("--out", type=Path, help="keep the run folders here, and resume from them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        results = [
            run(name, seed, out, arguments.set)
            for name in arguments.rows or ROWS
            for seed in arguments.seed or ([42] if ROWS[name].published else [0, 1, 2])
        ]
    for result in results:
        other = f" (Flower: {result['published']:.2%})" if result["published"] else ""
        print(
            f"{result['row']}, seed {result['seed']}: {result['accuracy']:.2%}{other}, best "
            f"{result['best']:.2%}, loss {result['loss']:.3f}, {result['seconds']:.0f} s",
            file=sys.stderr,
        )
    if arguments.json:
        print(json.dumps(results))
    return 0 if as_published(results) else 1


if __name__ == "__main__":
    sys.exit(main())
