"""Means that are not misled by clients who take more steps than others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..errors import UpdateRefused
from ..tensors import Tensors
from .combine import WeightedMean
from .directions import Directions
from .hyper import check_hyper
from .parts import Update
from .weighting import NO_WEIGHT, Weight, by_examples, weighed


@dataclass(frozen=True)
class NormalisedMean:
    """FedNova: the mean of the clients' changes a unit of local work, times their mean work.

    `x' = x + tau_eff * sum_i p_i (x_i - x) / ||a_i||_1`, `tau_eff = sum_i p_i ||a_i||_1`.

    Paper: Wang et al. 2020, Tackling the Objective Inconsistency Problem in Heterogeneous
    Federated Optimization, arXiv 2007.07481, equation 6 and section 4: with tau steps of plain
    SGD `||a||_1 = tau`, with momentum rho
    `||a||_1 = [tau - rho (1 - rho^tau) / (1 - rho)] / (1 - rho)`, and with a proximal term mu
    and steps of eta `||a||_1 = [1 - (1 - eta mu)^tau] / (eta mu)`. `p_i` is a client's share of
    the cohort's weight.
    """

    momentum: float = 0.0
    weight: Weight = by_examples
    mu: float = 0.0
    learning_rate: float = 0.0
    """The clients' own; counts where there is a `mu`."""
    trained: frozenset[str] | None = None
    """Which tensors training moves; the round tells, by `among`."""
    streams: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: {self.momentum} is not in [0, 1)")
        check_hyper("mu", self.mu, least=0.0)
        check_hyper("learning_rate", self.learning_rate, least=0.0)
        if self.mu and self.momentum:
            raise ValueError("mu: FedNova's norm is known beside no momentum only")
        if self.mu and not 0 < self.mu * self.learning_rate <= 1:
            raise ValueError(
                f"mu: {self.mu} times the learning rate {self.learning_rate} is not in (0, 1]"
            )

    def among(self, trained: frozenset[str]) -> NormalisedMean:
        return replace(self, trained=trained)

    def init(self, model: Tensors) -> Directions:
        return Directions.begin(model, self.trained, WeightedMean(self.weight))

    def fold(self, state: Directions, update: Update) -> Directions:
        if update.steps < 1:
            raise UpdateRefused("it tells of no step, and FedNova divides by their number")
        weight, work = weighed(self.weight, update), self.work(update.steps)
        state.add(update, weight / work, weight=weight, work=weight * work)
        return state

    def work(self, steps: int) -> float:
        """`||a||_1`: how far `steps` of the clients go along a constant gradient, in learning
        rates.

        >>> NormalisedMean().work(3), NormalisedMean(momentum=0.5).work(3)
        (3.0, 4.25)
        """
        if self.mu:
            return (1 - (1 - self.mu * self.learning_rate) ** steps) / (
                self.mu * self.learning_rate
            )
        spread = self.momentum * (1 - self.momentum**steps) / (1 - self.momentum)
        return (steps - spread) / (1 - self.momentum)

    def finish(self, state: Directions) -> Tensors:
        weight, work = state.tally.get("weight", 0.0), state.tally.get("work", 0.0)
        if weight <= 0:
            raise ValueError(NO_WEIGHT)
        return state.moved((work / weight) / weight)
