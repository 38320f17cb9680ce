"""What a client that has a part of a graph knows of the rest.

Its shard holds `ids` (n,), what its nodes are called in the whole graph, and `outward` (k, 2),
pairs of a row and the id of a neighbour that another client has. What the clients together told of
the nodes at such edges, where a paradigm has them do so, is `told` (t, C) of `told_ids` (t,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from .shard import Dataset

Arrays: TypeAlias = Mapping[str, np.ndarray]

IDS, OUTWARD = "ids", "outward"
"""What `Shard.arrays` calls the nodes' ids, and the edges that lead out."""

TOLD_IDS, TOLD = "told_ids", "told"
"""What it calls the nodes that the clients told of, and the sums of what they told."""

BEYOND = frozenset({IDS, OUTWARD, TOLD_IDS, TOLD})


def beyond(edges: np.ndarray, rows: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """What a client that has the nodes `rows` of a graph of `count` knows of the others.

    >>> known = beyond(np.array([[0, 1], [1, 2]]), np.array([1, 0]), 3)
    >>> known["ids"].tolist(), known["outward"].tolist()
    ([1, 0], [[0, 2]])
    """
    place = np.full(count, -1, np.int64)
    place[rows] = np.arange(len(rows))
    own = place[edges] >= 0
    crossing = own.any(axis=1) & ~own.all(axis=1)
    ends, own = edges[crossing], own[crossing]
    pairs = np.stack([place[ends[own]], ends[~own]], axis=1).astype(np.int64)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return {IDS: np.asarray(rows, np.int64), OUTWARD: pairs[order]}


def with_boundary(dataset: Dataset, arrays: Arrays, path: Path) -> Dataset:
    """A client's graph with `ids` and `outward`, where the arrays of its file have them.

    Raises BadInput where they do not fit it.
    """
    found = {name: np.asarray(arrays[name]) for name in (IDS, OUTWARD) if name in arrays}
    whole = {n: a.astype(np.int64) if a.dtype.kind in "iu" else a for n, a in found.items()}
    fault = boundary_fault(whole)
    if not fault and found and len(whole[IDS]) != len(dataset.train["y"]):
        fault = f"{len(whole[IDS])} {IDS} for {len(dataset.train['y'])} nodes"
    if fault:
        raise BadInput(f"{path}: {fault}")
    return replace(dataset, train={**dataset.train, **whole})


def boundary_fault(arrays: Arrays) -> str:
    """Why these are no ids and edges outward; empty where they are, or are not there.

    >>> ids, outward = np.array([4, 7]), np.array([[0, 7]])
    >>> boundary_fault({"ids": ids, "outward": outward})
    "outward edges lead to the client's own nodes"
    """
    if (OUTWARD in arrays) != (IDS in arrays):
        return f"{IDS} and {OUTWARD} need each other"
    if OUTWARD not in arrays:
        return ""
    ids, outward = arrays[IDS], arrays[OUTWARD]
    if ids.dtype != np.int64 or ids.ndim != 1 or len(np.unique(ids)) < len(ids):
        return f"{IDS} are not int64, one for each node and each only once"
    if outward.dtype != np.int64 or outward.ndim != 2 or outward.shape[1] != 2:
        return f"{OUTWARD} is {outward.dtype} {outward.shape}, not pairs in int64 (k, 2)"
    if bool((ids < 0).any()) or bool((outward < 0).any()):
        return f"{IDS} and {OUTWARD} hold numbers below 0"
    if bool((outward[:, 0] >= len(ids)).any()):
        return f"{OUTWARD} edges begin at nodes that are not there"
    if bool(np.isin(outward[:, 1], ids).any()):
        return f"{OUTWARD} edges lead to the client's own nodes"
    return f"{OUTWARD} edges repeat" if len(np.unique(outward, axis=0)) < len(outward) else ""
