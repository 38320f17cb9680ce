"""The parts a strategy is made of: what each is asked, and what it answers.

A strategy is a value made of a few parts. Each is small, works alone, and can be replaced:

* `select`: who takes part in this round?
* `local`: what does a client add to its own training? (see `local_parts`)
* `chain`: what is done to an update on its way up, and undone at the server? (see `chain`)
* `combine`: how do the clients' updates become one?
* `step`: how does the model move?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from ..tensors import Tensors

State = TypeVar("State")
"""What a combining rule carries from one update to the next."""


@dataclass(frozen=True)
class Seen:
    """What the server heard of a client the last time it took part: in which round, on how
    many examples, with which mean training loss (None if it told none)."""

    round: int
    examples: int
    loss: float | None = None


@dataclass(frozen=True)
class Selection:
    """What a selection rule may look at: the round (from 1), the number of clients in the
    population, a generator of its own, and what was last heard of the clients by position."""

    round: int
    population: int
    generator: np.random.Generator
    seen: Mapping[int, Seen] = field(default_factory=dict)


class Select(Protocol):
    """Who takes part in a round."""

    def __call__(self, selection: Selection) -> Sequence[int]:
        """Positions in the population, each at most once, in ascending order."""
        ...


@runtime_checkable
class EndsEarly(Protocol):
    """A selection that asks more clients than it needs, and takes the first to answer."""

    def enough(self, population: int) -> int:
        """How many good updates end the round."""
        ...


@dataclass(frozen=True)
class Update:
    """What one client sends back.

    `tensors` are the client's values of the tensors that travel, after its training;
    `examples` how many examples it trained on; `metrics` sums over them (`loss`, ...);
    `extra` what the strategy's local part adds, `statistics` what the paradigm adds; `steps`
    how many optimiser steps it took.
    """

    client: str
    tensors: Tensors
    examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: Tensors = field(default_factory=dict)
    statistics: Tensors = field(default_factory=dict)
    steps: int = 0


@dataclass(frozen=True)
class Turn:
    """A round as the server sees it at its end: its number (from 1), how many updates were
    combined, how many clients there are, and which tensors are trained (the others that
    travel, such as running means, are not moved by an optimiser)."""

    round: int
    updates: int
    population: int
    trained: frozenset[str]

    @property
    def share(self) -> float:
        """The share of the population whose updates were combined, |S| / N."""
        return self.updates / self.population


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


class ServerSide(Protocol):
    """What a server that has examples of its own can do for a combining rule."""

    def score(self, model: Tensors) -> Mapping[str, float]:
        """Mean metrics (`loss`, `accuracy`, ...) of a model on the server's examples."""
        ...

    def train(self, model: Tensors, round: int) -> Tensors:
        """What a model becomes where the server trains it as a client would."""
        ...


@runtime_checkable
class AsksServer(Protocol):
    """A combining rule that needs what only the server's own examples can tell."""

    def helped(self, server: ServerSide, round: int) -> Combine[Any]:
        """The rule for one round, with the server's help."""
        ...


@runtime_checkable
class ByRound(Protocol):
    """A combining rule that is another one in each round: its numbers follow a schedule, or it
    goes on from what it found in the round before."""

    def in_round(self, round: int, memory: Tensors) -> Combine[Any]:
        """The rule for one round; `memory` is empty before the first."""
        ...

    def remembers(self, model: Tensors, combined: Tensors) -> Tensors:
        """What the next round is to know; `combined` is what became of `model`."""
        ...


@runtime_checkable
class TellsApart(Protocol):
    """A combining rule that treats the tensors that training moves unlike the others."""

    def among(self, trained: frozenset[str]) -> Combine[Any]:
        """The rule for a model of which these tensors are trained."""
        ...


@runtime_checkable
class ChecksCohort(Protocol):
    """A combining rule that cannot combine any number of updates."""

    def fault(self, updates: int) -> str:
        """Why so many updates cannot be combined; empty where they can."""
        ...


@runtime_checkable
class CountsSteps(Protocol):
    """A combining rule that goes by how many steps of an optimiser the clients took."""

    def work(self, steps: int) -> float:
        """How much so many count."""
        ...


class Step(Protocol):
    """How the model moves, given the combined values; `state` is the server optimiser's."""

    def init(self, model: Tensors) -> Tensors:
        """The state before round 1; empty for a step without memory."""
        ...

    def apply(
        self, model: Tensors, combined: Tensors, state: Tensors, turn: Turn
    ) -> tuple[Tensors, Tensors]:
        """The next model and the next state."""
        ...


@dataclass(frozen=True)
class Need:
    """What a strategy asks of an experiment: a key, the value that it must have, and why; of an
    `optional` key only where there is such a one, as another paradigm has not."""

    key: str
    value: object
    why: str
    optional: bool = False
