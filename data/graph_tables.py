"""Graphs in tables: a folder with `nodes.csv`, and `edges.csv` and `graphs.csv` if there are any.

nodes.csv    id, the label, role (train, val, test; empty for neither) if wanted, numeric features
edges.csv    source, target, and numeric columns of what is known of each edge
graphs.csv   graph_id and the label, for a set of graphs; then nodes and edges have a graph_id, too
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..registry import nearest
from .assembly import Part, encode, sorted_classes
from .graph_sets import GraphPart, assemble_graphs
from .graphs import graph_dataset
from .rows import TEST, TRAIN, VALIDATION
from .shard import Dataset
from .sources import Source
from .stacking import Graph, first_three
from .tables import (
    DEFAULT_LABEL,
    labels_in,
    numbers,
    open_table,
    refuse_empty,
    targets_in,
    texts_in,
)

if TYPE_CHECKING:
    import pyarrow as pa

NODES_FILE, EDGES_FILE, GRAPHS_FILE = "nodes.csv", "edges.csv", "graphs.csv"
ID, GRAPH_ID, SOURCE, TARGET, ROLE = "id", "graph_id", "source", "target", "role"
OPTIONS = ("group", "numbers")
_ROLES = {"train": TRAIN, "val": VALIDATION, "test": TEST}


@dataclass(frozen=True)
class _Nodes:
    """What `nodes.csv` holds: `names` (n,), features `x` (n, F) with their names, and in a set of
    graphs which one each is in, `graph` (n,)."""

    names: Sequence[str]
    graph: Sequence[str]
    x: np.ndarray
    features: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class _Edges:
    """What `edges.csv` holds: `pairs` (m, 2) of rows of the nodes, and `known` (m, E) of each."""

    pairs: np.ndarray
    known: np.ndarray | None


def is_graph_folder(folder: Path) -> bool:
    return (folder / NODES_FILE).is_file()


def read_graph_folder(folder: Path, source: Source, label: str | None) -> Dataset:
    """The nodes of one graph, or with a column `graph_id` a set of graphs.

    The option `group` names the column of owners, of nodes or graphs; with `numbers=true` the label
    column holds numbers in place of classes. Raises BadInput for ids that
    are missing or not unique, edges to nodes that are not there, and cells that are no numbers.
    """
    group = source.take(OPTIONS).get("group")
    numeric = source.says("numbers")
    label = label or DEFAULT_LABEL
    path = folder / NODES_FILE
    table = open_table(path, _named(ID, GRAPH_ID, ROLE, label, group))
    if table.num_rows == 0:
        raise BadInput(f"{path}: holds no nodes; give a table with at least one row")
    if GRAPH_ID in table.column_names or (folder / GRAPHS_FILE).is_file():
        return _set_of_graphs(folder, table, (label, numeric), group)
    labels = _labels(table, label, path, numeric=numeric)
    groups = None if group is None else np.array(texts_in(_column(table, group, path)))
    roles = _roles(table, path)
    nodes = _nodes(table, path, (ROLE, label, group), graphs=False)
    edges = _edges(folder / EDGES_FILE, nodes)
    classes = () if numeric else sorted_classes([Part(nodes.x, labels, str(path))])
    return graph_dataset(
        folder.resolve().name,
        Graph(nodes.x, edges.pairs, edges.known),
        labels if numeric else encode(labels, classes, str(path)),
        classes=classes,
        roles=roles,
        groups=groups,
        where=str(folder),
        features=nodes.features,
    )


def _set_of_graphs(
    folder: Path, table: pa.Table, told: tuple[str, bool], group: str | None
) -> Dataset:
    """`told` is the label column, and whether it holds numbers."""
    label, numeric = told
    path, about = folder / NODES_FILE, folder / GRAPHS_FILE
    graphs = None
    if about.is_file():
        if label in table.column_names:
            raise BadInput(f"{path}: {label!r} is told by {about.name}; leave this column out")
        graphs = open_table(about, _named(GRAPH_ID, label, group))
    for name in _named(label, group):
        _column(table if graphs is None else graphs, name, path if graphs is None else about)
    nodes = _nodes(table, path, () if graphs is not None else (label, group), graphs=True)
    if graphs is not None:
        names = _identifiers(graphs, GRAPH_ID, about)
        _refuse_repeated([f"{name!r}" for name in names], about, "rows have the graph_id")
        _refuse_absent(nodes.graph, names, path, about)
        labels = _labels(graphs, label, about, numeric=numeric)
        groups = None if group is None else texts_in(_column(graphs, group, about))
    else:
        names = list(dict.fromkeys(nodes.graph))
        _labels(table, label, path, numeric=numeric)  # A fault is told by its row.
        labels = np.array(_constant(table, label, nodes, path))
        labels = targets_in(labels.tolist(), label, str(path)) if numeric else labels
        groups = None if group is None else _constant(table, group, nodes, path)
    found = _parted(names, nodes, _edges(folder / EDGES_FILE, nodes))
    owners = None if groups is None else np.array(groups)
    part = GraphPart(found, labels, str(folder), owners)
    return assemble_graphs(folder.resolve().name, part, features=nodes.features)


def _nodes(table: pa.Table, path: Path, others: Iterable[str | None], *, graphs: bool) -> _Nodes:
    names = _identifiers(table, ID, path)
    graph = _identifiers(table, GRAPH_ID, path) if graphs else [""] * len(names)
    keys = [f"{name!r}{f' of {g}' if graphs else ''}" for name, g in zip(names, graph, strict=True)]
    _refuse_repeated(keys, path, "nodes have the id")
    features = _rest(table, {ID, GRAPH_ID, *others} if graphs else {ID, *others})
    if not features:
        raise BadInput(f"{path}: has no column of features; add one, if only of ones")
    refuse_empty(table, features, str(path))
    x = np.stack([numbers(table[name], name, str(path)) for name in features], axis=1)
    return _Nodes(names, graph, x, features, str(path))


def _edges(path: Path, nodes: _Nodes) -> _Edges:
    """The edges as pairs of rows of the nodes; none where there is no file."""
    if not path.is_file():
        return _Edges(np.zeros((0, 2), np.int64), None)
    graphs = any(nodes.graph)
    named = (SOURCE, TARGET, GRAPH_ID) if graphs else (SOURCE, TARGET)
    table = open_table(path, named)
    ends = [_identifiers(table, name, path) for name in (SOURCE, TARGET)]
    graph = _identifiers(table, GRAPH_ID, path) if graphs else [""] * table.num_rows
    row_of = {key: row for row, key in enumerate(zip(nodes.graph, nodes.names, strict=True))}
    rows = [[row_of.get(key, -1) for key in zip(graph, side, strict=True)] for side in ends]
    pairs = np.array(rows, np.int64).T.reshape(-1, 2)
    lost = np.flatnonzero((pairs < 0).any(axis=1))
    if len(lost):
        tail = [f" of {name}" if graphs else "" for name in graph]
        shown = first_three(
            f"row {row + 1} ({ends[0][row]} to {ends[1][row]}{tail[row]})" for row in lost
        )
        raise BadInput(
            f"{path}: {len(lost)} of {len(pairs)} edges lead to nodes that {nodes.where} does not "
            f"have: {shown}"
        )
    known = _rest(table, {*named})
    if not known or not len(pairs):
        return _Edges(pairs, np.zeros((0, len(known)), np.float32) if known else None)
    refuse_empty(table, known, str(path))
    columns = [numbers(table[name], name, str(path)) for name in known]
    return _Edges(pairs, np.stack(columns, axis=1))


def _parted(names: Sequence[str], nodes: _Nodes, edges: _Edges) -> list[Graph]:
    """Each graph with its nodes and edges, in the order of `names`."""
    place = {name: position for position, name in enumerate(names)}
    graph = np.array([place[name] for name in nodes.graph], np.int64)
    counts = np.bincount(graph, minlength=len(names))
    order = np.argsort(graph, kind="stable")
    row = np.empty(len(graph), np.int64)
    row[order] = np.arange(len(graph)) - np.repeat(np.cumsum(counts) - counts, counts)
    of = graph[edges.pairs[:, 0]]
    by_graph = np.argsort(of, kind="stable")
    ends = np.cumsum(np.bincount(of, minlength=len(names)))[:-1]
    x = np.split(nodes.x[order], np.cumsum(counts)[:-1])
    pairs = np.split(row[edges.pairs][by_graph], ends)
    known = None if edges.known is None else np.split(edges.known[by_graph], ends)
    return [
        Graph(x[k], pairs[k], None if known is None else known[k], name)
        for k, name in enumerate(names)
    ]


def _labels(table: pa.Table, label: str, path: Path, *, numeric: bool) -> np.ndarray:
    """The label column (n,): names, or numbers in place of them."""
    column = _column(table, label, path)
    if numeric:
        return targets_in(texts_in(column), label, str(path))
    return labels_in(column, str(path))


def _roles(table: pa.Table, path: Path) -> dict[int, np.ndarray] | None:
    if ROLE not in table.column_names:
        return None
    found = texts_in(table[ROLE])
    odd = [
        f"row {row + 1} ({name!r})" for row, name in enumerate(found) if name not in {"", *_ROLES}
    ]
    if odd:
        raise BadInput(
            f"{path}: {len(odd)} rows have a role that is none of {', '.join(_ROLES)}: "
            f"{first_three(odd)}"
        )
    names = np.array(found)
    return {role: np.flatnonzero(names == name) for name, role in _ROLES.items()}


def _constant(table: pa.Table, column: str, nodes: _Nodes, path: Path) -> list[str]:
    """What a column says of each graph, by their first nodes; refused where nodes disagree."""
    cells = labels_in(_column(table, column, path), str(path)).tolist()
    found: dict[str, str] = {}
    odd: dict[str, None] = {}
    for name, cell in zip(nodes.graph, cells, strict=True):
        if found.setdefault(name, cell) != cell:
            odd[name] = None
    if odd:
        raise BadInput(
            f"{path}: {len(odd)} of {len(found)} graphs have nodes of more than one {column}: "
            f"{first_three(odd)}; give each graph's in {GRAPHS_FILE}"
        )
    return list(found.values())


def _identifiers(table: pa.Table, column: str, path: Path) -> list[str]:
    names = texts_in(_column(table, column, path))
    empty = [str(row + 1) for row, name in enumerate(names) if not name]
    if empty:
        raise BadInput(f"{path}: {len(empty)} rows have no {column}: row {first_three(empty)}")
    return names


def _column(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise BadInput(f"{path}: has no column {name!r}{nearest(name, table.column_names)}")
    return table[name]


def _refuse_repeated(keys: Sequence[str], path: Path, what: str) -> None:
    rows = {key: row for row, key in reversed(list(enumerate(keys)))}
    repeated = [f"{key} (row {row + 1})" for row, key in enumerate(keys) if rows[key] != row]
    if repeated:
        raise BadInput(
            f"{path}: {len(repeated)} of {len(keys)} {what} of an earlier one: "
            f"{first_three(repeated)}"
        )


def _refuse_absent(found: Sequence[str], names: Sequence[str], path: Path, about: Path) -> None:
    known = set(names)
    absent = list(dict.fromkeys(name for name in found if name not in known))
    if absent:
        raise BadInput(
            f"{path}: {len(absent)} graphs are not in {about.name}: {first_three(absent)}"
        )


def _rest(table: pa.Table, named: set[str | None]) -> tuple[str, ...]:
    return tuple(name for name in table.column_names if name not in named)


def _named(*columns: str | None) -> list[str]:
    return [name for name in columns if name is not None]
