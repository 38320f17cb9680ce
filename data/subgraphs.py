"""As much of a client's graph, or of its graphs, as a picture can show, and where it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ..randomness import numpy_generator
from .rows import EDGES, NODES, Arrays, edges_between, taken

MOST_NODES = 150
"""So many nodes of a client's are shown: more are a blot."""

MOST_GRAPHS = 9
"""Where it has a set of graphs, so many of them."""

_BURNING = 0.7
_FEW = 50


@dataclass(frozen=True)
class Subgraph:
    """Nodes of a client's, and the edges between them.

    Args:
        nodes: (g,), how many there are of each graph: one number for the nodes of one graph.
        edges: (m, 2), pairs of places among all nodes shown, the smaller first, sorted.
        y: (n,), class codes, -1 for none; those of graphs, at each of their nodes.
        examples: how many nodes, or graphs of a set, the client has.
        links: how many edges it has.
    """

    nodes: np.ndarray
    edges: np.ndarray
    y: np.ndarray
    examples: int
    links: int


def sampled(arrays: Arrays, client: str) -> Subgraph:
    """At most 150 nodes of a client's graph, or at most nine whole graphs of its set that have as
    many nodes together; of one with more, some.

    What is drawn depends on the client's name and graph, not on a run's seed: whoever asks again
    is shown the same.

    >>> graph = {"y": np.array([0, 1, 1]), "edges": np.array([[0, 1], [1, 2]])}
    >>> shown = sampled(graph, "client-0")
    >>> shown.nodes.tolist(), shown.edges.tolist(), shown.y.tolist()
    ([3], [[0, 1], [1, 2]], [0, 1, 1])
    """
    generator = numpy_generator(0, purpose="subgraph", client=client)
    examples, links = len(arrays["y"]), len(arrays[EDGES])
    if NODES not in arrays:
        edges, y = _part(arrays[EDGES], arrays["y"], generator)
        return Subgraph(np.array([len(y)], np.int64), edges, y, examples, links)
    room = MOST_NODES
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for place in generator.permutation(examples)[:MOST_GRAPHS]:
        size = int(arrays[NODES][place])
        if parts and size > room:
            continue
        one = taken(arrays, np.array([place]))
        parts.append(_part(one[EDGES], np.repeat(one["y"], size), generator))
        room -= len(parts[-1][1])
    nodes = np.array([len(y) for _, y in parts], np.int64)
    begins = np.cumsum(nodes) - nodes
    moved = [edges + begin for (edges, _), begin in zip(parts, begins, strict=True)]
    edges = np.concatenate([np.zeros((0, 2), np.int64), *moved])
    y = np.concatenate([np.zeros(0, np.int64), *(y for _, y in parts)])
    return Subgraph(nodes, edges, y, examples, links)


def _part(
    edges: np.ndarray, y: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Edges and class codes of a graph's nodes that are shown."""
    rows = burnt(edges, len(y), MOST_NODES, generator)
    return edges_between(edges, rows, len(y))[1].astype(np.int64), y[rows].astype(np.int64)


def burnt(edges: np.ndarray, count: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """The nodes, in ascending order, of a graph of so many that a fire burns until there are
    `most`: from each burning node it goes to some of its neighbours, a geometric number with mean
    7/3; where it dies it goes on at a burnt node with neighbours left, and where there are none at
    any node.

    Paper: Leskovec and Faloutsos 2006, Sampling from Large Graphs, KDD, doi
    10.1145/1150402.1150479, section 4.3, whose fire goes on at any node whenever it dies. Of a
    graph in one piece ours burns one piece, which is what a picture should show.

    >>> path = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]])
    >>> nodes = burnt(path, 6, 3, np.random.default_rng(0))
    >>> len(nodes), bool((np.diff(nodes) == 1).all())
    (3, True)
    """
    if count <= most:
        return np.arange(count)
    ends = np.concatenate([edges, edges[:, ::-1]])
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    begins = np.searchsorted(ends[:, 0], np.arange(count + 1))
    unburnt = np.ones(count, np.bool_)
    fresh = iter(generator.permutation(count).tolist())
    burning: list[int] = []
    smouldering: list[int] = []
    while count - int(unburnt.sum()) < most:
        if burning:
            node = burning.pop(0)
        elif smouldering:
            node = smouldering.pop(int(generator.integers(len(smouldering))))
        else:
            node = next(node for node in fresh if unburnt[node])
            unburnt[node] = False
            burning.append(node)
            continue
        near = ends[begins[node] : begins[node + 1], 1]
        near = generator.permutation(near[unburnt[near]])
        room = most - (count - int(unburnt.sum()))
        caught = near[: min(room, int(generator.geometric(1 - _BURNING)) - 1)]
        unburnt[caught] = False
        burning += caught.tolist()
        if len(caught) < len(near):
            smouldering.append(node)
    return np.flatnonzero(~unburnt)


def laid_out(edges: np.ndarray, count: int) -> np.ndarray:
    """Places (count, 2) in the unit square for so many nodes, by their edges (m, 2): pieces that
    hang together each by springs, side by side, the largest first. Small ones are as Kamada and
    Kawai 1989 draw them (doi 10.1016/0020-0190(89)90102-6), which shows rings but takes long for
    large ones; these are as Fruchterman and Reingold 1991 (doi 10.1002/spe.4380211102).
    """
    import networkx

    graph = networkx.empty_graph(count)
    graph.add_edges_from(edges.tolist())
    pieces = sorted((sorted(piece) for piece in networkx.connected_components(graph)), key=_large)
    places = np.zeros((count, 2))
    for piece, (corner, side) in zip(pieces, _squares(list(map(len, pieces))), strict=True):
        if len(piece) == 1:
            places[piece] = corner + side / 2
            continue
        found = _sprung(graph.subgraph(piece), piece)
        low, wide = found.min(axis=0), max(float(np.ptp(found, axis=0).max()), 1e-9)
        centred = (found - low - np.ptp(found, axis=0) / 2) / wide
        places[piece] = corner + side * (0.5 + 0.8 * centred)
    return places


def _sprung(part: Any, piece: Sequence[int]) -> np.ndarray:
    """Places (k, 2) of the nodes of a networkx graph in one piece, in its order."""
    import networkx
    from threadpoolctl import threadpool_limits

    # What a subgraph's nodes are gone through in is not promised.
    alone = networkx.Graph()
    alone.add_nodes_from(piece)
    alone.add_edges_from(sorted(map(sorted, part.edges)))
    with threadpool_limits(1):
        if len(piece) <= _FEW:
            where = networkx.kamada_kawai_layout(alone)
        else:
            where = networkx.spring_layout(alone, seed=0)
    return np.array([where[node] for node in piece])


def _large(piece: Sequence[int]) -> tuple[int, int]:
    return -len(piece), piece[0]


def _squares(sizes: Sequence[int]) -> list[tuple[np.ndarray, float]]:
    """Corners and sides of squares in the unit square whose areas are as such sizes, which fall:
    on shelves, each as high as its first.

    >>> [(corner.round(2).tolist(), round(side, 2)) for corner, side in _squares([4, 1])]
    [([0.0, 0.0], 0.64), ([0.64, 0.0], 0.32)]
    """
    sides = [sqrt(size) for size in sizes]
    width = max([sqrt(sum(sizes)), *sides[:1]])
    while True:
        corners, x, y, high = [], 0.0, 0.0, 0.0
        for side in sides:
            if x and x + side > width * (1 + 1e-9):
                x, y, high = 0.0, y + high, 0.0
            corners.append(np.array([x, y]))
            x, high = x + side, max(high, side)
        if y + high <= width * (1 + 1e-9):
            break
        width *= 1.05
    return [(corner / width, side / width) for corner, side in zip(corners, sides, strict=True)]
