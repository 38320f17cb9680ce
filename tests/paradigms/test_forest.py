"""Random forests over a frozen backbone, pooled tree by tree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

import umbel
from umbel.data import load_dataset, make_shards
from umbel.data.tensors import to_inputs
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.paradigms.transfer.trees import Forest
from umbel.randomness import torch_generator
from umbel.rounds import evaluation
from umbel.strategies.pool import apportioned


def experiment(clients=4, strategy="pool", model="logistic", **paradigm) -> Experiment:
    return Experiment(
        experiment={"rounds": 1, "seed": 3},
        data={
            "source": "optdigits",
            "clients": clients,
            "partition": {"name": "dirichlet", "alpha": 1.0} if clients > 1 else "iid",
            "held_out": 0.0,
        },
        model={"name": model},
        paradigm={"name": "forest", "trees": 20, **paradigm},
        strategy={"name": strategy},
    )


def test_it_says_what_scikit_learns_forest_says():
    """Of trees that end early, too, and of classes that it has not seen."""
    digits = load_dataset("digits")
    known = digits.train["y"] != 4
    x = to_inputs(digits.train["x"], digits.schema).flatten(1)
    theirs = RandomForestClassifier(10, max_depth=6, random_state=1)
    theirs.fit(x[torch.tensor(known)].numpy(), digits.train["y"][known])
    ours = Forest(64, 10, trees=10, depth=6)
    for place, tree in enumerate(theirs.estimators_):
        ours.fill(place, tree.tree_, theirs.classes_)
    said = ours(x).exp().numpy()
    np.testing.assert_allclose(said[:, theirs.classes_], theirs.predict_proba(x), atol=1e-6)
    assert said[:, 4].max() < 1e-6


def forest_of(shard, client):
    """What the client grows, by scikit-learn's own hand."""
    seed = torch_generator(3, purpose="train", round=1, client=client)
    number = int(torch.randint(2**31, (1,), generator=seed))
    theirs = RandomForestClassifier(20, max_depth=8, random_state=number)
    theirs.fit(to_inputs(shard.arrays["x"], shard.schema).flatten(1).numpy(), shard.arrays["y"])
    grown = Forest(64, 10, trees=20, depth=8)
    for place, tree in enumerate(theirs.estimators_):
        grown.fill(place, tree.tree_, theirs.classes_)
    return grown


def accuracy(told, folder):
    result = umbel.simulate(told, out=folder)
    return result, evaluation(result.records[-1], "central", "accuracy")


def test_trees_are_taken_by_the_share_of_examples(tmp_path):
    told = experiment()
    result, pooled = accuracy(told, tmp_path / "run")
    shards = [make_shards(told).shard(k) for k in range(4)]
    own = [forest_of(shard, f"client-{k}") for k, shard in enumerate(shards)]
    places = apportioned(20, [len(shard.arrays["y"]) for shard in shards])
    turns = [k for k, count in enumerate(places) for _ in range(count)]
    assert len(set(places)) > 1
    for name in ("feature", "threshold", "leaf"):
        expected = torch.stack([own[k].get_buffer(name)[i] for i, k in enumerate(turns)])
        assert torch.equal(result.model[f"head.{name}"], expected)
    whole = accuracy(experiment(clients=1), tmp_path / "whole")[1]
    assert whole > 0.9 and pooled > whole - 0.1


def test_over_a_backbone(tmp_path):
    assert accuracy(experiment(model="mlp"), tmp_path / "run")[1] > 0.8


def test_no_place_of_a_feature_leads_astray():
    forest = Forest(3, 2, trees=1, depth=1)
    forest.feature.fill_(2**31 - 1)
    assert torch.isfinite(forest(torch.zeros(2, 3))).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "fedavg"}, "no mean of what the paradigm forest makes; take strategy pool"),
        ({"strategy": "median"}, "no mean of what the paradigm forest makes"),
        (
            {"strategy": "flwr.serverapp.strategy:FedAvg"},
            "no mean of what the paradigm forest makes",
        ),
        ({"trees": 0}, "trees: 0 is not at least 1"),
        ({"depth": 13}, "depth: 13 is not in 1 to 12"),
    ],
)
def test_what_is_refused(tmp_path, changes, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(**changes), out=tmp_path / "run")


def test_other_paradigms_have_no_trees(tmp_path):
    sections = experiment().model_dump(exclude_unset=True) | {"paradigm": {"name": "supervised"}}
    with pytest.raises(BadInput, match=r'it needs paradigm = "forest", found "supervised"'):
        umbel.simulate(Experiment(**sections), out=tmp_path / "run")
