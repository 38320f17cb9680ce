"""What a client shows of its graph, where an experiment asks and the site's policy lets it."""

from __future__ import annotations

import torch

from ..data.rows import EDGES
from ..data.shard import Shard
from ..data.subgraphs import sampled
from ..errors import UmbelError
from ..messages import CODES, SUBGRAPH, Envelope


def shown(shard: Shard) -> Envelope:
    """Edges between some nodes of a client's graph, or of some of its graphs, and, where there are
    classes, the nodes' codes; how many nodes, or graphs, and edges there are. No features.

    Raises UmbelError where there is no graph, or nothing in it.
    """
    if EDGES not in shard.arrays:
        raise UmbelError(f"{shard.client}: has no graph to show")
    if len(shard) == 0:
        raise UmbelError(f"{shard.client}: has no nodes to show")
    some = sampled(shard.arrays, shard.client)
    tensors = {"nodes": torch.tensor(some.nodes), "edges": torch.tensor(some.edges)}
    if shard.schema.classes:
        tensors[CODES] = torch.tensor(some.y)
    header = {"client": shard.client, "examples": some.examples, "links": some.links}
    return Envelope(header, {SUBGRAPH: tensors})
