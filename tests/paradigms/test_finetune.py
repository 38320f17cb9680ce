"""Fine-tuning: what is trained, what stays, and what travels for it."""

from __future__ import annotations

import json

import pytest
import torch

import umbel
from umbel.client.features import KeptFeatures
from umbel.client.state import StateStore
from umbel.client.workbench import Workbench
from umbel.data.shard import Shard
from umbel.data.sharding import make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.models.reference import Classifier, mlp
from umbel.paradigms.transfer.depth import blocks, freeze, travelling
from umbel.paradigms.transfer.finetune import FineTune
from umbel.schema import Schema
from umbel.strategies import ClientSide
from umbel.tensors import read_tensors

TEN = Schema("classification", (8, 8), "uint8", tuple("0123456789"))


def deep() -> Classifier:
    return mlp(TEN, hidden=[12, 11, 10], batch_norm=True)


@pytest.mark.parametrize(
    ("train", "trained"),
    [
        ("head", ["head.weight", "head.bias"]),
        ("all", None),
        ("norms", ["body.2", "body.5", "body.8", "head"]),
        (1, ["body.7", "body.8", "head"]),
        (2, ["body.4", "body.5", "body.7", "body.8", "head"]),
    ],
)
def test_what_travels_is_what_is_trained(train, trained):
    model = deep()
    travels = travelling(model, freeze(model, train))
    whole = list(model.state_dict())
    expected = whole if trained is None else [n for n in whole if n.startswith(tuple(trained))]
    if train == "norms":
        assert set(expected) <= set(travels)
        assert all(
            ("body" in name and "running" in name) or name in expected or "num_batches" in name
            for name in travels
        )
    else:
        assert travels == expected


def test_blocks_look_into_a_shell_and_a_list_of_layers():
    body = deep().body
    assert blocks(torch.nn.Sequential(body)) == blocks(body)
    assert [len(block) for block in blocks(body)] == [2, 2, 2]
    layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(4))
    encoder = torch.nn.ModuleDict({"layers": layers})
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 3), "encoder": encoder})
    assert [block[0] for block in blocks(model)] == [model["embed"], *layers]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 9),
        ("vgg11", 10),
        ("densenet121", 8),
        ("mobilenet_v2", 19),
        ("convnext_tiny", 22),
        ("swin_t", 16),
        ("vit_b_16", 13),
    ],
)
def test_blocks_of_torchvisions_architectures(name, count):
    """Nowhere is most of the network one block, but where it is one layer."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        body = models.get_model(name, weights=None)
    head = [layer for layer in body.modules() if isinstance(layer, torch.nn.Linear)][-1]
    found = [block for block in blocks(body) if block != [head]]
    assert len(found) == count
    total = sum(value.numel() for value in body.parameters())
    for block in found:
        share = sum(value.numel() for part in block for value in part.parameters()) / total
        assert share < 0.5 or isinstance(block[0], torch.nn.Linear)


def test_what_a_model_cannot_do_is_refused():
    with pytest.raises(BadInput, match="7 blocks, but the model has 3"):
        freeze(deep(), 7)
    with pytest.raises(BadInput, match="no normalisations"):
        freeze(mlp(TEN), "norms")
    with pytest.raises(BadInput, match="no body and head"):
        freeze(torch.nn.Linear(2, 2), "head")
    with pytest.raises(ValueError, match="'haed' is unknown; did you mean 'head'"):
        FineTune(lambda schema: deep(), train="haed")


def experiment(weights=None, train: str | int = "head", **sections) -> Experiment:
    model = {"name": "mlp", "hidden": [32, 16], "batch_norm": True}
    model = sections.pop("model", model)
    return Experiment(
        experiment={"rounds": 2, "seed": 3},
        data={"source": "digits", "clients": 3},
        model={**model, "weights": str(weights)} if weights else model,
        paradigm=sections.pop("paradigm", {"name": "finetune", "train": train}),
        **sections,
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A model trained on the same digits, from another seed."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    pretrained = Experiment(
        experiment={"rounds": 6, "seed": 11},
        data={"source": "digits", "clients": 3},
        model={"name": "mlp", "hidden": [32, 16], "batch_norm": True},
    )
    umbel.simulate(pretrained, out=folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fedprox", "fedbn", "median"])
def test_the_frozen_part_is_the_files_and_the_head_learns(backbone, tmp_path, strategy):
    result = umbel.simulate(experiment(backbone, strategy={"name": strategy}), out=tmp_path / "run")
    before = read_tensors(backbone)[0]
    for name, value in result.model.items():
        assert torch.equal(value, before[name]) == name.startswith("body."), name
    told = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [tensor["name"] for tensor in told["travels"]] == ["head.bias", "head.weight"]


def test_features_kept_or_made_every_round_give_the_same_bits(backbone, tmp_path):
    models = []
    for keep in (True, False):
        paradigm = {"name": "finetune", "train": "head", "keep_features": keep}
        result = umbel.simulate(experiment(backbone, paradigm=paradigm), out=tmp_path / str(keep))
        models.append(result.model)
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_the_rest_is_sent_once_and_only_to_who_lacks_it(backbone, tmp_path):
    """In the first round the model goes out whole, then the head alone; clients with the same
    start, made from the seed, are not sent anything."""
    records = umbel.simulate(experiment(backbone), out=tmp_path / "file").records
    whole = backbone.stat().st_size
    assert records[0]["bytes_down"] > whole > records[1]["bytes_down"]
    seeded = umbel.simulate(experiment(), out=tmp_path / "seed").records
    assert seeded[0]["bytes_down"] == seeded[1]["bytes_down"] == records[1]["bytes_down"]


def test_attackers_ask_for_what_they_lack_like_anybody(backbone, tmp_path):
    """And then attack together, from the first round on, as those do that lack nothing."""
    attack = {"attack": {"name": "sign_flip", "clients": 2}}
    attacked = experiment(backbone, simulation=attack, strategy={"name": "median"})
    records = umbel.simulate(attacked, out=tmp_path / "run").records
    assert [record["failures"] for record in records] == [[], []]
    honest = umbel.simulate(experiment(backbone, strategy={"name": "median"}), out=tmp_path / "h")
    assert records[0]["bytes_down"] == honest.records[0]["bytes_down"]
    assert records[0]["loss"] == honest.records[0]["loss"]
    assert records[1]["loss"] > honest.records[1]["loss"]


def test_a_large_backbone_costs_next_to_nothing_after_the_first_round(tmp_path):
    pytest.importorskip("torchvision")
    told = Experiment(
        experiment={"rounds": 1, "seed": 3},
        data={"source": "digits", "clients": 2},
        model={"name": "torchvision.models:resnet18", "channels": "repeat", "size": 32},
        paradigm={"name": "finetune", "train": "head"},
    )
    result = umbel.simulate(told, out=tmp_path / "run")
    size = 4 * sum(value.numel() for value in result.model.values())
    [record] = result.records
    assert record["bytes_up"] / 2 < 0.002 * size and size > 44_000_000
    assert record["bytes_down"] / 4 < 0.002 * size


def test_features_made_once_serve_another_process_and_no_other_examples(tmp_path, monkeypatch):
    own = make_shards(experiment()).shard(0)

    def workplace(shard, hidden=(32, 16)):
        model = {"name": "mlp", "hidden": list(hidden), "batch_norm": True}
        bench = Workbench(experiment(model=model), own.schema, ClientSide())
        return bench.workplace(1, lambda: shard, KeptFeatures(StateStore(tmp_path), "run"))

    made = workplace(own)

    def refuse(*_):
        raise AssertionError("the features are made again")

    with monkeypatch.context() as patched:
        patched.setattr(FineTune, "_with_features", refuse)
        again = workplace(own)
        for part in ("train", "held_out"):
            one, other = getattr(made, part), getattr(again, part)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)
        brighter = Shard(own.client, own.schema, {**own.arrays, "x": own.arrays["x"] + 1})
        for shard, hidden in ((own, (32, 8)), (brighter, (32, 16))):
            with pytest.raises(AssertionError, match="made again"):
                workplace(shard, hidden)
    # What a crash or a bad disk has spoilt is made anew.
    for path in tmp_path.rglob("features-*"):
        path.write_bytes(b"no tensors")
    assert torch.equal(workplace(own).train["x"], made.train["x"])
