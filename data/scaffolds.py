"""Molecules divided by what they are built around."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from .pool import Partition, Pool


def scaffold(pool: Pool) -> Partition:
    """Molecules of the same scaffold go to the same client: each sees a chemistry of its own.

    Scaffolds are dealt whole, that of most molecules first, each to the client that has fewest;
    of equal ones to the first. No chance is in it: every seed divides alike.

    Paper: Wu et al. 2018, MoleculeNet: a benchmark for molecular machine learning, arXiv
    1703.00564, whose split this is for clients; scaffolds by Bemis and Murcko 1996,
    The properties of known drugs, doi 10.1021/jm9602928.
    """
    if pool.groups is None:
        raise BadInput(
            "data.partition: scaffold divides molecules, and these data have no scaffolds; give "
            "a source of molecules (?smiles=COLUMN), or use another partitioner"
        )
    names, first, group, counts = np.unique(
        pool.groups, return_index=True, return_inverse=True, return_counts=True
    )
    if len(names) < pool.clients:
        raise BadInput(f"data.clients: {pool.clients} clients but only {len(names)} scaffolds")
    sizes = np.zeros(pool.clients, np.int64)
    owner = np.zeros(len(names), np.int64)
    for position in np.lexsort((first, -counts)):
        owner[position] = sizes.argmin()
        sizes[owner[position]] += counts[position]
    clients = owner[group.reshape(-1)]
    rows = [np.flatnonzero(clients == index) for index in range(pool.clients)]
    return rows.__getitem__
