import numpy as np
import pytest
import torch
from torch import nn

from umbel.data.shard import Shard
from umbel.paradigms import Supervised
from umbel.schema import Schema

SCHEMA = Schema("classification", (4,), "float32", ("a", "b", "c"))


def shard(labels):
    x = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    return Shard("client-0", SCHEMA, {"x": x, "y": np.array(labels)})


@pytest.fixture
def paradigm():
    return Supervised(lambda schema: nn.Linear(schema.shape[0], len(schema.classes)))


def test_examples_without_a_label_are_left_out(paradigm):
    prepared = paradigm.prepare(shard([0, -1, 2, -1]))
    assert prepared["y"].tolist() == [0, 2] and len(prepared["x"]) == 2


def test_labels_that_are_missing_do_not_reach_the_trainer(paradigm):
    one, other = shard([0, -1, 2, -1]), shard([0, -1, 2, -1])
    other.arrays["x"][[1, 3]] = 1e9
    for name, tensor in paradigm.prepare(one).items():
        assert torch.equal(tensor, paradigm.prepare(other)[name])


@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_an_epoch_holds_every_example_once(paradigm, size):
    prepared = {"x": torch.arange(7.0).unsqueeze(1), "y": torch.arange(7)}
    batches = list(paradigm.batches(prepared, size, torch.Generator().manual_seed(0)))
    assert sorted(label for batch in batches for label in batch["y"].tolist()) == list(range(7))
    assert all(batch["x"][:, 0].tolist() == batch["y"].tolist() for batch in batches)
    assert len(batches) == {0: 1, 1: 7, 3: 3, 100: 1}[size]


def test_evaluation_sums_are_those_of_a_direct_computation(paradigm):
    model = paradigm.build(SCHEMA)
    prepared = paradigm.prepare(shard([0, 1, 2] * 400))
    sums = paradigm.evaluate(model, prepared)
    logits = model(prepared["x"])
    expected = nn.functional.cross_entropy(logits, prepared["y"], reduction="sum").item()
    assert sums["loss"] == pytest.approx(expected, rel=1e-5)
    assert sums["accuracy"] == (logits.argmax(1) == prepared["y"]).sum().item()
    assert sums["examples"] == 1200


def test_evaluation_of_no_examples_is_all_zero(paradigm):
    sums = paradigm.evaluate(paradigm.build(SCHEMA), paradigm.prepare(shard([-1, -1])))
    assert sums == {"loss": 0.0, "accuracy": 0.0, "examples": 0.0}


def test_label_smoothing_is_torchs_and_checked():
    paradigm = Supervised(lambda schema: nn.Linear(4, 3), label_smoothing=0.2)
    model = paradigm.build(SCHEMA)
    batch = paradigm.prepare(shard([0, 1, 2]))
    expected = nn.functional.cross_entropy(model(batch["x"]), batch["y"], label_smoothing=0.2)
    assert torch.equal(paradigm.loss(model, batch, torch.Generator()), expected)
    with pytest.raises(ValueError, match="label_smoothing"):
        Supervised(lambda schema: nn.Linear(4, 3), label_smoothing=1.0)
