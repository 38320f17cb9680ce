"""Graphs as readers find them, checked and laid one after another, each edge once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .rows import EDGE_X, EDGES, LINKS, NODES

log = logging.getLogger("umbel.data")


@dataclass(frozen=True)
class Graph:
    """A graph as a reader found it.

    `x` (n, F) are its nodes' features; `edges` (m, 2) pairs of rows, in any order and direction;
    `edge_x` (m, E) what is known of each edge; `name` is for errors.
    """

    x: np.ndarray
    edges: np.ndarray
    edge_x: np.ndarray | None = None
    name: str = ""


def stack(graphs: Sequence[Graph], where: str) -> dict[str, np.ndarray]:
    """Graphs one after another: `nodes`, `links`, `x`, `edges` and, if there, `edge_x`, as in
    `rows`; each edge once, the smaller row first, sorted.

    Raises BadInput for graphs without nodes or of different widths, edges to nodes that are not
    there, and values that are not finite.

    >>> pair = Graph(np.eye(2), np.array([[1, 0], [0, 1]]))
    >>> found = stack([pair, Graph(np.ones((1, 2)), np.zeros((0, 2)))], "two")
    >>> found["nodes"].tolist(), found["edges"].tolist(), found["links"].tolist()
    ([2, 1], [[0, 1]], [1, 0])
    """
    if not graphs:
        raise BadInput(f"{where}: holds no graphs; give at least one")
    names = [graph.name or f"graph {place + 1}" for place, graph in enumerate(graphs)]
    _check_shapes(graphs, names, where)
    nodes = np.array([len(graph.x) for graph in graphs], np.int64)
    if not nodes.all():
        bare = [names[place] for place in np.flatnonzero(nodes == 0)]
        what = "holds no nodes" if len(graphs) == 1 else _some(bare, graphs, "graphs have no nodes")
        raise BadInput(f"{where}: {what}")
    _check_all_widths(graphs, names, where)
    found = [graph.edges.reshape(-1, 2).astype(np.int64) for graph in graphs]
    edges = np.concatenate(found)
    owner = np.repeat(np.arange(len(graphs)), [len(pairs) for pairs in found])
    _check_ends(edges, owner, nodes, names, where)
    kept, pairs = _once(edges, owner, where)
    arrays = {
        NODES: nodes,
        LINKS: np.bincount(owner[kept], minlength=len(graphs)).astype(np.int64),
        "x": _finite([graph.x for graph in graphs], names, where, "nodes"),
        EDGES: pairs,
    }
    known = [graph.edge_x for graph in graphs if graph.edge_x is not None]
    if known:
        told = _finite(_edge_rows(graphs, known[0].shape[1]), names, where, "edges")
        arrays[EDGE_X] = told[kept]
    return arrays


def _edge_rows(graphs: Sequence[Graph], width: int) -> list[np.ndarray]:
    bare = np.zeros((0, width), np.float32)
    return [bare if graph.edge_x is None else graph.edge_x for graph in graphs]


def _check_shapes(graphs: Sequence[Graph], names: Sequence[str], where: str) -> None:
    """Refuse features or edges that are no matrices of numbers."""
    for graph, name in zip(graphs, names, strict=True):
        at = where if len(graphs) == 1 else f"{where}: {name}"
        bare = graph.x.size == 0 and graph.x.ndim and len(graph.x) == 0
        if not bare and (
            graph.x.ndim != 2 or graph.x.dtype.kind not in "fiub" or graph.x.shape[1] == 0
        ):
            raise BadInput(
                f"{at}: the nodes' features are {graph.x.dtype} {graph.x.shape}; give "
                "numbers (nodes, features)"
            )
        if graph.edges.size and (
            graph.edges.ndim != 2 or graph.edges.shape[1] != 2 or graph.edges.dtype.kind not in "iu"
        ):
            raise BadInput(
                f"{at}: edges are {graph.edges.dtype} {graph.edges.shape}; give pairs "
                "of rows (m, 2)"
            )
        told = graph.edge_x
        count = graph.edges.size // 2
        if told is not None and (
            told.ndim != 2 or len(told) != count or told.dtype.kind not in "fiub"
        ):
            raise BadInput(
                f"{at}: {count} edges, and what is known of them is "
                f"{told.dtype} {told.shape}; give numbers (edges, numbers)"
            )


def _check_all_widths(graphs: Sequence[Graph], names: Sequence[str], where: str) -> None:
    """Refuse features of nodes or edges that are not as many as the others'."""
    _check_widths([graph.x.shape[1] for graph in graphs], names, where, "a node")
    of_edges = [
        (0 if graph.edge_x is None else graph.edge_x.shape[1], name)
        for graph, name in zip(graphs, names, strict=True)
        if graph.edges.size or graph.edge_x is not None
    ]
    _check_widths([w for w, _ in of_edges], [n for _, n in of_edges], where, "an edge")


def _check_widths(widths: Sequence[int], names: Sequence[str], where: str, what: str) -> None:
    odd = [f"{name} ({w})" for name, w in zip(names, widths, strict=True) if w != widths[0]]
    if odd:
        raise BadInput(
            f"{where}: {names[0]} has {widths[0]} numbers for {what}, and "
            f"{_some(odd, widths, 'graphs another number')}"
        )


def _check_ends(
    edges: np.ndarray, owner: np.ndarray, nodes: np.ndarray, names: Sequence[str], where: str
) -> None:
    outside = np.flatnonzero(((edges < 0) | (edges >= nodes[owner][:, None])).any(axis=1))
    if len(outside):
        many = len(nodes) > 1
        shown = [
            f"{tuple(edges[row].tolist())}{f' of {names[owner[row]]}' if many else ''}"
            for row in outside[:3]
        ]
        valid = "" if many else f"; nodes are 0 to {nodes[0] - 1}"
        raise BadInput(
            f"{where}: {len(outside)} of {len(edges)} edges lead to a node that is not there: "
            f"{', '.join(shown)}{valid}"
        )


def _once(edges: np.ndarray, owner: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Which edges to keep, and these as sorted pairs, the graphs' one after another."""
    pairs = np.sort(edges, axis=1)
    rows = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    # A stable sort: of repeated edges the first of the file comes first.
    order = rows[np.lexsort((pairs[rows, 1], pairs[rows, 0], owner[rows]))]
    keys = np.column_stack([owner[order], pairs[order]])
    new = np.ones(len(order), np.bool_)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    kept = order[new]
    loops, repeated = len(edges) - len(rows), len(rows) - len(kept)
    if repeated and _both_ways(edges[order], new):
        repeated = 0
    if loops or repeated:
        log.warning("%s: %d loops and %d repeated edges left out", where, loops, repeated)
    return kept, pairs[kept]


def _both_ways(edges: np.ndarray, new: np.ndarray) -> bool:
    """Whether every edge (m, 2), those alike in a row, of which the first are `new` (m,), is told
    once in each direction: that is a way to say that it has none.

    >>> new = np.array([True, False])
    >>> [_both_ways(np.array([[0, 1], other]), new) for other in ([1, 0], [0, 1])]
    [True, False]
    """
    forth = edges[:, 0] < edges[:, 1]
    twice = len(new) % 2 == 0 and bool(new[::2].all()) and not new[1::2].any()
    return twice and bool((forth[::2] != forth[1::2]).all())


def _finite(parts: Sequence[np.ndarray], names: Sequence[str], where: str, what: str) -> np.ndarray:
    whole = np.concatenate([np.ascontiguousarray(part, np.float32) for part in parts])
    bad = np.flatnonzero(~np.isfinite(whole).all(axis=1))
    if len(bad):
        ends = np.cumsum([len(part) for part in parts])
        graph = int(np.searchsorted(ends, bad[0], side="right"))
        row = int(bad[0]) - int(ends[graph]) + len(parts[graph])
        owner = f" of {names[graph]}" if len(parts) > 1 else ""
        raise BadInput(
            f"{where}: {what[:-1]} {row}{owner}, and {len(bad) - 1} more, hold no number; fill in "
            "what is missing or not finite, or leave it out"
        )
    return whole


def _some(named: Sequence[str], of: Sequence[object], what: str) -> str:
    return f"{len(named)} of {len(of)} {what}: {first_three(named)}"


def first_three(named: Iterable[str]) -> str:
    """The first three of many faults, for a message of one line."""
    listed = list(named)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
