"""RSCFed's clients: the loss, the warm-up and where the teacher lives, against the paper by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch
from flwr.app import Context, Message, RecordDict
from torch import nn

import umbel
from umbel.building import build_model, build_paradigm
from umbel.client.app import make_client_app
from umbel.client.state import StateStore, grouped
from umbel.data import make_shards
from umbel.data.shard import UNLABELLED
from umbel.experiment import Experiment
from umbel.flower_internals import assume_identity
from umbel.messages import Envelope
from umbel.paradigms.semi_supervised.local_teacher import LocalTeacher
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.paradigms.semi_supervised.semi import Stand
from umbel.schema import Schema

SCHEMA = Schema("classification", (2,), "float32", classes=("a", "b"))
X, Y = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
U = torch.tensor([[0.0, 2.0], [0.5, 0.0]])
BATCH = {"rows": torch.arange(3), "x": X, "y": Y, "u": U}
PREPARED = {"x": torch.cat([X, U]), "y": torch.tensor([1, UNLABELLED, UNLABELLED])}


class Scores(nn.Module):
    """A model whose scores are the inputs, times a weight; noisy while it trains."""

    def __init__(self, noise=0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.noise = noise

    def forward(self, inputs):
        return inputs * self.weight + (self.noise if self.training else 0.0) * inputs.flip(1)


def begun(decay=0.999, noise=0.0):
    mixed = Mixed(lambda schema: Scores(), ratio=2, augmentation="none")
    method = LocalTeacher(mixed, decay=decay, temperature=0.5, weight=0.02)
    model = Scores(noise)
    method.attach(model, SCHEMA)
    return method, Stand(model, 3, PREPARED)


def probability(difference):
    return 1 / (1 + math.exp(-difference))


def test_the_loss_by_hand():
    method, now = begun()
    method.begin(now)
    with torch.no_grad():
        now.model.weight.fill_(3.0)
    found = method.loss(now, BATCH, torch.Generator())
    # The label is the second class, whose score is 3 less than the first's.
    own = -math.log(probability(-3.0))
    apart = 0.0
    for row in U.tolist():
        difference = row[0] - row[1]
        # The teacher has the weight 1; sharpening by 1/2 squares p / (1 - p): twice the difference.
        told, said = probability(2 * difference), probability(3 * difference)
        apart += 2 * (told - said) ** 2  # Of both classes.
    assert float(found.detach()) == pytest.approx(own + 0.02 * apart / 2, rel=1e-5)


def test_the_teacher_says_what_it_does_in_evaluation():
    losses = []
    for noise in (0.0, 5.0):
        method, now = begun(noise=noise)
        now.model.train()
        method.begin(now)
        now.model.noise = 0.0  # The model's own; the teacher has its copy.
        losses.append(float(method.loss(now, BATCH, torch.Generator()).detach()))
    assert losses[0] == losses[1]


def step(method, now, weight):
    method.loss(now, BATCH, torch.Generator())
    with torch.no_grad():
        now.model.weight.fill_(weight)


def test_the_warm_up_by_hand_and_over_rounds():
    method, now = begun(decay=0.7)
    with torch.no_grad():
        now.model.weight.fill_(100.0)  # What the client gets first, and not what was built.
    method.begin(now)
    teacher = now.model.get_submodule("teacher")
    assert float(teacher.weight) == 100.0
    for weight in (2.0, 4.0):
        step(method, now, weight)
    method.end(now)
    assert float(teacher.weight) == pytest.approx(3.0)  # d = 0, then 1 / 2.
    assert int(now.model.get_submodule("taught").steps) == 2
    with torch.no_grad():
        now.model.weight.fill_(50.0)  # The next round's model, which the teacher does not become.
    method.begin(now)
    for weight in (6.0, 14.0):
        step(method, now, weight)
    method.end(now)
    third = 2 / 3 * 3.0 + 6.0 / 3
    assert float(teacher.weight) == pytest.approx(0.7 * third + 0.3 * 14.0)  # 3 / 4 is above it.


def experiment(**sections) -> Experiment:
    return Experiment(
        experiment={"rounds": 2, "seed": 4},
        data={"source": "digits", "clients": 3, "labelled_clients": 0.4, "held_out": 0.2},
        model={"name": "mlp", "hidden": [8]},
        paradigm="rscfed",
        client={"batch_size": 5, "steps": 3, "optimizer": {"name": "sgd", "lr": 0.1}},
        **sections,
    )


def test_the_teacher_stays_at_its_client_and_goes_on_there(tmp_path):
    result = umbel.simulate(experiment(strategy="rscfed"), out=tmp_path / "run")
    travels = json.loads((tmp_path / "run" / "environment.json").read_text())["travels"]
    assert {tensor["name"] for tensor in travels} == set(result.model)
    told = experiment()
    shards = make_shards(told)
    parts = [shards.shard(k) for k in range(3)]
    shard = next(part for part in parts if (part.arrays["y"] == UNLABELLED).any())
    app = make_client_app(lambda _: shard, state_folder=lambda _: tmp_path)
    model = build_model(build_paradigm(told), told, shard.schema).state_dict()
    sent = {name: model[name].clone() for name in result.model}
    assume_identity(1, 7)
    for round in (1, 2):
        header = {"run": "r", "strategy": "fedavg", "round": round, "config": {}}
        header["experiment"] = told.to_json()
        record = Envelope(header, {"model": sent}).to_record()
        message = Message(record, dst_node_id=7, message_type="train", group_id="1")
        reply = app(message, Context(1, 7, {}, RecordDict(), {}))
        assert set(Envelope.from_record(reply.content).groups["update"]) == set(sent)
        state = StateStore(tmp_path, None).load("r", shard.client, before=round + 1)
        kept = grouped(state, "kept")
        assert int(kept.pop("taught.steps")) == 3 * round
        assert set(kept) == {f"teacher.{name}" for name in sent}
