"""How much a graph's edges link nodes of one class."""

from __future__ import annotations

import numpy as np


def edge_homophily(edges: np.ndarray, y: np.ndarray) -> float | None:
    """The share of the edges (m, 2) whose ends are of the same class, of those whose ends both
    have one: `y` (n,) are class codes, below 0 for none. None without such edges.

    Paper: Zhu et al. 2020, Beyond Homophily in Graph Neural Networks, arXiv 2006.11468,
    definition 1.

    >>> edge_homophily(np.array([[0, 1], [1, 2], [2, 3]]), np.array([0, 0, 1, -1]))
    0.5
    """
    ends = y[edges]
    known = ends[(ends >= 0).all(axis=1)]
    return float((known[:, 0] == known[:, 1]).mean()) if len(known) else None
