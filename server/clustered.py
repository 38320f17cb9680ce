"""Drives a strategy with clusters: each has a model of its own, the mean of its clients' models.

There is one cluster to begin with. All streams: of a cluster there are its model, the sum of its
clients' models, the sum of their updates and a few numbers; of a client some numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..strategies.changes import add_change, length, nothing
from ..strategies.clusters import Moves
from ..strategies.combine import WeightedMean
from ..strategies.parts import ServerSide, Update
from ..strategies.strategy import Strategy
from ..tensors import Tensors
from ..training.threads import one_thread
from .drivers import Cohort, Composed, Sender
from .membership import Member, Membership

LARGEST = 1e150
"""A longer update counts as so long: squares of such numbers, and their sums, are still finite."""


@dataclass
class _Cluster:
    """A cluster in a round: its model, what combines its clients' updates, the sum of the updates
    of what is trained, how many there are, and the largest norm of one."""

    model: Tensors
    driver: Composed
    trained: Tensors
    total: Tensors
    updates: int = 0
    largest: float = 0.0

    def take(self, update: Update, sender: Sender) -> tuple[Update, float]:
        """Fold an update in; it as the client has it, and its norm."""
        whole = self.driver.fold(update, sender)
        with one_thread():
            norm = min(length(whole.tensors, self.trained), LARGEST)
        add_change(self.total, whole.tensors, self.trained, 1.0)
        self.updates += 1
        self.largest = max(self.largest, norm)
        return whole, norm

    def moves(self) -> Moves:
        """How far the cluster's clients went."""
        with one_thread():
            mean = math.sqrt(sum(float(t.double().square().sum()) for t in self.total.values()))
        return Moves(mean / max(1, self.updates), self.largest)


class Clustered:
    """Drives a strategy that has `clusters`.

    A split counts from the next round on, in which both parts begin with the model of the whole:
    to begin with means of their own, as in the authors' code, the server would have to hold every
    update of a round until it knew of the split.

    Args:
        strategy: one with `clusters`.
        seed: of the experiment.
    """

    takes_more = True

    def __init__(self, strategy: Strategy, seed: int) -> None:
        if strategy.clusters is None:
            raise ValueError(f"{strategy.name} has no clusters")
        self._rule = strategy.clusters
        # What it remembers is of clients' positions: nothing of a model (`unclusterable`).
        self._lead = Composed(strategy, seed)
        self.streams, self.at_client = self._lead.streams, self._lead.at_client
        self.asks_server = self._lead.asks_server
        self._trained: frozenset[str] = frozenset()
        self._members = Membership(self._rule.length)
        self._models: dict[int, Tensors] = {}
        """Of each cluster, what travels; empty while there is one, whose model the loop has."""
        self._going: dict[int, _Cluster] = {}
        self._round = 0
        self._coming: list[tuple[str, float, Member]] = []

    def meet(self, model: nn.Module, server: ServerSide | None) -> None:
        self._trained = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        self._lead.meet(model, server)

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        return self._lead.keeps(names)

    def add(self, tensors: Tensors) -> None:
        self._lead.add(tensors)
        self._models = {number: {**tensors, **own} for number, own in self._models.items()}

    def select(self, round: int, attempt: int, nodes: Sequence[int], model: Tensors) -> Cohort:
        return self._lead.select(round, attempt, nodes, model)

    def models(self, model: Tensors, clients: Sequence[str]) -> list[tuple[Tensors, list[str]]]:
        if not self._models:
            return [(model, list(clients))]
        groups: dict[int, list[str]] = {}
        for client in clients:
            groups.setdefault(self._members.home(client), []).append(client)
        return [(self._models[number], groups[number]) for number in sorted(groups)]

    def begin(self, round: int, model: Tensors) -> None:
        self._round, self._coming, self._going = round, [], {}
        for number, own in (self._models or {0: model}).items():
            trained = {name: value for name, value in own.items() if name in self._trained}
            driver = copy(self._lead)
            driver.begin(round, own)
            self._going[number] = _Cluster(own, driver, trained, nothing(trained))

    def expected(self, model: Tensors) -> tuple[Tensors, Tensors]:
        return self._lead.expected(model)

    def fold(self, update: Update, sender: Sender) -> Update:
        number = self._members.home(update.client)
        whole, norm = self._going[number].take(update, sender)
        known = Member(number, self._round, update.examples)
        self._coming.append((update.client, norm, known))
        return whole

    def lacks(self, updates: int) -> str:
        return self._lead.lacks(updates)

    def finish(self, round: int) -> Tensors:
        models: dict[int, Tensors] = {}
        moves: dict[int, tuple[Moves, int]] = {}
        while self._going:
            number, cluster = self._going.popitem()
            moves[number] = cluster.moves(), cluster.updates
            models[number] = cluster.driver.finish(round) if cluster.updates else cluster.model
        for client, norm, known in self._coming:
            self._members.note(client, norm, known)
        models = self._split(round, dict(sorted(models.items())), moves)
        self._models = models if len(models) > 1 else {}
        return self._mean(models)

    def _split(
        self, round: int, models: dict[int, Tensors], moves: Mapping[int, tuple[Moves, int]]
    ) -> dict[int, Tensors]:
        """The clusters' models, with those of new clusters."""
        for number in list(models):
            gone, updates = moves[number]
            if not updates or not self._rule.due(round, gone):
                continue
            parts = self._rule.split(self._members.sequences(number, round, updates))
            if len(parts) > 1:
                models[max(models) + 1] = dict(models[number])
                self._members.divide(parts)
        return models

    def _mean(self, models: Mapping[int, Tensors]) -> Tensors:
        """The mean of the clusters' models, weighted by their clients' examples."""
        if len(models) == 1:
            return next(iter(models.values()))
        rule = WeightedMean()
        state = rule.init(models[0])
        for number, own in models.items():
            weight = self._members.examples(number)
            state = rule.fold(state, Update(str(number), own, weight))
        return rule.finish(state)

    def clusters(self, model: Tensors) -> dict[int, tuple[Tensors, list[str]]]:
        """Of each cluster its model and its clients; `model` is what the last round gave."""
        found = self._members.clusters
        return {number: (self._models.get(number, model), found[number]) for number in found}

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        memory, facts = self._lead.save()
        tensors = {f"memory/{name}": value for name, value in memory.items()}
        for number, own in self._models.items():
            tensors |= {f"{number}/{name}": value for name, value in own.items()}
        return tensors, {"memory": facts, "members": self._members.save()}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        self._members.restore(facts["members"])
        memory: Tensors = {}
        self._models = {}
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            into = memory if group == "memory" else self._models.setdefault(int(group), {})
            into[name] = value
        self._models = dict(sorted(self._models.items()))
        self._lead.restore(memory, facts["memory"])
