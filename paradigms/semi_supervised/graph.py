"""Labels that spread over the edges between examples that lie near one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How labels F (n, classes) move over a graph W, in the sums of which row i runs over its
    nearest neighbours.

    Without `alpha` as Zhu and Ghahramani 2002, Learning from Labeled and Unlabeled Data with Label
    Propagation, CMU-CALD-02-107: `F_i = sum_j W_ij F_j`, divided by the sum over classes, and
    labelled examples keep their labels. With it as Zhou et al. 2004, Learning with Local and Global
    Consistency, NIPS 16: `F_i = alpha sum_j W_ij F_j / sqrt(d_i d_j) + (1 - alpha) Y_i`, d_j being
    how many others have j among their neighbours. Both as scikit-learn has them.

    Args:
        alpha: what of an example's labels comes from its neighbours, in (0, 1), or None.
        iterations: the most that are made, >= 1.
        tolerance: no more are made once all changes add up to less, >= 0.
    """

    alpha: float | None
    iterations: int
    tolerance: float

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise ValueError(f"alpha: {self.alpha:g} is not in (0, 1)")
        if self.iterations < 1:
            raise ValueError(f"iterations: {self.iterations} is not at least 1")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: {self.tolerance:g} is less than 0")


@dataclass(frozen=True)
class Graph:
    """A client's examples, and after them the anchors that all clients have; row i of `edges`
    (n + m, n + m) has a 1 for each of i's nearest neighbours, itself among them."""

    edges: sparse.csr_array
    anchors: int

    @classmethod
    def of(cls, own: Numbers, anchors: Numbers, neighbours: int) -> Graph:
        """Over examples (n, d) and anchors (m, d), or as many neighbours as there are points."""
        from sklearn.neighbors import NearestNeighbors

        nodes = np.concatenate([own, anchors])
        with threadpool_limits(limits=1):
            near = NearestNeighbors(n_neighbors=min(neighbours, len(nodes))).fit(nodes)
            return cls(sparse.csr_array(near.kneighbors_graph(nodes)), len(anchors))

    @property
    def degrees(self) -> Numbers:
        """Of how many others each point (n + m,) is a neighbour."""
        counted: Numbers = np.asarray(self.edges.sum(axis=0)).ravel() - self.edges.diagonal()
        return counted

    def spread(self, given: Numbers, rule: Rule, boundary: Numbers, degrees: Numbers) -> Numbers:
        """The labels F (n, classes) of the examples.

        Args:
            given: the labels Y (n, classes) that they have, rows of zeros for those without.
            rule: how they move.
            boundary: the anchors' labels (m, classes), which stay.
            degrees: of the anchors (m,), over all clients' graphs.
        """
        count, labelled = len(given), given.any(axis=1, keepdims=True)
        steps = self._steps(rule, degrees)[:count]
        alpha = rule.alpha
        found = np.concatenate([given, boundary])
        before = np.zeros_like(found)
        for _ in range(rule.iterations):
            if np.abs(found - before).sum() < rule.tolerance:
                break
            before = found
            moved = steps @ found
            if alpha is None:
                moved = np.where(labelled, given, _normalised(moved))
            else:
                moved = alpha * moved + (1 - alpha) * given
            found = np.concatenate([moved, boundary])
        return found[:count]

    def at_anchors(self, found: Numbers, rule: Rule, boundary: Numbers, deg: Numbers) -> Numbers:
        """What comes to the anchors (m, classes) from this graph's examples and anchors: over all
        clients it adds up to `sum_j W_ij F_j`, with `alpha` over `sqrt(d_i d_j)`."""
        nodes = np.concatenate([found, boundary])
        edges = self.edges if rule.alpha is None else self._steps(rule, deg)
        reached: Numbers = edges[len(found) :] @ nodes
        return reached

    def _steps(self, rule: Rule, degrees: Numbers) -> sparse.csr_array:
        if rule.alpha is None:
            steps = self.edges.multiply(1.0 / self.edges.sum(axis=1)[:, None])
            return sparse.csr_array(steps)
        own = self.degrees[: self.edges.shape[0] - self.anchors]
        known = np.concatenate([own, degrees])
        roots = sparse.diags_array(1.0 / np.sqrt(np.where(known > 0, known, 1.0)))
        others = self.edges - sparse.diags_array(self.edges.diagonal())
        return sparse.csr_array(roots @ others @ roots)


def _normalised(labels: Numbers) -> Numbers:
    total = labels.sum(axis=1, keepdims=True)
    divided: Numbers = labels / np.where(total == 0, 1.0, total)
    return divided
