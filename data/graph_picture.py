"""Drawings of clients' graphs: some of the nodes, and the edges between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .rows import EDGES, NODES, Arrays, taken
from .shard import ShardSource

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

MOST_GRAPHS = 24
"""So many clients' graphs are drawn."""

MOST_NODES = 150
"""So many nodes of each: more are a blot."""

_INCHES = 2.3


def graphs_height(clients: int, width: float) -> float:
    """How high the drawings of so many clients' graphs are, in inches."""
    return _INCHES * ceil(min(clients, MOST_GRAPHS) / _columns(width))


def draw_graphs(
    figure: SubFigure, source: ShardSource, clients: np.ndarray, colours: Sequence[Any]
) -> None:
    """Draw a graph for each of some clients, 24 at most, its nodes by the colours of their classes:
    of one graph the best linked nodes and those around them, of a set of graphs its first.

    Raises BadInput where networkx is missing.
    """
    columns = _columns(figure.get_figure(root=True).get_size_inches()[0])
    drawn = clients[:MOST_GRAPHS]
    axes = figure.subplots(ceil(len(drawn) / columns), columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for index, place in zip(drawn, axes, strict=False):
        arrays = source.shard(int(index)).arrays
        some, codes = shown_part(arrays)
        where = _layout(some, len(codes))
        for one, other in some:
            place.plot(*where[[one, other]].T, color="#b9bec5", linewidth=0.5, zorder=1)
        chosen = [colours[code] for code in codes]
        place.scatter(*where.T, c=chosen, s=9, zorder=2, linewidths=0)
        place.set_title(f"client {index}", fontsize="small", loc="left")


def shown_part(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Edges (m, 2) and label codes (n,) of what is drawn of a client's graph or graphs.

    >>> path = {"y": np.array([0, 1, 1]), "edges": np.array([[0, 1], [1, 2]])}
    >>> edges, codes = shown_part(path)
    >>> edges.tolist(), codes.tolist()
    ([[0, 1], [0, 2]], [1, 0, 1])
    """
    if NODES in arrays:
        first = taken(arrays, np.arange(min(1, len(arrays["y"]))))
        arrays = {"y": np.repeat(first["y"], first[NODES]), EDGES: first[EDGES]}
    chosen = taken(arrays, best_linked(arrays[EDGES], len(arrays["y"])))
    return chosen[EDGES], chosen["y"]


def best_linked(edges: np.ndarray, count: int, most: int = MOST_NODES) -> np.ndarray:
    """Nodes of a graph of so many: the one with the most edges, its neighbours and theirs, and so
    on, and from the best linked of those left, until there are `most`."""
    near: list[list[int]] = [[] for _ in range(count)]
    for one, other in edges.tolist():
        near[one].append(other)
        near[other].append(one)
    order = sorted(range(count), key=lambda node: (-len(near[node]), node))
    found: dict[int, None] = {}
    for start in order:
        waiting = deque([start])
        while waiting and len(found) < most:
            node = waiting.popleft()
            if node not in found:
                found[node] = None
                waiting.extend(near[node])
    return np.array(list(found), np.int64)


def _columns(width: float) -> int:
    return max(1, int(width / _INCHES))


def _layout(edges: np.ndarray, count: int) -> np.ndarray:
    """A place (count, 2) for each node, those that are linked near each other."""
    try:
        import networkx
    except ImportError:
        raise BadInput(
            "partition --plot: drawing graphs needs networkx; install umbel[graph]"
        ) from None
    graph = networkx.empty_graph(count)
    graph.add_edges_from(edges.tolist())
    where = networkx.spring_layout(graph, seed=0)
    return np.array([where[node] for node in range(count)]).reshape(-1, 2)
