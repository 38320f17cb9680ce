"""Sets of graphs, from what readers find to a checked data set."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from umbel.data.graph_sets import GraphPart, assemble_graphs
from umbel.data.rows import layout_fault, taken
from umbel.data.stacking import Graph
from umbel.errors import BadInput

NONE = np.zeros((0, 2), np.int64)


def graph(nodes: int, edges: object = NONE, *, width: int = 2, edge_x: object = None, name=""):
    known = None if edge_x is None else np.array(edge_x, np.float32)
    return Graph(np.full((nodes, width), nodes, np.float32), np.array(edges), known, name)


def assembled(*graphs: Graph, labels: str = ""):
    names = np.array(list(labels or "a" * len(graphs)))
    return assemble_graphs("some", GraphPart(graphs, names, "here"))


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([[0, 1], [1, 2], [1, 0], [2, 1]], ""),
        ([[0, 1], [1, 2], [1, 0], [2, 1], [2, 2]], "1 loops and 0 repeated edges left out"),
        ([[0, 1], [1, 2], [1, 0]], "0 loops and 1 repeated edges left out"),
        ([[0, 1], [0, 1], [1, 2], [1, 2]], "0 loops and 2 repeated edges left out"),
    ],
    ids=["both ways", "both ways and a loop", "one both ways", "twice"],
)
def test_edges_once_in_each_direction_are_not_told_as_repeated(caplog, edges, said) -> None:
    with caplog.at_level(logging.WARNING, "umbel.data"):
        assert assembled(graph(3, edges)).train["edges"].tolist() == [[0, 1], [1, 2]]
    assert said in caplog.text and bool(said) == bool(caplog.text)


def test_graphs_lie_one_after_another_with_each_edge_once(caplog) -> None:
    edges = [[2, 1], [0, 1], [1, 1], [1, 2], [1, 0], [0, 1]]
    numbers = [[5], [6], [7], [8], [9], [10]]
    with caplog.at_level(logging.WARNING, "umbel.data"):
        found = assembled(
            graph(3, edges, edge_x=numbers),
            graph(1),
            graph(2, [[1, 0]], edge_x=[[3]]),
            labels="bab",
        )
    assert "1 loops and 3 repeated edges left out" in caplog.text
    train = found.train
    assert train["nodes"].tolist() == [3, 1, 2] and train["links"].tolist() == [2, 0, 1]
    assert train["edges"].tolist() == [[0, 1], [1, 2], [0, 1]]
    # Of an edge that is given several times, the first counts.
    assert train["edge_x"].tolist() == [[6], [5], [3]]
    assert train["x"][:, 0].tolist() == [3, 3, 3, 1, 2, 2]
    assert found.schema.classes == ("a", "b") and train["y"].tolist() == [1, 0, 1]
    assert (found.schema.shape, found.schema.edge_width) == ((2,), 1)
    assert layout_fault(train, 3) == "" and layout_fault(taken(train, np.array([2, 0])), 2) == ""


@pytest.mark.parametrize(
    ("graphs", "said"),
    [
        (
            [graph(1), graph(0, name="b"), graph(0), graph(0, name="d"), graph(0)],
            r"here: 4 of 5 graphs have no nodes: b, graph 3, d, \.\.\.",
        ),
        ([graph(1), graph(1, width=3, name="b")], r"graph 1 has 2 numbers for a node.*: b \(3\)"),
        (
            [graph(2, [[0, 1]], edge_x=[[1]]), graph(2, [[0, 1]], name="b")],
            r"graph 1 has 1 numbers for an edge, and 1 of 2 graphs another number: b \(0\)",
        ),
        (
            [graph(2, [[0, 1]]), graph(2, [[0, 2], [1, 0], [-1, 0]], name="b")],
            r"2 of 4 edges lead to a node that is not there: \(0, 2\) of b, \(-1, 0\) of b",
        ),
        ([graph(1), graph(2, [[0, 1, 1]])], "graph 2: edges are int64 .1, 3.; give pairs"),
        (
            [graph(2, [[0, 1]], edge_x=[[1], [2]])],
            "1 edges, and what is known of them is float32 .2, 1.",
        ),
        ([graph(1), Graph(np.array([[1, 2], [1, np.nan]]), NONE, name="b")], "node 1 of b, and 0"),
        ([graph(1), Graph(np.ones(3), NONE)], "graph 2: the nodes' features are float64 .3,.;"),
        ([], "holds no graphs"),
    ],
)
def test_graphs_that_are_none_are_refused(graphs: list[Graph], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        assembled(*graphs)
    assert "\n" not in str(caught.value)


def test_no_edges_in_any_form_are_none() -> None:
    forms = [np.zeros(shape, kind) for shape, kind in (((0, 2), int), ((2, 0), int), (0, float))]
    found = assembled(*(Graph(np.ones((2, 1)), edges) for edges in forms)).train
    assert found["links"].tolist() == [0, 0, 0] and found["edges"].shape == (0, 2)


def test_parts_must_fit_each_other() -> None:
    parts = [GraphPart([graph(1, width=w)], np.array(["a"]), f"part {w}") for w in (2, 3)]
    with pytest.raises(BadInput, match=r"part 3: has shape \(3,\) instead of \(2,\) as part 2"):
        assemble_graphs("some", *parts)
    with pytest.raises(BadInput, match="1 graphs but 2 labels"):
        assembled(graph(1), labels="ab")
