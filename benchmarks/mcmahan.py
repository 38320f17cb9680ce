"""The first results of federated averaging, on real MNIST: rounds to a target test accuracy.

McMahan et al. 2017, arXiv 1602.05629, table 1: 100 clients, a tenth of them in each round
(C = 0.1), batches of 10 (B = 10). IID deals the examples out at random; non-IID sorts them by
label and deals each client two of 200 pieces. As in the paper, the learning rate is the best
of a small grid, and the first round that reaches the target counts.

    python benchmarks/mcmahan.py 2nn-iid cnn-iid cnn-noniid [--lr 0.1] [--out runs/mcmahan]

Needs MNIST (`umbel data fetch mnist`). Prints a line a run, and JSON with --json; exits with 1
where a row's best run took more rounds than the paper's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import umbel
from umbel.experiment import Experiment
from umbel.rounds import evaluation
from umbel.server.observer import Silent

FOLDER = Path(__file__).parent / "mcmahan"


@dataclass(frozen=True)
class Row:
    """One row of the paper's table: the experiment file, the target and the paper's rounds."""

    file: str
    rounds: int
    rates: tuple[float, ...]


ROWS = {
    "2nn-iid": Row("2nn-iid.toml", 87, (0.1, 0.05, 0.2)),
    "cnn-iid": Row("cnn-iid.toml", 20, (0.2, 0.1, 0.05)),
    "cnn-noniid": Row("cnn-noniid.toml", 350, (0.1, 0.05, 0.2)),
}


class Watch(Silent):
    """Prints each round's test accuracy to standard error."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._started = time.perf_counter()

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        print(f"{self._label}: {clients} clients, from round {first_round}", file=sys.stderr)

    def reply(self, client: str, ok: bool, reason: str = "") -> None:
        if not ok:
            print(f"{self._label}: {client}: {reason}", file=sys.stderr)

    def round_finished(self, record: Mapping[str, Any]) -> None:
        accuracy = evaluation(record, "central", "accuracy")
        seconds = time.perf_counter() - self._started
        print(
            f"{self._label}: round {record['round']}: {accuracy:.4f} ({seconds:.0f} s)",
            file=sys.stderr,
            flush=True,
        )

    def note(self, text: str) -> None:
        print(f"{self._label}: {text}", file=sys.stderr)


def run(name: str, rate: float, out: Path, overrides: list[str]) -> dict[str, Any]:
    """One run of one row; goes on where an earlier one in `out` was interrupted."""
    settings = [f"client.optimizer.lr={rate}", *overrides]
    experiment = umbel.load(FOLDER / ROWS[name].file, settings)
    folder = out / f"{name}-{rate:g}"
    begun = (folder / "environment.json").exists()
    result = umbel.simulate(
        experiment,
        out=None if begun else folder,
        resume=folder if begun else None,
        observer=Watch(f"{name}, lr {rate:g}"),
    )
    stop = experiment.evaluation.stop
    target = 1.0 if stop is None or stop.target is None else stop.target
    accuracies = [evaluation(record, "central", "accuracy") or 0.0 for record in result.records]
    reached = next((n for n, value in enumerate(accuracies, start=1) if value >= target), None)
    return {
        "row": name,
        "lr": rate,
        "target": target,
        "rounds": reached,
        "paper": ROWS[name].rounds,
        "best": max(accuracies),
        "seconds": sum(record["seconds"]["total"] for record in result.records),
        "folder": str(result.folder),
        "model_sha256": result.sha256,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--lr", type=float, action="append", help="in place of the row's grid")
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
            run(name, rate, out, arguments.set)
            for name in arguments.rows or ROWS
            for rate in arguments.lr or ROWS[name].rates
        ]
    for result in results:
        reached = f"{result['rounds']} rounds" if result["rounds"] else "not reached"
        print(
            f"{result['row']}, lr {result['lr']:g}: {result['target']:.0%} {reached} "
            f"(paper: {result['paper']}), best {result['best']:.2%}, {result['seconds']:.0f} s",
            file=sys.stderr,
        )
    if arguments.json:
        print(json.dumps(results))
    met = {r["row"] for r in results if r["rounds"] and r["rounds"] <= r["paper"]}
    return 0 if met == {r["row"] for r in results} else 1


if __name__ == "__main__":
    sys.exit(main())
