"""A graph divided by its own structure."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from ..randomness import derive_seed
from .pool import Partition, Pool


def louvain(pool: Pool, *, slack: int = 20) -> Partition:
    """Communities of a graph: nodes that are much linked go to the same client.

    Paper: Blondel et al. 2008, Fast unfolding of communities in large networks, arXiv 0803.0476;
    communities are cut and put together to clients of about equal size as by Xie et al. 2022,
    FederatedScope-GNN, arXiv 2204.05562.

    `slack` is how many nodes more than an equal share a client may have, >= 0, of small graphs a
    quarter of that share at most.
    """
    if slack < 0:
        raise BadInput(f"data.partition: louvain: slack = {slack}; it must be at least 0")
    if pool.edges is None:
        raise BadInput("data.partition: louvain divides graphs, and these data are none")
    if len(pool) < pool.clients:
        raise BadInput(f"data.clients: {pool.clients} clients but only {len(pool)} nodes")
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(pool)))
    graph.add_edges_from(pool.edges.tolist())
    seed = derive_seed(pool.seed, purpose="partition") % 2**32
    found = networkx.community.louvain_communities(graph, seed=seed)
    share = len(pool) // pool.clients
    slack = min(slack, share // 4)
    # At most an equal share: there are as many pieces as clients, and each of these gets one.
    most = share - slack
    pieces = [
        nodes[begin : begin + most]
        for nodes in (sorted(community) for community in found)
        for begin in range(0, len(nodes), most)
    ]
    clients: list[list[int]] = [[] for _ in range(pool.clients)]
    turn = 0
    for piece in sorted(pieces, key=lambda nodes: (-len(nodes), nodes)):
        for _ in range(pool.clients):
            if len(clients[turn]) + len(piece) <= share + slack:
                break
            turn = (turn + 1) % pool.clients
        clients[turn] += piece
        turn = (turn + 1) % pool.clients
    rows = [np.array(sorted(nodes), np.int64) for nodes in clients]
    return rows.__getitem__
