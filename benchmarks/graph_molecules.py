"""The row of `graphs.py` about molecules, each of them a graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from graph_figures import Setting, shown
from kept import kept_run
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor

from umbel.building import build_paradigm
from umbel.client.workbench import split
from umbel.data import load_dataset, make_shards
from umbel.data.shard import Shard
from umbel.data.storage import write_shards
from umbel.experiment import Experiment
from umbel.paradigms.graph.graphs import scores, together
from umbel.schema import Schema

MOLECULES = {"bbbp": 0.2, "bace": 0.2, "clintox": 0.2, "solubility": 0.0}
"""The sets, and what share is held out: none where its makers split it."""

CLIENTS = 4
ROUNDS = 20
FEDERATED: dict[str, dict[str, Any]] = {
    "fedavg": {"name": "fedavg"},
    "fedprox": {"name": "fedprox"},
    # On BACE the mean update falls from 0.9 to 0.45 in half of the rounds, the longest from 1 to
    # 0.7: four clients' may part from then on.
    "gcfl": {"name": "gcfl", "epsilon1": 0.45, "epsilon2": 0.5, "length": 5, "after": 10},
}
WHO = ("alone", *FEDERATED, "one place")

State = dict[str, Tensor]


def molecules(setting: Setting) -> list[str]:
    """Three seeds; as `graphs.py` says."""
    gains = []
    for model, name in product(("gin", "gcn"), MOLECULES):
        found: dict[str, list[float]] = {}
        for seed in setting.over(3):
            told = experiment(name, model, seed)
            parts = Parts.of(told)
            for who in WHO:
                folder = f"molecules-{name}-{model}-{who.replace(' ', '-')}-{seed}"
                models = trained(told, who, parts, setting.out / folder)
                points = mean(judged(told, state, parts.held) for state in models)
                found.setdefault(who, []).append(points)
        told_of = "; ".join(f"{who} {shown(values)}" for who, values in found.items())
        print(f"{name}, {model}: {told_of}", flush=True)
        gains.append(mean(found["fedavg"]) - mean(found["alone"]))
    print(f"molecules: FedAvg is {mean(gains):.1f} points above alone on the mean", flush=True)
    return [] if mean(gains) >= 3 else [f"molecules: FedAvg gains {mean(gains):.1f}, not 3"]


def experiment(name: str, model: str, seed: int) -> Experiment:
    """What all of a set's runs have in common."""
    return Experiment(
        experiment={"name": "molecules", "rounds": ROUNDS, "seed": seed},
        data={
            "source": name,
            "clients": CLIENTS,
            "partition": "scaffold",
            "held_out": MOLECULES[name],
        },
        model={"name": model, "layers": 3, "drop": 0.2},
        paradigm="graphs",
        client={"epochs": 2, "batch_size": 64, "optimizer": {"name": "adam", "lr": 0.002}},
        evaluation={"federated": False, "central": False},
    )


@dataclass(frozen=True)
class Parts:
    """What each client learns from, and the molecules that all are judged by."""

    own: list[Shard]
    held: Shard

    @classmethod
    def of(cls, told: Experiment) -> Parts:
        dataset = load_dataset(told.data.source)
        shards = make_shards(told, dataset)
        share, seed = told.data.held_out, told.experiment.seed
        parts = [split(shards.shard(k), share, seed) for k in range(CLIENTS)]
        held = whole([held for _, held in parts])
        if dataset.test is not None:
            held = Shard("server", dataset.schema, dataset.test)
        return cls([own for own, _ in parts], held)


def trained(told: Experiment, who: str, parts: Parts, folder: Path) -> list[State]:
    """The models that the clients end with: one, or one for each."""
    if who == "alone":
        return [one(told, Path(f"{folder}-{k}"), own) for k, own in enumerate(parts.own)]
    if who == "one place":
        return [one(told, folder, whole(parts.own))]
    sections = told.model_dump(exclude_unset=True) | {"strategy": FEDERATED[who]}
    result = kept_run(Experiment(**sections), folder)
    found = json.loads((folder / "environment.json").read_text("utf-8")).get("clusters", {})
    models = {k: load_file(folder / "clusters" / f"{k}.safetensors") for k in found}
    return [models[k] for k, clients in found.items() for _ in clients] or [result.model]


def one(told: Experiment, folder: Path, shard: Shard) -> State:
    """The model of a run of one client that has a shard."""
    data = folder.with_name(f"{folder.name}-data")
    if not data.exists():
        write_shards(One(replace(shard, client="client-0")), data)
    sections = told.model_dump(exclude_unset=True)
    sections["data"] = {"source": str(data / "client-0"), "clients": 1, "held_out": 0.0}
    return kept_run(Experiment(**sections), folder).model


@dataclass(frozen=True)
class One:
    """A population of one client."""

    own: Shard

    @property
    def schema(self) -> Schema:
        return self.own.schema

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return self.own.client

    def shard(self, index: int) -> Shard:
        return self.own


def whole(shards: Sequence[Shard]) -> Shard:
    """All that some clients have; sets of graphs lie one after another, so that their arrays do,
    too."""
    names = list(shards[0].arrays)
    arrays = {name: np.concatenate([shard.arrays[name] for shard in shards]) for name in names}
    return replace(shards[0], arrays=arrays)


def judged(told: Experiment, state: State, held: Shard) -> float:
    """A model's area under the ROC curve, its accuracy where there are more than two classes, in
    percent."""
    paradigm = build_paradigm(told)
    model = paradigm.build(held.schema).eval()
    model.load_state_dict(state)
    prepared = paradigm.prepare(held)
    with torch.no_grad():
        found = scores(model, together(prepared, torch.arange(len(held)))).numpy()
    truth = held.arrays["y"]
    if len(held.schema.classes) > 2:
        return 100 * float((found.argmax(axis=1) == truth).mean())
    return 100 * float(roc_auc_score(truth, found[:, 1] - found[:, 0]))
