"""SemiFL: who counts in the clients' mean, and what the server trains on."""

from __future__ import annotations

import pytest
import torch

import umbel
from umbel.building import build_model, build_paradigm
from umbel.data import load_dataset, server_examples
from umbel.experiment import Experiment
from umbel.paradigms.semi_supervised.augmentation import augmentation_of
from umbel.randomness import torch_generator
from umbel.server.side import OwnExamples
from umbel.strategies.parts import Update
from umbel.strategies.recipes_few_labels import semifl


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


class Adding:
    """A server whose training adds 1."""

    def train(self, model, round):
        return {name: value + 1 for name, value in model.items()}

    def score(self, model):
        raise NotImplementedError


@pytest.mark.parametrize(("idle", "wanted"), [([0, 1], 5.0), ([0, 0], 4.0), ([1, 1], 3.0)])
def test_a_client_that_is_sure_of_nothing_does_not_count(idle, wanted):
    """One at 4 with one example, one at 8 / 3 with three; and a model at 2, trained by the server.

    Without the second the mean is 4, with both 3, and without any the model stays."""
    rule = semifl().combine.helped(Adding(), 1)
    state = rule.init({"w": torch.tensor([2.0]), "count": torch.tensor(6)})
    for name, value, examples, silent in zip("ab", (4.0, 8 / 3), (1, 3), idle, strict=True):
        tensors = {"w": torch.tensor([value]), "count": torch.tensor(6)}
        update = Update(name, tensors, examples, metrics={"idle_count": float(silent)})
        state = rule.fold(state, update)
    assert rule.finish(state)["w"].tolist() == [pytest.approx(wanted)]


def test_the_servers_examples_are_those_that_no_client_has(tmp_path):
    """Nobody is sure in round 1, so that the model after it is what these teach."""
    told = experiment()
    result = umbel.simulate(told, out=tmp_path / "run")
    side, first = server_of(told)
    trained = side.train(first, 1)
    assert all(torch.equal(trained[name], result.model[name]) for name in trained)


def test_where_nobody_is_sure_the_server_trains_the_model_that_it_has(tmp_path):
    """Weight decay moves the clients' models, which would be their mean."""
    decay = {"optimizer": {"name": "sgd", "lr": 0.3, "weight_decay": 0.1}}
    told = experiment(client=decay, model={"batch_norm": True}, data={"held_out": 0.0})
    result = umbel.simulate(told, out=tmp_path / "run")
    assert [row["status"] for row in result.records[0]["clients"]] == ["ok"] * 3
    metrics = result.records[0]["metrics"]["train"]
    assert (metrics["idle_count"], metrics["kept_count"]) == (3, 0)
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


def test_a_client_that_has_labels_is_not_idle(tmp_path):
    """It learns from these, be it sure of others or not."""
    data = {"labels_at": "clients", "source": "digits", "server": "digits"}
    result = umbel.simulate(experiment(data=data), out=tmp_path / "run")
    assert result.records[0]["metrics"]["train"]["idle_count"] == 0


@pytest.mark.parametrize("name", ["semifl", "fixmatch", "mixmatch", "mean-teacher", "fedmatch"])
def test_the_server_trains_on_weakly_changed_examples(name):
    """One step on all of them, whatever the method: they are shuffled, and then each is changed."""
    client = {"steps": 1, "batch_size": 0, "optimizer": {"name": "sgd", "lr": 1.0}}
    told = experiment(
        name, client=client, paradigm={"augmentation": {"name": "image", "flip": True}}
    )
    side, first = server_of(told)
    trained = side.train(first, 1)
    _, own = server_examples(told, load_dataset("optdigits"))
    paradigm = build_paradigm(told)
    model = build_model(paradigm, told, own.schema)
    prepared = paradigm.prepare(own)
    draws = torch_generator(told.experiment.seed, purpose="server's training", round=1)
    order = torch.randperm(len(own), generator=draws)
    changes = augmentation_of({"name": "image", "flip": True}, own.schema)
    x = changes.weak(prepared["x"][order], draws)
    assert not torch.equal(x, prepared["x"][order])
    torch.nn.functional.cross_entropy(model(x), prepared["y"][order]).backward()
    for tensor in ("body.1.weight", "head.weight"):
        wanted = first[tensor] - model.get_parameter(tensor).grad
        torch.testing.assert_close(trained[tensor], wanted)
