"""Graphs whose nodes are the examples: from arrays to a checked data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import BadInput
from ..schema import Schema
from .assembly import Part, encode, label_names, sorted_classes
from .rows import EDGE_X, EDGES, LINKS, NODES, ROLE, TARGET, TEST, TRAIN, VALIDATION
from .shard import UNLABELLED, Dataset
from .stacking import Graph, first_three, stack


def graph_dataset(
    name: str,
    graph: Graph,
    y: np.ndarray,
    *,
    classes: Sequence[str],
    roles: Mapping[int, np.ndarray] | None = None,
    groups: np.ndarray | None = None,
    where: str = "",
    features: Sequence[str] = (),
) -> Dataset:
    """A graph whose nodes are the examples, with label codes `y` (n,), -1 for none, or, of floats,
    with numbers in place of classes, NaN for none.

    Edges are undirected: a pair and its reverse are one edge, and so are repeated pairs, of which
    the first is kept; loops are left out, for models add one to each node. `roles` gives rows by
    role, `groups` (n,) the nodes' owners.

    Raises BadInput where an edge leads to a node that is not there, or a row has no features.
    """
    arrays = stack([graph], where or name)
    del arrays[NODES], arrays[LINKS]
    if len(y) != len(arrays["x"]):
        raise BadInput(f"{where or name}: {len(arrays['x'])} nodes but {len(y)} labels")
    arrays = {"x": arrays.pop("x"), **told_arrays(y), **arrays}
    if roles:
        arrays[ROLE] = np.full(len(y), 255, np.uint8)
        for role, rows in roles.items():
            _check_rows(rows, len(y), where or name)
            arrays[ROLE][rows] = role
    return Dataset(name, graph_schema("node", arrays, classes, features), arrays, groups=groups)


def told_arrays(y: np.ndarray) -> dict[str, np.ndarray]:
    """What is to be told of examples (n,), label codes or numbers of floats, as arrays of a data
    set.

    >>> told_arrays(np.array([0.5, np.nan]))
    {'y': array([-1, -1]), 'target': array([0.5, nan], dtype=float32)}
    """
    if y.dtype.kind != "f":
        return {"y": y.astype(np.int64)}
    return {"y": np.full(len(y), UNLABELLED, np.int64), TARGET: y.astype(np.float32)}


def _check_rows(rows: np.ndarray, count: int, where: str) -> None:
    """Refuse rows, or a mask of rows, of which some are not there."""
    if rows.dtype == np.bool_ and rows.shape == (count,):
        return
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise BadInput(f"{where}: rows of a role are {rows.dtype} {rows.shape}; give numbers (k,)")
    outside = rows[(rows < 0) | (rows >= count)]
    if len(outside):
        raise BadInput(
            f"{where}: {len(outside)} rows with a role are not there: "
            f"{first_three(map(str, outside))}; nodes are 0 to {count - 1}"
        )


def graph_schema(
    kind: str, arrays: Mapping[str, np.ndarray], classes: Sequence[str], features: Sequence[str]
) -> Schema:
    """What arrays of graphs look like, of which each "node" or each "graph" is an example."""
    task = f"{kind}-regression" if TARGET in arrays else f"{kind}-classification"
    edge_width = arrays[EDGE_X].shape[1] if EDGE_X in arrays else 0
    shape = (int(arrays["x"].shape[1]),)
    return Schema(task, shape, "float32", tuple(classes), tuple(features), edge_width)


def graph_of_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """A graph from an NPZ file: `edges` (m, 2), `y` (n,), and `x` (n, F) or its parts as a sparse
    matrix by rows (`x_data`, `x_indices`, `x_indptr`, `x_shape`); `edge_x` (m, E) is what is known
    of each edge, `train`, `val` and `test` hold rows, `classes` names by label code, if they are
    there.
    """
    if "x" in arrays:
        x = arrays["x"]
    else:
        parts = [f"x_{part}" for part in ("data", "indices", "indptr", "shape")]
        lacking = [name for name in parts if name not in arrays]
        if lacking:
            raise BadInput(f"{path}: has edges, but neither x nor {', '.join(lacking)}")
        x = _dense(path, *(arrays[name] for name in parts))
    if "y" not in arrays:
        raise BadInput(f"{path}: has no array 'y'; -1 is no label")
    y = arrays["y"]
    if y.ndim != 1 or x.ndim != 2:
        raise BadInput(f"{path}: x is {x.shape} and y {y.shape}; give (n, features) and (n,)")
    if len(x) != len(y):
        raise BadInput(f"{path}: {len(x)} rows of features but {len(y)} labels")
    labels, named = label_names(y, str(path)), arrays.get("classes")
    found = Part(x, labels, str(path))
    classes = sorted_classes([found]) if named is None else tuple(map(str, named.tolist()))
    # Whole numbers beside names of classes are places among these.
    by_place = named is not None and y.dtype.kind not in "US"
    valid = [str(place) for place in range(len(classes))] if by_place else classes
    y = encode(labels, valid, str(path))
    roles = {
        role: arrays[key]
        for role, key in ((TRAIN, "train"), (VALIDATION, "val"), (TEST, "test"))
        if key in arrays
    }
    graph = Graph(x, arrays[EDGES], arrays.get(EDGE_X))
    return graph_dataset(path.stem, graph, y, classes=classes, roles=roles, where=str(path))


def _dense(
    path: Path, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """A sparse matrix by rows as a whole; raises BadInput where the parts make none."""
    from scipy.sparse import csr_matrix

    try:
        matrix = csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()))
        # Its constructor looks at no index, and a wrong one would be written to.
        matrix.check_format(full_check=True)
        whole: np.ndarray = matrix.toarray()
    except (ValueError, TypeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: x_data and the others make no sparse matrix: {reason}") from None
    return whole
