"""Batches of labelled and unlabelled examples: how many an epoch has, and which."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import umbel
from umbel import registry
from umbel.data.shard import UNLABELLED, Shard
from umbel.experiment import Experiment
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.randomness import torch_seeded
from umbel.rounds import evaluation
from umbel.schema import Schema
from umbel.strategies.local_parts import LocalRun, Plain
from umbel.training.optimizers import GradientDescent
from umbel.training.trainer import Effort, Trainer, trainable


def prepared(labelled, unlabelled):
    count = labelled + unlabelled
    return {
        "x": torch.arange(float(count)),
        "y": torch.tensor([0] * labelled + [UNLABELLED] * unlabelled),
    }


def epoch(labelled, unlabelled, batch_size, ratio, seed=0):
    mixed = Mixed(lambda schema: torch.nn.Identity(), ratio=ratio, augmentation="none")
    generator = torch.Generator().manual_seed(seed)
    return list(mixed.batches(prepared(labelled, unlabelled), batch_size, generator))


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "batch_size", "ratio", "steps"),
    [
        (539, 60, 32, 7, 17),  # the labels fill 17 batches, the others one
        (100, 300, 10, 4, 10),
        (4, 300, 10, 4, 8),  # the others fill 8 batches, the labels one
        (0, 300, 10, 4, 8),
        (100, 300, 0, 4, 1),  # all at once
        (0, 300, 0, 4, 1),
        (20, 1, 6, 2, 4),
        (20, 41, 6, 2, 4),
        (4, 41, 20, 2, 1),  # the last by itself is with the forty before
        (4, 41, 1, 1, 41),  # as asked: one by one
        (1, 1, 6, 2, 1),
    ],
)
def test_an_epoch_lasts_until_all_were_seen(labelled, unlabelled, batch_size, ratio, steps):
    batches = epoch(labelled, unlabelled, batch_size, ratio)
    assert len(batches) == steps
    known = torch.cat([batch["x"] for batch in batches]).long()
    others = torch.cat([batch["u"] for batch in batches]).long()
    counts = torch.bincount(torch.cat([known, others]), minlength=labelled + unlabelled)
    for part in (counts[:labelled], counts[labelled:]):
        assert not len(part) or 1 <= int(part.min()) <= int(part.max()) <= int(part.min()) + 1
    size = batch_size or labelled
    assert {len(batch["x"]) for batch in batches} == {min(size, labelled)}
    assert all(torch.equal(b["rows"], torch.cat([b["x"], b["u"]]).long()) for b in batches)


def test_where_labels_run_out_the_draws_are_those_of_one_pass():
    """One order of the unlabelled ones, and of the labelled ones as many as it takes."""
    found = epoch(7, 40, 3, 4, seed=5)
    generator = torch.Generator().manual_seed(5)
    others = (7 + torch.randperm(40, generator=generator)).split(12)
    orders = torch.cat([torch.randperm(7, generator=generator) for _ in range(2)])
    assert len(found) == len(others) == 4
    for number, (batch, rows) in enumerate(zip(found, others, strict=True)):
        known = orders[3 * number : 3 * number + 3]
        assert torch.equal(batch["rows"], torch.cat([known, rows]))


METHODS = (
    "entropy", "fedmatch", "fixmatch", "flexmatch", "freematch", "mean-teacher", "mixmatch", "pi-model",
    "pseudo-label", "rscfed", "self-training", "semifl", "svm", "uda",
)  # fmt: skip
SCHEMA = Schema("classification", (4,), "float32", classes=("a", "b", "c"))


def normalised(schema):
    return registry.build("model", "mlp", {"hidden": [8], "batch_norm": True}, schema)


@pytest.mark.parametrize(("labelled", "unlabelled"), [(30, 41), (0, 41), (20, 1), (1, 1), (1, 40)])
@pytest.mark.parametrize("name", METHODS)
def test_no_batch_of_one_goes_through_batch_normalisation(name, labelled, unlabelled):
    draws = np.random.default_rng(0)
    x = draws.normal(size=(labelled + unlabelled, 4)).astype(np.float32)
    y = np.array([number % 3 for number in range(labelled)] + [UNLABELLED] * unlabelled)
    settings = {} if name in ("mixmatch", "svm") else {"ratio": 2}
    settings |= {"threshold": 0.4} if name == "semifl" else {}
    paradigm = registry.build("paradigm", name, settings, normalised)
    with torch_seeded(1, purpose="model"):
        model = paradigm.build(SCHEMA)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    examples = paradigm.prepare(Shard("client-0", SCHEMA, {"x": x, "y": y}))
    trainer = Trainer(paradigm, Plain(), Effort(2, None, 20, None))
    run = LocalRun(model, {}, {}, {}, 30, examples)
    descent = GradientDescent(trainable(model), 0.1)
    with torch_seeded(2, purpose="torch"):
        trainer.train(examples, run, descent, None, torch.Generator().manual_seed(0))
    after = model.state_dict()
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert any(not torch.equal(after[key], value) for key, value in before.items())


def test_one_sure_example_alone_is_learnt_from_under_batch_normalisation():
    """Texts are not mixed, so that a client without labels may have a single one in a batch."""
    x = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    with torch_seeded(1, purpose="model"):
        model = normalised(SCHEMA)
    with torch.no_grad():
        likely = model.eval()(torch.tensor(x)).softmax(dim=1).amax(dim=1).sort().values
    settings = {"threshold": float(likely[-2:].mean()), "weight": 0.0, "augmentation": "none"}
    paradigm = registry.build("paradigm", "semifl", settings, lambda schema: model)
    paradigm.build(SCHEMA)
    examples = paradigm.prepare(Shard("a", SCHEMA, {"x": x, "y": np.full(4, UNLABELLED)}))
    paradigm.begin(model.train(), examples, 1)
    [batch] = paradigm.batches(examples, 0, torch.Generator())
    loss = paradigm.loss(model, batch, torch.Generator())
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    assert all(bool(slope.isfinite().all()) for slope in slopes) and slopes[-1].abs().max() > 0
    assert paradigm.end()["kept_count"] == 1


def experiment(paradigm, **data):
    return Experiment(
        experiment={"rounds": 5, "seed": 4},
        data={"source": "digits", "clients": 3, "held_out": 0.2, **data},
        model={"name": "mlp", "hidden": [32]},
        paradigm=paradigm,
        client={"batch_size": 32, "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.3}},
    )


def test_who_has_most_labels_learns_as_much_as_from_labels_alone(tmp_path):
    reached = {}
    # Unchanged: a shift alone costs a small perceptron more than a few labels less do.
    for told in ({"name": "fixmatch", "augmentation": "none"}, {"name": "pseudo-label"}):
        result = umbel.simulate(experiment(told, labelled=0.9), out=tmp_path / told["name"])
        reached[told["name"]] = evaluation(result.records[-1], "federated", "accuracy")
        # A client has about 431 labels, and all of the 48 others are in each batch.
        seen = result.records[0]["metrics"]["train"]["unlabelled_count"]
        assert 3 * math.ceil(431 / 32) * 47 <= seen <= 3 * math.ceil(431 / 32) * 49
    alone = umbel.simulate(experiment({"name": "supervised"}, labelled=0.9), out=tmp_path / "alone")
    least = evaluation(alone.records[-1], "federated", "accuracy")
    assert least > 0.8 and min(reached.values()) > least - 0.02
