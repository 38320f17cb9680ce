"""Whole graphs as examples, numbers in place of classes, and links."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from their_graphs import OTHERS

import umbel
from umbel import registry
from umbel.data import load_dataset, make_shards
from umbel.data.boundary import BEYOND
from umbel.data.rows import EDGE_X, EDGES, layout_fault, taken
from umbel.data.shard import Shard
from umbel.data.storage import read_shard, write_shards
from umbel.errors import BadInput, UmbelError
from umbel.experiment import Experiment
from umbel.paradigms.graph.graphs import Graphs, together
from umbel.paradigms.graph.links import APART, PAIRS, LinkPrediction, pairs_apart
from umbel.paradigms.graph.nodes import Nodes
from umbel.paradigms.graph.sampling import Adjacency, sampled
from umbel.rounds import evaluation

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")


def experiment(source, model, paradigm="graphs", rounds=4, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": rounds, "seed": 3},
        data={
            "source": source,
            "clients": 3,
            "held_out": 0.3,
            "partition": "louvain" if paradigm == "nodes" else "iid",
        },
        model=model,
        paradigm=paradigm,
        client={"steps": 15, "batch_size": 16, "optimizer": {"name": "adam", "lr": 0.02}},
        **sections,
    )


@pytest.mark.parametrize("name", ["gcn", "graphsage", "gin", "message-passing"])
def test_graphs_are_told_apart(tmp_path, name):
    model = {"name": name, "drop": 0.0, "hidden": 32}
    if name != "gin":
        model |= {"readout": "max"} if name == "gcn" else {"aggregate": "sum"}
    result = umbel.simulate(experiment("their_graphs:shapes", model), out=tmp_path / "run")
    assert evaluation(result.records[-1], "federated", "accuracy") > 0.9


def test_clients_that_name_graphs_unlike_ways_part(tmp_path):
    """With one model for all, one kind has all wrong."""
    told = Experiment(
        experiment={"rounds": 12, "seed": 3},
        data={
            "source": "their_graphs:twisted",
            "clients": 6,
            "held_out": 0.3,
            "partition": "natural",
        },
        model={"name": "gin", "hidden": 16, "drop": 0.0},
        paradigm="graphs",
        strategy={"name": "gcfl", "epsilon1": 1.0, "epsilon2": 1.0, "length": 4, "after": 8},
        client={"steps": 15, "batch_size": 0, "optimizer": {"name": "adam", "lr": 0.02}},
        evaluation={"every": 12},
    )
    result = umbel.simulate(told, out=tmp_path / "run")
    parts = json.loads((result.folder / "environment.json").read_text())["clusters"]
    ours = [f"client-{k}" for k in range(6) if k not in OTHERS]
    assert parts == {"0": ours, "1": [f"client-{k}" for k in OTHERS]}
    assert evaluation(result.records[-1], "federated", "accuracy") > 0.95
    sections = told.model_dump(exclude_unset=True) | {"strategy": {"name": "fedavg"}}
    alike = umbel.simulate(Experiment(**sections), out=tmp_path / "fedavg")
    assert evaluation(alike.records[-1], "federated", "accuracy") < 0.75


@pytest.mark.parametrize("name", ["gin", "message-passing"])
def test_what_is_known_of_edges_is_heard(tmp_path, name):
    told = experiment("their_graphs:bonds", {"name": name, "drop": 0.0}, rounds=2)
    result = umbel.simulate(told, out=tmp_path / "run")
    assert evaluation(result.records[-1], "federated", "accuracy") == 1.0


@pytest.mark.parametrize(
    ("source", "paradigm", "model"),
    [
        (
            "their_graphs:shapes?numbers=true",
            "graphs",
            {"name": "gin", "readout": "mean"},
        ),
        ("their_graphs:heights", "nodes", {"name": "graphsage"}),
    ],
)
def test_numbers_are_told(tmp_path, source, paradigm, model):
    told = experiment(source, {**model, "drop": 0.0, "layers": 1}, paradigm, rounds=6)
    records = umbel.simulate(told, out=tmp_path / "run").records
    first, last = (evaluation(r, "federated", "mean_absolute_error") for r in records[::5])
    assert last < 0.4 * first
    assert "accuracy" not in records[-1]["metrics"]["federated"]


def test_graphs_as_one_score_as_each_alone():
    data = load_dataset("their_graphs:shapes")
    paradigm = Graphs(lambda schema: registry.build("model", "gin", {}, schema))
    torch.manual_seed(0)
    model = paradigm.build(data.schema).eval()
    prepared = paradigm.prepare(Shard("a", data.schema, data.train))
    from umbel.paradigms.graph.graphs import scores

    many = scores(model, together(prepared, torch.arange(10)))
    for row in range(10):
        alone = scores(model, together(prepared, torch.tensor([row])))
        torch.testing.assert_close(alone[0], many[row])


def test_shards_of_graphs_are_written_and_read_back(tmp_path):
    shards = make_shards(experiment("their_graphs:bonds", {"name": "gin"}))
    write_shards(shards, tmp_path / "shards")
    for k in range(3):
        made, read = shards.shard(k), read_shard(tmp_path / "shards" / f"client-{k}")
        assert made.schema == read.schema and made.arrays.keys() == read.arrays.keys()
        assert all(np.array_equal(made.arrays[n], read.arrays[n]) for n in made.arrays)
    np.save(
        tmp_path / "shards" / "client-1" / "links.npy",
        np.zeros_like(shards.shard(1).arrays["links"]),
    )
    with pytest.raises(BadInput, match="client-1: links do not add up to"):
        read_shard(tmp_path / "shards" / "client-1")


def test_chosen_graphs_keep_their_nodes_and_edges():
    arrays = load_dataset("their_graphs:shapes").train
    few = taken(arrays, np.array([7, 2]))
    assert layout_fault(few, 2) == ""
    begins = np.cumsum(arrays["links"]) - arrays["links"]
    own = arrays[EDGES][begins[7] : begins[7] + arrays["links"][7]]
    assert np.array_equal(few[EDGES][: len(own)], own)


def test_links_are_told_from_what_is_held_out(tmp_path):
    told = experiment("cliques.npz", "gcn")
    generator = np.random.default_rng(0)
    block = np.arange(120) // 20
    near = np.triu(generator.random((120, 120)) < np.where(block[:, None] == block, 0.5, 0.01), 1)
    path = tmp_path / "cliques.npz"
    x = np.eye(6, dtype=np.float32)[block] + generator.normal(0, 0.5, (120, 6)).astype(np.float32)
    np.savez(path, x=x, y=block, edges=np.argwhere(near))
    told = experiment(str(path), {"name": "gcn", "drop": 0.0}, "links")
    records = umbel.simulate(told, out=tmp_path / "run").records
    assert evaluation(records[-1], "federated", "auc") > 0.8
    assert (
        umbel.simulate(told, out=tmp_path / "again").records[-1]["metrics"]
        == (records[-1]["metrics"])
    )


@pytest.mark.parametrize("model", ["gin", "message-passing"])
def test_links_do_not_hear_what_is_known_of_edges(tmp_path, model):
    generator = np.random.default_rng(0)
    edges = np.argwhere(np.triu(generator.random((40, 40)) < 0.2, 1))
    arrays = {"x": generator.normal(size=(40, 3)), "y": np.arange(40) % 2, "edges": edges}
    np.savez(tmp_path / "told.npz", **arrays, edge_x=np.ones((len(edges), 2)))
    told = experiment(str(tmp_path / "told.npz"), model, "links", rounds=1)
    records = umbel.simulate(told, out=tmp_path / "run").records
    assert [row["status"] for row in records[0]["clients"]] == ["ok"] * 3


def test_held_out_links_are_hidden_and_judged():
    generator = np.random.default_rng(0)
    edges = np.argwhere(np.triu(generator.random((30, 30)) < 0.2, 1))
    schema = load_dataset("their_graphs:heights").schema
    arrays = {"x": generator.normal(size=(30, 2)), "y": np.full(30, -1), EDGES: edges}
    paradigm = LinkPrediction(lambda schema: registry.build("model", "gcn", {}, schema))
    train, held = paradigm.divide(Shard("a", schema, arrays), 0.25, generator)
    all_edges = set(map(tuple, edges.tolist()))
    left, hidden = (set(map(tuple, a.tolist())) for a in (train.arrays[EDGES], held.arrays[PAIRS]))
    assert left | hidden == all_edges and not left & hidden
    assert len(hidden) == round(0.25 * len(edges)) == len(held.arrays[APART])
    assert not set(map(tuple, held.arrays[APART].tolist())) & all_edges
    model = paradigm.build(schema).eval()
    prepared = paradigm.prepare(held)
    z = model(prepared["x"], prepared["edges"]).detach().numpy()
    scores = [float(z[i] @ z[j]) for name in (PAIRS, APART) for i, j in held.arrays[name]]
    wanted = roc_auc_score([1] * len(hidden) + [0] * len(hidden), scores)
    sums = paradigm.evaluate(model, prepared)
    assert sums["auc"] / sums["examples"] == pytest.approx(wanted)
    with pytest.raises(BadInput, match="links is learnt and judged by the clients' own edges"):
        paradigm.prepare(Shard("server", schema, arrays))


class Told(torch.nn.Module):
    """A network that says what it is told to."""

    def __init__(self, features):
        super().__init__()
        self.features = torch.tensor(features)

    def forward(self, x, edges):
        return self.features


def test_recall_is_what_it_is_by_hand():
    """Three users, then films: a user's features are the films' scores."""
    scores = [[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0]]
    paradigm = LinkPrediction(lambda schema: None, rank="film", at=2)
    schema = replace(load_dataset("their_graphs:heights").schema, classes=("film", "user"))
    arrays = {
        "x": np.zeros((7, 2)),
        "y": np.array([1, 1, 1, 0, 0, 0, 0]),
        EDGES: np.array([[0, 3], [1, 6], [2, 4]]),
        PAIRS: np.array([[0, 4], [0, 6], [1, 3]]),
        APART: np.array([[0, 5], [1, 4], [2, 6]]),
    }
    sums = paradigm.evaluate(
        Told(scores + np.eye(4).tolist()), paradigm.prepare(Shard("a", schema, arrays))
    )
    # Of the first user's films the second and the fourth are wanted and the first is known: the
    # second and the third come first. Of the second user's that is wanted which comes last.
    assert sums["examples"] == 2 and sums["recall_at_2"] / 2 == pytest.approx((1 / 2 + 0) / 2)
    # Those that are linked score 3, 1, 1, the others 2, 2, 9: of nine pairs two are right.
    assert sums["auc"] / 2 == pytest.approx(2 / 9)


def tastes(path, users=30, films=24):
    """Users of three tastes, each with most films of that taste, as a graph's file."""
    generator = np.random.default_rng(0)
    alike = np.arange(users)[:, None] % 3 == np.arange(films) % 3
    pairs = np.argwhere(generator.random((users, films)) < np.where(alike, 0.7, 0.02))
    x = np.concatenate([np.zeros((users, films)), np.eye(films)])
    kinds = np.repeat(["user", "film"], [users, films])
    np.savez(path, x=x, y=kinds, edges=pairs + np.array([0, users]))
    return {"name": "bipartite", "shared": "film"}


def test_films_are_ranked_for_users_of_several_clients(tmp_path):
    partition = tastes(tmp_path / "tastes.npz")
    told = experiment(
        str(tmp_path / "tastes.npz"),
        {"name": "gcn", "drop": 0.0, "layers": 1, "hidden": 16},
        {"name": "links", "rank": "film", "at": 3},
    )
    sections = told.model_dump(exclude_unset=True)
    told = Experiment(**sections | {"data": sections["data"] | {"partition": partition}})
    shards = make_shards(told)
    names = shards.schema.classes
    for k in range(3):
        own = shards.shard(k).arrays
        assert np.bincount(own["y"]).tolist() == [24, 10] and names == ("film", "user")
        assert not BEYOND & set(own)
    edges = sum(len(shards.shard(k).arrays[EDGES]) for k in range(3))
    assert edges == len(shards.dataset.train[EDGES])
    records = umbel.simulate(told, out=tmp_path / "run").records
    found = evaluation(records[-1], "federated", "recall_at_3")
    assert found > 2 * 3 / 24 and evaluation(records[-1], "federated", "auc") > 0.8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shared": "films"}, "shared = 'films' is no class of the nodes.*did you mean 'film'"),
        ({"clients": 31}, "31 clients but only 30 nodes that are not shared"),
        ({"edge": [0, 1]}, "1 of .* edges are not between film and another class"),
        ({"rank": "book"}, "paradigm.rank: no node is of the class 'book'"),
        ({"edge": [0, 1], "partition": "iid", "clients": 1}, "paradigm.rank: client-0: 1 of"),
        ({"source": "digits"}, "bipartite divides graphs"),
    ],
)
def test_what_cannot_be_ranked_is_refused(tmp_path, change, said):
    path = tmp_path / "tastes.npz"
    partition = tastes(path)
    if "edge" in change:
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"edges": np.concatenate([arrays["edges"], [change["edge"]]])})
    told = Experiment(
        data={
            "source": change.get("source", str(path)),
            "clients": change.get("clients", 3),
            "partition": change.get(
                "partition", partition | {"shared": change.get("shared", "film")}
            ),
        },
        model="gcn",
        paradigm={"name": "links", "rank": change.get("rank", "film")},
    )
    with pytest.raises(UmbelError, match=said):
        umbel.simulate(told, out=tmp_path / "run")


def test_pairs_apart_are_as_many_as_there_are():
    edges = np.array([[0, 1], [0, 2]])
    found = pairs_apart(edges, 4, 10, np.random.default_rng(0))
    assert sorted(map(tuple, found.tolist())) == [(0, 3), (1, 2), (1, 3), (2, 3)]


def test_sampled_neighbours_are_neighbours_and_no_more_than_asked():
    generator = np.random.default_rng(2)
    edges = np.argwhere(np.triu(generator.random((60, 60)) < 0.2, 1))
    arrays = {"x": np.arange(60, dtype=np.float32)[:, None], "y": np.zeros(60), EDGES: edges}
    schema = load_dataset("their_graphs:heights").schema
    prepared = Nodes(lambda schema: None).prepare(Shard("a", schema, arrays))
    batch = {**prepared, "rows": torch.tensor([5, 17, 40]), "y": prepared["y"][:3]}
    found = sampled(batch, Adjacency.of(prepared), (4, 2), torch.Generator().manual_seed(0))
    names = found["x"].flatten().long()
    assert names[:3].tolist() == [5, 17, 40] and len(names) == len(set(names.tolist()))
    real = {tuple(sorted(pair)) for pair in edges.tolist()}
    pairs = names[found["edges"]].T.tolist()
    assert {tuple(sorted(pair)) for pair in pairs} <= real and len(set(map(tuple, pairs))) == len(
        pairs
    )
    into = torch.bincount(found["edges"][1], minlength=len(names))
    assert into[:3].tolist() == [4, 4, 4] and into[3:].max() == 2


@pytest.mark.parametrize("name", ["gcn", "graphsage", "gat", "gin", "message-passing", "node-mlp"])
@pytest.mark.parametrize("edge_width", [0, 2])
def test_all_neighbours_sampled_give_the_loss_of_the_whole(name, edge_width):
    generator = np.random.default_rng(2)
    edges = np.argwhere(np.triu(generator.random((40, 40)) < 0.1, 1))
    x = generator.normal(size=(40, 3)).astype(np.float32)
    schema = replace(load_dataset("their_graphs:heights").schema, edge_width=edge_width)
    arrays = {"x": x[:, :2], "y": np.full(40, -1), "target": x[:, 2], EDGES: edges}
    if edge_width:
        arrays[EDGE_X] = generator.normal(size=(len(edges), edge_width))
    build = lambda schema: registry.build("model", name, {"drop": 0.0}, schema)  # noqa: E731
    whole, some = Nodes(build), Nodes(build, neighbours=[40, 40])
    torch.manual_seed(0)
    model = whole.build(schema)
    some.build(schema)
    losses, moved = [], []
    for paradigm in (whole, some):
        prepared = paradigm.prepare(Shard("a", schema, arrays))
        batches = paradigm.batches(prepared, 7, torch.Generator().manual_seed(1))
        found = [paradigm.loss(model, b, torch.Generator()) for b in batches]
        losses.append([loss.item() for loss in found])
        moved.append(torch.autograd.grad(sum(found), list(model.parameters()), allow_unused=True))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(*moved, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_convolution_over_some_neighbours_by_hand():
    """A star: of the hub's four leaves two are drawn, each with twice the weight; the degrees are
    those of the whole, also where an edge leads out of what was drawn."""
    edges = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 5]])
    arrays = {"x": np.eye(6, dtype=np.float32), "y": np.zeros(6), "target": np.zeros(6)}
    schema = replace(load_dataset("their_graphs:heights").schema, shape=(6,))
    build = lambda schema: registry.build("model", "gcn", {"layers": 1}, schema)  # noqa: E731
    paradigm = Nodes(build, neighbours=[2])
    model = paradigm.build(schema).eval()
    with torch.no_grad():
        model.head.conv.lin.weight.copy_(10.0 ** torch.arange(6))
    prepared = paradigm.prepare(Shard("a", schema, {**arrays, EDGES: edges}))
    batch = {**prepared, "rows": torch.tensor([0])}
    degrees, total = [5, 3, 2, 2, 2, 2], torch.zeros(())
    for seed in range(600):
        found = sampled(batch, Adjacency.kept(prepared), [2], torch.Generator().manual_seed(seed))
        drawn = found["x"].argmax(dim=1).tolist()
        assert drawn[0] == 0 and len(drawn) == 3 and set(drawn[1:]) < {1, 2, 3, 4}
        wanted = 1 / 5 + sum(2 * 10**j / (5 * degrees[j]) ** 0.5 for j in drawn[1:])
        score = paradigm.scores(model, found)[0].detach().squeeze()
        assert float(score) == pytest.approx(wanted, rel=1e-5)
        total += score / 600
    whole = Nodes(build).scores(model, prepared)[0].detach().squeeze()
    torch.testing.assert_close(total, whole, rtol=0.15, atol=0.0)
