"""What each method gains of examples without a label, over what their labels alone teach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import umbel
from umbel import registry
from umbel.data.shard import UNLABELLED, Shard
from umbel.experiment import Experiment
from umbel.paradigms.semi_supervised.augmentation import Vectors
from umbel.randomness import torch_seeded
from umbel.rounds import evaluation
from umbel.schema import Schema
from umbel.strategies.local_parts import LocalRun, Plain
from umbel.training.optimizers import GradientDescent
from umbel.training.trainer import Effort, Trainer, trainable

SURE = {"threshold": 0.7}
GAINING = {
    "entropy": {"weight": 1.0, "ramp": 0},
    "fedmatch": {"threshold": 0.8, "weight": 1.0, "closeness": 0.0, "peers": 0},
    "fixmatch": SURE,
    "flexmatch": SURE,
    "freematch": {},
    "mixmatch": {"ramp": 5},
    "pseudo-label": {"ramp": 0},
    "self-training": SURE,
    "semifl": {"threshold": 0.9, "ratio": 7},
    "uda": SURE,
}
"""Methods that find the gap between the classes, with what they need for it in five rounds."""

OTHERS = {"mean-teacher": {}, "pi-model": {}, "rscfed": {}, "svm": {"margin": 0.8}}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two classes with a wide gap along one of two hundred features, which twelve labels do not tell
    from the others; what lies on either side of it does."""
    draws = np.random.default_rng(0)
    y = np.arange(900) % 2
    x = draws.normal(size=(900, 200))
    x[:, 0] += 3.0 * (2 * y - 1)
    path = tmp_path_factory.mktemp("data") / "two.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    return str(path)


def run(source, out, name, settings):
    told = Experiment(
        experiment={"rounds": 5, "seed": 4},
        data={"source": source, "clients": 3, "labels": 12, "held_out": 0.2},
        model={"name": "mlp", "hidden": [16]},
        paradigm={"name": name, **settings},
        client={"batch_size": 4, "steps": 40, "optimizer": {"name": "sgd", "lr": 0.05}},
    )
    return umbel.simulate(told, out=out)


def accuracy(result):
    return evaluation(result.records[-1], "federated", "accuracy")


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory):
    """The accuracy that the labels alone give."""
    return accuracy(run(source, tmp_path_factory.mktemp("alone") / "run", "supervised", {}))


@pytest.mark.parametrize("name", [*GAINING, *OTHERS])
def test_every_method_learns(source, alone, tmp_path, name):
    result = run(source, tmp_path / "run", name, {**GAINING, **OTHERS}[name])
    if name in GAINING:
        assert accuracy(result) > alone + 0.02
    helpers = ("psi", "taught", "teacher", "thresholds")
    assert not [tensor for tensor in result.model if tensor.startswith(helpers)]
    told = result.records[-1]["metrics"]["train"]
    if name in ("entropy", "mean-teacher", "pi-model", "rscfed"):
        assert "kept_count" not in told
    else:
        assert 0 < told["right_count"] <= told["judged_count"]
        assert told["judged_count"] == told["kept_count"] <= told["unlabelled_count"]
        assert told["unlabelled_count"] > 400


def test_what_labels_alone_give_can_be_bettered(alone):
    assert 0.85 < alone < 0.95


SCHEMA = Schema("classification", (8,), "float32", classes=("a", "b", "c"))


def small(schema):
    return registry.build("model", "mlp", {"hidden": [16]}, schema)


@pytest.mark.parametrize("name", ["mean-teacher", "pi-model"])
def test_what_should_agree_on_copies_does(name):
    """On copies that are new to it, more than with a weight of 0."""
    draws = np.random.default_rng(1)
    x = draws.normal(size=(300, 8)).astype(np.float32)
    y = np.where(np.arange(300) < 30, np.arange(300) % 3, UNLABELLED)
    shard = Shard("client-0", SCHEMA, {"x": x, "y": y})
    noise = Vectors(noise=0.5).fitted(torch.tensor(x))
    generator = torch.Generator().manual_seed(8)
    copies = [noise.weak(torch.tensor(x[30:]), generator) for _ in range(2)]
    apart = []
    for weight in (0.0, 10.0):
        settings = {"weight": weight, "ramp": 0, "augmentation": {"name": "vector", "noise": 0.5}}
        paradigm = registry.build("paradigm", name, settings, small)
        with torch_seeded(1, purpose="model"):
            model = paradigm.build(SCHEMA)
        prepared = paradigm.prepare(shard)
        trainer = Trainer(paradigm, Plain(), Effort(1, 200, 10, None))
        run = LocalRun(model, {}, {}, {}, 1, prepared)
        descent = GradientDescent(trainable(model), 0.1)
        trainer.train(prepared, run, descent, None, torch.Generator().manual_seed(2))
        with torch.no_grad():
            said = [model(copy).softmax(dim=1) for copy in copies]
        apart.append(float((said[0] - said[1]).square().mean()))
    assert 0 < apart[1] < apart[0] / 3


def test_what_a_support_vector_machine_keeps_is_right(source, tmp_path):
    """More often than what it says of any example."""
    told = Experiment(
        experiment={"rounds": 5, "seed": 4},
        data={"source": source, "clients": 3, "labels": 12, "held_out": 0.2},
        model={"name": "logistic"},
        paradigm={"name": "svm", "margin": 2.0},
        client={"batch_size": 4, "steps": 40, "optimizer": {"name": "sgd", "lr": 0.2}},
    )
    result = umbel.simulate(told, out=tmp_path / "run")
    counts = result.records[-1]["metrics"]["train"]
    assert counts["kept_count"] > 100
    assert counts["right_count"] / counts["kept_count"] > accuracy(result) + 0.02
    assert accuracy(result) > 0.85
