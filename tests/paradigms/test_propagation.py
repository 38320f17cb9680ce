"""Label propagation and spreading: beside scikit-learn's on one client, and over several beside the
closed form on the one graph of all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

import umbel
from umbel.data import load_dataset, make_shards
from umbel.data.shard import Shard
from umbel.data.tensors import to_inputs
from umbel.errors import BadInput
from umbel.experiment import Experiment, check
from umbel.paradigms.semi_supervised import propagation
from umbel.paradigms.semi_supervised.propagation import DEGREES, REACHED
from umbel.rounds import evaluation
from umbel.schema import Schema

NAMES = ("label-propagation", "label-spreading")
CLASSES, NEIGHBOURS, ANCHORS = 3, 5, 12


class NoFile:
    def __call__(self, schema):
        raise AssertionError("its model is its own")

    def weights(self):
        return {}


def ours(name, **parameters):
    kinds = {"label-propagation": "LabelPropagation", "label-spreading": "LabelSpreading"}
    return getattr(propagation, kinds[name])(NoFile(), **parameters)


def scikit_learns(name, **parameters):
    kind = LabelPropagation if name == "label-propagation" else LabelSpreading
    return kind(kernel="knn", n_neighbors=7, tol=1e-3, **parameters)


@pytest.fixture(scope="module")
def digits():
    """A shard of which one example in eight has a label, and new examples."""
    data = load_dataset("digits")
    rows = np.random.default_rng(3).permutation(len(data.train["y"]))[:500]
    x, truth = (data.train[key][rows] for key in ("x", "y"))
    y = np.where(np.arange(400) % 8 == 0, truth[:400], -1)
    known = Shard("a", data.schema, {"x": x[:400], "y": y})
    return known, Shard("a", data.schema, {"x": x[400:], "y": truth[400:]})


def numbers(shard):
    return to_inputs(shard.arrays["x"], shard.schema).flatten(1).double().numpy()


@pytest.mark.parametrize("name", NAMES)
def test_on_one_client_it_is_scikit_learns(name, digits):
    known, new = digits
    theirs = scikit_learns(name, max_iter=1000).fit(numbers(known), known.arrays["y"])
    paradigm = ours(name, anchors=0)
    model = paradigm.build(known.schema)
    training = paradigm.prepare(known)
    found = paradigm.spread(model, training).numpy()
    np.testing.assert_allclose(found, theirs.label_distributions_, atol=1e-12)
    said = theirs.predict_proba(numbers(new))
    right = (said.argmax(axis=1) == new.arrays["y"]).sum()
    own = said[np.arange(100), new.arrays["y"]]
    sums = paradigm.evaluate_beside(model, paradigm.prepare(new), training)
    assert sums["accuracy"] == right > 60
    assert sums["loss"] == pytest.approx(-np.log(own.clip(1e-30)).sum(), rel=1e-4)


def clouds(tmp_path):
    rng = np.random.default_rng(2)
    y = rng.integers(0, CLASSES, 90)
    x = (rng.normal(0, 1.0, (90, 2)) + 2 * np.eye(3)[y][:, :2]).astype(np.float32)
    np.savez(tmp_path / "clouds.npz", x=x, y=y, classes=np.array(list("abc")))
    return tmp_path / "clouds.npz"


def experiment(source, name, *, rounds, clients=3, **parameters):
    return Experiment(
        experiment={"rounds": rounds, "seed": 4},
        data={"source": str(source), "clients": clients, "held_out": 0.0, "labelled": 0.5},
        paradigm={
            "name": name,
            "neighbours": NEIGHBOURS,
            "anchors": ANCHORS,
            "group": 3,
            "tolerance": 1e-9,
            **parameters,
        },
    )


def one_graph(shards, anchors):
    """All clients' examples, and after them the anchors, once: the sum of the clients' edges, and
    the labels."""
    parts = [numbers(shard) for shard in shards]
    count = sum(map(len, parts))
    edges = np.zeros((count + ANCHORS, count + ANCHORS))
    begin = 0
    for part in parts:
        places = [*range(begin, begin + len(part)), *range(count, count + ANCHORS)]
        nodes = np.concatenate([part, anchors])
        near = kneighbors_graph(nodes, NEIGHBOURS, include_self=True)
        edges[np.ix_(places, places)] += near.toarray()
        begin += len(part)
    codes = np.concatenate([*(shard.arrays["y"] for shard in shards), np.full(ANCHORS, -1)])
    return edges, codes, np.eye(CLASSES + 1)[codes][:, :CLASSES]


def closed_form(name, edges, codes, given):
    if name == "label-spreading":
        others = edges - np.diag(np.diag(edges))
        degrees = others.sum(axis=0)
        degrees[degrees == 0] = 1
        steps = others / np.sqrt(np.outer(degrees, degrees))
        return np.linalg.solve(np.eye(len(edges)) - 0.5 * steps, 0.5 * given)
    steps = edges / edges.sum(axis=1, keepdims=True)
    free = codes < 0
    kept = np.eye(free.sum()) - steps[np.ix_(free, free)]
    found = given.copy()
    found[free] = np.linalg.solve(kept, steps[np.ix_(free, ~free)] @ given[~free])
    return found


@pytest.mark.parametrize(("name", "rounds"), [(NAMES[0], 35), (NAMES[1], 25)])
def test_over_anchors_it_is_the_rule_on_one_graph_of_all_clients(tmp_path, name, rounds):
    settings = {"alpha": 0.5} if name == "label-spreading" else {}
    made = experiment(clouds(tmp_path), name, rounds=rounds, **settings)
    model = umbel.simulate(made, out=tmp_path / "run").model
    assert set(model) == {"points", "labels"}
    shards = [make_shards(made).shard(index) for index in range(3)]
    expected = closed_form(name, *one_graph(shards, model["points"].numpy()))
    anchors = expected[-ANCHORS:]
    assert np.ptp(anchors, axis=0).min() > 0.05
    np.testing.assert_allclose(model["labels"].numpy(), anchors, atol=1e-6)


def test_labels_reach_a_client_that_has_none(tmp_path):
    """And the record tells how many were found, and how many of these were right."""
    source, results = clouds(tmp_path), []
    for anchors, rounds, workers in ((0, 2, 1), (ANCHORS, 6, 1), (ANCHORS, 6, 2)):
        settings = {"anchors": anchors, "tolerance": 1e-3}
        made = experiment(source, "label-propagation", rounds=rounds, **settings)
        data = {"labelled_clients": 0.34, "labelled": 0.5, "held_out": 0.3}
        sections = {
            "data": made.data.model_copy(update=data),
            "simulation": made.simulation.model_copy(update={"workers": workers}),
        }
        out = tmp_path / f"{anchors} {workers}"
        results.append(umbel.simulate(made.model_copy(update=sections), out=out))
    alone, together, with_workers = results
    told = [result.records[-1]["metrics"]["train"] for result in (alone, together)]
    assert told[0]["kept_count"] < told[1]["kept_count"] == told[1]["unlabelled_count"]
    assert told[0]["right_count"] + 10 < told[1]["right_count"] < told[1]["kept_count"]
    found = [evaluation(r.records[-1], "federated", "accuracy") for r in (alone, together)]
    assert found[1] > found[0] + 0.1
    assert with_workers.sha256 == together.sha256


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"alpha": 1.0}, "paradigm.alpha: 1 is not in"),
        ({"neighbours": 0}, "paradigm.neighbours: 0 is not at least 1"),
        ({"anchors": -1}, "paradigm.anchors: -1 is less than 0"),
        ({"iterations": 0}, "paradigm.iterations: 0 is not at least 1"),
        ({"tolerance": -1.0}, "paradigm.tolerance: -1 is less than 0"),
        ({"group": 0}, "paradigm.group: 0 is not at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parameters_that_cannot_be_are_refused(parameters, told):
    with pytest.raises(BadInput, match=told):
        check(Experiment(paradigm={"name": "label-spreading", **parameters}))


def test_what_cannot_be_is_refused(tmp_path):
    source = clouds(tmp_path)
    few = experiment(source, "label-spreading", rounds=3)
    with pytest.raises(BadInput, match=r"experiment.rounds: 3 is too few for this .* takes 4"):
        umbel.simulate(few, out=tmp_path / "run")
    many = experiment(source, "label-spreading", rounds=12, anchors=100)
    with pytest.raises(BadInput, match="paradigm.anchors: 100 is more than the 90 examples"):
        umbel.simulate(many, out=tmp_path / "run")
    texts = Schema("classification", (), "text", classes=("a",))
    with pytest.raises(BadInput, match="of numbers; the examples are texts"):
        ours("label-spreading").build(texts)
    assert not (tmp_path / "run").exists()


def test_statistics_that_cannot_be_are_refused():
    paradigm = ours("label-spreading", anchors=4)
    model = paradigm.build(Schema("classification", (2,), "float32", classes=("a", "b")))
    model.progress.stage.fill_(1)
    assert paradigm.fault(model, {DEGREES: torch.zeros(4).double()}) == ""
    assert "is missing" in paradigm.fault(model, {REACHED: torch.zeros(4, 2).double()})
    negative = {DEGREES: torch.full((4,), -1.0).double()}
    assert paradigm.fault(model, negative) == f"{DEGREES} holds numbers below 0"
