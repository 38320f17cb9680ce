"""SemiFL: who counts in the clients' mean, and what the server trains on."""

from __future__ import annotations

import torch

import umbel
from umbel.building import build_model, build_paradigm
from umbel.data import load_dataset, server_examples
from umbel.experiment import Experiment
from umbel.server.side import OwnExamples


def experiment(name="semifl", strategy="semifl", rounds=1, **sections) -> Experiment:
    data = {"source": "optdigits", "clients": 3, "labels": 100, "labels_at": "server"}
    client = {"batch_size": 10, "steps": 5, "optimizer": {"name": "sgd", "lr": 0.3}}
    return Experiment(
        experiment={"rounds": rounds, "seed": 4},
        data=data | sections.pop("data", {}),
        model={"name": "mlp", "hidden": [16]} | sections.pop("model", {}),
        paradigm={"name": name, **sections.pop("paradigm", {})},
        strategy=strategy,
        client=client | sections.pop("client", {}),
        **sections,
    )


def test_the_servers_examples_are_those_that_no_client_has(tmp_path):
    """Nobody is sure in round 1, so that the model after it is what these teach."""
    told = experiment()
    result = umbel.simulate(told, out=tmp_path / "run")
    side, first = server_of(told)
    trained = side.train(first, 1)
    assert all(torch.equal(trained[name], result.model[name]) for name in trained)


def server_of(told):
    """The server's side of an experiment, and the model that it begins with."""
    found = load_dataset(told.data.source)
    paradigm = build_paradigm(told)
    model = build_model(paradigm, told, found.schema)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    _, own = server_examples(told, found)
    return OwnExamples(told, paradigm, model, own), first
