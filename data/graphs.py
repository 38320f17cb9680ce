"""Graphs whose nodes are the examples: from arrays and tables to a checked data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import BadInput
from ..schema import Schema
from .rows import EDGES, ROLE, TEST, TRAIN, VALIDATION
from .shard import Dataset

TASK = "node-classification"

log = logging.getLogger("umbel.data")


def graph_dataset(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    edges: np.ndarray,
    *,
    classes: Sequence[str],
    roles: Mapping[int, np.ndarray] | None = None,
    where: str = "",
    features: Sequence[str] = (),
) -> Dataset:
    """A graph of nodes with features `x` (n, F) and label codes `y` (n,), -1 for none.

    `edges` (m, 2) are undirected: a pair and its reverse are one edge, and so are repeated pairs;
    loops are left out, for models add one to each node. `roles` gives rows by role.

    Raises BadInput where an edge leads to a node that is not there, or a row has no features.
    """
    where = where or name
    if len(x) == 0:
        raise BadInput(f"{where}: holds no nodes")
    outside = np.flatnonzero(((edges < 0) | (edges >= len(x))).any(axis=1))
    if len(outside):
        shown = ", ".join(str(tuple(edges[row].tolist())) for row in outside[:3])
        raise BadInput(
            f"{where}: {len(outside)} of {len(edges)} edges lead to a node that is not there: "
            f"{shown}; nodes are 0 to {len(x) - 1}"
        )
    pairs = np.sort(edges.astype(np.int64), axis=1)
    loops = pairs[:, 0] == pairs[:, 1]
    kept = np.unique(pairs[~loops], axis=0)
    if len(kept) < len(edges):
        repeated = len(edges) - int(loops.sum()) - len(kept)
        log.info("%s: %d loops and %d repeated edges left out", where, loops.sum(), repeated)
    arrays: dict[str, np.ndarray] = {
        "x": np.ascontiguousarray(x, np.float32),
        "y": y.astype(np.int64),
        EDGES: kept,
    }
    if roles:
        arrays[ROLE] = np.full(len(x), 255, np.uint8)
        for role, rows in roles.items():
            arrays[ROLE][rows] = role
    schema = Schema(TASK, (x.shape[1],), "float32", tuple(classes), tuple(features))
    return Dataset(name, schema, arrays)


def graph_of_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """A graph from an NPZ file: `edges` (m, 2), `y` (n,), and `x` (n, F) or its parts as a sparse
    matrix by rows (`x_data`, `x_indices`, `x_indptr`, `x_shape`); `train`, `val` and `test` hold
    rows, `classes` names by label code, if they are there.
    """
    if "x" in arrays:
        x = arrays["x"]
    else:
        parts = [f"x_{part}" for part in ("data", "indices", "indptr", "shape")]
        lacking = [name for name in parts if name not in arrays]
        if lacking:
            raise BadInput(f"{path}: has edges, but neither x nor {', '.join(lacking)}")
        from scipy.sparse import csr_matrix

        data, indices, indptr, shape = (arrays[name] for name in parts)
        x = csr_matrix((data, indices, indptr), shape=tuple(shape)).toarray()
    if "y" not in arrays:
        raise BadInput(f"{path}: has no array 'y'; -1 is no label")
    edges = arrays[EDGES]
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise BadInput(f"{path}: edges are {edges.dtype} {edges.shape}; give pairs of rows (m, 2)")
    y = arrays["y"]
    if len(x) != len(y):
        raise BadInput(f"{path}: {len(x)} rows of features but {len(y)} labels")
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        raise BadInput(f"{path}: node {bad[0]}, and {len(bad) - 1} more, hold no number")
    count = int(y.max()) + 1 if len(y) else 0
    named = arrays.get("classes")
    classes = [str(n) for n in named] if named is not None else [str(n) for n in range(count)]
    roles = {
        role: arrays[key]
        for role, key in ((TRAIN, "train"), (VALIDATION, "val"), (TEST, "test"))
        if key in arrays
    }
    return graph_dataset(path.stem, x, y, edges, classes=classes, roles=roles, where=str(path))
