"""Which nodes of a client's graph are linked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ...data.learnable import LINKED
from ...data.rows import EDGE_X, EDGES, not_across
from ...data.shard import Shard
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from ..batches import shuffled
from .directions import both_ways
from .ranking import class_code, ends, recalls
from .targets import build_network

PAIRS, APART = "pairs", "apart"
"""Pairs of nodes that are linked, and pairs that are not, to be told apart in evaluation."""

RANKED = "ranked"
"""Which nodes are of the class that is ranked for the others."""


class LinkPrediction:
    """Edges from what the model makes of their ends: `p(i linked to j) = sigmoid(z_i . z_j)`.

    A step takes some of the client's edges and, drawn anew, as many pairs of nodes; those that are
    edges after all do not count. What is held out are edges, not nodes: the model never sees them,
    and tells them from as many pairs that are none. `auc` is the area under the receiver operating
    characteristic of each client's, weighted by its edges.

    A prepared shard has `pairs` (k, 2), `x` (n, F) and `edges` (2, 2m), which messages go along, in
    both directions; for evaluation `apart` (k, 2), too. What is known of edges is not heard.

    With `rank` every edge is between a node of that class, as a film, and one of another, as a
    user. Then a pair that is drawn has the user of an edge and any film, an example of evaluation
    is a user with films that are held out, of all of which metrics are the mean, and
    `recall_at_K` is the share of them among the first K of all films that it has no edge to in
    training. `ranked` (n,) says which nodes those are.

    Paper: Kipf and Welling 2016, Variational Graph Auto-Encoders, arXiv 1611.07308, the plain
    auto-encoder; recall as He et al. 2020, LightGCN, arXiv 2002.02126, section 4.1, have it.

    Args:
        rank: the class of the nodes that are ranked for all others; empty for no ranking.
        at: K, >= 1.
    """

    takes_graphs = True
    learns_from = LINKED

    def __init__(self, build_model: BuildModel, *, rank: str = "", at: int = 20) -> None:
        if at < 1:
            raise ValueError(f"at: {at} is less than 1")
        self._build_model, self._rank, self._at = build_model, rank, at

    def build(self, schema: Schema) -> nn.Module:
        if not schema.task.startswith("node-"):
            raise BadInput(
                f"paradigm.name: links is about a graph's, and there is {schema.summary()}"
            )
        if self._rank:
            class_code(schema, self._rank)
        return build_network(
            self._build_model, replace(schema, task="link-prediction", edge_width=0), "link", 2
        )

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def divide(
        self, shard: Shard, share: float, generator: np.random.Generator
    ) -> tuple[Shard, Shard]:
        """The graph without a share of its edges, and those; a client with an edge keeps one."""
        edges, ranked = shard.arrays[EDGES], self._ranked(shard)
        count = min(round(share * len(edges)), max(0, len(edges) - 1))
        if ranked is not None:
            # All that is held out is ranked, and there are as many pairs that are none.
            count = min(count, int(ranked.sum()) * int((~ranked).sum()) - len(edges))
        order = generator.permutation(len(edges))
        rest, held = np.sort(order[count:]), np.sort(order[:count])
        arrays = {name: array for name, array in shard.arrays.items() if name != EDGE_X}
        arrays |= {EDGES: edges[rest], PAIRS: edges[rest]}
        apart = pairs_apart(edges, len(shard), count, generator, ranked)
        judged = {**arrays, PAIRS: edges[held][: len(apart)], APART: apart}
        return replace(shard, arrays=arrays), replace(shard, arrays=judged)

    def _ranked(self, shard: Shard) -> np.ndarray | None:
        """Which nodes are ranked (n,); raises BadInput where an edge is not between one of them
        and another."""
        if not self._rank:
            return None
        ranked: np.ndarray = shard.arrays["y"] == class_code(shard.schema, self._rank)
        if fault := not_across(shard.arrays[EDGES], ranked, self._rank):
            raise BadInput(f"paradigm.rank: {shard.client}: {fault}")
        return ranked

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
        ranked = self._ranked(shard)
        if ranked is not None:
            prepared[RANKED] = torch.from_numpy(ranked)
        return prepared

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        pairs = prepared[PAIRS]
        for chosen in shuffled(len(pairs), batch_size, generator):
            yield {**prepared, PAIRS: pairs[chosen]}

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        linked, count = batch[PAIRS], len(batch["x"])
        if self._rank:
            users, _ = ends(linked, batch[RANKED])
            items = batch[RANKED].nonzero().flatten()
            places = torch.randint(len(items), users.shape, generator=generator)
            drawn = torch.stack([users, items[places]], dim=1)
        else:
            drawn = torch.randint(count, linked.shape, generator=generator)
        edges = batch["edges"]
        kept = ~torch.isin(_codes(drawn.T, count), _codes(edges, count))
        apart = drawn[kept & (drawn[:, 0] != drawn[:, 1])]
        found = model(batch["x"], edges)
        return _loss(_products(found, linked), _products(found, apart))

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        pairs, recalled = prepared[PAIRS], f"recall_at_{self._at}"
        if not len(pairs) or APART not in prepared:
            names = ("loss", "auc", *([recalled] if self._rank else []), "examples")
            return dict.fromkeys(names, 0.0)
        with torch.no_grad():
            found = model(prepared["x"], prepared["edges"])
        linked, apart = _products(found, pairs), _products(found, prepared[APART])
        from sklearn.metrics import roc_auc_score

        truth = np.repeat([1, 0], [len(linked), len(apart)])
        sums = {
            "loss": float(_loss(linked, apart)),
            "auc": float(roc_auc_score(truth, torch.cat([linked, apart]).numpy())),
        }
        examples = len(pairs)
        if self._rank:
            shares = recalls(found, prepared[RANKED], prepared["edges"], pairs, self._at)
            examples = len(shares)
            sums[recalled] = float(shares.double().mean())
        return {name: examples * value for name, value in sums.items()} | {
            "examples": float(examples)
        }


def pairs_apart(
    edges: np.ndarray,
    nodes: int,
    count: int,
    generator: np.random.Generator,
    ranked: np.ndarray | None = None,
) -> np.ndarray:
    """So many different pairs of nodes that are no edges, (count, 2), the smaller row first; fewer
    where there are not so many. With `ranked` (nodes,) each is of one that is and one that is
    not."""
    sides = () if ranked is None else (np.flatnonzero(~ranked), np.flatnonzero(ranked))
    possible = len(sides[0]) * len(sides[1]) if sides else nodes * (nodes - 1) // 2
    wanted = min(count, possible - len(edges))

    def draw() -> np.ndarray:
        if not sides:
            return generator.integers(nodes, size=(wanted, 2))
        return np.stack([generator.choice(side, wanted) for side in sides], axis=1)

    taken = set(map(tuple, edges.tolist()))
    found: list[tuple[int, int]] = []
    while len(found) < wanted:
        for one, other in np.sort(draw(), axis=1).tolist():
            if one != other and (one, other) not in taken and len(found) < wanted:
                taken.add((one, other))
                found.append((one, other))
    return np.array(found, np.int64).reshape(-1, 2)


def _products(found: Tensor, pairs: Tensor) -> Tensor:
    """Of the features (n, d) of the ends of pairs (k, 2)."""
    return (found[pairs[:, 0]] * found[pairs[:, 1]]).sum(dim=1)


def _codes(pairs: Tensor, count: int) -> Tensor:
    """A number for each of the pairs (2, m) of so many nodes."""
    return pairs[0] * count + pairs[1]


def _loss(linked: Tensor, apart: Tensor) -> Tensor:
    scores = torch.cat([linked, apart])
    truth = torch.cat([torch.ones_like(linked), torch.zeros_like(apart)])
    return binary_cross_entropy_with_logits(scores, truth)
