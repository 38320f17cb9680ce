"""Sets of graphs, each of them an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .assembly import encode, sorted_classes
from .graphs import graph_schema, told_arrays
from .shard import Dataset
from .stacking import Graph, stack


@dataclass(frozen=True)
class GraphPart:
    """One part (train or test) of a set of graphs as a reader found it.

    `labels` (g,) holds label names as text, empty where there is no label, or numbers of floats in
    place of classes, NaN where there is none; `groups` (g,) the
    graphs' owners or, of molecules, scaffolds; `where` names the file for errors.
    """

    graphs: Sequence[Graph]
    labels: np.ndarray
    where: str
    groups: np.ndarray | None = None


def assemble_graphs(
    name: str,
    train: GraphPart,
    test: GraphPart | None = None,
    *,
    classes: Sequence[str] | None = None,
    features: Sequence[str] = (),
) -> Dataset:
    """A data set whose classes are `classes`, or the sorted labels found in both parts.

    Loops and repeated edges are left out, and a warning says how many; a pair and its reverse are
    one edge. Graphs without edges and isolated nodes are kept.

    Raises BadInput for graphs without nodes, of different widths, with edges to nodes that are not
    there or values that are not finite, and for a label outside `classes`.

    >>> pair = Graph(np.eye(2), np.array([[0, 1]]))
    >>> dataset = assemble_graphs("two", GraphPart([pair, pair], np.array(["yes", "no"]), "two"))
    >>> dataset.schema.summary(), dataset.train["y"].tolist()
    ('graph-classification of (2,) float32, 2 classes', [1, 0])
    """
    parts = [train] if test is None else [train, test]
    numbers = train.labels.dtype.kind == "f"
    names = () if numbers else tuple(classes) if classes is not None else sorted_classes(parts)
    arrays = [_arrays(part, names) for part in parts]
    schemas = [graph_schema("graph", part, names, features) for part in arrays]
    if test is not None and schemas[1] != schemas[0]:
        raise BadInput(
            f"{test.where}: has {schemas[1].differences(schemas[0])[0]} as {train.where}"
        )
    return Dataset(name, schemas[0], arrays[0], arrays[1] if arrays[1:] else None, train.groups)


def _arrays(part: GraphPart, classes: Sequence[str]) -> dict[str, np.ndarray]:
    if len(part.graphs) != len(part.labels):
        raise BadInput(
            f"{part.where}: {len(part.graphs)} graphs but {len(part.labels)} labels; give one for "
            "each, empty where unknown"
        )
    numbers = part.labels.dtype.kind == "f"
    y = part.labels if numbers else encode(part.labels, classes, part.where)
    return {**told_arrays(y), **stack(part.graphs, part.where)}
