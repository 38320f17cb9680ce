"""Graphs of other libraries in Python: networkx and PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .assembly import Part, encode, label_names, sorted_classes
from .graph_sets import GraphPart, assemble_graphs
from .graphs import graph_dataset
from .rows import TEST, TRAIN, VALIDATION
from .shard import Dataset
from .stacking import Graph, first_three

if TYPE_CHECKING:
    from networkx import Graph as NetworkxGraph

_MASKS = {"train_mask": TRAIN, "val_mask": VALIDATION, "test_mask": TEST}


def from_networkx(
    graph: NetworkxGraph | Sequence[NetworkxGraph],
    *,
    label: str = "label",
    features: str | Sequence[str],
    edge_features: str | Sequence[str] = (),
    name: str = "networkx",
) -> Dataset:
    """A graph whose nodes are the examples, or of a sequence a set of graphs.

    Args:
        graph: directions are not kept, and of parallel edges the first is.
        label: the attribute of each node, or of each graph of several, that is its label, a
            name, a whole number or a boolean; one without it, or with None, has none.
        features: the attributes of each node that are its features: the name of one that holds a
            number or a vector, or names of numbers.
        edge_features: likewise of each edge.
        name: of the data set.

    Raises BadInput for nodes or edges that lack an attribute or whose attributes are no numbers.

    >>> import networkx
    >>> club = networkx.karate_club_graph()
    >>> networkx.set_node_attributes(club, dict(club.degree()), "degree")
    >>> found = from_networkx(club, label="club", features=["degree"])
    >>> found.schema.classes, found.train["edges"].shape
    (('Mr. Hi', 'Officer'), (78, 2))
    """
    columns = (features,) if isinstance(features, str) else tuple(features)
    of_edges = (edge_features,) if isinstance(edge_features, str) else tuple(edge_features)
    names = () if isinstance(features, str) else columns
    if hasattr(graph, "nodes"):
        told = [data.get(label) for _, data in graph.nodes(data=True)]
        found = _of_networkx(graph, columns, of_edges, name, "the graph")
        return _of_nodes(name, found, _names(told, name), features=names)
    graphs = [
        _of_networkx(one, columns, of_edges, name, f"graph {place + 1}")
        for place, one in enumerate(graph)
    ]
    labels = _names([one.graph.get(label) for one in graph], name)
    return assemble_graphs(name, GraphPart(graphs, labels, name), features=names)


def from_pyg(data: Any, *, name: str = "pyg") -> Dataset:
    """A `torch_geometric.data.Data` as a graph whose nodes are the examples, or a data set or list
    of them as a set of graphs.

    `x` are the features, `edge_index` the edges, each stored once whatever its directions,
    `edge_attr` what is known of each, where it is there, and `y` the labels, a negative number or
    NaN for none; of a graph of nodes `train_mask`, `val_mask` and `test_mask` become roles.

    Raises BadInput where `x`, `edge_index` or `y` is missing or of another shape.

    >>> import torch
    >>> from torch_geometric.data import Data
    >>> there_and_back = torch.tensor([[0, 1], [1, 0]])
    >>> found = from_pyg(Data(x=torch.eye(2), edge_index=there_and_back, y=torch.tensor([1, 0])))
    >>> found.train["edges"].tolist(), found.train["y"].tolist()
    ([[0, 1]], [1, 0])
    """
    from torch_geometric.data import Data, HeteroData

    if isinstance(data, HeteroData):
        raise BadInput(f"{name}: has several kinds of nodes; give a graph of one kind")
    if not isinstance(data, Data):
        listed = [data[place] for place in range(len(data))]
        graphs = [_of_pyg(one, f"{name}: graph {k + 1}") for k, one in enumerate(listed)]
        told = [
            _array(one, "y", f"{name}: graph {k + 1}").reshape(-1) for k, one in enumerate(listed)
        ]
        odd = [f"graph {k + 1} ({len(y)})" for k, y in enumerate(told) if len(y) != 1]
        if odd:
            raise BadInput(
                f"{name}: {len(odd)} of {len(told)} graphs have not one label: {first_three(odd)}"
            )
        labels = label_names(np.concatenate(told), name) if told else np.array([], dtype=str)
        return assemble_graphs(name, GraphPart(graphs, labels, name))
    y = _array(data, "y", name)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise BadInput(f"{name}: y has shape {y.shape}; give one label for each node")
    roles = {
        role: np.flatnonzero(_mask(data, key, name)) for key, role in _MASKS.items() if key in data
    }
    return _of_nodes(name, _of_pyg(data, name), label_names(y, name), roles=roles)


def _of_nodes(
    name: str,
    graph: Graph,
    labels: np.ndarray,
    *,
    roles: Mapping[int, np.ndarray] | None = None,
    features: Sequence[str] = (),
) -> Dataset:
    classes = sorted_classes([Part(graph.x, labels, name)])
    y = encode(labels, classes, name)
    return graph_dataset(name, graph, y, classes=classes, roles=roles, features=features)


def _of_networkx(
    graph: NetworkxGraph,
    features: Sequence[str],
    edge_features: Sequence[str],
    name: str,
    which: str,
) -> Graph:
    row_of: dict[Hashable, int] = {node: row for row, node in enumerate(graph.nodes)}
    x = _vectors(
        [(repr(node), data) for node, data in graph.nodes(data=True)], features, f"{name}: {which}"
    )
    edges = list(graph.edges(data=True))
    pairs = np.array([(row_of[u], row_of[v]) for u, v, _ in edges], np.int64).reshape(-1, 2)
    told = [(f"{u!r} to {v!r}", data) for u, v, data in edges]
    known = _vectors(told, edge_features, f"{name}: {which}") if edge_features else None
    return Graph(x, pairs, known, which)


def _vectors(
    told: Sequence[tuple[str, Mapping[str, Any]]], attributes: Sequence[str], where: str
) -> np.ndarray:
    """The attributes of each node or edge side by side, (n, numbers)."""
    lacking = [what for what, data in told if any(name not in data for name in attributes)]
    if lacking:
        raise BadInput(
            f"{where}: {len(lacking)} of {len(told)} lack one of {', '.join(attributes)}: "
            f"{first_three(lacking)}"
        )
    try:
        rows = [
            np.concatenate(
                [np.atleast_1d(np.asarray(data[name], np.float32)) for name in attributes]
            )
            for _, data in told
        ]
        return np.stack(rows) if rows else np.zeros((0, len(attributes)), np.float32)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{where}: {', '.join(attributes)} are not as many numbers everywhere: {error}"
        ) from None


def _names(labels: Sequence[object], where: str) -> np.ndarray:
    """Label names (n,) of texts, whole numbers, booleans and None."""
    plain = [str(v).lower() if isinstance(v, bool | np.bool_) else v for v in labels]
    codes = [float(v) if isinstance(v, int | float | np.number) else np.nan for v in plain]
    of_numbers = label_names(np.array(codes, np.float64), where).tolist()
    texts = [v if isinstance(v, str) else "" for v in plain]
    return np.array([name or text for name, text in zip(of_numbers, texts, strict=True)], dtype=str)


def _of_pyg(data: Any, where: str) -> Graph:
    x, index = _array(data, "x", where), _array(data, "edge_index", where)
    if index.ndim != 2 or len(index) != 2:
        raise BadInput(f"{where}: edge_index has shape {index.shape}; give (2, edges)")
    known = _array(data, "edge_attr", where) if data.edge_attr is not None else None
    known = known[:, None] if known is not None and known.ndim == 1 else known
    return Graph(x, index.T, known, where.rpartition(": ")[2])


def _mask(data: Any, key: str, where: str) -> np.ndarray:
    mask = _array(data, key, where)
    if mask.ndim != 1 or mask.dtype != np.bool_:
        raise BadInput(
            f"{where}: {key} is {mask.dtype} {mask.shape}; give one split, as bool (nodes,)"
        )
    return mask


def _array(data: Any, key: str, where: str) -> np.ndarray:
    value = getattr(data, key, None)
    if value is None:
        raise BadInput(f"{where}: has no {key}")
    return np.asarray(value.detach().cpu())
