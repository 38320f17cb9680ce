"""What strategies do at clients with few labels: to all that is learnt from, and to what helps."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import umbel
from umbel import registry
from umbel.data import make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.paradigms.catalogue import SEMI_SUPERVISED
from umbel.paradigms.helpers import add_helper
from umbel.randomness import torch_seeded
from umbel.strategies import Calibrated, KeepLayers, KeepNormalisation, LocalRun
from umbel.strategies.output_layer import output_layer


def experiment(name="fixmatch", rounds=2, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": rounds, "seed": 4},
        data={"source": "digits", "clients": 3, "labels": 60, "held_out": 0.2},
        model={"name": "mlp", "hidden": [8], **sections.pop("model", {})},
        paradigm={"name": name, **sections.pop("paradigm", {})},
        client={"batch_size": 5, "steps": 3, "optimizer": {"name": "sgd", "lr": 0.1}},
        **sections,
    )


def small(schema):
    return registry.build("model", "mlp", {"hidden": [8]}, schema)


def built(name):
    """A paradigm, a model of its and a client's examples."""
    paradigm = registry.build("paradigm", name, {}, small)
    shard = make_shards(experiment(name)).shard(0)
    with torch_seeded(1, purpose="model"):
        model = paradigm.build(shard.schema)
    return paradigm, model, paradigm.prepare(shard)


@pytest.mark.parametrize("name", sorted(SEMI_SUPERVISED))
def test_the_output_layer_is_the_models_own(name):
    model = built(name)[1]
    assert output_layer(model)[0] == "head"


def test_fedlc_calibrates_the_student_and_not_the_teacher():
    _, model, prepared = built("mean-teacher")
    model.train()
    x, teacher = prepared["x"][:2], model.get_submodule("teacher")
    plain, said = model(x), teacher(x)
    local = Calibrated()
    memo = local.begin(LocalRun(model, {}, {}, {}, 1, prepared))
    assert not torch.equal(model(x), plain) and torch.equal(teacher(x), said)
    local.release(memo)


def travelling(folder):
    told = json.loads((folder / "environment.json").read_text())["travels"]
    return {tensor["name"] for tensor in told}


@pytest.mark.parametrize(
    ("name", "strategy", "stays"),
    [
        ("mean-teacher", "fedper", ("head.", "teacher.head.")),
        ("fedmatch", "fedper", ("head.", "psi.head.")),
        ("freematch", "fedper", ("head.",)),
        ("mean-teacher", {"name": "fedper", "layers": ["body.1"]}, ("body.1.", "teacher.body.1.")),
        ("mean-teacher", "fedbn", ("body.2.", "teacher.body.2.")),
        ("fedmatch", "fedbn", ("body.2.", "psi.body.2.")),
    ],
    ids=str,
)
def test_a_layer_that_stays_does_so_with_what_helps_it(tmp_path, name, strategy, stays):
    model = {"batch_norm": True}
    result = umbel.simulate(experiment(name, model=model, strategy=strategy), out=tmp_path / "run")
    whole = umbel.simulate(experiment(name, model=model), out=tmp_path / "fedavg")
    all_names, names = travelling(tmp_path / "fedavg"), travelling(tmp_path / "run")
    kept = all_names - names
    assert kept == {tensor for tensor in all_names if tensor.startswith(stays)}
    assert all(any(tensor.startswith(start) for tensor in kept) for start in stays)
    assert result.sha256 != whole.sha256
    assert result.records[-1]["metrics"] != whole.records[-1]["metrics"]


def test_a_helpers_layer_is_none_of_the_models():
    _, model, _ = built("mean-teacher")
    names = list(model.state_dict())
    with pytest.raises(BadInput, match="no layer 'teacher.head'; it has body.1, head$"):
        KeepLayers(("teacher.head",)).keeps(model, names)
    with pytest.raises(BadInput, match="nothing would travel"):
        KeepLayers(("body", "head")).keeps(model, names)


def test_a_helpers_normalisation_layers_are_none_of_the_models():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 2)

    model = Model()
    add_helper(model, "teacher", nn.BatchNorm1d(2), "a teacher")
    with pytest.raises(BadInput, match="this model has none"):
        KeepNormalisation().keeps(model, list(model.state_dict()))
