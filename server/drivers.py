"""What the round loop asks of a strategy, umbel's own or Flower's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from ..errors import BadInput
from ..randomness import numpy_generator
from ..strategies.parts import (
    AsksServer,
    ByRound,
    Combine,
    EndsEarly,
    Selection,
    ServerSide,
    TellsApart,
    Turn,
    Update,
)
from ..strategies.step import Replace
from ..strategies.strategy import Strategy
from ..tensors import Tensors
from .combined import blamed, check_chosen, check_combined
from .memory import Memory


@dataclass(frozen=True)
class Cohort:
    """The positions in the population that take part, and what they are told beside the model."""

    positions: Sequence[int]
    enough: int | None = None
    """How many good updates end the round; None waits for all."""
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class Sender:
    """Whose update it is: a node of the grid, at a position in the population."""

    node: int
    position: int


class Driver(Protocol):
    """A strategy as the round loop sees it."""

    streams: bool
    at_client: bool
    """Whether clients must build the strategy too, for what of it lives there."""
    asks_server: bool
    """Whether what becomes of the model depends on the server's own examples."""
    takes_more: bool
    """Whether a round's model may have more tensors than the one before it."""

    def meet(self, model: nn.Module, server: ServerSide | None) -> None:
        """Before anything else: the model, and what the server's own examples can do."""
        ...

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        """Which of the travelling tensors stay at the clients."""
        ...

    def add(self, tensors: Tensors) -> None:
        """From the next round on the model has these, too; asked only where it `takes_more`."""
        ...

    def select(self, round: int, attempt: int, nodes: Sequence[int], model: Tensors) -> Cohort:
        """Who takes part; `attempt` counts from 0 when a round is repeated."""
        ...

    def models(self, model: Tensors, clients: Sequence[str]) -> list[tuple[Tensors, list[str]]]:
        """Which of some clients, by their names, gets which model to train or to evaluate: `model`
        goes to all, unless the strategy has several."""
        ...

    def begin(self, round: int, model: Tensors) -> None:
        """Before the first update of a round."""
        ...

    def expected(self, model: Tensors) -> tuple[Tensors, Tensors]:
        """The update and the extras that a client must send: names, shapes and dtypes."""
        ...

    def fold(self, update: Update, sender: Sender) -> Update:
        """Take one update in, and give it with the values that the client's model has; raises
        UpdateRefused where the strategy cannot use it."""
        ...

    def lacks(self, updates: int) -> str:
        """Why so many updates cannot be combined; empty where they can."""
        ...

    def finish(self, round: int) -> Tensors:
        """The model after the round."""
        ...

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        """What a checkpoint must hold: tensors, and what JSON can say."""
        ...

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None: ...


@runtime_checkable
class HasClusters(Protocol):
    """A driver of a strategy that has a model for each of several clusters of clients."""

    def clusters(self, model: Tensors) -> dict[int, tuple[Tensors, list[str]]]:
        """What travels of each cluster's model, and its clients; `model` is what the last round
        gave."""
        ...


class Composed:
    """Drives a strategy of umbel's: its parts, asked in turn."""

    def __init__(self, strategy: Strategy, seed: int) -> None:
        self._strategy = strategy
        self._seed = seed
        self._module: nn.Module | None = None
        self._trained: frozenset[str] = frozenset()
        self._server: ServerSide | None = None
        self._memory = Memory()
        self._model: Tensors = {}
        self._round = 0
        self._population = 0
        self._rule: Combine[Any] = strategy.combine
        self._extra_rule: Combine[Any] = strategy.extra_rule
        self._folded: Any = None
        self._extras: Any = None
        self._updates = 0
        self.streams = strategy.combine.streams
        self.at_client = not strategy.client_side.plain
        self.asks_server = isinstance(strategy.combine, AsksServer)
        self.takes_more = True

    def meet(self, model: nn.Module, server: ServerSide | None) -> None:
        self._module, self._server = model, server
        self._trained = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        if self.asks_server and server is None:
            raise BadInput(
                f"strategy.name: {self._strategy.name} needs examples of the server's own; set "
                "data.server"
            )

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        if self._module is None:
            raise RuntimeError("keeps is asked once, after meet")
        kept = self._strategy.local.keeps(self._module, names)
        self._module = None  # It holds the model's first values, which nobody needs any more.
        return kept

    def add(self, tensors: Tensors) -> None:
        memory = self._memory
        if memory.step is not None:
            memory.step = {**self._strategy.step.init(tensors), **memory.step}
        if memory.context is not None:
            begun = self._strategy.local.context(tensors, self._trained)
            memory.context = {**begun, **memory.context}

    def select(self, round: int, attempt: int, nodes: Sequence[int], model: Tensors) -> Cohort:
        purpose = "select" if attempt == 0 else f"select, attempt {attempt}"
        generator = numpy_generator(self._seed, purpose=purpose, round=round)
        self._population = len(nodes)
        choose = self._strategy.select
        with blamed(choose):
            chosen = choose(Selection(round, len(nodes), generator, self._memory.seen))
        positions = check_chosen(chosen, len(nodes), choose)
        enough = choose.enough(len(nodes)) if isinstance(choose, EndsEarly) else None
        return Cohort(positions, enough, context=self._context(model))

    def models(self, model: Tensors, clients: Sequence[str]) -> list[tuple[Tensors, list[str]]]:
        return [(model, list(clients))]

    def begin(self, round: int, model: Tensors) -> None:
        self._model, self._round, self._updates = model, round, 0
        rule = self._strategy.combine
        if isinstance(rule, AsksServer) and self._server is not None:
            rule = rule.helped(self._server, round)
        if isinstance(rule, TellsApart):
            rule = rule.among(self._trained)
        if isinstance(rule, ByRound):
            rule = rule.in_round(round, self._memory.rule or {})
        self._rule = rule
        with blamed(rule):
            self._folded = rule.init(model)
        self._begin_extras(round, self._strategy.local.sends(model, self._trained))

    def _begin_extras(self, round: int, form: Tensors) -> None:
        """What is sent beside the updates begins at nothing, where they begin at the model."""
        rule = self._strategy.extra_rule
        if isinstance(rule, TellsApart):
            rule = rule.among(frozenset(form))
        if isinstance(rule, ByRound):
            rule = rule.in_round(round, {})
        self._extra_rule = rule
        # One zero, seen everywhere: most rules read no more of it than its shape.
        nothing = {n: torch.zeros((), dtype=v.dtype).expand(v.shape) for n, v in form.items()}
        with blamed(rule):
            self._extras = rule.init(nothing)

    def expected(self, model: Tensors) -> tuple[Tensors, Tensors]:
        extra = self._strategy.local.sends(model, self._trained)
        return self._strategy.chain.expected(model), extra

    def fold(self, update: Update, sender: Sender) -> Update:
        tensors = self._strategy.chain.decode(update.tensors, self._model)
        update = replace(update, tensors=tensors)
        with blamed(self._rule):
            self._folded = self._rule.fold(self._folded, update)
        self._updates += 1
        self._memory.note(sender.position, self._round, update)
        if update.extra:
            own = replace(update, tensors=update.extra)
            with blamed(self._extra_rule):
                self._extras = self._extra_rule.fold(self._extras, own)
        return update

    def lacks(self, updates: int) -> str:
        return self._strategy.lacks(updates)

    def finish(self, round: int) -> Tensors:
        turn = Turn(round, self._updates, self._population, self._trained)
        with blamed(self._rule):
            combined = self._rule.finish(self._folded)
        check_combined(combined, self._model, self._rule)
        if isinstance(self._rule, ByRound):
            self._memory.rule = self._rule.remembers(self._model, combined)
        if self._strategy.local.sends(self._model, self._trained):
            with blamed(self._extra_rule):
                extra = self._extra_rule.finish(self._extras)
            context = self._context(self._model)
            self._memory.context = self._strategy.local.absorb(context, extra, turn)
        self._folded = self._extras = None
        step = self._strategy.step
        state = step.init(self._model) if self._memory.step is None else self._memory.step
        with blamed(step):
            model, self._memory.step = step.apply(self._model, combined, state, turn)
        if not isinstance(step, Replace):
            check_combined(model, self._model, step)
        return model

    def _context(self, model: Tensors) -> Tensors:
        if self._memory.context is None:
            self._memory.context = self._strategy.local.context(model, self._trained)
        return self._memory.context

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        return self._memory.save()

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        self._memory = Memory.restore(tensors, facts)
