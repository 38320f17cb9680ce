"""Some of a node's neighbours, for graphs of which not all fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.rows import EDGE_X
from ..base import Batch, Prepared

WEIGHTS = "weights"
"""What a batch calls the weights of a graph convolution's messages."""


@dataclass(frozen=True)
class Adjacency:
    """Edges (2, m) as (from, to), sorted by where they lead: those to node i are
    `begins[i]` to `begins[i + 1]`; `places` (m,) is where each was."""

    sources: Tensor
    places: Tensor
    begins: Tensor

    @classmethod
    def of(cls, prepared: Prepared) -> Adjacency:
        source, target = prepared["edges"]
        places = torch.argsort(target, stable=True)
        counts = torch.bincount(target, minlength=len(prepared["x"]))
        begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(source[places], places, begins)

    @classmethod
    def kept(cls, prepared: Prepared) -> Adjacency:
        """Those that lie in a prepared shard by their names here."""
        return cls(prepared["sources"], prepared["places"], prepared["begins"])

    def degrees(self, nodes: Tensor) -> Tensor:
        """How many edges lead to each node."""
        return self.begins[nodes + 1] - self.begins[nodes]

    def drawn(self, nodes: Tensor, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """At most so many edges to each node, without repeating one: (which edges, the place in
        `nodes` of where each leads)."""
        begins = self.begins[nodes]
        degrees = self.degrees(nodes)
        owner = torch.repeat_interleave(torch.arange(len(nodes)), degrees)
        first = degrees.cumsum(0) - degrees
        edges = torch.arange(len(owner)) - first[owner] + begins[owner]
        keys = torch.rand(len(owner), generator=generator, dtype=torch.float64)
        order = torch.argsort(owner + keys)
        rank = torch.arange(len(owner)) - first[owner]
        kept = order[rank < most]
        return edges[kept], owner[kept]


def sampled(
    batch: Batch, adjacency: Adjacency, counts: Sequence[int], generator: torch.Generator
) -> dict[str, Tensor]:
    """A batch with what was sampled around its rows in place of the graph: each hop draws, of the
    neighbours of the nodes that the hop before came to, as many a node as its count says.

    Its nodes begin with the batch's rows. `weights` (m + n,), of its m edges and then of its n
    nodes' loops, are a graph convolution's over the whole graph: from j to i `1 / sqrt(d_i d_j)`,
    of the loop `1 / d_i`, with d the degrees there and 1 more. An edge's is multiplied by how many
    neighbours i has for each that was drawn, so that the sum over those is, in expectation, that
    over all.

    Paper: Chen, Zhu and Song 2018, Stochastic Training of Graph Convolutional Networks with
    Variance Reduction, arXiv 1710.10568, section 2, its neighbour sampling; loops are never left
    out here.
    """
    known = torch.full((len(batch["x"]),), -1, dtype=torch.int64)
    nodes = frontier = batch["rows"]
    known[nodes] = torch.arange(len(nodes))
    sources, targets, chosen, shares = [], [], [], []
    for most in counts:
        edges, owner = adjacency.drawn(frontier, most, generator)
        found = adjacency.sources[edges]
        fresh = torch.unique(found[known[found] < 0])
        known[fresh] = torch.arange(len(nodes), len(nodes) + len(fresh))
        sources.append(known[found])
        targets.append(known[frontier[owner]])
        chosen.append(adjacency.places[edges])
        shares.append((adjacency.degrees(frontier) / most).clamp(min=1.0)[owner])
        nodes, frontier = torch.cat([nodes, fresh]), fresh
    source, target = torch.cat(sources), torch.cat(targets)
    scale = (1.0 + adjacency.degrees(nodes)).rsqrt()
    smaller = {
        "rows": torch.arange(len(batch["rows"])),
        "y": batch["y"],
        "x": batch["x"][nodes],
        "edges": torch.stack([source, target]),
        WEIGHTS: torch.cat([torch.cat(shares) * scale[source] * scale[target], scale.square()]),
    }
    if EDGE_X in batch:
        smaller[EDGE_X] = batch[EDGE_X][torch.cat(chosen)]
    return smaller
