"""A graph of two kinds of nodes, divided by one of them."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from ..randomness import numpy_generator
from ..registry import nearest
from .pool import Overlapping, Partition, Pool
from .rows import not_across


def bipartite(pool: Pool, *, shared: str) -> Partition:
    """Nodes of one class are with every client; the others are dealt out in equal shares at random.

    So are people's ratings divided, where all clients know the same films: a client has some of the
    people, all films, and the edges between these. What is shared must be no secret.

    `shared` is the name of that class. Raises BadInput where no node has it, where the data are no
    graph, or where an edge has not one of its two ends in it.
    """
    if pool.edges is None:
        raise BadInput("data.partition: bipartite divides graphs, and these data are none")
    if shared not in pool.names:
        raise BadInput(
            f"data.partition: bipartite: shared = {shared!r} is no class of the nodes"
            f"{nearest(shared, pool.names)}"
        )
    common = pool.labels == pool.names.index(shared)
    if fault := not_across(pool.edges, common, shared):
        raise BadInput(f"data.partition: bipartite: {fault}")
    others = np.flatnonzero(~common)
    if len(others) < pool.clients:
        raise BadInput(
            f"data.clients: {pool.clients} clients but only {len(others)} nodes that are not shared"
        )
    drawn = numpy_generator(pool.seed, purpose="partition").permutation(others)
    shares = np.array_split(drawn, pool.clients)
    everyone = np.flatnonzero(common)
    return Overlapping(lambda index: np.sort(np.concatenate([shares[index], everyone])))
