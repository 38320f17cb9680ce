"""Low-rank adapters: what they compute, what travels, and what is refused."""

from __future__ import annotations

import pytest
import torch

import umbel
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.models.reference import Classifier, mlp
from umbel.models.trial import called_layers
from umbel.paradigms.transfer.depth import travelling
from umbel.paradigms.transfer.lora import Lora, merge_adapters
from umbel.schema import Schema

pytest.importorskip("peft", reason="the extra `text` is not installed")

TEN = Schema("classification", (8, 8), "uint8", tuple("0123456789"))


def experiment(train, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": 2, "seed": 3},
        data={"source": "digits", "clients": 3},
        model={"name": "mlp", "hidden": [32, 16], "batch_norm": True},
        paradigm={"name": "finetune", "train": train},
        client={"optimizer": {"name": "adam", "lr": 0.01}},
        **sections,
    )


def test_a_layer_computes_what_the_paper_says():
    """Equation 3: h = W x + b + (alpha / r) B A x, which is W x + b at the start."""
    torch.manual_seed(0)
    model = mlp(TEN, hidden=[12])
    plain = mlp(TEN, hidden=[12])
    plain.load_state_dict(model.state_dict())
    Lora(rank=3, alpha=6.0).prepare(model, set(model.modules()))
    layer = model.body[1]
    inputs = torch.rand(5, 1, 8, 8)
    assert torch.equal(model(inputs), plain(inputs))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (3, 64) and b.shape == (12, 3) and not b.any() and a.any()
    with torch.no_grad():
        b.copy_(torch.randn_like(b))
        changed = plain.body[1].weight + 6.0 / 3 * b @ a
        plain.body[1].weight.copy_(changed)
    torch.testing.assert_close(model(inputs), plain(inputs))


def test_the_adapters_and_the_head_travel_and_nothing_else_changes(tmp_path):
    result = umbel.simulate(experiment({"name": "lora", "rank": 2}), out=tmp_path / "run")
    changed = umbel.simulate(experiment("head"), out=tmp_path / "head")
    for name, value in result.model.items():
        if "lora" not in name and name.startswith("body."):
            assert torch.equal(value, changed.model[name.replace("base_layer.", "")]), name
    assert result.model["body.1.lora_B.default.weight"].any()
    assert all("lora" in n or "head" in n for n in travels(tmp_path / "run"))


def travels(folder):
    import json

    told = json.loads((folder / "environment.json").read_text())
    return [tensor["name"] for tensor in told["travels"]]


def test_convolutions_and_a_normalisation_that_stays():
    body = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 7),
    )
    model = torch.nn.ModuleDict({"body": body, "head": torch.nn.Linear(7, 2)})
    plan = Lora(rank=2, targets=("0",))
    plan.prepare(model, set(model.modules()))
    frozen = plan.enter(model, 1)
    assert frozen == [body[1]]
    names = travelling(model, frozen)
    assert names == [
        "body.0.lora_A.default.weight",
        "body.0.lora_B.default.weight",
        "head.weight",
        "head.bias",
    ]


class Attending(torch.nn.Module):
    """Multiplies by the weights of attention's last layer itself, as torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(64, 8)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.out_proj = torch.nn.Linear(8, 8)

    def forward(self, inputs):
        states = self.first(inputs.flatten(1)).unsqueeze(1)
        return self.out_proj(self.attention(states, states, states)[0].squeeze(1))


def test_no_adapter_where_none_would_be_used():
    def make():
        return Classifier(Attending(), 8, TEN)

    model = make()
    called = called_layers(model, TEN)
    Lora(rank=2).prepare(model, called)
    made = {name.rpartition(".lora_")[0] for name in model.state_dict() if ".lora_" in name}
    assert made == {"body.first", "body.out_proj"}
    model(torch.rand(3, 1, 8, 8)).sum().backward()
    adapters = [value for name, value in model.named_parameters() if ".lora_B" in name]
    assert len(adapters) == 2 and all(value.grad is not None for value in adapters)
    model = make()
    Lora(rank=2, targets=("out_proj",)).prepare(model, called_layers(model, TEN))
    assert isinstance(model.body.attention.out_proj, torch.nn.Linear)
    model = make()
    with pytest.raises(BadInput, match=r"weights of attention\.out_proj itself.*first, out_proj"):
        Lora(targets=("attention.out_proj",)).prepare(model, called_layers(model, TEN))


def test_convolutions_of_groups_take_no_adapter():
    """peft cannot put them together, nor kinds of convolution of one's own."""

    class Own(torch.nn.Conv2d):
        pass

    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=4), Own(4, 4, 3)]
    body = torch.nn.Sequential(*layers, torch.nn.Flatten())
    model = Classifier(body, 16, TEN)
    Lora(rank=3).prepare(model, called_layers(model, TEN))
    assert [name for name in model.state_dict() if "lora_A" in name] == [
        "body.0.lora_A.default.weight"
    ]
    body = torch.nn.Sequential(layers[2], torch.nn.Flatten())
    with pytest.raises(BadInput, match="no layer that takes an adapter"):
        Lora().prepare(torch.nn.ModuleDict({"body": body, "head": torch.nn.Linear(3, 2)}), ())


def test_adapters_of_embeddings_are_merged_too():
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Flatten(), torch.nn.Linear(6, 4))
    model = Classifier(body, 4, TEN)
    names, tokens = list(model.state_dict()), torch.tensor([[0, 4], [2, 3]])
    Lora(rank=2, targets=("0",)).prepare(model, set(model.modules()))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_()
    before = model.eval()(tokens)
    merge_adapters(model)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(tokens), before)


@pytest.mark.parametrize("strategy", ["fedadam", "fedprox", "median", "scaffold"])
def test_with_other_strategies(tmp_path, strategy):
    train = {"name": "lora", "rank": 2}
    told = experiment(train, strategy={"name": strategy})
    if strategy == "scaffold":
        told = told.model_copy(update={"client": Experiment().client})
    result = umbel.simulate(told, out=tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in result.model.values())


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (
            {"name": "lora", "targets": ["11"]},
            "no layer that takes an adapter is called '11'.*1, 4",
        ),
        ({"name": "lora", "rank": 0}, "train.rank: 0 is not at least 1"),
        ({"name": "lora", "alpha": 0}, "train.alpha: 0 is not above 0"),
        ({"name": "lora", "dropout": 1}, r"train.dropout: 1 is not in \[0, 1\)"),
        ({"name": "lora", "rnak": 4}, "train.rnak: unknown; did you mean 'rank'"),
        ({"name": "lora", "rank": "four"}, "train.rank: must be a valid integer"),
        ("loar", "'loar' is unknown; did you mean 'lora'"),
    ],
)
def test_what_is_refused(tmp_path, train, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(train), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
