"""A graph of the examples that lie near one another, and a network over it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ...data.learnable import LABELLED
from ...data.shard import UNLABELLED, Shard
from ...data.tensors import to_inputs
from ...data.texts import TEXT
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from .nodes import Nodes


class NeighbourGraph:
    """Classes of examples of any shape from their own features and those of the examples that lie
    near them, with a label or without: each is a node, linked to its nearest by Euclidean distance
    and to those it is the nearest of.

    A client's graph holds its training examples. Those held out join it for evaluation alone; a
    server's test set is a graph of its own.

    Paper: Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks,
    arXiv 1609.02907; over a graph of nearest neighbours as the kNN-GCN of Franceschi et al. 2019,
    Learning Discrete Structures for Graph Neural Networks, arXiv 1903.11960.

    Args:
        neighbours: how many nearest an example is linked to, >= 1.
    """

    learns_from = LABELLED

    def __init__(self, build_model: BuildModel, *, neighbours: int = 10) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours: {neighbours} is not at least 1")
        self._nodes, self._neighbours = Nodes(build_model), neighbours

    def build(self, schema: Schema) -> nn.Module:
        if schema.dtype == TEXT:
            raise BadInput("paradigm.name: neighbour-graph is of numbers; the examples are texts")
        width = math.prod(schema.shape)
        nodes = replace(schema, task="node-classification", shape=(width,), dtype="float32")
        return self._nodes.build(nodes)

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def prepare(self, shard: Shard) -> Prepared:
        x = to_inputs(shard.arrays["x"], shard.schema).flatten(1).float()
        y = torch.tensor(shard.arrays["y"], dtype=torch.int64)
        rows = (y != UNLABELLED).nonzero().flatten()
        return {"rows": rows, "y": y[rows], "x": x, "edges": self._edges(x)}

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        return self._nodes.batches(prepared, batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return self._nodes.loss(model, batch, generator)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return self._nodes.evaluate(model, prepared)

    def evaluate_beside(
        self, model: nn.Module, prepared: Prepared, training: Prepared
    ) -> MetricSums:
        """New examples in one graph with the client's own."""
        return self.evaluate(model, self._joined(prepared, training))

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        graph = prepared if training is None else self._joined(prepared, training)
        return self._nodes.predictions(model, graph, training)

    def _joined(self, prepared: Prepared, training: Prepared) -> Prepared:
        """One graph of new examples, which are those that count, and a client's own."""
        x = torch.cat([training["x"], prepared["x"]])
        rows = prepared["rows"] + len(training["x"])
        return {"rows": rows, "y": prepared["y"], "x": x, "edges": self._edges(x)}

    def _edges(self, x: Tensor) -> Tensor:
        """Edges (2, m) between the rows of `x` (n, d), each in both directions."""
        from sklearn.neighbors import NearestNeighbors
        from threadpoolctl import threadpool_limits

        count = min(self._neighbours, len(x) - 1)
        if count < 1:
            return torch.zeros(2, 0, dtype=torch.int64)
        with threadpool_limits(limits=1):
            found = NearestNeighbors(n_neighbors=count).fit(x.numpy())
            near = found.kneighbors(return_distance=False)
        pairs = np.stack([np.repeat(np.arange(len(x)), count), near.ravel()])
        both = np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1)
        return torch.from_numpy(both)
