"""Texts over a pretrained MiniLM: what federating costs beside one place, and what it is worth to
sites that have one kind of text each.

`r8` and `20newsgroups`: topics at ten clients by Dirichlet(0.5), the output layer alone, and from
there adapters of rank 8, each beside the same in one place and beside tf-idf with a linear SVM
there. (A trained output layer first spares the features a wrong start: Kumar et al. 2022,
Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, arXiv 2202.10054.)

`domains`: feelings in tweets and in sentences on films, products and news, one domain a client;
each client's own model and the federated one, on a fifth of all four domains.

    python benchmarks/texts.py r8 domains [--out FOLDER] [--train head] [--workers 2]

Needs `umbel data fetch` of r8, 20newsgroups, sentiment and minilm. Each run is kept in the folder,
and one that is there is not repeated. Exits with 1 where a federated model is more than 1.5 points
below the one place, or not 3 points above the mean of the clients alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from kept import kept_accuracy

from umbel.data import load_dataset
from umbel.experiment import Experiment

CLIENTS = 10
TOPICS = ("r8", "20newsgroups")
DOMAINS = ("tweets", "movies", "products", "news")
TRAINS: dict[str, dict[str, Any]] = {
    "head": {
        "train": "head",
        "rounds": 50,
        "every": 50,
        "client": {"epochs": 2, "batch_size": 32, "optimizer": {"name": "adam", "lr": 0.003}},
    },
    "lora": {
        "train": {"name": "lora", "rank": 8},
        "rounds": 2,
        "every": 2,
        "client": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adam", "lr": 0.0005}},
    },
}
NEAR, WORTH = 0.015, 0.03


def accuracy(train: str, data: dict[str, Any], out: Path, name: str, workers: int) -> float:
    """Of a run in the folder `NAME-TRAIN`; adapters begin at the output layer of `NAME-head`."""
    model = {"name": "minilm"}
    if train == "lora":
        accuracy("head", data, out, name, workers)
        model["weights"] = str(out / f"{name}-head" / "model.safetensors")
    return kept_accuracy(experiment(train, data, model, workers), out / f"{name}-{train}")


def experiment(train: str, data: dict[str, Any], model: dict[str, str], workers: int) -> Experiment:
    chosen = TRAINS[train]
    return Experiment(
        experiment={"name": "texts", "rounds": chosen["rounds"], "seed": 0},
        data={"held_out": 0.0, "label": "label", **data},
        model=model,
        paradigm={"name": "finetune", "train": chosen["train"]},
        client=chosen["client"],
        evaluation={"every": chosen["every"]},
        simulation={"workers": workers},
    )


def in_one_place(name: str) -> float:
    """tf-idf and a linear SVM, scikit-learn's defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    found = load_dataset(name)
    test = found.test or {}
    model = make_pipeline(TfidfVectorizer(), LinearSVC())
    model.fit(found.train["x"].tolist(), found.train["y"])
    return float(model.score(test["x"].tolist(), test["y"]))


def topics(name: str, trains: Sequence[str], out: Path, workers: int) -> bool:
    print(f"{name}: tf-idf and a linear SVM in one place {in_one_place(name):.2%}", flush=True)
    good = True
    for train in trains:
        found = {}
        for place, clients in (("ten clients", CLIENTS), ("one place", 1)):
            partition: Any = {"name": "dirichlet", "alpha": 0.5} if clients > 1 else "iid"
            data = {"source": name, "clients": clients, "partition": partition}
            found[place] = accuracy(train, data, out, f"{name}-{clients}", workers)
            print(f"{name}: {train}, {place}: {found[place]:.2%}", flush=True)
        good = good and found["ten clients"] >= found["one place"] - NEAR
    return good


def parts_of(out: Path) -> dict[str, str]:
    """Four fifths of each domain, and a fifth of all for the test; as many of each domain."""
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in DOMAINS:
        found = load_dataset(f"sentiment?domain={name}").train
        order = np.random.default_rng(0).permutation(np.flatnonzero(found["y"] >= 0))
        rows[name] = (found["x"][order].astype(object), found["y"][order])
    fifth = min(len(labels) for _, labels in rows.values()) // 5
    paths = {}
    for name, (texts, labels) in rows.items():
        _write(out / f"{name}.csv", [(name, texts[fifth:], labels[fifth:])])
        paths[name] = str(out / f"{name}.csv?text=text")
    _write(out / "all.csv", [(n, x[fifth:], y[fifth:]) for n, (x, y) in rows.items()])
    _write(out / "test.csv", [(n, x[:fifth], y[:fifth]) for n, (x, y) in rows.items()])
    paths["all"] = str(out / "all.csv?text=text&group=domain")
    paths["test"] = str(out / "test.csv?text=text")
    return paths


def _write(path: Path, parts: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    import pandas

    tables = [pandas.DataFrame({"text": x, "label": y, "domain": name}) for name, x, y in parts]
    pandas.concat(tables).to_csv(path, index=False)


def domains(trains: Sequence[str], out: Path, workers: int) -> bool:
    paths = parts_of(out)
    good = True
    for train in trains:
        alone = []
        for name in DOMAINS:
            data: dict[str, Any] = {"source": paths[name], "test": paths["test"], "clients": 1}
            alone.append(accuracy(train, data, out, name, workers))
            print(f"feelings: {train}, {name} alone: {alone[-1]:.2%}", flush=True)
        data = {"source": paths["all"], "test": paths["test"], "clients": len(DOMAINS)}
        data["partition"] = "natural"
        together = accuracy(train, data, out, "domains", workers)
        print(f"feelings: {train}, together {together:.2%}, alone on the mean {mean(alone):.2%}")
        good = good and together >= mean(alone) + WORTH
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(TOPICS)}, domains; default: all")
    parser.add_argument("--train", action="append", choices=list(TRAINS))
    parser.add_argument("--out", type=Path, default=Path("runs/texts"))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    parts = arguments.parts or [*TOPICS, "domains"]
    if unknown := set(parts) - {*TOPICS, "domains"}:
        parser.error(f"no part {', '.join(sorted(unknown))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    trains = arguments.train or list(TRAINS)
    good = [
        domains(trains, arguments.out, arguments.workers)
        if part == "domains"
        else topics(part, trains, arguments.out, arguments.workers)
        for part in parts
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
