"""Small data sets of graphs, made by import path."""

from __future__ import annotations

import numpy as np

from umbel.data import Dataset
from umbel.schema import Schema


def shapes(*, count: int = 120, numbers: bool = False) -> Dataset:
    """Rings and stars of 5 to 9 nodes, whose features tell nothing; or, as numbers, how many edges
    each has a node."""
    generator = np.random.default_rng(0)
    y, sizes = np.arange(count) % 2, generator.integers(5, 10, count)
    pairs = []
    for kind, size in zip(y, sizes, strict=True):
        ring = [(k, k + 1) for k in range(size - 1)] + [(0, size - 1)]
        pairs.append(np.array([(0, k) for k in range(1, size)] if kind else sorted(ring)))
    links = np.array([len(found) for found in pairs])
    arrays = {
        "x": np.ones((int(sizes.sum()), 3), np.float32),
        "y": y.astype(np.int64),
        "nodes": sizes.astype(np.int64),
        "links": links,
        "edges": np.concatenate(pairs).astype(np.int64),
    }
    if numbers:
        arrays |= {"y": np.full(count, -1, np.int64), "target": (links / sizes).astype(np.float32)}
        return Dataset("shapes", Schema("graph-regression", (3,), "float32"), arrays)
    return Dataset(
        "shapes", Schema("graph-classification", (3,), "float32", ("ring", "star")), arrays
    )


OTHERS = (1, 4)


def twisted(*, count: int = 180, clients: int = 6) -> Dataset:
    """The same shapes at so many owners, of whom `OTHERS` call each by the other's name."""
    found = shapes(count=count)
    owners = np.arange(count) // 2 % clients
    y = np.where(np.isin(owners, OTHERS), 1 - found.train["y"], found.train["y"])
    return Dataset("twisted", found.schema, {**found.train, "y": y}, None, owners)


def bonds(*, count: int = 80) -> Dataset:
    """Pairs of nodes whose class is what is known of the one edge between them."""
    y = np.arange(count) % 2
    arrays = {
        "x": np.ones((2 * count, 1), np.float32),
        "y": y.astype(np.int64),
        "nodes": np.full(count, 2),
        "links": np.ones(count, np.int64),
        "edges": np.tile([[0, 1]], (count, 1)),
        "edge_x": np.eye(2, dtype=np.float32)[y],
    }
    schema = Schema("graph-classification", (1,), "float32", ("single", "double"), edge_width=2)
    return Dataset("bonds", schema, arrays)


def heights(*, count: int = 100) -> Dataset:
    """A path whose nodes' numbers are the means of their neighbours' features."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(count, 2)).astype(np.float32)
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    near = np.zeros((count, count))
    near[edges[:, 0], edges[:, 1]] = near[edges[:, 1], edges[:, 0]] = 1
    target = (near / near.sum(axis=1, keepdims=True)) @ x[:, 0]
    arrays = {
        "x": x,
        "y": np.full(count, -1, np.int64),
        "target": target.astype(np.float32),
        "edges": edges,
    }
    return Dataset("heights", Schema("node-regression", (2,), "float32"), arrays)
