"""Linear models of scikit-learn's over a frozen backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import umbel
from umbel.data import load_dataset, make_shards
from umbel.data.tensors import to_inputs
from umbel.errors import BadInput
from umbel.experiment import Experiment


def experiment(clients=3, alpha=0.5, rounds=1, strategy="fedavg", **paradigm) -> Experiment:
    partition = {"name": "dirichlet", "alpha": alpha} if clients > 1 else "iid"
    return Experiment(
        experiment={"rounds": rounds, "seed": 3},
        data={"source": "digits", "clients": clients, "partition": partition, "held_out": 0.0},
        model={"name": "mlp", "hidden": [32]},
        paradigm={"name": "probe", **paradigm},
        strategy={"name": strategy},
    )


def features(model, shard):
    with torch.no_grad():
        inputs = to_inputs(shard.arrays["x"], shard.schema).flatten(1)
        hidden = inputs @ model["body.1.weight"].T + model["body.1.bias"]
    return hidden.relu().double().numpy(), shard.arrays["y"]


@pytest.mark.parametrize(
    ("learner", "theirs"),
    [("logistic", LogisticRegression(max_iter=1000)), ("svm", LinearSVC(random_state=0))],
)
def test_one_client_is_scikit_learns_own_model(tmp_path, learner, theirs):
    told = experiment(clients=1, learner=learner)
    model = umbel.simulate(told, out=tmp_path / "run").model
    x, y = features(model, make_shards(told).shard(0))
    theirs.fit(x, y)
    np.testing.assert_allclose(model["head.weight"].numpy(), theirs.coef_, atol=1e-3)
    found = (torch.tensor(x).float() @ model["head.weight"].T + model["head.bias"]).argmax(1)
    assert (found.numpy() == theirs.predict(x)).mean() > 0.999


def test_two_classes_are_two_rows(tmp_path):
    digits = load_dataset("digits")
    two = digits.train["y"] < 2
    np.savez(tmp_path / "two.npz", x=digits.train["x"][two], y=digits.train["y"][two])
    sections = experiment(clients=1).model_dump(exclude_unset=True)
    sections["data"] |= {"source": str(tmp_path / "two.npz")}
    told = Experiment(**sections)
    model = umbel.simulate(told, out=tmp_path / "run").model
    x, y = features(model, make_shards(told).shard(0))
    theirs = LogisticRegression(max_iter=1000).fit(x, y)
    scores = torch.tensor(x).float() @ model["head.weight"].T + model["head.bias"]
    np.testing.assert_allclose(torch.softmax(scores, 1).numpy(), theirs.predict_proba(x), atol=1e-3)


def test_the_average_of_clients_with_few_classes_knows_all(tmp_path):
    told = experiment(clients=5, alpha=0.3)
    result = umbel.simulate(told, out=tmp_path / "run")
    x, y = features(result.model, make_shards(experiment(clients=1)).shard(0))
    scores = torch.tensor(x).float() @ result.model["head.weight"].T + result.model["head.bias"]
    assert (scores.argmax(1).numpy() == y).mean() > 0.7
    assert result.records[0]["bytes_up"] < 5 * 2500


def test_a_client_with_one_class_changes_nothing(tmp_path):
    digits = load_dataset("digits")
    one = digits.train["y"] == 4
    x, y = digits.train["x"][one], digits.train["y"][one]
    np.savez(tmp_path / "one.npz", x=x, y=y, classes=np.array(digits.schema.classes))
    sections = experiment(clients=2).model_dump(exclude_unset=True)
    sections["data"] |= {"source": str(tmp_path / "one.npz"), "partition": "iid"}
    model = umbel.simulate(Experiment(**sections), out=tmp_path / "run").model
    assert not model["head.weight"].any() and not model["head.bias"].any()


def test_with_a_robust_rule(tmp_path):
    result = umbel.simulate(experiment(strategy="median"), out=tmp_path / "run")
    assert result.records[0]["clients"][0]["status"] == "ok"


@pytest.mark.parametrize(
    ("paradigm", "said"),
    [
        ({"learner": "forest"}, "learner: must be 'logistic' or 'svm'"),
        ({"c": 0.0}, "c: 0 is not above 0"),
        ({"iterations": 0}, "iterations: 0 is not at least 1"),
    ],
)
def test_what_is_refused(tmp_path, paradigm, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(**paradigm), out=tmp_path / "run")


@pytest.mark.parametrize(
    "strategy",
    ["scaffold", "fedprox", "fednova", {"name": "fedavg", "weighting": "label-entropy"}],
)
def test_what_changes_how_clients_descend_is_refused(tmp_path, strategy):
    told = experiment()
    choice = strategy if isinstance(strategy, dict) else {"name": strategy}
    sections = told.model_dump(exclude_unset=True) | {"strategy": choice}
    optimizer = {"name": "sgd", "lr": 0.1}
    sections["client"] = {"optimizer": optimizer}
    with pytest.raises(BadInput, match="the paradigm probe does not descend"):
        umbel.simulate(Experiment(**sections), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_chain_is_kept_to(tmp_path):
    """What a strategy does to an update on its way is done to one that was not descended to."""
    sections = experiment().model_dump(exclude_unset=True)
    sections["strategy"] = {"name": "composed", "chain": {"name": "clip", "norm": 0.01}}
    model = umbel.simulate(Experiment(**sections), out=tmp_path / "run").model
    moved = torch.cat([model[name].flatten() for name in ("head.weight", "head.bias")])
    assert 0 < float(moved.norm()) <= 0.01 + 1e-6
