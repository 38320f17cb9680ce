"""Fine-tuning over the network: the server alone has the weights, and sends them once."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from lab import Lab

import umbel
from umbel.data import load_dataset
from umbel.experiment import load
from umbel.server.remote import run


def pretrained(lab, **model):
    """A trained model, in a folder that no client knows."""
    model = {"name": "mlp", "hidden": [8], **model}
    lab.umbel("simulate", lab.experiment(experiment={"seed": 9}, model=model), "--out", "source")
    weights = lab.folder / "server" / "weights.safetensors"
    weights.parent.mkdir()
    shutil.copy(lab.folder / "source" / "model.safetensors", weights)
    return lab.experiment(
        experiment={"rounds": 3},
        model={**model, "weights": str(weights)},
        paradigm={"name": "finetune", "train": "head"},
        strategy={"name": "fedadam"},
        evaluation={"every": 2, "confusion": True},
    )


def gains(lab, run):
    """What gain.json says of each client."""
    told = json.loads((lab.folder / run / "gain.json").read_text())
    assert [row["client"] for row in told["clients"]] == ["client-0", "client-1"]
    return told["clients"]


def confusion(lab, run):
    """confusion.json but for the messages' bytes, which hold the run's name."""
    told = json.loads((lab.folder / run / "confusion.json").read_text())
    assert [row["client"] for row in told["clients"]] == ["client-0", "client-1"]
    return {key: value for key, value in told.items() if not key.startswith("bytes")}


def test_same_bits_as_simulation_and_the_rest_goes_once(lab):
    path = pretrained(lab)
    expected = lab.umbel("simulate", path, "--out", "calm")[0]["model_sha256"]
    lab.shards(path)
    address, _ = lab.server()
    for name in ("client-0", "client-1"):
        lab.client(address, name)
    result, said = lab.umbel("run", path, "--server", address, "--out", "first")
    assert result["model_sha256"] == expected
    assert gains(lab, "first") == gains(lab, "calm") and "transfer gain in accuracy" in said
    assert confusion(lab, "first") == confusion(lab, "calm")
    assert "confusion of classes: told by 2 clients" in said
    first, second, _ = (record["bytes_down"] for record in lab.records("first"))
    assert first > second + 2 * 64 * 8 * 4
    # They keep it: the next run sends the head alone.
    result, _ = lab.umbel("run", path, "--server", address, "--out", "again")
    assert result["model_sha256"] == expected
    assert lab.records("again")[0]["bytes_down"] < first - 2 * 64 * 8 * 4


def test_stock_nodes(lab):
    path = pretrained(lab)
    one = (
        "--set",
        "experiment.rounds=1",
        "--set",
        "evaluation={ federated = false, gain = false }",
    )
    expected = lab.umbel("simulate", path, *one, "--out", "calm")[0]["model_sha256"]
    result, _ = lab.umbel("up", path, *one, "--stock-nodes", "--out", "run")
    assert result["model_sha256"] == expected


def test_workers(lab):
    path = pretrained(lab)
    expected = lab.umbel("simulate", path, "--out", "calm")[0]["model_sha256"]
    options = ("--set", "simulation.workers=2")
    assert lab.umbel("simulate", path, *options, "--out", "run")[0]["model_sha256"] == expected
    assert gains(lab, "run") == gains(lab, "calm")
    assert confusion(lab, "run") == confusion(lab, "calm")


def test_weights_that_are_not_there_are_refused_before_anything_starts(lab):
    path = lab.experiment()
    wrong = ("--set", "model.weights=none.safetensors")
    _, said = lab.umbel("simulate", path, *wrong, "--out", "run", code=2)
    assert "model.weights" in said and "no such file" in said
    assert not (lab.folder / "run").exists()
    (lab.folder / "bad.pth").write_bytes(b"nothing")
    for command in ("simulate", "up"):
        wrong = ("--set", "model.weights=bad.pth")
        _, said = lab.umbel(command, path, *wrong, "--out", "run", code=2)
        assert "neither safetensors" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "train",
    [{"name": "gradual", "blocks": 1}, {"name": "lora", "rank": 2}],
    ids=["gradual", "lora"],
)
def test_what_grows_and_adapters_are_the_same_over_the_network(lab, train):
    if train["name"] == "lora":
        pytest.importorskip("peft", reason="the extra `text` is not installed")
    path = pretrained(lab)
    settings = ("--set", f"paradigm.train={inline(train)}", "--set", "strategy.name=scaffold")
    expected = lab.umbel("simulate", path, *settings, "--out", "calm")[0]["model_sha256"]
    result, _ = lab.umbel("up", path, *settings, "--out", "run")
    assert result["model_sha256"] == expected
    assert gains(lab, "run") == gains(lab, "calm")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A SuperLink with warm nodes that stay, and an experiment that trains normalisations."""
    lab = Lab(tmp_path_factory.mktemp("network"))
    path = pretrained(lab, batch_norm=True)
    lab.shards(path)
    address, _ = lab.server()
    for name in ("client-0", "client-1"):
        lab.client(address, name)
    yield address, path
    lab.close()


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedbn", "median"])
def test_strategies_give_what_they_give_in_simulation(network, tmp_path, strategy):
    address, path = network
    experiment = load(path, [f"strategy.name={strategy}", "paradigm.train=norms"])
    there = run(experiment, address, out=tmp_path / "there")
    here = umbel.simulate(experiment, out=tmp_path / "here")
    assert there.status == "finished" and there.sha256 == here.sha256
    assert [r["metrics"] for r in there.records] == [r["metrics"] for r in here.records]
    assert there.gain == here.gain and len(here.gain.scores) == 2


def inline(table):
    """A table as TOML writes it in one line."""
    entries = (
        f'{key} = "{v}"' if isinstance(v, str) else f"{key} = {v}" for key, v in table.items()
    )
    return "{ " + ", ".join(entries) + " }"


def test_weighted_examples_come_from_the_server(lab):
    digits = load_dataset("digits").train
    np.savez(lab.folder / "source.npz", x=digits["x"][::6], y=digits["y"][::6])
    path = lab.experiment(
        data={"clients": 2, "auxiliary": str(lab.folder / "source.npz")},
        paradigm={"name": "instances", "examples": 60},
    )
    expected = umbel.simulate(umbel.load(path), out=lab.folder / "calm").sha256
    result, _ = lab.umbel("up", path, "--out", "run")
    assert result["model_sha256"] == expected
    first, second = (record["bytes_down"] for record in lab.records("run"))
    assert first > 2 * 60 * (64 + 8) and second > 0
