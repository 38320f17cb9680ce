"""`umbel pretrain`: a backbone from a source set, and what a target set gets from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from umbel.data import load_dataset
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.exporting.pretraining import in_one_place, pretrain
from umbel.tensors import read_tensors

TARGET = """
[experiment]
name = "target"
rounds = 3
seed = 5
[data]
source = "target.npz"
clients = 2
[model]
name = "cnn"
channels = [8, 16]
hidden = 32
[paradigm]
name = "finetune"
[client]
optimizer = { name = "sgd", lr = 0.2 }
"""

SOURCE = """
[experiment]
name = "source"
rounds = 3
seed = 2
[data]
source = "source.npz"
test = "source-test.npz"
clients = 20
partition = { name = "dirichlet", alpha = 0.1 }
[model]
name = "cnn"
channels = [8, 16]
hidden = 32
[strategy]
name = "fedadam"
[client]
epochs = 2
batch_size = 16
optimizer = { name = "sgd", lr = 0.2 }
stragglers = 0.5
"""


@pytest.fixture
def halves(tmp_path):
    """The digits 0 to 4, a part of them for testing, and the digits 5 to 9."""
    digits = load_dataset("digits").train
    x, y = digits["x"], digits["y"]
    low = np.flatnonzero(y < 5)
    parts = {"source": low[:700], "source-test": low[700:], "target": np.flatnonzero(y >= 5)}
    for name, rows in parts.items():
        classes = [str(code) for code in (range(5, 10) if name == "target" else range(5))]
        np.savez(tmp_path / f"{name}.npz", x=x[rows], y=y[rows] % 5, classes=classes)
    (tmp_path / "source.toml").write_text(SOURCE)
    (tmp_path / "target.toml").write_text(TARGET)


def test_a_backbone_of_some_digits_helps_with_others(halves, umbel, tmp_path):
    code, out, err = umbel(
        "pretrain", "source.toml", "--out", "backbone.safetensors", "--epochs", 12
    )
    assert code == 0, err
    lines = dict(line.split(None, 1) for line in out.splitlines()[:-1] if line[0] in "rp")
    assert out.splitlines()[-1] == "backbone.safetensors" and lines["rounds"] == "12"
    assert lines["parameters"] == f"{8 * 26 + 16 * 201 + 32 * 65:,}"
    run = tmp_path / lines["run"]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["metrics"]["central"]["accuracy"] > 0.9
    assert [len(record["clients"]) for record in records] == [1] * 12
    whole, body = (
        read_tensors(path)[0]
        for path in (run / "model.safetensors", tmp_path / "backbone.safetensors")
    )
    assert set(whole) - set(body) == {"head.weight", "head.bias"}
    assert all(torch.equal(whole[name], value) for name, value in body.items())

    scores = {}
    for name, more in {
        "scratch": [],
        "tuned": ["--set", "model.weights=backbone.safetensors"],
    }.items():
        code, _, err = umbel("simulate", "target.toml", "--out", name, *more)
        assert code == 0, err
        last = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        scores[name] = last["metrics"]["federated"]["accuracy"]
    tuned = read_tensors(tmp_path / "tuned" / "model.safetensors")[0]
    assert all(torch.equal(tuned[name], value) for name, value in body.items())
    assert scores["tuned"] > scores["scratch"] + 0.1

    code, _, err = umbel("pretrain", "source.toml", "--out", "backbone.safetensors")
    assert code == 2 and "is there already" in err
    (tmp_path / "backbone.safetensors").unlink()
    assert umbel("export", "tuned", "--no-onnx")[0] == 0, "what it began with is needed no more"
    card = (tmp_path / "tuned" / "export" / "README.md").read_text("utf-8")
    assert '- began with: `"backbone.safetensors"`' in card


def test_only_the_data_the_model_and_the_training_are_the_experiments():
    told = Experiment(
        experiment={"name": "n" * 80, "rounds": 5, "seed": 4},
        data={"source": "digits", "clients": 9, "server": 30, "labelled": 0.5},
        model={"name": "mlp", "hidden": [7]},
        strategy="median",
        client={"epochs": 2, "batch_size": 8, "stragglers": 0.3, "optimizer": "adam"},
        server={"min_updates": 4},
        simulation={"attack": {"name": "sign_flip", "clients": 2}},
    )
    whole = in_one_place(told)
    assert (whole.model, whole.client.optimizer, whole.client.batch_size) == (
        told.model, told.client.optimizer, 8,
    )  # fmt: skip
    assert (whole.experiment.rounds, whole.client.epochs, whole.experiment.seed) == (10, 1, 4)
    assert (whole.data.clients, whole.data.server, whole.data.labelled) == (1, None, 0.5)
    assert whole.experiment.name.endswith("n-pretrain") and len(whole.experiment.name) == 80
    assert (whole.simulation.attack, whole.client.stragglers) == (None, 0)
    assert in_one_place(told, 3).experiment.rounds == 3
    steps = Experiment(experiment={"rounds": 5}, client={"steps": 20})
    assert (in_one_place(steps).experiment.rounds, in_one_place(steps).client.steps) == (5, 20)
    assert (in_one_place(steps, 7).client.epochs, in_one_place(steps, 7).client.steps) == (1, None)
    with pytest.raises(BadInput, match="--epochs 0"):
        in_one_place(told, 0)


def test_an_output_layer_alone_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = Experiment(data={"source": "digits"}, model={"name": "logistic"})
    with pytest.raises(BadInput, match="logistic is an output layer alone.*choose a model with"):
        pretrain(told, tmp_path / "backbone.safetensors")
    assert list(tmp_path.iterdir()) == []
