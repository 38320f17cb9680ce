"""Krum and multi-Krum: the updates with the closest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tensors import Tensors
from .buffered import Buffered, check_byzantine, coordinatewise, squared_distances, weighted
from .parts import Update
from .weighting import Weight, uniform, weighed


@dataclass(frozen=True)
class Krum(Buffered):
    """The mean of the `keep` updates with the smallest scores: one is Krum, more multi-Krum.

    Paper: Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent, arXiv 1703.02757, section 4: the score of update i is
    `s(i) = sum_{i -> j} ||V_i - V_j||^2` over its `n - f - 2` closest others, f being
    `byzantine`; needs `n >= 2f + 3` (`2f + 2 < n`). `keep` (its m) is at most `n - f`;
    None is `n - f - 2`.

    Where Flower's differ: its multi-Krum weights the kept updates by their examples, which is
    `weight=by_examples` here (the paper takes the plain mean, and an attacker may claim any
    number); it runs with fewer clients than the paper allows; and it takes distances from
    norms and products in the updates' own precision, which a far update drowns.
    """

    byzantine: int = 1
    keep: int | None = 1
    weight: Weight = uniform

    def __post_init__(self) -> None:
        check_byzantine(self.byzantine)
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"keep: {self.keep} is less than 1")

    def fault(self, updates: int) -> str:
        least = 2 * self.byzantine + 3
        if updates < least:
            return (
                f"byzantine: {self.byzantine} among {updates} updates are too many for Krum, "
                f"which needs 2f + 3 = {least} updates"
            )
        if self.keep is not None and self.keep > updates - self.byzantine:
            return (
                f"keep: {self.keep} of {updates} updates, {self.byzantine} of them Byzantine, "
                f"would keep attackers; at most {updates - self.byzantine}"
            )
        return ""

    def combined(self, model: Tensors, updates: Sequence[Update]) -> Tensors:
        keep = self.keep if self.keep is not None else len(updates) - self.byzantine - 2
        scores = krum_scores(squared_distances(model, updates), self.byzantine)
        best = scores.argsort(stable=True)[:keep].sort().values
        chosen = [updates[int(position)] for position in best]
        weights = torch.tensor(
            [weighed(self.weight, update) for update in chosen], dtype=torch.float64
        )
        return coordinatewise(model, chosen, weighted(weights))


def krum_scores(distances: Tensor, byzantine: int) -> Tensor:
    """Each update's sum of squared distances to its `n - f - 2` closest others, at least one.

    >>> places = torch.tensor([[0.0], [1.0], [3.0], [50.0]])
    >>> krum_scores(torch.cdist(places, places) ** 2, byzantine=1).tolist()
    [1.0, 1.0, 4.0, 2209.0]
    """
    others = distances.clone()
    others.fill_diagonal_(torch.inf)
    count = max(1, len(distances) - byzantine - 2)
    return others.sort(dim=1).values[:, :count].sum(dim=1)
