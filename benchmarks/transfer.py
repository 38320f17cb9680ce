"""What a pretrained model is worth to sites with few labels, and what federating costs beside one
place.

`two-phase`: LeNet at 16x16, trained on MNIST, is trained on at ten clients with 5, 10 or 50 labels
of optdigits each; beside it the same from scratch, and the model as MNIST left it. Three seeds, the
better of three learning rates for each.

`images`: the output layer over a frozen EfficientNet-Lite0, photographs of solar cells (ELPV) at
eight clients by Dirichlet(0.5), beside the same layer trained in one place; and a round with the
features kept beside a round that makes them anew, which must end in the same bits.

    python benchmarks/transfer.py two-phase images [--out FOLDER] [--json]

Needs `umbel data fetch` of mnist, optdigits, elpv and efficientnet-lite0. Prints a table, writes
`two-phase.png`, and exits with 1 where the fine-tuned model is not the best at each size, where
the federated layer is more than a point below the one place, or where kept features are less than
20 times as quick.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import matplotlib
import numpy as np
from kept import kept_accuracy, kept_run

import umbel
from umbel.building import build_model, build_paradigm
from umbel.data import load_dataset
from umbel.data.shard import Shard
from umbel.experiment import Experiment
from umbel.rounds import evaluation

matplotlib.use("Agg")
from matplotlib import pyplot

LABELS = (5, 10, 50)
SEEDS = (0, 1, 2)
CLIENTS = 10
RATES = (0.02, 0.05, 0.1)
"""Each start takes the learning rate of these that is best for it at that size."""

LENET = {"name": "lenet", "size": 16}
MARGIN = 0.01
QUICKER = 20.0


def final(experiment: Experiment, folder: Path) -> float:
    """The accuracy on the server's test set after the last round."""
    result = umbel.simulate(experiment, out=folder)
    return float(evaluation(result.records[-1], "central", "accuracy") or 0.0)


def pretrained(out: Path) -> Path:
    """LeNet, trained on MNIST in one place."""
    folder = out / "source"
    if not (folder / "model.safetensors").exists():
        told = Experiment(
            experiment={"name": "source", "rounds": 3, "seed": 0},
            data={"source": "mnist", "clients": 1, "held_out": 0.0},
            model=LENET,
            client={"batch_size": 64, "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9}},
        )
        print(f"source: MNIST {final(told, folder):.2%}", file=sys.stderr)
    return folder / "model.safetensors"


def tuned(labels: int, seed: int, weights: Path | None, rate: float = 0.02) -> Experiment:
    model = LENET if weights is None else {**LENET, "weights": str(weights)}
    return Experiment(
        experiment={"name": "target", "rounds": 30, "seed": seed},
        data={
            "source": "optdigits",
            "clients": CLIENTS,
            "held_out": 0.0,
            "partition": {"name": "sizes", "examples": [labels] * CLIENTS},
        },
        model=model,
        paradigm={"name": "finetune", "train": "all"},
        client={
            "epochs": 5,
            "batch_size": 10,
            "optimizer": {"name": "sgd", "lr": rate, "momentum": 0.5},
        },
        evaluation={"every": 30},
    )


def untouched(weights: Path) -> float:
    """The accuracy of the source's model on optdigits' test set."""
    told = tuned(LABELS[0], 0, weights)
    found = load_dataset("optdigits")
    paradigm = build_paradigm(told)
    model = build_model(paradigm, told, found.schema).eval()
    sums = paradigm.evaluate(model, paradigm.prepare(Shard("test", found.schema, found.test or {})))
    return sums["accuracy"] / sums["examples"]


def accuracies(labels: int, weights: Path | None, rate: float) -> list[float]:
    """The final accuracy for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        told = [tuned(labels, seed, weights, rate) for seed in SEEDS]
        return [final(one, Path(folder) / str(n)) for n, one in enumerate(told)]


def two_phase(out: Path) -> dict[str, Any]:
    weights = pretrained(out)
    source = untouched(weights)
    rows = []
    for labels in LABELS:
        for start, given in (("fine-tuned", weights), ("from scratch", None)):
            by_rate = {rate: accuracies(labels, given, rate) for rate in RATES}
            rate, found = max(by_rate.items(), key=lambda item: mean(item[1]))
            rows.append({"labels": labels, "start": start, "rate": rate, "accuracy": found})
            spread = f"{mean(found):.2%} (standard deviation {stdev(found):.2%}), lr {rate:g}"
            print(f"{labels:3} labels a client, {start:12} {spread}", flush=True)
    print(f"as MNIST left it: {source:.2%}")
    _plot(rows, source, out / "two-phase.png")
    means = {(row["labels"], row["start"]): mean(row["accuracy"]) for row in rows}
    good = all(means[n, "fine-tuned"] > max(source, means[n, "from scratch"]) for n in LABELS)
    return {"rows": rows, "source": source, "good": good}


def _plot(rows: list[dict[str, Any]], source: float, path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(5, 3.4), layout="constrained")
    for start in ("fine-tuned", "from scratch"):
        found = [row["accuracy"] for row in rows if row["start"] == start]
        middle, spread = [mean(a) for a in found], [stdev(a) for a in found]
        axes.errorbar(LABELS, middle, spread, marker="o", capsize=3, label=start)
    axes.axhline(source, color="grey", linestyle="--", label="as MNIST left it")
    axes.set(xscale="log", xticks=LABELS, xticklabels=LABELS)
    axes.set(xlabel="labels at each of 10 clients", ylabel="test accuracy (optdigits)")
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=150)


def cells(folder: Path) -> str:
    """ELPV with a quarter of it as a test part."""
    found = load_dataset("elpv")
    order = np.random.default_rng(0).permutation(len(found.train["y"]))
    cut = len(order) // 4
    parts = {"test": order[:cut], "train": order[cut:]}
    arrays = {f"x_{n}": found.train["x"][rows] for n, rows in parts.items()}
    arrays |= {f"y_{n}": found.train["y"][rows] for n, rows in parts.items()}
    np.savez(folder / "cells.npz", **arrays)
    return str(folder / "cells.npz")


def layer(source: str, clients: int, seed: int, **sections: Any) -> Experiment:
    partition: Any = {"name": "dirichlet", "alpha": 0.5} if clients > 1 else "iid"
    return Experiment(
        experiment={"name": "cells", "rounds": sections.pop("rounds", 200), "seed": seed},
        data={"source": source, "clients": clients, "held_out": 0.0, "partition": partition},
        model={"name": "efficientnet-lite0", "channels": "repeat"},
        paradigm={"name": "finetune", "train": "head", **sections.pop("paradigm", {})},
        client={"epochs": 2, "batch_size": 32, "optimizer": {"name": "adam", "lr": 0.001}},
        evaluation={"central": sections.pop("central", True), "every": 20, "federated": False},
    )


def images(out: Path) -> dict[str, Any]:
    source = cells(out)
    found: dict[str, list[float]] = {}
    for name, clients in (("eight clients", 8), ("one place", 1)):
        found[name] = [
            kept_accuracy(layer(source, clients, s), out / f"cells-{clients}-{s}") for s in SEEDS
        ]
        print(f"{name}: {mean(found[name]):.2%} (seeds {found[name]})", flush=True)
    seconds, models = {}, {}
    for name, keep in (("kept", True), ("anew", False)):
        told = layer(source, 8, 0, rounds=3, paradigm={"keep_features": keep}, central=False)
        result = kept_run(told, out / f"cells-{name}")
        seconds[name] = median(record["seconds"]["train"] for record in result.records[1:])
        models[name] = result.sha256
    ratio = seconds["anew"] / seconds["kept"]
    same = len(set(models.values())) == 1
    print(
        f"a round: {seconds['kept']:.2f} s with kept features, {seconds['anew']:.1f} s without: ",
        end="",
    )
    print(f"{ratio:.0f} times as quick, {'the same bits' if same else 'OTHER BITS'}")
    near = mean(found["eight clients"]) >= mean(found["one place"]) - MARGIN
    return {**found, "seconds": seconds, "good": near and same and ratio >= QUICKER}


PARTS = {"two-phase": two_phase, "images": images}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {name: PARTS[name](arguments.out) for name in arguments.parts or PARTS}
    if arguments.json:
        print(json.dumps(results))
    return 0 if all(result["good"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
