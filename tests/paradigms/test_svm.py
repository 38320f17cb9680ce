"""A support vector machine by Crammer and Singer's loss is the one that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

import umbel
from umbel.data import make_shards
from umbel.data.shard import UNLABELLED
from umbel.experiment import Experiment
from umbel.paradigms.semi_supervised.confident import hinge
from umbel.result import Result

DECAY, STEPS = 0.2, 1500


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three classes of 40 examples each that lie partly in one another, (120, 2)."""
    drawn = np.random.default_rng(5)
    y = np.repeat(np.arange(3), 40)
    x = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])[y] + drawn.normal(size=(120, 2))
    path = tmp_path_factory.mktemp("table") / "table.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    return path


def experiment(table, labels, rounds, margin) -> Experiment:
    """Full batches, and enough steps in a round for the least loss of what is to be learnt."""
    return Experiment(
        experiment={"rounds": rounds, "seed": 2},
        data={"source": str(table), "clients": 1, "labels": labels, "held_out": 0.0},
        model={"name": "logistic"},
        paradigm={"name": "svm", "margin": margin},
        client={
            "batch_size": 0,
            "steps": STEPS,
            "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": DECAY},
        },
    )


def machine(x, y, weight):
    """Scikit-learn's of examples that count so much; its objective by DECAY is ours."""
    found = LinearSVC(
        multi_class="crammer_singer", C=1 / DECAY, tol=1e-6, max_iter=100_000, random_state=0
    )
    return found.fit(x, y, sample_weight=weight)


def scores(result: Result, x: np.ndarray) -> np.ndarray:
    weight, bias = (result.model[f"head.{name}"].numpy() for name in ("weight", "bias"))
    return x @ weight.T + bias


def assert_alike(result: Result, found: LinearSVC, x: np.ndarray) -> None:
    ours, theirs = scores(result, x), found.decision_function(x)
    np.testing.assert_allclose(ours, theirs, atol=0.08)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) > 0.98


def test_the_loss_by_hand():
    said = torch.tensor([[3.0, 1.0, 2.5], [0.0, 1.0, 4.0], [5.0, 0.0, 0.0]], requires_grad=True)
    found = hinge(said, torch.tensor([0, 1, 0]))
    # Only the best of the others counts: 1 + 2.5 - 3, 1 + 4 - 1, and none that is 5 behind.
    assert found.tolist() == [0.5, 4.0, 0.0]
    found.sum().backward()
    assert said.grad.tolist() == [[-1, 0, 1], [0, -1, 1], [0, 0, 0]]


def test_of_labels_alone_it_is_scikit_learns(table, tmp_path):
    """All but one have a label, and of that one it is never sure."""
    told = experiment(table, labels=119, rounds=1, margin=1e6)
    result = umbel.simulate(told, out=tmp_path / "run")
    assert result.records[-1]["metrics"]["train"]["kept_count"] == 0
    arrays = make_shards(told).shard(0).arrays
    x, y = arrays["x"], arrays["y"]
    known = y != UNLABELLED
    assert_alike(result, machine(x[known], y[known], np.full(119, 1 / 119)), x)


def test_it_trains_itself_as_scikit_learns_would(table, tmp_path):
    """In round 2 it learns what the machine of round 1 was sure of, as it was then, in a mean over
    all that have no label."""
    runs = [
        umbel.simulate(experiment(table, 15, rounds, margin=0.6), out=tmp_path / f"{rounds}")
        for rounds in (1, 2)
    ]
    arrays = make_shards(experiment(table, 15, 1, margin=0.6)).shard(0).arrays
    x, known = arrays["x"], arrays["y"] != UNLABELLED
    before = scores(runs[0], x)
    margins = np.diff(np.sort(before, axis=1)[:, 1:])[:, 0]
    sure = ~known & (margins >= 0.6)
    assert 30 < sure.sum() < 100
    assert runs[1].records[1]["metrics"]["train"]["kept_count"] == STEPS * sure.sum()
    labels = np.where(known, arrays["y"], before.argmax(1))
    weight, learnt = np.where(known, 1 / 15, 1 / 105), known | sure
    assert_alike(runs[1], machine(x[learnt], labels[learnt], weight[learnt]), x)
