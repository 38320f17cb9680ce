"""Norm bounding: no update moves the model further than a bound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..tensors import Tensors
from .buffered import middle
from .changes import add_change, length, moved, nothing, whole_numbers
from .hyper import Hyper, at, check_hyper
from .parts import Update
from .weighting import NO_WEIGHT, Weight, uniform, weighed


@dataclass
class BoundState:
    """The sum of the bounded changes so far, in float64; updates that wait for their bound;
    and the tensors that are not floating, a few numbers in practice, for their median."""

    model: Tensors
    total: Tensors
    weight: float = 0.0
    waiting: list[Update] = field(default_factory=list)
    whole: list[Tensors] = field(default_factory=list)


@dataclass(frozen=True)
class NormBound:
    """`w + 1/n sum_k (w_k - w) min(1, M / ||w_k - w||)`: the server clips what clients send.

    Paper: Sun et al. 2019, Can You Really Backdoor Federated Learning?, arXiv 1911.07963,
    section 4. M is `bound`, > 0, or a schedule of it; None is the median of the round's norms,
    for which all updates must be there. Clients count the same unless `weight` says otherwise.
    One attacker moves the model by no more than `M / n`.

    >>> import torch
    >>> rule = NormBound(bound=1.0)
    >>> state = rule.init({"w": torch.zeros(2)})
    >>> state = rule.fold(state, Update("a", {"w": torch.tensor([3e30, 4e30])}, examples=1))
    >>> rule.finish(state)
    {'w': tensor([0.6000, 0.8000])}
    """

    bound: Hyper | None = None
    weight: Weight = uniform

    def __post_init__(self) -> None:
        if self.bound is not None:
            check_hyper("bound", self.bound, above=0.0)

    @property
    def streams(self) -> bool:
        return self.bound is not None

    def in_round(self, round: int, memory: Tensors) -> NormBound:
        return self if self.bound is None else replace(self, bound=at(self.bound, round))

    def remembers(self, model: Tensors, combined: Tensors) -> Tensors:
        return {}

    def init(self, model: Tensors) -> BoundState:
        return BoundState(model, nothing(model))

    def fold(self, state: BoundState, update: Update) -> BoundState:
        if self.bound is None:
            state.waiting.append(update)
        else:
            self._add(state, update, at(self.bound, 1))
        return state

    def finish(self, state: BoundState) -> Tensors:
        waiting = sorted(state.waiting, key=lambda update: update.client)
        if waiting:
            norms = [length(update.tensors, state.model) for update in waiting]
            bound = sorted(norms)[(len(norms) - 1) // 2]
            for update in waiting:
                self._add(state, update, bound)
        if not state.weight > 0:
            raise ValueError(NO_WEIGHT)
        combined = moved(state.model, state.total, state.weight)
        return {
            name: combined[name]
            if name in combined
            else middle([tensors[name] for tensors in state.whole])
            for name in state.model
        }

    def _add(self, state: BoundState, update: Update, bound: float) -> None:
        norm = length(update.tensors, state.model)
        weight = weighed(self.weight, update)
        factor = weight if norm <= bound else weight * bound / norm
        if factor > 0:  # A change too long to be measured counts as none.
            add_change(state.total, update.tensors, state.model, factor)
        state.whole.append(whole_numbers(update.tensors))
        state.weight += weight
