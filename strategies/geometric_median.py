"""The geometric median, by the smoothed Weiszfeld algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..tensors import Tensors
from .buffered import (
    Buffered,
    coordinatewise,
    distances_to,
    floating,
    median,
    pieces,
    weighted,
)
from .parts import Update
from .weighting import Weight, uniform, weighed


@dataclass(frozen=True)
class GeometricMedian(Buffered):
    """The point that is nearest to all updates: `argmin_v sum_k alpha_k ||v - w_k||`.

    Paper: Pillutla et al. 2022, Robust Aggregation for Federated Learning, arXiv 1912.13445,
    algorithm 2: `v <- sum_k beta_k w_k / sum_k beta_k` with
    `beta_k = alpha_k / max(nu, ||v - w_k||)`, until the sum of distances gets smaller by no
    more than a share `tolerance`, or `iterations` times. The paper begins at the mean and
    stops after 3; here it begins at the coordinate-wise median, for a mean that one update
    has carried far away takes many steps to come back. Its `alpha_k` are the clients' examples;
    here they count the same unless `weight` says otherwise, for an attacker may claim any
    number. Near the honest clients while they hold more than half of the weight.
    """

    nu: float = 1e-6
    iterations: int = 10
    tolerance: float = 1e-6
    weight: Weight = uniform

    def __post_init__(self) -> None:
        if not self.nu > 0:
            raise ValueError(f"nu: {self.nu} is not more than 0")
        if self.iterations < 1:
            raise ValueError(f"iterations: {self.iterations} is less than 1")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: {self.tolerance} is less than 0")

    def combined(self, model: Tensors, updates: Sequence[Update]) -> Tensors:
        alpha = torch.tensor(
            [weighed(self.weight, update) for update in updates], dtype=torch.float64
        )
        weighted(alpha)  # which refuses weights that sum to nothing
        wide = {name: value.double() for name, value in model.items() if name in floating(model)}
        centre = coordinatewise(wide, updates, median)
        distances = distances_to(centre, updates)
        before = _cost(alpha, distances)
        beta = alpha
        for _ in range(self.iterations):
            beta = alpha / distances.clamp(min=self.nu)
            _move(centre, updates, beta)
            distances = distances_to(centre, updates)
            cost = _cost(alpha, distances)
            if before - cost <= self.tolerance * before:
                break
            before = cost
        return coordinatewise(model, updates, weighted(beta))


def _cost(alpha: torch.Tensor, distances: torch.Tensor) -> float:
    """The weighted sum of those distances that can be expressed."""
    finite = torch.isfinite(distances)
    return float((alpha[finite] * distances[finite]).sum())


def _move(centre: Tensors, updates: Sequence[Update], beta: torch.Tensor) -> None:
    """Put the weighted mean of the updates in the centre's place."""
    rule = weighted(beta)
    for name, value in centre.items():
        flat = value.view(-1)
        for place, rows in pieces(name, updates):
            flat[place] = rule(rows)
