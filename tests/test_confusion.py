"""Which classes the final model confuses at each client, counted here by other means."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

import umbel
from umbel.data import make_shards
from umbel.data.shard import held_out_rows
from umbel.errors import BadInput, UmbelError
from umbel.experiment import Experiment, check
from umbel.result import Result
from umbel.rounds import evaluation
from umbel.server.report import report_page

MLP = {"name": "mlp", "hidden": [16]}


def experiment(*, head: dict | None = None, **sections) -> Experiment:
    sections.setdefault("data", {"clients": 2})
    sections.setdefault("model", MLP)
    sections.setdefault("evaluation", {"confusion": True, "gain": False})
    return Experiment(experiment={"rounds": 2, "seed": 4} | (head or {}), **sections)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Experiment, Result]:
    told = experiment(data={"clients": 3}, head={"rounds": 3})
    return told, umbel.simulate(told, out=tmp_path_factory.mktemp("confusion") / "run")


def test_the_counts_are_scikit_learns(run):
    told, result = run
    confusion, shards = result.confusion, make_shards(told)
    assert confusion.classes == tuple("0123456789") and not confusion.left_out
    weights = {name: value.double().numpy() for name, value in result.model.items()}
    for index, client in enumerate(confusion.counts):
        own = shards.shard(index)
        held = held_out_rows(len(own), told.data.held_out, 4, client)[1]
        pixels = own.arrays["x"][held].reshape(len(held), -1) / 255.0
        hidden = np.maximum(pixels @ weights["body.1.weight"].T + weights["body.1.bias"], 0)
        scores = hidden @ weights["head.weight"].T + weights["head.bias"]
        truth = own.arrays["y"][held]
        expected = confusion_matrix(truth, scores.argmax(1), labels=range(10))
        np.testing.assert_array_equal(confusion.of(client), expected)
    assert list(confusion.counts) == ["client-0", "client-1", "client-2"]
    assert confusion.total.sum() == sum(confusion.of(c).sum() for c in confusion.counts)


def test_it_changes_no_bit_is_asked_once_and_is_the_same_in_two_processes(run, tmp_path):
    told, result = run
    sections = told.model_dump(exclude_unset=True)
    off = umbel.simulate(Experiment(**sections | {"evaluation": {}}), out=tmp_path / "off")
    assert off.sha256 == result.sha256 and off.confusion is None
    assert not (tmp_path / "off" / "confusion.json").exists()
    two = umbel.simulate(
        Experiment(**sections | {"simulation": {"workers": 2}}), out=tmp_path / "two"
    )
    path = tmp_path / "two" / "confusion.json"
    assert two.confusion == result.confusion and two.sha256 == result.sha256
    # A run that was cut off after its last round asks; one that knows does not.
    path.write_text(path.read_text().replace('"round": 3', '"round": 3, "mark": 1'))
    umbel.simulate(told, resume=tmp_path / "two")
    assert '"mark": 1' in path.read_text()
    path.unlink()
    assert umbel.simulate(told, resume=tmp_path / "two").confusion == result.confusion


PLANS = {
    "finetune": {"paradigm": "finetune"},
    "distill": {"paradigm": {"name": "distill"}},
    "probe": {"paradigm": {"name": "probe", "iterations": 20}},
    "forest": {"paradigm": {"name": "forest", "trees": 5, "depth": 4}, "strategy": "pool"},
    "fixmatch": {"paradigm": "fixmatch", "data": {"clients": 2, "labelled": 0.3}},
    "label-propagation": {
        "paradigm": {"name": "label-propagation", "anchors": 10},
        "data": {"clients": 2, "labelled": 0.3},
        "head": {"rounds": 4},
    },
    "mixture": {
        "paradigm": {"name": "mixture", "components": 10},
        "data": {"clients": 2, "labelled": 0.3},
        "head": {"rounds": 12},
    },
    "instances": {
        "paradigm": {"name": "instances", "examples": 40, "weighting": "uniform"},
        "data": {"clients": 2, "auxiliary": "digits"},
    },
    "neighbour-graph": {"paradigm": "neighbour-graph", "model": "gcn"},
    "nodes": {"paradigm": "nodes", "model": "gcn", "data": "nodes"},
    "fedgcn": {"paradigm": "fedgcn", "model": "gcn", "data": "nodes"},
    "fedsage": {
        "paradigm": {"name": "fedsage", "generator_rounds": 1},
        "model": "graphsage",
        "data": "nodes",
    },
    "node-propagation": {"paradigm": "node-propagation", "data": "nodes"},
    "graphs": {
        "paradigm": "graphs",
        "model": "gin",
        "data": {"clients": 2, "source": "their_graphs:shapes"},
    },
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Path:
    """A graph of two groups of nodes, mostly linked among themselves."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 80)
    near = generator.random((80, 80)) < np.where(y[:, None] == y, 0.15, 0.02)
    x = (generator.normal(size=(80, 4)) + 0.5 * np.eye(4)[y]).astype(np.float32)
    path = tmp_path_factory.mktemp("graphs") / "nodes.npz"
    np.savez(path, x=x, y=y, edges=np.argwhere(np.triu(near, 1)))
    return path


@pytest.mark.parametrize("plan", PLANS)
def test_every_paradigm_of_classes_tells_what_it_scores(plan, run, nodes, tmp_path):
    """What is on the diagonal is the accuracy of the last evaluation, which counts another way."""
    sections = dict(PLANS[plan])
    if "graph" in plan or plan in ("nodes", "fedgcn", "fedsage", "node-propagation"):
        pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    if sections.get("data") == "nodes":
        sections["data"] = {"clients": 2, "source": str(nodes), "held_out": 0.4}
    if plan == "distill":
        model = run[1].folder / "model.safetensors"
        sections["teacher"] = {**MLP, "weights": str(model)}
    result = umbel.simulate(experiment(**sections), out=tmp_path / "run")
    total = result.confusion.total
    accuracy = evaluation(result.records[-1], "federated", "accuracy")
    examples = evaluation(result.records[-1], "federated", "examples")
    assert len(result.confusion.counts) == 2 and total.sum() == examples
    assert total.trace() / total.sum() == pytest.approx(accuracy)


def test_what_tells_no_classes_is_refused_before_anything_starts(tmp_path):
    told = experiment(paradigm="links", model="gcn")
    with pytest.raises(BadInput, match="evaluation.confusion: links tells no classes; leave it"):
        check(told)
    with pytest.raises(BadInput, match="evaluation.confusion: nothing to count; set data.held_out"):
        umbel.simulate(experiment(data={"held_out": 0.0}), out=tmp_path / "none")
    pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    numbers = {"clients": 2, "source": "their_graphs:shapes?numbers=true"}
    asked = experiment(data=numbers, paradigm="graphs", model="gin")
    with pytest.raises(BadInput, match="confusion: there are no classes in graph-regression of"):
        umbel.simulate(asked, out=tmp_path / "numbers")
    assert not (tmp_path / "none").exists() and not (tmp_path / "numbers").exists()


def test_a_damaged_file_is_told(run, tmp_path):
    result = run[1]
    told = json.loads((result.folder / "confusion.json").read_text())
    (tmp_path / "experiment.toml").write_text("")
    for harm in ({"classes": ["a"]}, {"clients": [{"client": "a", "counts": [[0, 0]]}]}):
        (tmp_path / "confusion.json").write_text(json.dumps(told | harm))
        with pytest.raises(UmbelError, match=r"confusion.json: is damaged \(.*; remove it"):
            _ = Result.open(tmp_path).confusion


def test_the_report_draws_it(run):
    page = report_page(run[1].folder)
    assert "Confusion of classes at all clients" in page
    assert "Confusion of classes at each client" in page
