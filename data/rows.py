"""Some of a shard's examples; of graphs, what lies between them.

Most examples are rows of every array. Two kinds are not:

- the nodes of one graph: `edges` (m, 2) are pairs of rows, each pair once, the smaller row first,
  and `edge_x` (m, E), if there, what is known of each;
- whole graphs, one after another in `x` (all nodes, F) and `edges` (all edges, 2), which are pairs
  of rows within their graph: `nodes` (n,) and `links` (n,) count each graph's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from .boundary import BEYOND, IDS, boundary_fault

Arrays: TypeAlias = Mapping[str, np.ndarray]

EDGES, EDGE_X = "edges", "edge_x"
"""What `Shard.arrays` calls edges, and what is known of each."""

NODES, LINKS = "nodes", "links"
"""What it calls the numbers of nodes and of edges, where each example is a graph."""

ROLE = "role"
"""What it calls the nodes' roles (n,), where a data set brings them: see `TRAIN` and `TEST`; any
other number is for neither."""

COUNTS = "counts"
"""What it calls which nodes (n,) training, or evaluation, is about, where others are only
neighbours."""

TARGET = "target"
"""What it calls the numbers (n,) to be told of examples that have no classes, NaN where one is not
known; `y` is -1 for all then."""

TRAIN, VALIDATION, TEST = 0, 1, 2


def is_graph(arrays: Arrays) -> bool:
    """Whether the examples are the nodes of one graph."""
    return EDGES in arrays and NODES not in arrays


def by_example(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays whose first axis counts examples.

    >>> list(by_example({"y": np.zeros(3), "x": np.ones((3, 2)), "edges": np.array([[0, 1]])}))
    ['y', 'x']
    """
    others = {EDGES, EDGE_X, *(BEYOND - {IDS})} | ({"x"} if NODES in arrays else set())
    return {name: array for name, array in arrays.items() if name not in others}


def taken(arrays: Arrays, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The examples in `rows`, in that order; of a graph the edges between them, and nothing beyond.

    >>> graph = {"y": np.array([5, 6, 7]), "edges": np.array([[0, 1], [0, 2]])}
    >>> taken(graph, np.array([2, 0]))["edges"].tolist()
    [[0, 1]]
    """
    rows = np.asarray(rows)
    arrays = {name: array for name, array in arrays.items() if name not in BEYOND}
    chosen = {name: array[rows] for name, array in by_example(arrays).items()}
    if is_graph(arrays):
        kept, pairs = edges_between(arrays[EDGES], rows, len(arrays["y"]))
        chosen[EDGES] = pairs
        chosen |= {name: arrays[name][kept] for name in (EDGE_X,) if name in arrays}
    elif NODES in arrays:
        chosen["x"] = arrays["x"][pieces(arrays[NODES], rows)]
        between = pieces(arrays[LINKS], rows)
        chosen |= {name: arrays[name][between] for name in (EDGES, EDGE_X) if name in arrays}
    return {name: chosen[name] for name in arrays}


def pieces(sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The places of what belongs to `rows`, where pieces of such `sizes` (n,) lie in a row.

    >>> pieces(np.array([2, 3, 1]), np.array([2, 0])).tolist()
    [5, 0, 1]
    """
    chosen = sizes[rows]
    begins = (np.cumsum(sizes) - sizes)[rows]
    shift = begins - (np.cumsum(chosen) - chosen)
    return np.repeat(shift, chosen) + np.arange(int(chosen.sum()))


def edges_between(edges: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which edges (m, 2) have both ends in `rows`, and these as pairs of places there, sorted;
    `count` is the number of nodes in all."""
    place = np.full(count, -1, np.int64)
    place[rows] = np.arange(len(rows))
    moved = place[edges]
    kept = np.flatnonzero((moved >= 0).all(axis=1))
    pairs = np.sort(moved[kept], axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return kept[order], pairs[order]


def not_across(edges: np.ndarray, chosen: np.ndarray, kind: str) -> str:
    """How many edges (m, 2) do not lead from a node that is `chosen` (n,), of the class `kind`, to
    one that is not; empty where all do.

    >>> not_across(np.array([[0, 1], [1, 2]]), np.array([True, False, False]), "film")
    '1 of 2 edges are not between film and another class'
    """
    count = int((chosen[edges].sum(axis=1) != 1).sum())
    if not count:
        return ""
    return f"{count} of {len(edges)} edges are not between {kind} and another class"


def parted(
    arrays: Arrays, rest: list[int], held: list[int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is trained on and what is held out; of a graph all of it both times, and which nodes
    count."""
    if not is_graph(arrays):
        return taken(arrays, np.array(rest, np.int64)), taken(arrays, np.array(held, np.int64))
    parts = []
    for rows in (rest, held):
        counts = np.zeros(len(arrays["y"]), np.bool_)
        counts[rows] = True
        parts.append({**arrays, COUNTS: counts})
    return parts[0], parts[1]


def unjudged(arrays: Arrays) -> dict[str, np.ndarray]:
    """Of a graph that is trained on (see `parted`) what is left without the nodes that are held
    out, or are there to validate or to test by, and without their edges.

    >>> graph = {"y": np.array([5, 6, 7]), "edges": np.array([[0, 1], [1, 2]])}
    >>> left = unjudged({**graph, "counts": np.array([False, True, True])})
    >>> left["y"].tolist(), left["edges"].tolist()
    ([6, 7], [[0, 1]])
    """
    kept = arrays.get(COUNTS, np.ones(len(arrays["y"]), np.bool_))
    if ROLE in arrays:
        kept = kept | ~np.isin(arrays[ROLE], (VALIDATION, TEST))
    return taken(arrays, np.flatnonzero(kept))


def layout_fault(arrays: Arrays, examples: int) -> str:
    """Why the arrays do not hold so many examples; empty where they do.

    >>> layout_fault({"y": np.zeros(2), "x": np.zeros((2, 1)), "edges": np.array([[0, 2]])}, 2)
    'edges lead to nodes that are not there'
    """
    if any(array.shape[:1] != (examples,) for array in by_example(arrays).values()):
        return f"an array does not hold the {examples} examples it should"
    if EDGES not in arrays:
        return ""
    edges = arrays[EDGES]
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        return f"edges are {edges.dtype} {edges.shape}, not pairs of rows (m, 2)"
    if EDGE_X in arrays and len(arrays[EDGE_X]) != len(edges):
        return f"{EDGE_X} tells of {len(arrays[EDGE_X])} edges, and there are {len(edges)}"
    most: int | np.ndarray = examples
    if NODES in arrays:
        sizes = {NODES: len(arrays["x"]), LINKS: len(edges)}
        for name, count in sizes.items():
            found = arrays.get(name)
            if found is None or bool((found < 0).any()) or int(found.sum()) != count:
                return f"{name} do not add up to {count}"
        most = np.repeat(arrays[NODES], arrays[LINKS])[:, None]
    outside = bool(((edges < 0) | (edges >= most)).any())
    return "edges lead to nodes that are not there" if outside else boundary_fault(arrays)
