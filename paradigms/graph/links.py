"""Which nodes of a client's graph are linked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ...data.rows import EDGE_X, EDGES
from ...data.shard import Shard
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from ..batches import shuffled
from .directions import both_ways
from .targets import build_network

PAIRS, APART = "pairs", "apart"
"""Pairs of nodes that are linked, and pairs that are not, to be told apart in evaluation."""


class LinkPrediction:
    """Edges from what the model makes of their ends: `p(i linked to j) = sigmoid(z_i . z_j)`.

    A step takes some of the client's edges and, drawn anew, as many pairs of nodes; those that are
    edges after all do not count. What is held out are edges, not nodes: the model never sees them,
    and tells them from as many pairs that are none. `auc` is the area under the receiver operating
    characteristic of each client's, weighted by its edges.

    A prepared shard has `pairs` (k, 2), `x` (n, F) and `edges` (2, 2m), which messages go along, in
    both directions; for evaluation `apart` (k, 2), too. What is known of edges is not heard.

    Paper: Kipf and Welling 2016, Variational Graph Auto-Encoders, arXiv 1611.07308, the plain
    auto-encoder.
    """

    takes_graphs = True

    def __init__(self, build_model: BuildModel) -> None:
        self._build_model = build_model

    def build(self, schema: Schema) -> nn.Module:
        if not schema.task.startswith("node-"):
            raise BadInput(
                f"paradigm.name: links is about a graph's, and there is {schema.summary()}"
            )
        return build_network(
            self._build_model, replace(schema, task="link-prediction", edge_width=0), "link", 2
        )

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def divide(
        self, shard: Shard, share: float, generator: np.random.Generator
    ) -> tuple[Shard, Shard]:
        """The graph without a share of its edges, and those; a client with an edge keeps one."""
        edges = shard.arrays[EDGES]
        count = min(round(share * len(edges)), max(0, len(edges) - 1))
        order = generator.permutation(len(edges))
        rest, held = np.sort(order[count:]), np.sort(order[:count])
        arrays = {name: array for name, array in shard.arrays.items() if name != EDGE_X}
        arrays |= {EDGES: edges[rest], PAIRS: edges[rest]}
        apart = pairs_apart(edges, len(shard), count, generator)
        judged = {**arrays, PAIRS: edges[held][: len(apart)], APART: apart}
        return replace(shard, arrays=arrays), replace(shard, arrays=judged)

    def prepare(self, shard: Shard) -> Prepared:
        if PAIRS not in shard.arrays:
            raise BadInput(
                "paradigm.name: links is learnt and judged by the clients' own edges; leave "
                "data.test and data.server out"
            )
        edges = torch.tensor(shard.arrays[EDGES], dtype=torch.int64).reshape(-1, 2)
        prepared = {
            PAIRS: torch.tensor(shard.arrays[PAIRS], dtype=torch.int64).reshape(-1, 2),
            "x": torch.tensor(shard.arrays["x"], dtype=torch.float32),
            "edges": both_ways(edges),
        }
        if APART in shard.arrays:
            prepared[APART] = torch.tensor(shard.arrays[APART], dtype=torch.int64)
        return prepared

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        pairs = prepared[PAIRS]
        for chosen in shuffled(len(pairs), batch_size, generator):
            yield {**prepared, PAIRS: pairs[chosen]}

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        linked, count = batch[PAIRS], len(batch["x"])
        drawn = torch.randint(count, linked.shape, generator=generator)
        edges = batch["edges"]
        kept = ~torch.isin(_codes(drawn.T, count), _codes(edges, count))
        apart = drawn[kept & (drawn[:, 0] != drawn[:, 1])]
        return _loss(*self._scores(model, batch, linked, apart))

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        examples = len(prepared[PAIRS])
        if not examples or APART not in prepared:
            return {"loss": 0.0, "auc": 0.0, "examples": 0.0}
        with torch.no_grad():
            linked, apart = self._scores(model, prepared, prepared[PAIRS], prepared[APART])
        from sklearn.metrics import roc_auc_score

        truth = np.repeat([1, 0], [len(linked), len(apart)])
        auc = roc_auc_score(truth, torch.cat([linked, apart]).numpy())
        return {
            "loss": examples * float(_loss(linked, apart)),
            "auc": examples * float(auc),
            "examples": float(examples),
        }

    def _scores(
        self, model: nn.Module, batch: Batch, linked: Tensor, apart: Tensor
    ) -> tuple[Tensor, Tensor]:
        found = model(batch["x"], batch["edges"])
        one, other = ((found[p[:, 0]] * found[p[:, 1]]).sum(dim=1) for p in (linked, apart))
        return one, other


def pairs_apart(
    edges: np.ndarray, nodes: int, count: int, generator: np.random.Generator
) -> np.ndarray:
    """So many different pairs of nodes that are no edges, (count, 2), the smaller row first; fewer
    where there are not so many."""
    free = nodes * (nodes - 1) // 2 - len(edges)
    wanted = min(count, free)
    taken = set(map(tuple, edges.tolist()))
    found: list[tuple[int, int]] = []
    while len(found) < wanted:
        for one, other in np.sort(generator.integers(nodes, size=(wanted, 2)), axis=1).tolist():
            if one != other and (one, other) not in taken and len(found) < wanted:
                taken.add((one, other))
                found.append((one, other))
    return np.array(found, np.int64).reshape(-1, 2)


def _codes(pairs: Tensor, count: int) -> Tensor:
    """A number for each of the pairs (2, m) of so many nodes."""
    return pairs[0] * count + pairs[1]


def _loss(linked: Tensor, apart: Tensor) -> Tensor:
    scores = torch.cat([linked, apart])
    truth = torch.cat([torch.ones_like(linked), torch.zeros_like(apart)])
    return binary_cross_entropy_with_logits(scores, truth)
