"""Batches of labelled and unlabelled examples: how many an epoch has, and which."""

from __future__ import annotations

import math

import pytest
import torch

import umbel
from umbel.data.shard import UNLABELLED
from umbel.experiment import Experiment
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.rounds import evaluation


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
