"""What a client's graphs are, each of them an example."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from ...data.learnable import LABELLED
from ...data.rows import EDGE_X, EDGES, LINKS, NODES, pieces, taken
from ...data.shard import Shard
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from ..batches import shuffled
from .directions import both_ways
from .targets import Classes, Targets, build_network, targets_of

EVALUATION_BATCH = 512
"""Graphs scored at once; it bounds memory."""


class Graphs:
    """Classes, or numbers, of whole graphs.

    A prepared shard has the targets `y` (g,) of the graphs that have one, how many `nodes` (g,) and
    `links` (g,) each has, and one after another `x` (n, F), `edges` (m, 2) and, if there, `edge_x`
    (m, E). A batch has its graphs as one: `x`, `edges` (2, 2m), each in both directions, `edge_x`
    (2m, E), and `graph` (n,), which of them each node is in.

    Paper: Xu et al. 2019, How Powerful are Graph Neural Networks?, arXiv 1810.00826, section 4.2;
    each client its own graphs, as He et al. 2021, FedGraphNN, arXiv 2104.07145.
    """

    takes_graphs = True
    learns_from = LABELLED

    def __init__(self, build_model: BuildModel) -> None:
        self._build_model = build_model
        self._targets: Targets = Classes()

    def build(self, schema: Schema) -> nn.Module:
        self._targets = targets_of(schema)
        return build_network(self._build_model, schema, "graph", 5)

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def prepare(self, shard: Shard) -> Prepared:
        targets, known = self._targets.of(shard)
        rows = known.nonzero().flatten()
        arrays = taken(shard.arrays, rows.numpy())
        prepared = {
            "y": targets[rows],
            NODES: torch.tensor(arrays[NODES], dtype=torch.int64),
            LINKS: torch.tensor(arrays[LINKS], dtype=torch.int64),
            "x": torch.tensor(arrays["x"], dtype=torch.float32),
            EDGES: torch.tensor(arrays[EDGES], dtype=torch.int64).reshape(-1, 2),
        }
        if EDGE_X in arrays:
            prepared[EDGE_X] = torch.tensor(arrays[EDGE_X], dtype=torch.float32)
        return prepared

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        chosen = shuffled(len(prepared["y"]), batch_size, generator)
        return (together(prepared, rows) for rows in chosen)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return self._targets.loss(scores(model, batch), batch["y"])

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        sums: MetricSums = {"examples": 0.0}
        for found, targets in _scored(model, prepared):
            more = self._targets.sums(found, targets)
            sums = {name: sums.get(name, 0.0) + value for name, value in more.items()}
        return sums

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        told = [found.argmax(dim=1) for found, _ in _scored(model, prepared)]
        return prepared["y"], torch.cat(told)


def _scored(model: nn.Module, prepared: Prepared) -> Iterator[tuple[Tensor, Tensor]]:
    """A model's scores (g, outputs) of some graphs at a time, and their targets (g,)."""
    for rows in torch.arange(len(prepared["y"])).split(EVALUATION_BATCH):
        batch = together(prepared, rows)
        with torch.no_grad():
            found = scores(model, batch)
        yield found, batch["y"]


def together(prepared: Prepared, rows: Tensor) -> dict[str, Tensor]:
    """Some graphs as one, between whose parts there is no edge."""
    nodes, links = prepared[NODES][rows], prepared[LINKS][rows]
    places, between = (
        torch.from_numpy(pieces(prepared[name].numpy(), rows.numpy())) for name in (NODES, LINKS)
    )
    begins = (nodes.cumsum(0) - nodes).repeat_interleave(links)
    pairs = prepared[EDGES][between] + begins[:, None]
    batch = {
        "y": prepared["y"][rows],
        "x": prepared["x"][places],
        "edges": both_ways(pairs),
        "graph": torch.arange(len(rows)).repeat_interleave(nodes),
    }
    if EDGE_X in prepared:
        batch[EDGE_X] = prepared[EDGE_X][between].repeat(2, 1)
    return batch


def scores(model: nn.Module, batch: Batch) -> Tensor:
    """A model's scores (g, outputs) of a batch's graphs."""
    found: Tensor = model(
        batch["x"], batch["edges"], batch.get(EDGE_X), batch["graph"], len(batch["y"])
    )
    return found
