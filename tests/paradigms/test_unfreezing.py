"""Gradual unfreezing and learning rates by depth."""

from __future__ import annotations

import json

import pytest
import torch

import umbel
from umbel.building import build_model, build_paradigm
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.models.reference import mlp
from umbel.paradigms.transfer.rates import rates_by_depth
from umbel.schema import Schema
from umbel.sections import ClientSection, Named
from umbel.server.observer import Silent
from umbel.training.rates import Optimizers

TEN = Schema("classification", (8, 8), "uint8", tuple("0123456789"))


def experiment(strategy="fedavg", rounds=4, **paradigm) -> Experiment:
    return Experiment(
        experiment={"rounds": rounds, "seed": 3},
        data={"source": "digits", "clients": 3},
        model={"name": "mlp", "hidden": [32, 16], "batch_norm": True},
        paradigm={"name": "finetune", **paradigm},
        strategy={"name": strategy} if isinstance(strategy, str) else strategy,
    )


GRADUAL = {"train": {"name": "gradual", "every": 1, "blocks": 2}}
CLIPPED = {"name": "composed", "combine": "centred_clipping", "step": "fedadam"}


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "scaffold", "median", CLIPPED])
def test_a_block_more_travels_each_round_and_a_resumed_run_ends_in_the_same_bytes(
    tmp_path, strategy
):
    whole = umbel.simulate(experiment(strategy, **GRADUAL), out=tmp_path / "whole")
    up = [record["bytes_up"] for record in whole.records]
    assert up[0] < up[1] < up[2] and abs(up[3] - up[2]) < 50
    cut(tmp_path / "cut", strategy)
    resumed = umbel.simulate(experiment(strategy, **GRADUAL), resume=tmp_path / "cut")
    assert resumed.sha256 == whole.sha256


def cut(folder, strategy):
    """A run that was interrupted after its first round."""

    class Interrupt(Exception):
        pass

    class After(Silent):
        def round_finished(self, record):
            raise Interrupt

    with pytest.raises(Interrupt):
        umbel.simulate(experiment(strategy, **GRADUAL), out=folder, observer=After())


def test_what_is_not_yet_trained_is_as_at_the_start(tmp_path):
    first, second = (
        umbel.simulate(experiment(rounds=n, **GRADUAL), out=tmp_path / str(n)) for n in (1, 2)
    )
    start = mlp_at_the_start()
    for name, value in first.model.items():
        assert torch.equal(value, start[name]) == name.startswith("body."), name
    moved = {name for name, value in second.model.items() if not torch.equal(value, start[name])}
    assert {"body.4.weight", "body.5.running_mean", "head.bias"} <= moved
    assert not any(name.startswith(("body.1.", "body.2.")) for name in moved)


def mlp_at_the_start():
    told = experiment(**GRADUAL)
    return build_model(build_paradigm(told), told, TEN).state_dict()


def test_the_record_names_all_that_travels_in_the_end(tmp_path):
    umbel.simulate(experiment(**GRADUAL), out=tmp_path / "run")
    told = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert "body.1.weight" in {tensor["name"] for tensor in told["travels"]}


def test_strategies_of_flowers_take_the_same_tensors_in_every_round(tmp_path):
    with pytest.raises(BadInput, match="takes the same tensors in every round"):
        umbel.simulate(
            experiment("flwr.serverapp.strategy:FedAvg", **GRADUAL), out=tmp_path / "run"
        )


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"name": "gradual", "every": 0}, "train.every: 0 is not at least 1"),
        ({"name": "gradual", "blocks": 0}, "train.blocks: 0 is not at least 1"),
        ({"name": "gradual", "evry": 2}, "train.evry: unknown; did you mean 'every'"),
        ({"name": "head", "every": 2}, "'head' takes no settings"),
        ({"name": "gradual", "blocks": 9}, "9 blocks, but the model has 2"),
    ],
)
def test_what_says_no_plan(tmp_path, train, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(train=train), out=tmp_path / "run")


def test_rates_fall_with_the_depth():
    model = mlp(TEN, hidden=[12, 11], batch_norm=True)
    rates = rates_by_depth(model, 0.5)
    assert rates["head.weight"] == 1 and rates["body.5.bias"] == rates["body.4.weight"] == 0.5
    assert rates["body.1.weight"] == rates["body.2.bias"] == 0.25
    assert rates_by_depth(model, 1.0) == {}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_is_torchs_with_groups(momentum):
    """Plain descent takes its own way; torch's SGD with a group for each parameter says where."""
    torch.manual_seed(0)
    ours, theirs = (mlp(TEN, hidden=[12, 11]) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    rates = rates_by_depth(ours, 0.4)
    section = ClientSection(optimizer=Named(name="sgd", lr=0.2, momentum=momentum))
    optimizer, rate = Optimizers(section, rates).make(ours, 1)
    groups = [{"params": [p], "lr": 0.2 * rates[n]} for n, p in theirs.named_parameters()]
    reference = torch.optim.SGD(groups, lr=0.2, momentum=momentum)
    assert rate == 0.2
    for _ in range(3):
        gradients = [torch.randn_like(p) for p in ours.parameters()]
        for p, q, gradient in zip(ours.parameters(), theirs.parameters(), gradients, strict=True):
            p.grad, q.grad = gradient, gradient.clone()
        reference.step()
        if momentum:
            optimizer.step()
        else:
            optimizer.descend(gradients)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_near_the_input_less_changes(tmp_path):
    moved = {}
    for decay in (1.0, 0.1):
        told = experiment(train="all", rate_decay=decay, rounds=1)
        result = umbel.simulate(told, out=tmp_path / str(decay))
        start = mlp_at_the_start()
        moved[decay] = float((result.model["body.1.weight"] - start["body.1.weight"]).norm())
    assert 0 < moved[0.1] < 0.05 * moved[1.0]


@pytest.mark.parametrize("strategy", ["scaffold", "qfedavg"])
def test_a_strategy_that_reckons_with_one_rate_refuses_several(tmp_path, strategy):
    told = experiment(strategy, train="all", rate_decay=0.5)
    with pytest.raises(BadInput, match=r"needs paradigm.rate_decay = 1.0, found 0.5"):
        umbel.simulate(told, out=tmp_path / "run")


def test_a_decay_outside_its_range(tmp_path):
    with pytest.raises(BadInput, match=r"rate_decay: 1.5 is not in \(0, 1\]"):
        umbel.simulate(experiment(rate_decay=1.5), out=tmp_path / "run")
