"""Clusters of clients in whole runs: they are found, each has its model, and a run goes on with
them after a crash as if there had been none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from faulty import raised
from two_kinds import CLIENTS, OTHERS

import umbel
from umbel.experiment import Experiment
from umbel.server.observer import Silent
from umbel.strategies import Chain, Clip, gcfl
from umbel.tensors import read_tensors

ROUNDS = 16
GCFL = {"name": "gcfl", "epsilon1": 0.45, "epsilon2": 1.0, "length": 3, "after": 5}


def experiment(strategy, rounds=ROUNDS, **evaluation):
    return Experiment(
        experiment={"rounds": rounds, "seed": 2},
        data={"source": "two_kinds:data", "clients": CLIENTS, "partition": "natural"},
        model={"name": "mlp", "hidden": [16]},
        strategy=strategy,
        client={"steps": 5, "batch_size": 0, "optimizer": {"name": "sgd", "lr": 0.5}},
        evaluation={"every": rounds, "central": False, **evaluation},
    )


class Interrupting(Silent):
    """Raises when a round is finished, as Ctrl-C would."""

    def __init__(self, round):
        self.round = round

    def round_finished(self, record):
        if record["round"] == self.round:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs."""
    out = tmp_path_factory.mktemp("clusters") / "whole"
    return umbel.simulate(experiment(GCFL, gain=True), out=out)


def clusters_of(result):
    files = sorted((result.folder / "clusters").iterdir())
    return {file.name: read_tensors(file)[0] for file in files}


def parts_of(result):
    return json.loads((result.folder / "environment.json").read_text())["clusters"]


OURS = [f"client-{index}" for index in range(CLIENTS) if index not in OTHERS]
THEIRS = [f"client-{index}" for index in OTHERS]


def test_two_kinds_of_clients_part_and_each_does_better(whole, tmp_path):
    assert parts_of(whole) == {"0": OURS, "1": THEIRS}
    alike = umbel.simulate(experiment("fedavg", gain=True), out=tmp_path / "fedavg")
    # Each client scored its own cluster's model.
    found, before = (run.gain.scores for run in (whole, alike))
    for kind, least in ((OURS, 0.03), (THEIRS, 0.5)):
        gained = [found[c]["run"]["accuracy"] - before[c]["run"]["accuracy"] for c in kind]
        assert min(gained) >= 0.0 and sum(gained) / len(gained) > least, gained


def test_the_runs_model_is_the_mean_of_the_clusters_by_their_examples(whole):
    examples = {row["client"]: row["examples"] for row in whole.records[-1]["clients"]}
    weights = [sum(examples[name] for name in names) for names in parts_of(whole).values()]
    models = list(clusters_of(whole).values())
    for name, value in whole.model.items():
        total = sum(w * m[name].double() for w, m in zip(weights, models, strict=True))
        torch.testing.assert_close(value.double(), total / sum(weights), rtol=1e-6, atol=1e-7)
    assert any(not torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize("last", [8, 12], ids=["before", "after"])
def test_a_run_that_was_cut_off_before_or_after_a_split_ends_the_same(whole, tmp_path, last):
    with pytest.raises(KeyboardInterrupt):
        umbel.simulate(experiment(GCFL), out=tmp_path / "run", observer=Interrupting(last))
    resumed = umbel.simulate(experiment(GCFL), resume=tmp_path / "run")
    assert resumed.sha256 == whole.sha256
    assert parts_of(resumed) == parts_of(whole)
    for name, tensors in clusters_of(whole).items():
        again = clusters_of(resumed)[name]
        assert all(torch.equal(value, again[key]) for key, value in tensors.items())


def test_updates_that_travel_as_changes_are_put_on_their_own_clusters_model(whole, tmp_path):
    """A clip that never clips sends changes in place of values, and alters nothing but rounding."""
    parameters = {key: value for key, value in GCFL.items() if key != "name"}
    changing = replace(gcfl(**parameters), chain=Chain((Clip(1e6),)))
    told = umbel.simulate(experiment(GCFL), out=tmp_path / "run", strategy=changing)
    assert parts_of(told) == parts_of(whole)
    for name, tensors in clusters_of(told).items():
        for key, value in tensors.items():
            torch.testing.assert_close(value, clusters_of(whole)[name][key], rtol=1e-2, atol=1e-3)


def test_a_cluster_of_which_nothing_comes_keeps_its_model(bench):
    """Its clients fail in the last round: the model that they had stays theirs."""
    models = {}
    for rounds in (ROUNDS - 1, ROUNDS):
        clients = bench.clients(experiment(GCFL, rounds))
        clients.faults = {(index, ROUNDS): raised for index in OTHERS}
        folder = bench.run(clients, out=str(rounds)).folder.path
        models[rounds] = [read_tensors(folder / f"clusters/{k}.safetensors")[0] for k in (0, 1)]
    before, after = models.values()
    assert all(torch.equal(value, after[1][name]) for name, value in before[1].items())
    assert any(not torch.equal(value, after[0][name]) for name, value in before[0].items())
