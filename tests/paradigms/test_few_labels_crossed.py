"""Every kind of strategy with the methods for few labels that are most apart."""

from __future__ import annotations

import pytest
import torch

import umbel
from umbel.building import build_model, build_paradigm
from umbel.data import load_dataset
from umbel.experiment import Experiment

STRATEGIES = ("fedavg", "fedadam", "fedprox", "scaffold", "median")
METHODS = (
    {"name": "fixmatch", "threshold": 0.3},
    {"name": "pseudo-label", "ramp": 1},
    {"name": "mixmatch", "weight": 5.0, "ramp": 1},
)
ALTERNATING = ({"name": "semifl", "threshold": 0.2}, "semifl")
CROSSED = [*((method, strategy) for method in METHODS for strategy in STRATEGIES), ALTERNATING]


def experiment(method, strategy, workers) -> Experiment:
    place = {"labels_at": "server"} if strategy == "semifl" else {}
    return Experiment(
        experiment={"rounds": 2, "seed": 6},
        data={"source": "digits", "clients": 3, "labels": 60, "held_out": 0.0, **place},
        model={"name": "mlp", "hidden": [8]},
        paradigm=method,
        strategy={"name": strategy},
        client={"batch_size": 5, "steps": 4, "optimizer": {"name": "sgd", "lr": 0.1}},
        simulation={"workers": workers},
    )


@pytest.mark.parametrize(
    ("method", "strategy"),
    CROSSED,
    ids=lambda value: value if isinstance(value, str) else value["name"],
)
def test_it_runs_and_two_workers_make_the_same_bits(tmp_path, method, strategy):
    told = experiment(method, strategy, workers=1)
    one = umbel.simulate(told, out=tmp_path / "one")
    for record in one.records:
        assert [row["status"] for row in record["clients"]] == ["ok"] * 3
    first = build_model(build_paradigm(told), told, load_dataset("digits").schema).state_dict()
    assert set(one.model) == set(first)
    assert not any(torch.equal(one.model[name], first[name]) for name in first)
    two = umbel.simulate(experiment(method, strategy, workers=2), out=tmp_path / "two")
    assert two.sha256 == one.sha256
    assert [r["metrics"] for r in two.records] == [r["metrics"] for r in one.records]


def test_the_unlabelled_examples_and_the_strategies_make_a_difference(tmp_path):
    """Otherwise the bits above would be those of one run."""
    runs = [
        umbel.simulate(experiment(method, strategy, workers=1), out=tmp_path / f"{place}")
        for place, (method, strategy) in enumerate(CROSSED)
    ]
    supervised = experiment({"name": "supervised"}, "fedavg", workers=1)
    runs.append(umbel.simulate(supervised, out=tmp_path / "supervised"))
    assert len({run.sha256 for run in runs}) == len(runs)
