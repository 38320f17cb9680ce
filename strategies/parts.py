"""The parts a strategy is made of: what each is asked, and what it answers.

A strategy is a value made of four parts. Each is small, works alone, and can be replaced:

* `select`: who takes part in this round?
* `local`: what does a client add to its own training?
* `combine`: how do the clients' updates become one?
* `step`: how does the model move?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from ..tensors import Tensors

State = TypeVar("State")
"""What a combining rule carries from one update to the next."""


@dataclass(frozen=True)
class Selection:
    """What a selection rule may look at: the round (from 1), the number of clients in the
    population, and a generator of its own."""

    round: int
    population: int
    generator: np.random.Generator


class Select(Protocol):
    """Who takes part in a round."""

    def __call__(self, selection: Selection) -> Sequence[int]:
        """Positions in the population, each at most once, in ascending order."""
        ...


@dataclass(frozen=True)
class Update:
    """What one client sends back.

    `tensors` are the client's values of the tensors that travel, after its training;
    `examples` how many examples it trained on; `metrics` sums over them (`loss`, ...);
    `extra` what the strategy's local part adds, `statistics` what the paradigm adds.
    """

    client: str
    tensors: Tensors
    examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: Tensors = field(default_factory=dict)
    statistics: Tensors = field(default_factory=dict)
    steps: int = 0


class Combine(Protocol[State]):
    """How updates become one: two pure functions and a last one.

    The server folds updates in the order of the cohort, whatever order they arrive in, so a
    rule need not be associative to give the same bits in every runtime. `streams` says
    whether the state stays as large when more clients are folded in.
    """

    @property
    def streams(self) -> bool: ...

    def init(self, model: Tensors) -> State:
        """The state before any update; `model` is what the cohort was sent."""
        ...

    def fold(self, state: State, update: Update) -> State:
        """The state with one more update; may reuse the memory of `state`."""
        ...

    def finish(self, state: State) -> Tensors:
        """The combined values, named, shaped and typed as the model's."""
        ...


class Step(Protocol):
    """How the model moves, given the combined values; `state` is the server optimiser's."""

    def init(self, model: Tensors) -> Tensors:
        """The state before round 1; empty for a step without memory."""
        ...

    def apply(
        self, model: Tensors, combined: Tensors, state: Tensors, round: int
    ) -> tuple[Tensors, Tensors]:
        """The next model and the next state."""
        ...


@dataclass
class LocalRun:
    """One client's training in one round, as the local part sees it.

    `model` holds the received weights when the round begins; `received` are the tensors that
    travelled, `context` what the strategy's server half sent beside them, `state` what this
    client kept from its last round.
    """

    model: nn.Module
    received: Tensors
    context: Tensors
    state: Tensors
    round: int


class Local(Protocol):
    """What a client adds to its own training. `Plain` adds nothing; subclass it."""

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        """Which of the travelling tensors stay at the client instead."""
        ...

    def begin(self, run: LocalRun) -> Any:
        """Called before the first step; what it returns is handed to the others as `memo`."""
        ...

    def loss(self, memo: Any, run: LocalRun, loss: Tensor) -> Tensor:
        """The loss to descend, given the paradigm's own."""
        ...

    def gradients(self, memo: Any, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        """The gradients to descend, in the order of the trainable parameters."""
        ...

    def finish(
        self, memo: Any, run: LocalRun, steps: int, learning_rate: float
    ) -> tuple[Tensors, Tensors]:
        """(what goes up beside the update, what this client keeps for its next round)."""
        ...


@dataclass(frozen=True)
class Plain:
    """Local training with nothing added."""

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset()

    def begin(self, run: LocalRun) -> Any:
        return None

    def loss(self, memo: Any, run: LocalRun, loss: Tensor) -> Tensor:
        return loss

    def gradients(self, memo: Any, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        return gradients

    def finish(
        self, memo: Any, run: LocalRun, steps: int, learning_rate: float
    ) -> tuple[Tensors, Tensors]:
        return {}, {}
