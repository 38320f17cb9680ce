"""What the nodes of a client's graph are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ...data.learnable import LABELLED
from ...data.rows import COUNTS, EDGE_X, EDGES, unjudged
from ...data.shard import Shard
from ...errors import BadInput
from ...models.graph_networks import NodeNetwork
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from ..batches import shuffled
from .directions import both_ways
from .sampling import WEIGHTS, Adjacency, sampled
from .targets import Classes, Targets, build_network, targets_of


class Nodes:
    """Classes, or numbers, of the labelled nodes of a graph, whose messages come from all of its
    nodes.

    A prepared shard has `rows` (k,), the nodes that count, and their targets `y` (k,); `x` (n, F),
    `edges` (2, 2m), each edge in both directions, and `edge_x` (2m, E) if there. A batch has some
    of the rows and the graph, or what was sampled of it around them.

    Paper: Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks,
    arXiv 1609.02907, equation 10; each client its own subgraph, as Zhang et al. 2021, Subgraph
    Federated Learning with Missing Neighbor Generation, arXiv 2106.13430, whose FedSage this is;
    neighbours sampled as by Hamilton et al. 2017, arXiv 1706.02216, algorithm 2, whose messages a
    graph convolution weighs as the whole graph would (see `sampled`).

    Args:
        normalise: `sum` has a node's features that add up to more than 1 add up to 1, as is usual
            for counts of words.
        neighbours: how many neighbours a node hears in each layer while training, from the last
            layer to the first; empty for all.
        inductive: whether the nodes that are held out, or are there to validate or to test by, are
            left out of the graph that is trained on, with their edges. They are judged in the
            client's whole graph in any case.
    """

    takes_graphs = True
    learns_from = LABELLED

    def __init__(
        self,
        build_model: BuildModel,
        *,
        normalise: Literal["none", "sum"] = "none",
        neighbours: Sequence[int] = (),
        inductive: bool = False,
    ) -> None:
        if any(count < 1 for count in neighbours):
            raise ValueError(f"neighbours: {list(neighbours)} holds a number below 1")
        self._build_model, self._neighbours = build_model, tuple(neighbours)
        self._normalise, self._inductive = normalise == "sum", inductive
        self._targets: Targets = Classes()

    def build(self, schema: Schema) -> nn.Module:
        self._targets = targets_of(schema)
        model = build_network(self._build_model, schema, "node", 2)
        layers = len(model.body) + 1 if isinstance(model, NodeNetwork) else len(self._neighbours)
        if self._neighbours and len(self._neighbours) != layers:
            raise BadInput(
                f"paradigm.neighbours: {list(self._neighbours)} is not a number for each of the "
                f"{layers} layers"
            )
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def prepare(self, shard: Shard) -> Prepared:
        targets, known = self._targets.of(shard)
        if COUNTS in shard.arrays:
            known = known & torch.tensor(shard.arrays[COUNTS])
        rows = known.nonzero().flatten()
        return {"rows": rows, "y": targets[rows], **self.graph(shard)}

    def prepare_training(self, shard: Shard) -> Prepared:
        if self._inductive:
            shard = replace(shard, arrays=unjudged(shard.arrays))
        return self.prepare(shard)

    def graph(self, shard: Shard) -> dict[str, Tensor]:
        """A prepared shard's parts that are of its whole graph."""
        pairs = torch.tensor(shard.arrays[EDGES], dtype=torch.int64).reshape(-1, 2)
        found = {"x": self.features(shard), "edges": both_ways(pairs)}
        if EDGE_X in shard.arrays:
            told = torch.tensor(shard.arrays[EDGE_X], dtype=torch.float32)
            found[EDGE_X] = told.repeat(2, 1)
        # Sorted once, and not in every epoch.
        return found | (vars(Adjacency.of(found)) if self._neighbours else {})

    def features(self, shard: Shard) -> Tensor:
        """Of all nodes (n, F)."""
        x = torch.tensor(shard.arrays["x"], dtype=torch.float32)
        return x / x.sum(dim=1, keepdim=True).clamp(min=1.0) if self._normalise else x

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        adjacency = Adjacency.kept(prepared) if self._neighbours else None
        for chosen in shuffled(len(prepared["rows"]), batch_size, generator):
            batch = {**prepared, "rows": prepared["rows"][chosen], "y": prepared["y"][chosen]}
            if adjacency is not None:
                batch = sampled(batch, adjacency, self._neighbours, generator)
            yield batch

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        scores = self.scores(model, batch)
        return self._targets.loss(scores[batch["rows"]], batch["y"])

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        with torch.no_grad():
            scores = self.scores(model, prepared)
        return self._targets.sums(scores[prepared["rows"]], prepared["y"])

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            scores = self.scores(model, prepared)
        return prepared["y"], scores[prepared["rows"]].argmax(dim=1)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of all nodes (n, outputs)."""
        told = batch["x"], batch["edges"], batch.get(EDGE_X)
        # A model of the user's own need not take weights, and no other looks at them.
        weighed = WEIGHTS in batch and isinstance(model, NodeNetwork)
        scores: Tensor = model(*told, batch[WEIGHTS]) if weighed else model(*told)
        return scores
