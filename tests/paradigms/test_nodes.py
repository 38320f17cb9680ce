"""Node classification: each client trains on its own subgraph."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

import umbel
from umbel.data import load_dataset, make_shards, server_examples
from umbel.data.rows import edges_between, parted
from umbel.data.storage import read_shard, write_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment, load
from umbel.exporting.run import export
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


def test_three_clients_learn_the_papers_of_cora(tmp_path):
    """2708 papers, of 140 of which the subject is known; a perceptron comes to 51 %."""
    parents = Path(__file__).resolve().parents
    found = [path for p in parents if (path := p / "shared" / "data" / "cora.npz").is_file()]
    if not found:
        pytest.skip("no shared/data/cora.npz beside the repository")
    whole = load_dataset(str(found[0]))
    assert whole.train["x"].shape == (2708, 1433) and len(whole.schema.classes) == 7
    assert np.bincount(whole.train["role"] + 1)[1:].tolist() == [140, 500, 1000]
    told = Experiment(
        experiment={"rounds": 5, "seed": 0},
        data={"source": str(found[0]), "clients": 3, "partition": "louvain"},
        model={"name": "gcn", "hidden": 16},
        paradigm={"name": "nodes", "normalise": "sum"},
        client={"steps": 20, "batch_size": 0, "optimizer": {"name": "adam", "lr": 0.05}},
        evaluation={"every": 5, "central": False},
    )
    [*_, last] = umbel.simulate(told, out=tmp_path / "run").records
    assert last["metrics"]["federated"]["examples"] == 1000
    assert evaluation(last, "federated", "accuracy") > 0.68


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
        ({"y": np.full(240, 1.5)}, "row 1: label 1.5 is not a class"),
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
        (["model.layers=101"], "layers = 101"),
        (
            ["paradigm.neighbours=[3]"],
            r"neighbours: \[3\] is not a number for each of the 2 layers",
        ),
        (["data.partition.slack=-1"], "slack = -1; it must be at least 0"),
        (["data.partition=bootstrap"], "bootstrap draws a node more than once"),
        (
            ["paradigm.name=fedgcn", "strategy.name=fedlc"],
            "which the paradigm fedgcn does not call",
        ),
    ],
)
def test_what_does_not_fit_a_graph_is_refused(blocks, tmp_path, settings, said):
    path = tmp_path / "exp.toml"
    path.write_text(experiment(blocks).to_toml())
    with pytest.raises(BadInput, match=said):
        umbel.simulate(load(path, settings), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("indices", [0, 400_000_000]),
        ("indices", [0, 9]),
        ("indptr", [0, 2]),
        ("shape", 3),
        ("shape", [10**9, 10**9]),
    ],
)
def test_sparse_features_that_make_no_matrix_are_refused(tmp_path, part, value):
    parts = {"data": [1.0, 1.0], "indices": [0, 1], "indptr": [0, 1, 2, 2], "shape": [3, 3]}
    arrays = {f"x_{name}": np.array(held) for name, held in {**parts, part: value}.items()}
    np.savez(tmp_path / "sparse.npz", **arrays, y=np.arange(3), edges=np.array([[0, 1]]))
    with pytest.raises(BadInput, match=r"sparse.npz: x_data and the others make no sparse matrix"):
        load_dataset(str(tmp_path / "sparse.npz"))


@pytest.mark.parametrize("named", [False, True])
def test_labels_of_nodes_may_be_names(tmp_path, named):
    y = np.array([0, 1, 0, -1]) if named else np.array(["cat", "dog", "cat", ""])
    classes = {"classes": np.array(["cat", "dog"])} if named else {}
    np.savez(tmp_path / "g.npz", x=np.eye(4), y=y, edges=np.array([[0, 1]]), **classes)
    data = load_dataset(str(tmp_path / "g.npz"))
    assert data.schema.classes == ("cat", "dog") and data.train["y"].tolist() == [0, 1, 0, -1]


def test_labels_of_which_few_are_kept_are_of_training_nodes(tmp_path, blocks):
    arrays = dict(np.load(blocks))
    path = tmp_path / "split.npz"
    np.savez(path, **arrays, train=np.arange(0, 240, 8), test=np.arange(1, 240, 2))
    shards = make_shards(experiment(path, data={"labels": 20}))
    kept = 0
    for shard in (shards.shard(k).arrays for k in range(3)):
        kept += int((shard["y"][shard["role"] == 0] >= 0).sum())
    assert kept == 20


def test_the_servers_own_nodes_are_test_nodes_in_the_whole_graph(tmp_path, blocks):
    path = tmp_path / "split.npz"
    np.savez(path, **dict(np.load(blocks)), train=np.arange(0, 60), test=np.arange(60, 100))
    told = experiment(path, data={"test": str(path), "server": 30}, strategy="fltrust", rounds=1)
    test, own = server_examples(told, load_dataset(str(path)))
    assert (test.arrays["counts"].sum(), own.arrays["counts"].sum()) == (10, 30)
    assert not (test.arrays["counts"] & own.arrays["counts"]).any() and len(own) == 240
    result = umbel.simulate(told, out=tmp_path / "run")
    assert result.records[0]["metrics"]["central"]["examples"] == 10
    with pytest.raises(BadInput, match="data.server: 40 is not less than the 40 of the test set"):
        server_examples(
            experiment(path, data={"test": str(path), "server": 40}), load_dataset(str(path))
        )


def test_small_graphs_are_divided_by_their_communities(tmp_path):
    import networkx

    edges = np.array(networkx.karate_club_graph().edges)
    np.savez(tmp_path / "club.npz", x=np.eye(34), y=np.arange(34) % 2, edges=edges)
    shards = make_shards(experiment(tmp_path / "club.npz", clients=2))
    assert sum(len(shards.shard(k).arrays["edges"]) for k in range(2)) > 55


@pytest.mark.parametrize("name", ["gcn", "gin"])
def test_the_card_of_a_graph_network_has_code_that_runs(blocks, tmp_path, name):
    umbel.simulate(experiment(blocks, model=name, rounds=1), out=tmp_path / "run")
    with pytest.raises(BadInput, match="networks over graphs are not written as ONNX; add --no-"):
        export(tmp_path / "run", tmp_path / "none", onnx=True)
    export(tmp_path / "run", tmp_path / "out", onnx=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: graph-ml" in card and "edges int64 (2, m)" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    found: dict = {}
    with chdir(tmp_path / "out"):
        exec(code, found)
    assert found["scores"].shape == (2, 2)
