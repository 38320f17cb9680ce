"""What strategies do at clients with few labels: to all that is learnt from, and to what helps."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

import umbel
from umbel import registry
from umbel.data import make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.paradigms.catalogue import SEMI_SUPERVISED
from umbel.paradigms.helpers import add_helper
from umbel.randomness import torch_seeded
from umbel.strategies import Calibrated, Contrastive, KeepLayers, KeepNormalisation, LocalRun
from umbel.strategies.output_layer import output_layer
from umbel.training.optimizers import GradientDescent
from umbel.training.trainer import Effort, Trainer, trainable


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


def trained(name, local):
    """A model after two steps of a client's that ended its last round elsewhere."""
    paradigm, model, prepared = built(name)
    last = {n: v + 0.1 * torch.ones_like(v) if v.is_floating_point() else v.clone()
            for n, v in model.state_dict().items()}  # fmt: skip
    run = LocalRun(model, {}, {}, last, 9, prepared)
    trainer = Trainer(paradigm, local, Effort(1, 2, 5, None))
    memo = local.begin(run)
    with torch_seeded(3, purpose="torch"):
        descent = GradientDescent(trainable(model), 0.1)
        trainer.train(prepared, run, descent, memo, torch.Generator().manual_seed(2))
    local.release(memo)
    return model.state_dict()


@pytest.mark.parametrize("name", sorted(SEMI_SUPERVISED))
def test_moon_moves_every_method(name):
    plain, moved = (trained(name, Contrastive(mu=mu)) for mu in (0.0, 5.0))
    assert not torch.equal(plain["body.1.weight"], moved["body.1.weight"])
    if "psi.body.1.weight" in plain:
        assert not torch.equal(plain["psi.body.1.weight"], moved["psi.body.1.weight"])


@pytest.mark.parametrize("name", ["fixmatch", "mean-teacher"])
def test_moon_is_not_fedavg_in_a_run(tmp_path, name):
    found = {
        umbel.simulate(
            experiment(name, strategy={"name": "moon", "mu": mu}), out=tmp_path / f"{mu}"
        ).sha256
        for mu in (0.0, 5.0)
    }
    assert len(found) == 2


def test_moon_goes_by_all_examples_that_are_learnt_from():
    """Two passes with gradients count, of other sizes, and one without does not."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    common, last = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        last[0].weight.add_(1.0)
    local = Contrastive(mu=2.0, tau=0.5)
    run = LocalRun(model, {}, {}, dict(last.state_dict()), 2, {})
    memo = local.begin(run)
    with torch.no_grad():
        model[0].weight.sub_(0.3)
    for _ in range(2):  # The second step has forgotten the first.
        one, two, none = (torch.randn(n, 2) for n in (3, 1, 4))
        own = model(one).sum() + model(two).sum()
        with torch.no_grad():
            model(none)
        found = local.loss(memo, run, own)
        seen = torch.cat([one, two])
        z, near, far = (m[:2](seen) for m in (model, common, last))
        a, b = (torch.exp(cosine_similarity(z, other, dim=1) / 0.5) for other in (near, far))
        torch.testing.assert_close(found, own - 2.0 * torch.log(a / (a + b)).mean())
    local.release(memo)


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
