"""Clusters of clients that learn alike: when one of them splits, and between whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .hyper import check_hyper


@dataclass(frozen=True)
class Moves:
    """How far a cluster's clients moved its model in a round: the norm of the plain mean of their
    updates, and the largest norm of one of them."""

    mean: float
    largest: float


@dataclass(frozen=True)
class SplitBySequences:
    """GCFL+: a cluster splits where its clients no longer agree on a direction, between those the
    norms of whose updates went unlike ways over the last rounds.

    Paper: Xie, Ma, Xiong and Yang 2021, Federated Graph Classification over Non-IID Graphs,
    arXiv 2106.13423, section 5: a cluster is at rest as a whole, `||mean_i dW_i|| < epsilon1`, and
    is not for some of its clients, `max_i ||dW_i|| > epsilon2`. The criterion is that of Sattler,
    Müller and Samek 2020, Clustered Federated Learning, arXiv 1910.01991. As in the authors' code,
    it needs more than two clients and more than 20 rounds before it.

    Args:
        epsilon1: how long the mean update may be at most, > 0.
        epsilon2: how long the longest must be at least, > 0.
        length: d, of how many rounds the norms are compared, >= 1.
        after: so many rounds must have passed, >= 0.

    >>> rule = SplitBySequences(epsilon1=1.0, epsilon2=2.0, length=2)
    >>> rule.due(21, Moves(mean=0.5, largest=9.0)), rule.due(21, Moves(mean=1.5, largest=9.0))
    (True, False)
    >>> rule.split({"a": [9.0, 8.0], "b": [3.0, 3.0], "c": [9.0, 9.0]})
    [['a', 'c'], ['b']]

    Raises ValueError for impossible values.
    """

    epsilon1: float = 0.07
    epsilon2: float = 0.28
    length: int = 5
    after: int = 20

    def __post_init__(self) -> None:
        check_hyper("epsilon1", self.epsilon1, above=0.0)
        check_hyper("epsilon2", self.epsilon2, above=0.0)
        check_hyper("length", self.length, least=1)
        check_hyper("after", self.after, least=0)

    def never(self, rounds: int) -> str:
        """Why nothing splits in so many rounds, whatever clients send; empty where it may.

        >>> SplitBySequences(after=20).never(10)
        'no cluster splits in the first 20 (strategy.after)'
        >>> SplitBySequences(after=0, length=5).never(5)
        ''
        """
        if rounds <= self.after:
            return f"no cluster splits in the first {self.after} (strategy.after)"
        if rounds < self.length:
            return f"no cluster splits before {self.length} updates of each (strategy.length)"
        return ""

    def due(self, round: int, moves: Moves) -> bool:
        """Whether a cluster that went so far in a round should split, if it can."""
        opposed = moves.mean < self.epsilon1 and moves.largest > self.epsilon2
        return opposed and round > self.after

    def split(self, sequences: Mapping[str, Sequence[float]]) -> list[list[str]]:
        """A cluster's clients in two parts, the first of which holds the first client; in one where
        there are too few, some tell too little, or nothing tells them apart.

        Args:
            sequences: by client, the norms of its updates, the latest last.
        """
        clients = list(sequences)
        if len(clients) <= 2 or any(len(told) < self.length for told in sequences.values()):
            return [clients]
        rows = [list(sequence)[-self.length :] for sequence in sequences.values()]
        apart = {
            (one, other): warped_distance(rows[one], rows[other])
            for other in range(len(rows))
            for one in range(other)
        }
        most = max(apart.values())
        if min(apart.values()) == most:
            return [clients]  # All are as far from each other: nothing says where to cut.
        near = minimum_cut({pair: most - distance for pair, distance in apart.items()})
        sides: tuple[list[str], list[str]] = [], []
        for place, client in enumerate(clients):
            sides[place not in near].append(client)
        return list(sides)


def warped_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The distance of two sequences by dynamic time warping: the root of the least sum of squared
    differences over all ways to go through both from end to end, a step in either or in both.

    Paper: Sakoe and Chiba 1978, Dynamic Programming Algorithm Optimization for Spoken Word
    Recognition, doi 10.1109/TASSP.1978.1163055, with squared differences as in the authors' code.

    >>> warped_distance([0.0, 3.0, 3.0], [0.0, 0.0, 3.0]), warped_distance([1.0, 2.0], [4.0])
    (0.0, 3.605551275463989)
    """
    sums = [0.0] + [math.inf] * len(other)
    for value in one:
        before, sums = sums, [math.inf]
        for place, facing in enumerate(other):
            least = min(before[place], before[place + 1], sums[place])
            sums.append((value - facing) ** 2 + least)
    return math.sqrt(sums[-1])


def minimum_cut(weights: Mapping[tuple[int, int], float]) -> frozenset[int]:
    """The part with 0 of the two into which a graph falls by the cut of the least weight.

    Paper: Stoer and Wagner 1997, A Simple Min-Cut Algorithm, doi 10.1145/263867.263872.

    Args:
        weights: of each pair of nodes, >= 0; nodes are numbers from 0.

    >>> sorted(minimum_cut({(0, 1): 0.5, (0, 2): 3.0, (1, 2): 0.5}))
    [0, 2]
    """
    import networkx  # Half of umbel's commands never cut anything.

    graph = networkx.Graph()
    graph.add_weighted_edges_from((one, other, weight) for (one, other), weight in weights.items())
    _, (part, rest) = networkx.stoer_wagner(graph)
    return frozenset(part if 0 in part else rest)
