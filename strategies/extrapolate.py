"""A server step as long as the clients' disagreement allows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..tensors import Tensors
from .chain import norm_of
from .combine import WeightedMean
from .directions import Directions, squared_change
from .hyper import check_hyper
from .parts import Update
from .weighting import NO_WEIGHT, Weight, by_examples, weighed


@dataclass(frozen=True)
class Extrapolated:
    """FedExP: the mean change D, made longer by `eta_g >= 1`.

    `eta_g = max(1, sum_i p_i ||D_i||^2 / (2 (||D||^2 + epsilon)))`, `x' = x + eta_g D`.

    Paper: Jhunjhunwala, Wang and Joshi 2023, FedExP: Speeding Up Federated Averaging via
    Extrapolation, arXiv 2301.09604, equation 7, where `p_i = 1 / M` for a cohort of M. The
    paper also reports the mean of a run's last two models, which is left to the reader.
    """

    epsilon: float = 1e-3
    weight: Weight = by_examples
    trained: frozenset[str] | None = None
    """Which tensors training moves; the round tells, by `among`."""
    streams: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        check_hyper("epsilon", self.epsilon, above=0.0)

    def among(self, trained: frozenset[str]) -> Extrapolated:
        return replace(self, trained=trained)

    def init(self, model: Tensors) -> Directions:
        return Directions.begin(model, self.trained, WeightedMean(self.weight))

    def fold(self, state: Directions, update: Update) -> Directions:
        weight = weighed(self.weight, update)
        squared = squared_change(update, state.model, state.trained)
        state.add(update, weight, weight=weight, squares=weight * squared)
        return state

    def finish(self, state: Directions) -> Tensors:
        weight = state.tally.get("weight", 0.0)
        if weight <= 0:
            raise ValueError(NO_WEIGHT)
        mean = (norm_of(state.total) / weight) ** 2
        spread = state.tally["squares"] / weight
        return state.moved(max(1.0, spread / (2 * (mean + self.epsilon))) / weight)
