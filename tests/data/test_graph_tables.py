"""Graphs from a folder of tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_folder import folder

import umbel
from umbel.data import load_dataset, make_shards, read_shard, write_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment

NODES = "id,age,label,role,ward\n007,1,sick,train,1\n7,2.5,,,1\nc,3,well,test,02\nd,4,sick,val,02\n"
EDGES = "source,target,days\nc,007,5\n007,c,6\n7,7,1\nc,d,2\n"
SET_NODES = "graph_id,id,mass\ng2,a,1\ng1,a,2\ng2,b,3\ng1,c,4\n"
SET_EDGES = "graph_id,source,target,length\ng1,c,a,1.5\ng2,a,b,2.5\n"
GRAPHS = "graph_id,label,ward\ng1,yes,x\ng2,no,y\n"


def test_the_nodes_of_one_graph(tmp_path: Path) -> None:
    found = load_dataset(folder(tmp_path / "net", nodes=NODES, edges=EDGES) + "?group=ward")
    assert found.name == "net" and found.schema.task == "node-classification"
    assert found.schema.classes == ("sick", "well") and found.schema.features == ("age",)
    train = found.train
    assert train["x"].tolist() == [[1], [2.5], [3], [4]] and train["y"].tolist() == [0, -1, 1, 0]
    assert train["edges"].tolist() == [[0, 2], [2, 3]] and train["edge_x"].tolist() == [[5], [2]]
    assert train["role"].tolist() == [0, 255, 2, 1] and found.schema.edge_width == 1
    assert found.groups is not None and found.groups.tolist() == ["1", "1", "02", "02"]


def test_a_graph_may_have_no_edges_and_no_roles(tmp_path: Path) -> None:
    path = folder(tmp_path, nodes="id,x,kind\na,1,u\nb,2,v\n")
    found = load_dataset(path, label="kind")
    assert found.train["edges"].shape == (0, 2) and set(found.train) == {"x", "y", "edges"}
    folder(tmp_path, edges="source,target,days\n")
    assert load_dataset(path, label="kind").schema.edge_width == 1


@pytest.mark.parametrize("labels", ["graphs", "nodes"])
def test_a_set_of_graphs(tmp_path: Path, labels: str) -> None:
    """Its labels are in a table of graphs, or the same on all nodes of a graph."""
    if labels == "graphs":
        path = folder(tmp_path, nodes=SET_NODES, edges=SET_EDGES, graphs=GRAPHS)
    else:
        lines = zip(
            SET_NODES.split(), ("label,ward", "no,y", "yes,x", "no,y", "yes,x"), strict=True
        )
        text = "\n".join(f"{line},{more}" for line, more in lines) + "\n"
        path = folder(tmp_path, nodes=text, edges=SET_EDGES)
    found = load_dataset(f"{path}?group=ward")
    # The order is that of graphs.csv; else of the first nodes.
    order = [0, 1] if labels == "graphs" else [1, 0]
    assert found.schema.classes == ("no", "yes") and found.schema.features == ("mass",)
    train = found.train
    assert train["y"].tolist() == [[1, 0][k] for k in order]
    assert found.groups is not None and found.groups.tolist() == ["xy"[k] for k in order]
    assert train["nodes"].tolist() == [2, 2] and train["edges"].tolist() == [[0, 1], [0, 1]]
    assert train["x"].reshape(2, 2)[order].tolist() == [[2, 4], [1, 3]]
    assert train["edge_x"][order].tolist() == [[1.5], [2.5]]


def test_a_clients_own_folder_and_the_shards_of_a_set(tmp_path: Path) -> None:
    path = folder(tmp_path / "site", nodes=NODES, edges=EDGES)
    shard = read_shard(path, classes=["dead", "sick", "well"])
    assert shard.client == "site" and shard.arrays["y"].tolist() == [1, -1, 2, 1]
    source = folder(tmp_path / "set", nodes=SET_NODES, edges=SET_EDGES, graphs=GRAPHS)
    shards = make_shards(Experiment(data={"source": source, "clients": 2}))
    for k, written in enumerate(write_shards(shards, tmp_path / "shards")):
        read, made = read_shard(written).arrays, shards.shard(k).arrays
        assert read.keys() == made.keys() and len(made["y"]) == 1
        assert all(np.array_equal(read[name], made[name]) for name in made)
    np.save(written / "edge_x.npy", np.ones((1, 3), np.float32))
    with pytest.raises(
        BadInput, match=r"edges are known by \(3,\) numbers, but schema.json says 1"
    ):
        read_shard(written)


def test_a_folder_is_trained_on(tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    told = Experiment(
        experiment={"rounds": 1},
        data={"source": folder(tmp_path / "net", nodes=NODES, edges=EDGES), "clients": 1},
        model="gcn",
        paradigm="nodes",
    )
    [row] = umbel.simulate(told, out=tmp_path / "run").records[-1]["clients"]
    assert row["status"] == "ok"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"edges": "source,target\nc,x\n7,d\ny,z\n007,w\n007,v\n"},
            r"edges\.csv: 4 of 5 edges lead to nodes that .*nodes\.csv does not have: "
            r"row 1 \(c to x\), row 3 \(y to z\), row 4 \(007 to w\), \.\.\.",
        ),
        ({"edges": "from,to\nc,d\n"}, r"edges\.csv: has no column 'source'"),
        ({"edges": "source,target\nc,\n"}, r"edges\.csv: 1 rows have no target: row 1"),
        (
            {"nodes": "id,f,g,label\na,1,2,u\nb,,2,u\nc,,2,v\nd,1,,v\n", "edges": ""},
            r"nodes\.csv: row 2, and 2 more: column 'f', or another, is empty; fill it in",
        ),
        (
            {"edges": "source,target,w\nc,d,1\n7,d,\n"},
            r"edges\.csv: row 2: column 'w' is empty; fill it in",
        ),
        ({"edges": "source,target,w\nc,d,far\n"}, r"edges\.csv: row 1: column 'w' holds 'far'"),
        ({"edges": "source,target,w\nc,d,nan\n"}, "edge 0, and 0 more, hold no number"),
        (
            {"nodes": "id,f,label\na,1,u\nb,1,u\na,1,u\nb,2,v\n"},
            r"nodes\.csv: 2 of 4 nodes have the id of an earlier one: 'a' \(row 3\), 'b' \(row 4\)",
        ),
        ({"nodes": "id,label\na,u\n"}, "has no column of features"),
        ({"nodes": "id,f,labels\na,1,u\n"}, "has no column 'label'; did you mean 'labels'"),
        (
            {"nodes": "id,f,label,role\na,1,u,dev\n", "edges": ""},
            r"1 rows have a role .*: row 1 \('dev'\)",
        ),
        ({"nodes": "id,f,label\na,old,u\n"}, r"nodes\.csv: row 1: column 'f' holds 'old'"),
        ({"nodes": "id,f,label\n"}, "holds no nodes"),
        ({"nodes": SET_NODES, "edges": SET_EDGES}, "has no column 'label'"),
        (
            {"nodes": SET_NODES, "graphs": GRAPHS, "edges": "graph_id,source,target\ng1,a,b\n"},
            r"1 of 1 edges .*row 1 \(a to b of g1\)",
        ),
        (
            {"nodes": SET_NODES, "graphs": "graph_id,label\ng2,u\n", "edges": ""},
            "1 graphs are not in",
        ),
        (
            {"nodes": SET_NODES, "graphs": GRAPHS + "g3,no,x\n", "edges": SET_EDGES},
            "1 of 3 graphs have no nodes: g3",
        ),
        (
            {"nodes": SET_NODES, "graphs": GRAPHS + "g1,no,x\n", "edges": SET_EDGES},
            r"graphs\.csv: 1 of 3 rows have the graph_id of an earlier one: 'g1'",
        ),
        (
            {"nodes": "graph_id,id,f,label\ng,a,1,u\ng,b,1,v\n", "edges": ""},
            "1 of 1 graphs have nodes of more than one label: g",
        ),
        (
            {"nodes": "graph_id,id,f,label\ng1,a,1,u\n", "graphs": GRAPHS, "edges": ""},
            "'label' is told by graphs.csv; leave this column out",
        ),
    ],
)
def test_bad_folders(tmp_path: Path, tables: dict[str, str], said: str) -> None:
    path = folder(tmp_path, **{"nodes": NODES, "edges": EDGES, **tables})
    with pytest.raises(BadInput, match=said) as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
