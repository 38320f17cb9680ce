"""Graphs of networkx and PyTorch Geometric in Python, and the folder in which the latter keeps
Planetoid's."""

from __future__ import annotations

import pickle
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from umbel.data import from_networkx, from_pyg, load_dataset, make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment, check

networkx = pytest.importorskip("networkx", reason="the extra `graph` is not installed")
pyg = pytest.importorskip("torch_geometric.data", reason="the extra `graph` is not installed")


def net(kind: Any = None, **about: object) -> Any:
    graph = (kind or networkx.Graph)(**about)
    graph.add_node("u", age=3, place=(1.0, 2.0), ill=True)
    graph.add_node("v", age=4, place=(3.0, 4.0), ill=False)
    graph.add_node("w", age=5, place=(5.0, 6.0))
    graph.add_edges_from([("v", "u", {"days": 2}), ("w", "w", {"days": 9})])
    return graph


@pytest.mark.parametrize("kind", [networkx.Graph, networkx.DiGraph, networkx.MultiDiGraph])
def test_the_nodes_of_a_networkx_graph(kind: Any) -> None:
    graph = net(kind)
    graph.add_edge("u", "v", days=2)
    found = from_networkx(graph, label="ill", features=["age"], edge_features="days", name="ward")
    assert found.name == "ward" and found.schema.features == ("age",)
    assert found.train["x"].tolist() == [[3], [4], [5]]
    assert found.train["edges"].tolist() == [[0, 1]] and found.train["edge_x"].tolist() == [[2]]
    assert found.schema.task == "node-classification"
    assert [("", *found.schema.classes)[y + 1].lower() for y in found.train["y"]] == [
        "true",
        "false",
        "",
    ]
    vectors = from_networkx(graph, label="ill", features="place")
    assert vectors.train["x"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_set_of_networkx_graphs() -> None:
    single = networkx.Graph(label=10)
    single.add_node(0, age=1)
    found = from_networkx([net(label=9), single, net()], features=["age"])
    assert found.schema.task == "graph-classification" and found.schema.classes == ("9", "10")
    assert found.train["y"].tolist() == [0, 1, -1] and found.train["nodes"].tolist() == [3, 1, 3]


def test_networkx_graphs_that_lack_something() -> None:
    graph = net()
    graph.add_node("x", age="old")
    with pytest.raises(BadInput, match="1 of 4 lack one of place: 'x'"):
        from_networkx(graph, label="ill", features="place")
    with pytest.raises(BadInput, match="age are not as many numbers everywhere"):
        from_networkx(graph, label="ill", features=["age"])


def data(**more: Any) -> Any:
    index = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 3]])
    fields = {"x": torch.eye(4), "edge_index": index, "y": torch.tensor([0, 1, -1, 1])}
    return pyg.Data(**fields | more)


def test_the_nodes_of_a_pyg_graph() -> None:
    masks = {
        "train_mask": torch.tensor([True, False, False, False]),
        "test_mask": torch.tensor([False, False, False, True]),
    }
    known = torch.tensor([5.0, 5, 7, 7, 1])
    train = from_pyg(data(edge_attr=known, **masks)).train
    assert train["edges"].tolist() == [[0, 1], [1, 2]] and train["edge_x"].tolist() == [[5], [7]]
    assert train["role"].tolist() == [0, 255, 255, 2] and train["y"].tolist() == [0, 1, -1, 1]


def test_a_set_of_pyg_graphs() -> None:
    graphs = [data(y=torch.tensor([label])) for label in (3.0, float("nan"), 0.0)]
    found = from_pyg(graphs)
    assert found.schema.task == "graph-classification" and found.schema.classes == ("0", "3")
    assert found.train["y"].tolist() == [1, -1, 0] and found.train["links"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (data(x=None), "pyg: has no x"),
        (data(y=torch.ones(4, 3)), r"y has shape \(4, 3\)"),
        (data(train_mask=torch.ones(4, 10, dtype=torch.bool)), r"train_mask is bool \(4, 10\)"),
        (data(edge_index=torch.tensor([[0], [9]])), r"1 of 1 edges .*\(0, 9\)"),
        ([data(y=torch.tensor([1])), data()], r"1 of 2 graphs have not one label: graph 2 \(4\)"),
        (pyg.HeteroData(), "several kinds of nodes"),
        (data(y=torch.rand(4) + 0.1), "is not a class"),
    ],
)
def test_pyg_graphs_that_lack_something(given: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        from_pyg(given)


@pytest.fixture
def citations(tmp_path: Path) -> Path:
    """A ring of 530 papers in the files in which Planetoid is published: 4 to learn from, 500 to
    validate, the last 6 to test."""
    return published(tmp_path / "sets", "Cora", list(range(524, 530)))


def published(folder: Path, name: str, tests: list[int]) -> Path:
    """Such files of 530 papers of two classes, of which those from 524 that are not among `tests`
    were published as links alone."""
    from scipy.sparse import csr_matrix

    count, seen = 530, 524
    x, y = np.eye(count, 8)[:, ::-1] + np.eye(1, 8), np.eye(2)[1 - np.arange(count) % 2]
    links = defaultdict(list, {k: [(k + 1) % count, (k - 1) % count] for k in range(count)})
    parts = {
        "x": csr_matrix(x[:4]), "tx": csr_matrix(x[tests]), "allx": csr_matrix(x[:seen]),
        "y": y[:4], "ty": y[tests], "ally": y[:seen], "graph": links,
    }  # fmt: skip
    raw, prefix = folder / name / "raw", f"ind.{name.lower()}"
    raw.mkdir(parents=True)
    for part, held in parts.items():
        (raw / f"{prefix}.{part}").write_bytes(pickle.dumps(held))
    (raw / f"{prefix}.test.index").write_text("".join(f"{k}\n" for k in tests))
    return folder


def test_planetoid_from_a_folder(citations: Path) -> None:
    found = load_dataset(f"planetoid:Cora?root={citations}")
    train = found.train
    assert found.name == "Cora" and found.schema.classes == ("0", "1")
    assert len(train["edges"]) == 530 and train["edges"][:3].tolist() == [[0, 1], [0, 529], [1, 2]]
    assert np.bincount(train["role"])[:3].tolist() == [4, 500, 6]
    assert train["role"][-6:].tolist() == [2] * 6 and train["x"][0].tolist() == [1, *[0] * 6, 1]


def test_the_documentation_makes_an_npz_file_of_it(
    citations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text("utf-8")
    [lines] = [
        block for block in re.findall(r"```python\n(.+?)```", text, re.S) if "savez" in block
    ]
    source = f"planetoid:Cora?root={citations}"
    assert "planetoid:Cora?download=true" in lines
    monkeypatch.chdir(tmp_path)
    exec(lines.replace("planetoid:Cora?download=true", source), {})
    with np.load("cora.npz", allow_pickle=False) as made:
        assert sorted(made) == ["edges", "test", "train", "val", "x", "y"]
    made, published = load_dataset("cora.npz"), load_dataset(source)
    assert made.schema == published.schema and set(made.train) == set(published.train)
    for name, array in published.train.items():
        assert np.array_equal(made.train[name], array), name


def test_the_first_example_of_the_documentation_is_one(citations: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text("utf-8")
    first = tomllib.loads(re.findall(r"```toml\n(.+?)```", text, re.S)[0])
    kind, name = first["data"]["source"].partition("?")[0].split(":")
    assert (kind, name) == ("planetoid", "Cora")
    check(Experiment(**first))
    first["data"]["source"] = f"planetoid:Cora?root={citations}"
    assert len(make_shards(Experiment(**first))) == 5


def test_planetoid_papers_that_were_published_without_a_label_have_none(tmp_path: Path) -> None:
    folder = published(tmp_path, "CiteSeer", [529, 524, 525, 527])
    train = load_dataset(f"planetoid:CiteSeer?root={folder}").train
    assert np.flatnonzero(train["y"] < 0).tolist() == [526, 528]
    assert train["y"][524:526].tolist() == [1, 0] and train["y"][[527, 529]].tolist() == [0, 0]
    assert not train["x"][[526, 528]].any() and train["role"][[526, 528]].tolist() == [255, 255]


def test_planetoid_that_is_not_there(citations: Path) -> None:
    with pytest.raises(BadInput, match="no such graph; did you mean 'Cora'"):
        load_dataset("planetoid:cora")
    with pytest.raises(BadInput, match="has no ind.pubmed.x; set root=, or download=true"):
        load_dataset(f"planetoid:PubMed?root={citations}")
    (citations / "Cora/raw/ind.cora.graph").write_bytes(b"no")
    with pytest.raises(BadInput, match="cannot be loaded from"):
        load_dataset(f"planetoid:Cora?root={citations}")
