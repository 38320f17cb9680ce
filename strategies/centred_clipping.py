"""Centred clipping: the mean of the updates, each no further from the centre than a radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..tensors import Tensors
from .buffered import Buffered, distances_to, middle, pieces
from .hyper import Hyper, at, check_hyper
from .parts import Update


@dataclass(frozen=True)
class CentredClipping(Buffered):
    """`v <- v + 1/n sum_i (x_i - v) min(1, tau / ||x_i - v||)`, `iterations` times.

    Paper: Karimireddy et al. 2021, Learning from History for Byzantine Robust Optimization,
    arXiv 2012.10333, algorithm 2. With `memory` the first v is the model moved as the last
    round moved it (there x_i and v are momenta, and v begins at the last round's); without, the
    model that the cohort was sent. `tau > 0` may be a schedule; the paper fixes it (10 for
    gradients of MNIST), None is the median of the distances, anew in every iteration, which
    needs no tuning and holds while fewer than half of the clients attack.
    """

    tau: Hyper | None = None
    iterations: int = 3
    memory: bool = True
    last: Tensors = field(default_factory=dict, repr=False, compare=False)
    """How the last round moved the model: set by `in_round`."""
    trained: frozenset[str] | None = None
    """Which tensors training moves; the round tells, by `among`."""

    def __post_init__(self) -> None:
        if self.tau is not None:
            check_hyper("tau", self.tau, above=0.0)
        if self.iterations < 1:
            raise ValueError(f"iterations: {self.iterations} is less than 1")

    def among(self, trained: frozenset[str]) -> CentredClipping:
        return replace(self, trained=trained)

    def in_round(self, round: int, memory: Tensors) -> CentredClipping:
        tau = None if self.tau is None else at(self.tau, round)
        return replace(self, tau=tau, last=memory if self.memory else {})

    def remembers(self, model: Tensors, combined: Tensors) -> Tensors:
        if not self.memory:
            return {}
        return {
            name: combined[name] - value
            for name, value in model.items()
            if value.is_floating_point() and (self.trained is None or name in self.trained)
        }

    def combined(self, model: Tensors, updates: Sequence[Update]) -> Tensors:
        centre = {n: v.double() for n, v in model.items() if v.is_floating_point()}
        for name, moved in self.last.items():
            centre[name] = centre[name] + moved
        for _ in range(self.iterations):
            distances = distances_to(centre, updates)
            _pull(centre, updates, self._factors(distances))
        return {
            name: centre[name].to(like.dtype)
            if name in centre
            else middle([update.tensors[name] for update in updates])
            for name, like in model.items()
        }

    def _factors(self, distances: Tensor) -> Tensor:
        ordered = distances.sort().values
        middle_one = float(ordered[(len(ordered) - 1) // 2])
        radius = middle_one if self.tau is None else at(self.tau, 1)
        return (radius / distances.clamp(min=torch.finfo(torch.float64).tiny)).clamp(max=1.0)


def _pull(centre: Tensors, updates: Sequence[Update], factors: Tensor) -> None:
    """Move the centre by the mean of the differences, each times its factor."""
    kept = factors > 0  # Too far for its distance to be expressed: such a one pulls nowhere.
    near = [update for update, keep in zip(updates, kept.tolist(), strict=True) if keep]
    share = factors[kept] / len(updates)
    for name, value in centre.items() if near else ():
        flat = value.view(-1)
        for place, rows in pieces(name, near):
            flat[place] += share @ rows.sub_(flat[place])
