"""Parts of different strategies together, over whole simulated runs on the digits."""

from __future__ import annotations

import pytest
import torch

import umbel
from umbel.errors import BadInput, UmbelError
from umbel.experiment import Experiment, check
from umbel.server.checkpoint import Checkpoint
from umbel.server.observer import Silent
from umbel.strategies import (
    Adam,
    CentredClipping,
    ControlVariates,
    Momentum,
    NormBound,
    PowerOfChoice,
    Proximal,
    Strategy,
    TrimmedMean,
    WeightedMean,
    together,
)
from umbel.strategies.weighting import by_label_entropy, by_loss, telling, uniform
from umbel.tensors import read_tensors


def experiment(strategy="fedavg", **sections):
    wanted = {
        "experiment": {"rounds": 4, "seed": 7},
        "data": {"clients": 6, "partition": {"name": "dirichlet", "alpha": 1.0}},
        "model": {"name": "mlp", "hidden": [8], "batch_norm": True},
        "strategy": strategy,
        "evaluation": {"central": False},
    }
    for section, values in sections.items():
        wanted[section] = {**wanted.get(section, {}), **values}
    return Experiment(**wanted)


COMPOSED = {
    "proximal with loss weights": Strategy(
        name="own", local=Proximal(0.1), combine=WeightedMean(by_loss)
    ),
    "control variates with server momentum": Strategy(
        name="own", local=ControlVariates(), combine=WeightedMean(uniform), step=Momentum(0.5)
    ),
    "trimmed mean with Adam": Strategy(name="own", combine=TrimmedMean(0.2), step=Adam()),
    "entropy, control variates and a proximal term, chosen by loss": Strategy(
        name="own",
        select=PowerOfChoice(0.5, 0.8),
        local=together(telling("label-entropy"), ControlVariates(), Proximal(0.1)),
        combine=WeightedMean(by_label_entropy),
        step=Momentum(1.0, 0.5),
    ),
}


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(NormBound(1e-6), id="norm bound"),
        pytest.param(
            NormBound({"name": "exponential", "start": 1e-6, "decay": 1.0}), id="scheduled bound"
        ),
        pytest.param(CentredClipping(tau=1e-6, iterations=1), id="centred clipping"),
    ],
)
def test_a_rule_for_what_is_sent_beside_looks_at_it_from_nothing(tmp_path, rule):
    """Control variates are no changes of the model: they are bounded as they are."""
    strategy = Strategy(name="own", local=ControlVariates(), extra=rule)
    run = umbel.simulate(experiment(), strategy=strategy, out=tmp_path / "run")
    checkpoint = Checkpoint.read(run.folder / "checkpoint")
    names = [name for name in checkpoint.server if name.startswith("context/")]
    length = torch.stack([checkpoint.server[name].norm() for name in names]).norm()
    assert 0 < length <= 4 * 1e-6 * (1 + 1e-5)


class Interrupting(Silent):
    def round_finished(self, record):
        if record["round"] == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_learn_and_a_resumed_run_ends_in_the_same_bytes(tmp_path, name):
    strategy = COMPOSED[name]
    whole = umbel.simulate(experiment(), strategy=strategy, out=tmp_path / "whole")
    losses = [record["metrics"]["train"]["loss"] for record in whole.records]
    assert losses[-1] < losses[0]
    assert all(record["failures"] == [] for record in whole.records)
    with pytest.raises(KeyboardInterrupt):
        umbel.simulate(
            experiment(), strategy=strategy, out=tmp_path / "cut", observer=Interrupting()
        )
    again = umbel.simulate(experiment(), strategy=strategy, resume=tmp_path / "cut")
    assert again.sha256 == whole.sha256


NAMED = [
    "fedyogi",
    "fednova",
    "fedexp",
    "scaffold",
    "feddyn",
    "moon",
    "fedlc",
    "fedbn",
    "fedper",
    {
        "name": "fedavg",
        "select": "power-of-choice",
        "fraction": 0.5,
        "weighting": "inverse-variance",
    },
]


@pytest.mark.parametrize("strategy", NAMED, ids=str)
def test_two_workers_give_the_same_bytes(tmp_path, strategy):
    one, two = (
        umbel.simulate(experiment(strategy, simulation={"workers": n}), out=tmp_path / f"{n}")
        for n in (1, 2)
    )
    assert one.sha256 == two.sha256
    assert all(record["failures"] == [] for record in one.records)
    losses = [record["metrics"]["train"]["loss"] for record in one.records]
    assert losses[-1] < losses[0]


def test_fedbn_and_fedper_leave_at_the_clients_what_is_theirs(tmp_path):
    """The server's model has what never came up as it was at the start."""
    for name, start in (("fedbn", "body.2."), ("fedper", "head.")):
        short, long = (
            read_tensors(
                umbel.simulate(
                    experiment(name, experiment={"rounds": rounds}),
                    out=tmp_path / f"{name}{rounds}",
                ).folder
                / "model.safetensors"
            )[0]
            for rounds in (1, 2)
        )
        same = {tensor for tensor in long if torch.equal(short[tensor], long[tensor])}
        assert same == {tensor for tensor in long if tensor.startswith(start)}


def test_fedbn_without_normalisation_layers_is_refused(tmp_path):
    with pytest.raises(BadInput, match="fedbn keeps normalisation layers"):
        plain = experiment("fedbn", model={"batch_norm": False})
        umbel.simulate(plain, out=tmp_path / "run")


def test_inverse_variance_with_one_step_a_round_names_the_key_to_change(tmp_path):
    wanted = experiment(
        {"name": "fedavg", "weighting": "inverse-variance"}, client={"batch_size": 0}
    )
    with pytest.raises(UmbelError, match="smaller client.batch_size"):
        umbel.simulate(wanted, out=tmp_path / "run")


def test_fedprox_of_weight_zero_is_fedavg(tmp_path):
    digests = {
        umbel.simulate(experiment(strategy), out=tmp_path / str(n)).sha256
        for n, strategy in enumerate(("fedavg", {"name": "fedprox", "mu": 0.0}))
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("strategy", "sections", "said"),
    [
        ("scaffold", {"client": {"optimizer": "adam"}}, r"client.optimizer.name = \"sgd\""),
        (
            "scaffold",
            {"client": {"optimizer": {"name": "sgd", "momentum": 0.9}}},
            "client.optimizer.momentum = 0.0, found 0.9",
        ),
        ("scaffold", {"client": {"clip_norm": 1.0}}, "client.clip_norm = nothing, found 1.0"),
        ("fedsgd", {}, "client.batch_size = 0, found 32: FedSGD takes one step"),
        ("fednova", {"client": {"optimizer": {"name": "sgd", "momentum": 0.9}}}, "0.0, found 0.9"),
        ({"name": "qfedavg", "learning_rate": 0.1}, {}, "client.optimizer.lr = 0.1, found 0.05"),
    ],
)
def test_what_a_strategy_needs_is_asked_when_the_experiment_is_read(strategy, sections, said):
    with pytest.raises(BadInput, match=said):
        check(experiment(strategy, **sections))


def test_the_defaults_of_an_optimiser_count_as_given():
    check(experiment("scaffold"))
    check(experiment("qfedavg"))
