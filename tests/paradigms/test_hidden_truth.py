"""Labels that were hidden for a study: they are counted by, and nothing that learns is given them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from umbel import registry
from umbel.data.shard import TRUTH, UNLABELLED, Shard
from umbel.paradigms.semi_supervised.mixed import Mixed, labelled_loss
from umbel.paradigms.semi_supervised.semi import SemiSupervised
from umbel.randomness import torch_seeded
from umbel.schema import Schema
from umbel.strategies.local_parts import LocalRun, Plain
from umbel.training.optimizers import GradientDescent
from umbel.training.trainer import Effort, Trainer, trainable

SCHEMA = Schema("classification", (4,), "float32", classes=("a", "b", "c"))
COUNT, LABELLED = 40, 10


def shard(shift=0, client="client-0"):
    """Of which ten have a label, and the truth of the others is `shift` from what it was."""
    draws = np.random.default_rng(3)
    x = draws.normal(size=(COUNT, 4)).astype(np.float32)
    classes = np.arange(COUNT) % 3
    hidden = np.arange(COUNT) >= LABELLED
    arrays = {
        "x": x,
        "y": np.where(hidden, UNLABELLED, classes),
        TRUTH: np.where(hidden, (classes + shift) % 3, classes),
    }
    return Shard(client, SCHEMA, arrays)


def small(schema):
    return registry.build("model", "mlp", {"hidden": [8]}, schema)


def everything(found, depth=4):
    """The sum of all tensors that can be reached from an object."""
    if isinstance(found, torch.Tensor):
        return float(found.double().sum())
    if depth == 0 or isinstance(found, torch.nn.Module):
        return 0.0
    if isinstance(found, Mapping):
        inside = list(found.values())
    elif isinstance(found, list | tuple):
        inside = list(found)
    else:
        inside = []
    inside += list(vars(found).values()) if hasattr(found, "__dict__") else []
    return sum(everything(part, depth - 1) for part in inside)


class Looking:
    """A method that somebody else wrote: it descends whatever it can lay its hands on."""

    def attach(self, model, schema):
        return None

    def begin(self, stand):
        self.seen = everything(stand)

    def loss(self, stand, batch, generator):
        factor = 1 + 1e-3 * (self.seen + everything(stand) + everything(batch))
        return labelled_loss(stand.model(batch["x"]), batch["y"]) * factor

    def end(self, stand):
        return None


class LookingLocal(Plain):
    """A strategy's local part that does."""

    def loss(self, memo, run, loss):
        return loss * (1 + 1e-3 * everything(run))


def trained(paradigm, own, local):
    with torch_seeded(1, purpose="model"):
        model = paradigm.build(SCHEMA)
    prepared = paradigm.prepare(own)
    run = LocalRun(model, {}, {}, {}, 2, prepared)
    trainer = Trainer(paradigm, local, Effort(2, None, 5, None))
    descent = GradientDescent(trainable(model), 0.01)
    trainer.train(prepared, run, descent, None, torch.Generator().manual_seed(2))
    return model.state_dict()


@pytest.mark.parametrize("local", [Plain(), LookingLocal()])
def test_a_method_that_looks_everywhere_finds_no_hidden_label(local):
    models = []
    for own in (shard(), shard(shift=1)):
        mixed = Mixed(small, ratio=2, augmentation="none")
        models.append(trained(SemiSupervised(mixed, Looking()), own, local))
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_what_looks_everywhere_sees_what_it_is_given():
    """Else the test above could not fail."""
    x = torch.ones(3)
    assert everything({"a": [x, {"b": x}]}) == 6
    assert everything(LocalRun(None, {}, {}, {}, 2, {"x": x})) == 3


def test_each_client_is_counted_by_its_own_truth():
    """Of two whose shards are prepared before either trains, as in a simulation."""
    mixed = Mixed(small, ratio=2, augmentation="none")
    mixed.build(SCHEMA)
    clients = [mixed.prepare(shard(shift, f"client-{shift}")) for shift in (0, 1)]
    bare = mixed.prepare(
        Shard("bare", SCHEMA, {k: v for k, v in shard().arrays.items() if k != TRUTH})
    )
    for prepared, right in ((clients[0], 30), (clients[1], 0), (clients[0], 30), (bare, None)):
        mixed.begin(prepared)
        for batch in mixed.batches(prepared, 5, torch.Generator().manual_seed(1)):
            told = batch["rows"][len(batch["x"]) :] % 3
            mixed.count(torch.ones_like(told, dtype=torch.bool), told, batch)
        found = mixed.counted()
        assert (found["kept_count"], found.get("right_count")) == (30, right)


def test_a_pseudo_label_is_judged_where_its_truth_is_known():
    """A third of the examples had no label before any was hidden."""
    mixed = Mixed(small, ratio=2, augmentation="none")
    mixed.build(SCHEMA)
    known = shard()
    truth = np.where(np.arange(len(known)) % 3 == 0, UNLABELLED, known.arrays[TRUTH])
    prepared = mixed.prepare(Shard("client-0", SCHEMA, {**known.arrays, TRUTH: truth}))
    mixed.begin(prepared)
    for batch in mixed.batches(prepared, 0, torch.Generator().manual_seed(1)):
        rows = batch["rows"][len(batch["x"]) :]
        told = torch.tensor(known.arrays[TRUTH], dtype=torch.int64)[rows]
        mixed.count(torch.ones_like(told, dtype=torch.bool), told, batch)
    found = mixed.counted()
    assert found["kept_count"] == found["unlabelled_count"] == 30
    assert found["right_count"] == found["judged_count"] == 20


@pytest.mark.parametrize("name", ["fixmatch", "label-propagation", "mixture"])
def test_a_prepared_shard_lacks_the_truth(name):
    paradigm = registry.build("paradigm", name, {}, small)
    assert set(paradigm.prepare(shard())) == {"x", "y"}
