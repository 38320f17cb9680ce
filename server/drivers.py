"""What the round loop asks of a strategy, umbel's own or Flower's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..randomness import numpy_generator
from ..strategies.parts import Plain, Selection, Update
from ..strategies.strategy import Strategy
from ..tensors import Tensors


@dataclass(frozen=True)
class Cohort:
    """The positions in the population that take part, and what they are told beside the model."""

    positions: Sequence[int]
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Tensors = field(default_factory=dict)


class Driver(Protocol):
    """A strategy as the round loop sees it."""

    streams: bool
    local: bool
    """Whether clients must build the strategy too, for its local part."""

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        """Which of the travelling tensors stay at the clients."""
        ...

    def select(self, round: int, attempt: int, nodes: Sequence[int], model: Tensors) -> Cohort:
        """Who takes part; `attempt` counts from 0 when a round is repeated."""
        ...

    def begin(self, model: Tensors) -> None:
        """Before the first update of a round."""
        ...

    def fold(self, update: Update, node: int) -> None: ...

    def finish(self, round: int) -> Tensors:
        """The model after the round."""
        ...

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        """What a checkpoint must hold: tensors, and what JSON can say."""
        ...

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None: ...


class Composed:
    """Drives a strategy of umbel's: the four parts, asked in turn."""

    def __init__(self, strategy: Strategy, seed: int) -> None:
        self._strategy = strategy
        self._seed = seed
        self._model: Tensors = {}
        self._folded: Any = None
        self._state: Tensors | None = None
        self.streams = strategy.combine.streams
        self.local = type(strategy.local) is not Plain

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        return self._strategy.local.keeps(names)

    def select(self, round: int, attempt: int, nodes: Sequence[int], model: Tensors) -> Cohort:
        purpose = "select" if attempt == 0 else f"select, attempt {attempt}"
        generator = numpy_generator(self._seed, purpose=purpose, round=round)
        return Cohort(self._strategy.select(Selection(round, len(nodes), generator)))

    def begin(self, model: Tensors) -> None:
        self._model = model
        self._folded = self._strategy.combine.init(model)

    def fold(self, update: Update, node: int) -> None:
        self._folded = self._strategy.combine.fold(self._folded, update)

    def finish(self, round: int) -> Tensors:
        combined = self._strategy.combine.finish(self._folded)
        self._folded = None
        step = self._strategy.step
        state = step.init(self._model) if self._state is None else self._state
        model, self._state = step.apply(self._model, combined, state, round)
        return model

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        return self._state or {}, {"begun": self._state is not None}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        self._state = tensors if facts.get("begun") else None
