"""Transfer gain: beside training alone and the untouched model, computed here by other means."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import umbel
from umbel.data import make_shards
from umbel.data.shard import held_out_rows
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.gain import Gain
from umbel.progress import Progress
from umbel.server.report import report_page
from umbel.tensors import read_tensors

MLP = {"name": "mlp", "hidden": [32]}


def experiment(*, head: dict | None = None, **sections) -> Experiment:
    sections.setdefault("data", {"clients": 3})
    sections.setdefault("model", MLP)
    sections.setdefault("paradigm", "finetune")
    return Experiment(experiment={"rounds": 3, "seed": 4} | (head or {}), **sections)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A model trained on the same digits, from another seed."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    umbel.simulate(experiment(head={"seed": 9}, paradigm="supervised"), out=folder)
    return folder / "model.safetensors"


def by_hand(weights: dict, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Mean accuracy and cross-entropy of an output layer in numpy."""
    scores = x @ weights["head.weight"].T + weights["head.bias"]
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    right = float((scores.argmax(1) == y).mean())
    return {"accuracy": right, "loss": float(-logs[np.arange(len(y)), y].mean())}


def descended(weights: dict, x: np.ndarray, y: np.ndarray, steps: int, rate: float) -> dict:
    """Plain gradient descent of the output layer on all examples at once."""
    w, b = weights["head.weight"].copy(), weights["head.bias"].copy()
    for _ in range(steps):
        scores = x @ w.T + b
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        w -= rate * p.T @ x / len(y)
        b -= rate * p.mean(0)
    return {"head.weight": w, "head.bias": b}


def test_the_three_models_scored_by_hand(weights, tmp_path):
    """Full-batch descent of the output layer alone: rounds times epochs steps of it."""
    told = experiment(
        model={**MLP, "weights": str(weights)},
        client={"epochs": 2, "batch_size": 0, "optimizer": {"name": "sgd", "lr": 0.3}},
    )
    result = umbel.simulate(told, out=tmp_path / "run")
    first = {name: value.double().numpy() for name, value in read_tensors(weights)[0].items()}
    final = {name: value.double().numpy() for name, value in result.model.items()}
    shards = make_shards(told)
    assert list(result.gain.scores) == ["client-0", "client-1", "client-2"]
    for index, (client, found) in enumerate(result.gain.scores.items()):
        own = shards.shard(index)
        rows = held_out_rows(len(own), told.data.held_out, 4, client)
        pixels = own.arrays["x"].reshape(len(own), -1) / 255.0
        x = np.maximum(pixels @ first["body.1.weight"].T + first["body.1.bias"], 0)
        train, held = ((x[part], own.arrays["y"][part]) for part in rows)
        alone = descended(first, *train, steps=6, rate=0.3)
        models = {"run": final, "untouched": first, "alone": alone}
        for name, model in models.items():
            assert found[name] == pytest.approx(by_hand(model, *held), rel=1e-4)
    gains = [s["run"]["accuracy"] - s["alone"]["accuracy"] for s in result.gain.scores.values()]
    assert result.gain.mean("alone") == pytest.approx(sum(gains) / 3)
    assert json.loads(result.to_json())["gain"]["alone"] == result.gain.mean("alone")


PLANS = {
    "head": {"name": "finetune"},
    "blocks": {"name": "finetune", "train": 1, "rate_decay": 0.5},
    "gradual": {"name": "finetune", "train": {"name": "gradual", "every": 1}},
    "norms": {"name": "finetune", "train": "norms", "keep_features": False},
    "all": {"name": "finetune", "train": "all"},
    "distill": {"name": "distill"},
    "relations": {"name": "relations"},
    "probe": {"name": "probe", "iterations": 20},
    "forest": {"name": "forest", "trees": 5, "depth": 4},
}


@pytest.mark.parametrize("plan", PLANS)
def test_a_client_that_has_no_others_gains_nothing_over_itself(plan, weights, tmp_path):
    """Training alone is then the run itself, to the last bit; and asking changes no bit of it."""
    teacher = (
        {"teacher": {**MLP, "weights": str(weights)}} if plan in ("distill", "relations") else {}
    )
    told = {
        "data": {"clients": 1},
        "model": {"name": "mlp", "hidden": [12, 8], "batch_norm": True},
        "paradigm": PLANS[plan],
        "strategy": "pool" if plan == "forest" else "fedavg",
        "client": {
            "steps": 6,
            "stragglers": 0.5,
            "schedule": {"name": "exponential", "decay": 0.9},
        },
        **teacher,
    }
    result = umbel.simulate(experiment(**told), out=tmp_path / "on")
    [scores] = result.gain.scores.values()
    assert scores["run"] == scores["alone"] != scores["untouched"]
    evaluated = result.records[-1]["metrics"]["federated"]
    assert {name: evaluated[name] for name in scores["run"]} == scores["run"]
    off = umbel.simulate(experiment(**told, evaluation={"gain": False}), out=tmp_path / "off")
    assert off.sha256 == result.sha256 and off.gain is None
    assert json.loads(off.to_json())["gain"] is None


@pytest.mark.parametrize("strategy", ["fedbn", "fedper"])
def test_what_a_client_keeps_is_in_the_runs_model(strategy, tmp_path):
    """The clients' scores of the run's model add up to the last round's evaluation; two workers
    find the same."""
    model = {"name": "mlp", "hidden": [12], "batch_norm": True}
    told = experiment(strategy=strategy, model=model, paradigm={"name": "finetune", "train": "all"})
    result = umbel.simulate(told, out=tmp_path / "one")
    rows = json.loads((tmp_path / "one" / "gain.json").read_text())["clients"]
    examples = sum(row["examples"] for row in rows)
    found = sum(row["run"]["accuracy"] * row["examples"] for row in rows) / examples
    assert found == pytest.approx(result.records[-1]["metrics"]["federated"]["accuracy"])
    if strategy == "fedbn":
        sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}
        two = umbel.simulate(Experiment(**sections), out=tmp_path / "two")
        assert two.gain == result.gain and two.sha256 == result.sha256


def test_a_run_that_hurts_says_whom(tmp_path, capsys):
    """Most clients push the model away from what they learn: everyone is better off alone."""
    told = experiment(
        data={"clients": 5},
        paradigm={"name": "finetune", "train": "all"},
        client={"optimizer": {"name": "sgd", "lr": 0.1}},
        simulation={"attack": {"name": "sign_flip", "clients": 4}},
    )
    result = umbel.simulate(told, out=tmp_path / "run", observer=Progress())
    said = " ".join(capsys.readouterr().err.split())
    gain = result.gain
    assert len(gain.hurt) == 5 and gain.mean("alone") < -0.1
    worst = min(gain.over("alone"), key=gain.over("alone").__getitem__)
    assert gain.hurt[0] == worst
    assert f"transfer hurts 5 of 5 clients: {worst} (" in said and "and 2 more" in said
    assert f"{gain.mean('alone'):+.4f} over training alone" in said
    page = report_page(tmp_path / "run")
    assert "over the untouched model" in page and "Gain in accuracy of each client" in page
    assert "Hurt by transfer" in page


def test_it_is_asked_of_transfer_or_by_name(tmp_path):
    plain = umbel.simulate(
        experiment(paradigm="supervised", head={"rounds": 1}), out=tmp_path / "a"
    )
    assert plain.gain is None and not (tmp_path / "a" / "gain.json").exists()
    asked = {"clients": 2, "gain": True}
    told = experiment(paradigm="supervised", head={"rounds": 1}, evaluation=asked)
    assert len(umbel.simulate(told, out=tmp_path / "b").gain.scores) == 2
    nothing = {"clients": 3, "held_out": 0.0}
    assert umbel.simulate(experiment(data=nothing), out=tmp_path / "c").gain is None
    with pytest.raises(BadInput, match="evaluation.gain: nothing to compare on; set data.held_out"):
        umbel.simulate(experiment(data=nothing, evaluation={"gain": True}), out=tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_run_that_was_cut_off_after_its_last_round_asks_and_one_that_knows_does_not(tmp_path):
    told = experiment()
    result = umbel.simulate(told, out=tmp_path / "run")
    path = tmp_path / "run" / "gain.json"
    text = path.read_text()
    path.unlink()
    assert umbel.simulate(told, resume=tmp_path / "run").gain == result.gain
    path.write_text(text.replace('"round": 3', '"round": 3, "mark": 1'))
    assert umbel.simulate(told, resume=tmp_path / "run").sha256 == result.sha256
    assert '"mark": 1' in path.read_text()
    # Of another model it knows nothing.
    path.write_text(text.replace(result.sha256, "0" * 64))
    assert umbel.simulate(told, resume=tmp_path / "run").gain == result.gain
    assert json.loads(path.read_text())["model_sha256"] == result.sha256


def test_a_loss_is_better_when_it_is_smaller():
    scores = {"run": {"loss": 2.0}, "alone": {"loss": 3.0}, "untouched": {"loss": 1.5}}
    gain = Gain("loss", {"a": scores})
    assert gain.over("alone") == {"a": 1.0} and gain.over("untouched") == {"a": -0.5}
    assert gain.warning == "transfer hurts 1 of 1 client: a (-0.5000 to the untouched model)"
    nobody = Gain("", {}, (("site-\x1ba", "declined\nindeed"),))
    assert nobody.mean("alone") is None and nobody.hurt == ()
    assert nobody.summary == "transfer gain: no client told it (site-\ufffda: declined indeed)"
