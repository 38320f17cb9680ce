"""A client's part of a graph and the nodes next to it, as graph convolutions look at them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array, csr_array

from ...data.boundary import IDS, OUTWARD, TOLD, TOLD_IDS
from ...data.rows import EDGES
from ...data.shard import Shard
from ...errors import UmbelError


@dataclass(frozen=True)
class Surroundings:
    """The numbers of a convolution, `D^-1/2 (A + I) D^-1/2` over the whole graph.

    Args:
        ids: of the client's n nodes.
        inner: edges (m, 2) between these, as pairs of rows.
        outward: edges (k, 2) from a row to a node elsewhere, by its place in `foreign`.
        foreign: ids (f,) of those nodes, ascending.
    """

    ids: np.ndarray
    inner: np.ndarray
    outward: np.ndarray
    foreign: np.ndarray

    @classmethod
    def of(cls, shard: Shard) -> Surroundings:
        """Those of a shard; one that says nothing of other clients is the whole graph."""
        arrays, count = shard.arrays, len(shard)
        outward = arrays.get(OUTWARD, np.empty((0, 2), np.int64))
        foreign, places = np.unique(outward[:, 1], return_inverse=True)
        return cls(
            ids=arrays.get(IDS, np.arange(count, dtype=np.int64)),
            inner=arrays[EDGES].astype(np.int64).reshape(-1, 2),
            outward=np.stack([outward[:, 0], places.reshape(-1)], axis=1),
            foreign=foreign,
        )

    @cached_property
    def degrees(self) -> np.ndarray:
        """Of the client's nodes (n,) in the whole graph, each with a loop: all edges of a node are
        known to whoever has it."""
        ends = np.concatenate([self.inner.reshape(-1), self.outward[:, 0]])
        return 1.0 + np.bincount(ends, minlength=len(self.ids))

    @cached_property
    def edge_rows(self) -> np.ndarray:
        """The nodes that have neighbours elsewhere, as rows in the order of their ids."""
        rows = np.unique(self.outward[:, 0])
        return rows[np.argsort(self.ids[rows])]

    def sums_inside(self, x: np.ndarray) -> np.ndarray:
        """`sum of x_j / sqrt(d_j)` (n, F) over each node and its neighbours at this client."""
        count = len(self.ids)
        loops = np.arange(count)
        rows = np.concatenate([self.inner[:, 0], self.inner[:, 1], loops])
        columns = np.concatenate([self.inner[:, 1], self.inner[:, 0], loops])
        return self._summed(x, rows, columns, count)

    def sums_outside(self, x: np.ndarray) -> np.ndarray:
        """The same (f, F) of each node in `foreign`, over its neighbours at this client."""
        return self._summed(x, self.outward[:, 1], self.outward[:, 0], len(self.foreign))

    def _summed(
        self, x: np.ndarray, rows: np.ndarray, columns: np.ndarray, count: int
    ) -> np.ndarray:
        ones = np.ones(len(rows))
        links = csr_array(coo_array((ones, (rows, columns)), shape=(count, len(x))))
        found: np.ndarray = links @ (x.astype(np.float64) / np.sqrt(self.degrees)[:, None])
        return found

    def messages(self, degrees_outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Who tells whom in a convolution: pairs (2, e) of places, the client's nodes before those
        of `foreign`, and the weights (e,). Without these nodes' degrees they tell nothing."""
        loops = np.arange(len(self.ids))
        source = [self.inner[:, 0], self.inner[:, 1], loops]
        target = [self.inner[:, 1], self.inner[:, 0], loops]
        if len(degrees_outside):
            source.append(len(self.ids) + self.outward[:, 1])
            target.append(self.outward[:, 0])
        pairs = np.stack([np.concatenate(source), np.concatenate(target)])
        degrees = np.concatenate([self.degrees, degrees_outside])
        weights: np.ndarray = 1.0 / np.sqrt(degrees[pairs[0]] * degrees[pairs[1]])
        return pairs, weights


def told_of(shard: Shard, ids: np.ndarray) -> np.ndarray:
    """What the clients together told of nodes (k,), in float64; raises UmbelError where that is
    not known."""
    known = shard.arrays.get(TOLD_IDS)
    if known is None or not np.isin(ids, known).all():
        raise UmbelError(
            f"{shard.client}: took no part in what clients tell each other before round 1; resume "
            "the run, and it will"
        )
    rows: np.ndarray = shard.arrays[TOLD][np.searchsorted(known, ids)].astype(np.float64)
    return rows
