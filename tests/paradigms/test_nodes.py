"""Node classification: each client trains on its own subgraph."""

from __future__ import annotations

import numpy as np
import pytest

import umbel
from umbel.data import load_dataset, make_shards
from umbel.data.rows import edges_between, parted
from umbel.data.storage import read_shard, write_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment, load
from umbel.rounds import evaluation

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
MODELS = ("gcn", "graphsage", "gat", "gin", "message-passing")


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Four communities of 60 nodes whose features tell little of their class, and edges much."""
    generator = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 60) % 2
    block = np.repeat(np.arange(4), 60)
    x = (generator.normal(size=(240, 8)) + 0.35 * np.eye(8)[y]).astype(np.float32)
    near = generator.random((240, 240)) < np.where(block[:, None] == block, 0.12, 0.004)
    edges = np.argwhere(np.triu(near, 1))
    path = tmp_path_factory.mktemp("graphs") / "blocks.npz"
    np.savez(path, x=x, y=y, edges=edges)
    return path


def experiment(path, clients=3, model="gcn", rounds=3, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": rounds, "seed": 2},
        data={
            "source": str(path),
            "clients": clients,
            "partition": "louvain" if clients > 1 else "iid",
            "held_out": 0.3,
            **sections.pop("data", {}),
        },
        model={"name": model, **sections.pop("model", {})},
        paradigm="nodes",
        client={"steps": 15, "batch_size": 0, "optimizer": {"name": "adam", "lr": 0.02}},
        **sections,
    )


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_from_neighbours(blocks, tmp_path, model):
    result = umbel.simulate(experiment(blocks, model=model, rounds=4), out=tmp_path / "run")
    assert evaluation(result.records[-1], "federated", "accuracy") > 0.75


def test_a_client_has_its_nodes_and_the_edges_between_them(blocks):
    told = experiment(blocks)
    whole = load_dataset(str(blocks)).train
    shards = [make_shards(told).shard(k).arrays for k in range(3)]
    assert sum(len(shard["y"]) for shard in shards) == 240
    inside = sum(len(shard["edges"]) for shard in shards)
    assert 0.7 * len(whole["edges"]) < inside < len(whole["edges"])
    pairs = {(whole["x"][u].tobytes(), whole["x"][v].tobytes()) for u, v in whole["edges"]}
    for shard in shards:
        for u, v in shard["edges"]:
            ends = shard["x"][u].tobytes(), shard["x"][v].tobytes()
            assert ends in pairs or ends[::-1] in pairs


def test_edges_of_some_nodes():
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    kept, pairs = edges_between(edges, np.array([2, 1, 0]), 4)
    assert (kept.tolist(), pairs.tolist()) == ([1, 0], [[0, 1], [1, 2]])
    assert edges_between(edges, np.array([0, 3]), 4)[1].shape == (0, 2)


def test_what_is_held_out_stays_a_neighbour():
    graph = {"x": np.zeros((3, 1)), "y": np.arange(3), "edges": np.array([[0, 1], [1, 2]])}
    rest, held = parted(graph, [0, 2], [1])
    assert rest["counts"].tolist() == [True, False, True] and len(rest["edges"]) == 2
    assert held["counts"].tolist() == [False, True, False] and len(held["x"]) == 3


def test_a_split_that_comes_with_the_data_is_kept(tmp_path, blocks):
    arrays = dict(np.load(blocks))
    np.savez(tmp_path / "split.npz", **arrays, train=np.arange(0, 60), test=np.arange(120, 170))
    told = experiment(tmp_path / "split.npz", clients=1)
    result = umbel.simulate(told, out=tmp_path / "run")
    [judged] = [r["metrics"]["federated"]["examples"] for r in result.records[-1:]]
    assert judged == 50


def test_written_and_read_back_and_the_same_with_two_workers(blocks, tmp_path):
    told = experiment(blocks)
    shards = make_shards(told)
    write_shards(shards, tmp_path / "shards")
    for k in range(3):
        made, read = shards.shard(k), read_shard(tmp_path / "shards" / f"client-{k}")
        assert made.arrays.keys() == read.arrays.keys()
        assert all(np.array_equal(made.arrays[n], read.arrays[n]) for n in made.arrays)
    one = umbel.simulate(told, out=tmp_path / "one").sha256
    sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}
    assert umbel.simulate(Experiment(**sections), out=tmp_path / "two").sha256 == one


@pytest.mark.parametrize("strategy", ["fedadam", "fedprox", "scaffold", "fedper", "median"])
def test_with_every_kind_of_strategy(blocks, tmp_path, strategy):
    told = experiment(blocks, rounds=2, strategy={"name": strategy})
    if strategy == "scaffold":
        told = told.model_dump(exclude_unset=True)
        told["client"]["optimizer"] = {"name": "sgd", "lr": 0.1}
        told = Experiment(**told)
    result = umbel.simulate(told, out=tmp_path / "run")
    assert [row["status"] for row in result.records[-1]["clients"]] == ["ok"] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"edges": [[0, 1], [5, 240], [300, 2]]}, r"2 of 3 edges lead to a node .*\(5, 240\)"),
        ({"edges": [0, 1]}, r"edges are int64 \(2,\); give pairs of rows"),
        ({"y": np.zeros(7, np.int64)}, "240 rows of features but 7 labels"),
        ({"x": np.full((240, 2), np.nan)}, "node 0, and 239 more, hold no number"),
    ],
)
def test_a_graph_that_is_none_is_refused(blocks, tmp_path, change, said):
    arrays = {**np.load(blocks), **{name: np.array(value) for name, value in change.items()}}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BadInput, match=said):
        load_dataset(str(tmp_path / "bad.npz"))


def test_loops_and_repeated_edges_are_left_out(tmp_path):
    edges = np.array([[0, 1], [1, 0], [2, 2], [0, 1], [1, 2]])
    np.savez(tmp_path / "g.npz", x=np.eye(3, dtype=np.float32), y=np.arange(3), edges=edges)
    assert load_dataset(str(tmp_path / "g.npz")).train["edges"].tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.source=digits"], "louvain divides graphs, and these data are none"),
        (["data.source=digits", "data.partition=iid"], "this one is about nodes, and there is"),
        (["model.name=mlp"], "Classifier looks at no edges; take a model for graphs"),
        (["paradigm.name=supervised"], "supervised takes no graphs, and there is node-class"),
        (["model.layers=0"], "layers = 0"),
    ],
)
def test_what_does_not_fit_a_graph_is_refused(blocks, tmp_path, settings, said):
    path = tmp_path / "exp.toml"
    path.write_text(experiment(blocks).to_toml())
    with pytest.raises(BadInput, match=said):
        umbel.simulate(load(path, settings), out=tmp_path / "run")
