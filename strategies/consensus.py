"""The mean of several groups' means, in which clients that stand apart count less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..randomness import numpy_generator
from ..tensors import Tensors
from .buffered import Buffered, coordinatewise, distances_to, weighted
from .parts import Update


@dataclass(frozen=True)
class SubConsensus(Buffered):
    """`1 / M sum_m sum_i a_i x_i / sum_i a_i` over M groups of K clients drawn from the cohort,
    with `a_i = n_i exp(-beta |x_i - mean_m| / n_i)` and mean_m the group's mean by examples. The
    distance is over what training moves: no running statistics, no teacher.

    Paper: Liang, Lin, Fu, Zhu and Li 2022, RSCFed: Random Sampling Consensus Federated
    Semi-supervised Learning, arXiv 2203.13993, equations 3 to 5. The authors' code
    (github.com/XMed-Lab/RSCFed) adds up the distances of the tensors, takes a smaller beta for
    groups in which a client has labels, and has such clients count more; none of it is done here.

    Args:
        groups: M, >= 1.
        size: K, >= 1; the whole cohort where that is smaller.
        beta: how much less clients count that are far away, >= 0: of two with n examples each, one
            that is farther by d counts exp(-beta d / n) times as much.
        seed: of the groups, >= 0.
        trained: the tensors that training moves; None if it moves all.
    """

    groups: int = 3
    size: int = 5
    beta: float = 100.0
    seed: int = 0
    round: int = 1
    trained: frozenset[str] | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("groups", self.groups, 1), ("size", self.size, 1),
                                   ("beta", self.beta, 0), ("seed", self.seed, 0)):  # fmt: skip
            if not value >= least:
                raise ValueError(f"{name}: {value} is less than {least}")

    def among(self, trained: frozenset[str]) -> SubConsensus:
        return replace(self, trained=trained)

    def in_round(self, round: int, memory: Tensors) -> SubConsensus:
        return replace(self, round=round)

    def remembers(self, model: Tensors, combined: Tensors) -> Tensors:
        return {}

    def combined(self, model: Tensors, updates: Sequence[Update]) -> Tensors:
        generator = numpy_generator(self.seed, purpose="sub-consensus", round=self.round)
        shares = [0.0] * len(updates)
        for _ in range(self.groups):
            drawn = sorted(generator.permutation(len(updates))[: self.size].tolist())
            members = [updates[place] for place in drawn]
            for place, share in zip(drawn, self._shares(model, members), strict=True):
                shares[place] += share / self.groups
        taken = [(u, share) for u, share in zip(updates, shares, strict=True) if share > 0]
        weights = _tensor([share for _, share in taken])
        return coordinatewise(model, [update for update, _ in taken], weighted(weights))

    def _shares(self, model: Tensors, members: Sequence[Update]) -> list[float]:
        """How much each member of a group counts in it; the sum is 1."""
        counts = _tensor([float(max(1, update.examples)) for update in members])
        moved = model if self.trained is None else _of(model, self.trained)
        mean = coordinatewise(moved, members, weighted(counts))
        far = distances_to(mean, members).tolist()
        logs = [math.log(n) - self.beta * d / n for n, d in zip(counts.tolist(), far, strict=True)]
        # Against the largest, so that not all of them vanish.
        parts = [math.exp(value - max(logs)) for value in logs]
        return [part / sum(parts) for part in parts]


def _tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _of(tensors: Tensors, names: frozenset[str]) -> Tensors:
    return {name: value for name, value in tensors.items() if name in names}
