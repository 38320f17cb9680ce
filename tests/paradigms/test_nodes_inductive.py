"""Training that sees nothing of the nodes it is judged by, or that sees them as neighbours."""

from __future__ import annotations

import numpy as np
import pytest

import umbel
from umbel import registry
from umbel.client.workbench import split
from umbel.data import make_shards
from umbel.data.rows import unjudged
from umbel.errors import BadInput
from umbel.experiment import Experiment, load
from umbel.paradigms.base import prepare_training
from umbel.paradigms.graph.nodes import Nodes
from umbel.rounds import evaluation

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
COUNT, SEED = 90, 4


def graph(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = np.arange(COUNT) % 3
    near = np.triu(generator.random((COUNT, COUNT)) < np.where(y[:, None] == y, 0.2, 0.03), 1)
    x = (generator.normal(size=(COUNT, 5)) + np.eye(5)[y]).astype(np.float32)
    return {"x": x, "y": y, "edges": np.argwhere(near)}


def parts() -> dict[str, np.ndarray]:
    """Of nodes that are in none of them nothing but their neighbourhood is known."""
    order = np.random.default_rng(7).permutation(COUNT)
    return {"train": order[:40], "val": order[40:50], "test": order[50:75]}


def experiment(path, paradigm, model="gcn", clients=2, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": 2, "seed": SEED},
        data={"source": str(path), "clients": clients, "partition": "iid", "held_out": 0.3},
        model={"name": model, "hidden": 8},
        paradigm=paradigm,
        client={"steps": 3, "batch_size": 8, "optimizer": {"name": "adam", "lr": 0.02}},
        evaluation={"central": False},
        **sections,
    )


def held_out(told, arrays):
    """The rows in the whole graph of what no client trains on."""
    shards, found = make_shards(told), []
    for index in range(2):
        shard = shards.shard(index)
        alike = (shard.arrays["x"][:, None] == arrays["x"]).all(axis=2)
        rows = alike.argmax(axis=1)
        if "role" in shard.arrays:
            found.append(rows[np.isin(shard.arrays["role"], (1, 2))])
        else:
            found.append(rows[split(shard, 0.3, SEED)[1].arrays["counts"]])
    return np.concatenate(found)


def poisoned(arrays, judged):
    """Other features, labels and edges of the nodes that are judged, of none between others."""
    x, y = arrays["x"].copy(), arrays["y"].copy()
    x[judged] = 3.0 * np.random.default_rng(1).normal(size=(len(judged), 5))
    y[judged] = (y[judged] + 1) % 3
    apart = arrays["edges"][~np.isin(arrays["edges"], judged).any(axis=1)]
    others = np.setdiff1d(np.arange(COUNT), judged)
    drawn = np.random.default_rng(2).choice(others, size=(len(judged), 3))
    new = np.stack([np.repeat(judged, 3), drawn.flatten()], axis=1)
    return {**arrays, "x": x, "y": y, "edges": np.concatenate([new, apart])}


PARADIGMS = [
    ({"name": "nodes"}, "gcn"),
    ({"name": "nodes", "normalise": "sum"}, "gat"),
    ({"name": "nodes", "neighbours": [4, 3]}, "gcn"),
    ({"name": "nodes", "neighbours": [4, 3]}, "graphsage"),
    ({"name": "fedsage", "generator_rounds": 1}, "graphsage"),
]


@pytest.mark.parametrize("told", ["roles", "drawn"])
@pytest.mark.parametrize(("paradigm", "model"), PARADIGMS)
def test_what_is_judged_changes_no_bit_of_an_inductive_model(tmp_path, told, paradigm, model):
    arrays = graph() | (parts() if told == "roles" else {})
    path = tmp_path / "graph.npz"
    np.savez(path, **arrays)
    judged = held_out(experiment(path, paradigm), arrays)
    assert len(judged) == (35 if told == "roles" else 2 * round(0.3 * COUNT / 2))
    found = {}
    for inductive in (True, False):
        for held in (arrays, poisoned(arrays, judged)):
            np.savez(path, **held)
            sections = experiment(path, {**paradigm, "inductive": inductive}, model)
            out = tmp_path / f"run-{len(found)}"
            found[inductive, held is arrays] = umbel.simulate(sections, out=out)
    assert found[True, True].sha256 == found[True, False].sha256
    assert found[False, True].sha256 != found[False, False].sha256
    assert found[True, True].sha256 != found[False, True].sha256
    # They are judged in their own graph, which is not the same.
    clean, other = (evaluation(found[True, k].records[-1], "federated", "loss") for k in (1, 0))
    assert clean != other


def test_an_inductive_model_is_judged_in_the_whole_graph(tmp_path):
    path = tmp_path / "graph.npz"
    np.savez(path, **graph(), **parts())
    told = experiment(path, {"name": "nodes", "inductive": True}, clients=1)
    result = umbel.simulate(told, out=tmp_path / "run")
    shard = make_shards(told).shard(0)
    paradigm = Nodes(lambda schema: registry.build("model", "gcn", {"hidden": 8}, schema))
    model = paradigm.build(shard.schema).eval()
    model.load_state_dict(result.model)
    train, held = split(shard, 0.3, SEED)
    whole, cut = paradigm.prepare(held), np.isin(shard.arrays["edges"], parts()["test"]).any(axis=1)
    losses = []
    for edges in (whole["edges"], whole["edges"][:, np.tile(~cut, 2)]):
        sums = paradigm.evaluate(model, {**whole, "edges": edges})
        losses.append(sums["loss"] / sums["examples"])
    assert evaluation(result.records[-1], "federated", "loss") == pytest.approx(losses[0])
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert len(whole["x"]) == COUNT and len(paradigm.prepare(train)["x"]) == COUNT


@pytest.mark.parametrize("neighbours", [(), (2, 2)])
def test_an_inductive_graph_by_hand(neighbours):
    """A path of six: 0 is for training, 1 is nobody's, 2 for validation, 3 for testing, 4 for
    training and without a label, 5 for training."""
    shard = make_shards_of_a_path()
    paradigm = Nodes(lambda schema: None, neighbours=neighbours, inductive=True)
    train, held = split(shard, 0.3, SEED)
    prepared = prepare_training(paradigm, train)
    assert prepared["x"].flatten().tolist() == [0.0, 1.0, 4.0, 5.0]
    assert prepared["edges"].tolist() == [[0, 2, 1, 3], [1, 3, 0, 2]]
    assert prepared["edge_x"].flatten().tolist() == [0.5, 4.5, 0.5, 4.5]
    assert (prepared["rows"].tolist(), prepared["y"].tolist()) == ([0, 3], [0, 1])
    if neighbours:
        assert prepared["begins"].tolist() == [0, 1, 2, 3, 4]
    judged = paradigm.prepare(held)
    assert judged["rows"].tolist() == [3] and judged["edges"].shape == (2, 10)
    seen = prepare_training(Nodes(lambda schema: None), train)
    assert len(seen["x"]) == 6 and seen["rows"].tolist() == [0, 5]


def make_shards_of_a_path():
    from umbel.data.shard import Shard
    from umbel.schema import Schema

    schema = Schema("node-classification", (1,), "float32", ("a", "b"), edge_width=1)
    arrays = {
        "x": np.arange(6, dtype=np.float32)[:, None],
        "y": np.array([0, 1, 0, 1, -1, 1]),
        "role": np.array([0, -1, 1, 2, 0, 0]),
        "edges": np.stack([np.arange(5), np.arange(1, 6)], axis=1),
        "edge_x": np.arange(5, dtype=np.float32)[:, None] + 0.5,
    }
    return Shard("a", schema, arrays)


def test_of_a_shard_that_says_nothing_all_is_trained_on():
    arrays = {"y": np.arange(3), "edges": np.array([[0, 1], [1, 2]])}
    assert unjudged(arrays)["edges"].tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("neighbours", ["", ", neighbours = [3, 2]"])
def test_the_same_bits_with_two_workers(tmp_path, neighbours):
    path = tmp_path / "graph.npz"
    np.savez(path, **graph())
    told = experiment(path, "nodes", clients=3).to_toml()
    assert '"nodes"' in told
    (tmp_path / "exp.toml").write_text(told)
    asked = [f'paradigm={{name = "nodes", inductive = true{neighbours}}}']
    one = umbel.simulate(load(tmp_path / "exp.toml", asked), out=tmp_path / "one")
    both = load(tmp_path / "exp.toml", [*asked, "simulation.workers=2"])
    assert umbel.simulate(both, out=tmp_path / "two").sha256 == one.sha256
    assert [r["metrics"] for r in umbel.Result.open(tmp_path / "two").records] == [
        r["metrics"] for r in one.records
    ]


@pytest.mark.parametrize("paradigm", ["fedgcn", "links", "node-propagation", "neighbour-graph"])
def test_others_know_no_such_choice(tmp_path, paradigm):
    path = tmp_path / "graph.npz"
    np.savez(path, **graph())
    told = experiment(path, {"name": paradigm, "inductive": True})
    with pytest.raises(BadInput, match="inductive"):
        umbel.simulate(told, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
