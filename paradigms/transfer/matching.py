"""Kernel mean matching: weights under which source examples lie, on the whole, where a target's do.

Paper: Huang, Smola, Gretton, Borgwardt and Schoelkopf 2006, Correcting Sample Selection Bias by
Unlabeled Data, NIPS 19, doi 10.7551/mitpress/7503.003.0080.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

TARGETS_AT_ONCE = 4096
"""So many of a target's examples are compared to the source's at once; it bounds memory."""

ITERATIONS = 2000
CHECKED_EVERY = 10
TOLERANCE = 1e-7
"""How far from the least the objective may end, over m^2: half a squared distance of means."""


def kernel_mean_matching(source: np.ndarray, target: np.ndarray, bound: float) -> np.ndarray:
    """Weights (m,) of the source's examples, in [0, bound].

    They are the least of `1/2 b'Kb - k'b` where `|sum(b) - m| <= m eps`, for the Gaussian kernel
    `K_ij = exp(-|x_i - x_j|^2 / 2 s^2)` among the source's examples, `k_i = m/n sum_j K(x_i, z_j)`
    to the target's, and `eps = (sqrt(m) - 1) / sqrt(m)`, as in the paper.
    The width s is the median distance between two of the source's.

    Args:
        source: (m, d).
        target: (n, d), n >= 1.
        bound: B, >= 1.

    >>> source = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> kernel_mean_matching(source, np.array([[0.0], [0.0]]), 10.0).round(1).tolist()
    [4.0, 0.0, 0.0, 0.0]
    """
    count = len(source)
    gamma = _gamma(source)
    gram = rbf_kernel(source, gamma=gamma)
    likeness = np.zeros(count)
    for start in range(0, len(target), TARGETS_AT_ONCE):
        likeness += rbf_kernel(source, target[start : start + TARGETS_AT_ONCE], gamma).sum(axis=1)
    likeness *= count / len(target)
    slack = count * (math.sqrt(count) - 1) / math.sqrt(count)
    return Programme(gram, likeness, bound, count - slack, count + slack).solve()


def _gamma(source: np.ndarray) -> float:
    """`1 / 2 s^2` for the median distance s of two examples, 1 where they are all the same."""
    apart = euclidean_distances(source)[np.triu_indices(len(source), 1)]
    width = float(np.median(apart)) if len(apart) else 0.0
    return 1 / (2 * width**2) if width > 0 else 1.0


class Programme:
    """Minimise `1/2 b'Kb - k'b` over `0 <= b <= bound` with `least <= sum(b) <= most`.

    Args:
        gram: K (m, m), positive semidefinite, its entries >= 0.
        likeness: k (m,).
        bound: of each of b.
        least: of their sum, at most m times the bound.
        most: of their sum.
    """

    def __init__(
        self, gram: np.ndarray, likeness: np.ndarray, bound: float, least: float, most: float
    ) -> None:
        self._gram, self._likeness = gram, likeness
        self._bound, self._least, self._most = bound, least, most

    def solve(self) -> np.ndarray:
        """The least's place (m,), by projected gradients with momentum, which begins anew where it
        leads up.

        Papers: Beck and Teboulle 2009, A Fast Iterative Shrinkage-Thresholding Algorithm,
        doi 10.1137/080716542; O'Donoghue and Candes 2015, arXiv 1204.3982, section 3.2.
        """
        count = len(self._likeness)
        # No eigenvalue of K is above its largest sum of a row.
        rate = 1 / self._gram.sum(axis=1).max()
        weights = ahead = self._project(np.ones(count))
        momentum = 1.0
        for step in range(ITERATIONS):
            slope = self._slope(ahead)
            moved = self._project(ahead - rate * slope)
            if (ahead - moved) @ (moved - weights) > 0:
                momentum, ahead = 1.0, weights
                continue
            after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = moved + (momentum - 1) / after * (moved - weights)
            weights, momentum = moved, after
            if step % CHECKED_EVERY == 0 and self.gap(weights) <= TOLERANCE * count**2:
                break
        return weights

    def gap(self, weights: np.ndarray) -> float:
        """At least how far the objective is from its least: `max_s grad'(b - s)` over all s that
        are allowed (Jaggi 2013, Revisiting Frank-Wolfe, equation 2)."""
        slope = self._slope(weights)
        rising = np.sort(slope)
        total = np.clip(self._bound * (rising < 0).sum(), self._least, self._most)
        # The lowest slopes get all that they may have, as long as there is some.
        given = np.clip(total - self._bound * np.arange(len(rising)), 0, self._bound)
        return float(slope @ weights - rising @ given)

    def _slope(self, weights: np.ndarray) -> np.ndarray:
        made: np.ndarray = self._gram @ weights - self._likeness
        return made

    def _project(self, point: np.ndarray) -> np.ndarray:
        """The nearest weights that are allowed: `clip(point - shift)`, with the shift for which
        their sum is."""

        def inside(shift: float) -> np.ndarray:
            made: np.ndarray = np.clip(point - shift, 0, self._bound)
            return made

        total = inside(0.0).sum()
        if self._least <= total <= self._most:
            return inside(0.0)
        wanted = self._least if total < self._least else self._most
        ends = float(point.min()) - self._bound, float(point.max())
        return inside(brentq(lambda shift: inside(shift).sum() - wanted, *ends))
