"""A strategy: four parts as one value, which is also a strategy of Flower's."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower

from ..randomness import numpy_generator
from ..tensors import Tensors
from .chain import Chain
from .clusters import SplitBySequences
from .combine import WeightedMean
from .concord import discord, unclusterable
from .fitting import ASKED, unfit
from .local_parts import Local, Plain, absorbs
from .parts import (
    ByRound,
    ChecksCohort,
    Combine,
    Need,
    Select,
    Selection,
    Step,
    TellsApart,
    Turn,
    Update,
)
from .select import Fraction
from .step import Replace
from .weighting import uniform

log = logging.getLogger("flwr")
"""Flower's own logger: inside a plain ServerApp the strategy speaks among Flower's."""


@dataclass
class _Session:
    """What a strategy remembers between rounds when Flower's own loop drives it."""

    model: Tensors | None = None
    state: Tensors = field(default_factory=dict)
    rule: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class ClientSide:
    """What of a strategy lives at the clients: the local part, and the chain's way up."""

    local: Local = field(default_factory=Plain)
    chain: Chain = field(default_factory=Chain)

    @property
    def plain(self) -> bool:
        """Whether clients do nothing but train, and need not know the strategy."""
        return self.local.plain and not self.chain.links


@dataclass(frozen=True)
class Strategy(flower.Strategy):
    """Who trains, what a client adds, how updates travel and combine, how the model moves.

    `extra` combines what the local part sends beside the updates, the control variates of
    SCAFFOLD for one: their plain mean, unless another rule is given. It must be given where
    `combine` is no mean, for a mean of them would let in what that rule keeps out. `needs` is
    what the strategy asks of an experiment. With `clusters` there are several models, each the
    mean of one cluster's clients, and the rule says when a cluster splits. Raises ValueError where
    parts do not fit together (`concord`).

    umbel's round loop asks the parts; inside a plain Flower `ServerApp` the strategy answers
    Flower's hooks with the same parts (except `local` and `chain`, which live in umbel's
    clients). There clients answer with one `ArrayRecord` and one `MetricRecord` that holds
    `num-examples`.

    >>> Strategy(name="fedavg", select=Fraction(0.1)).combine.streams
    True
    """

    name: str = "strategy"
    select: Select = field(default_factory=Fraction)
    local: Local = field(default_factory=Plain)
    combine: Combine[Any] = field(default_factory=WeightedMean)
    step: Step = field(default_factory=Replace)
    chain: Chain = field(default_factory=Chain)
    extra: Combine[Any] | None = None
    needs: tuple[Need, ...] = ()
    clusters: SplitBySequences | None = None
    seed: int = 0
    _session: _Session = field(default_factory=_Session, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = {part: getattr(self, part) for part in ASKED if getattr(self, part) is not None}
        for fault in filter(None, (unfit(name, part) for name, part in parts.items())):
            raise ValueError(fault)
        fault = discord(self.local, self.combine, self.step, self.extra)
        if self.clusters is not None:
            fault = fault or unclusterable(self.local, self.combine, self.step)
        if fault:
            raise ValueError(fault)

    @property
    def client_side(self) -> ClientSide:
        """What clients must know of the strategy."""
        return ClientSide(self.local, self.chain)

    @property
    def extra_rule(self) -> Combine[Any]:
        """How what the local part sends is combined."""
        return self.extra or WeightedMean(uniform)

    def lacks(self, updates: int) -> str:
        """Why the rules cannot combine so many updates; empty where they can."""
        rules = [self.combine, *([self.extra] if self.extra and absorbs(self.local) else [])]
        return next(
            (fault for r in rules if isinstance(r, ChecksCohort) and (fault := r.fault(updates))),
            "",
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Flower's hook: one message for each selected node; raises NotImplementedError with
        clusters, for Flower's loop knows one model."""
        if self.clusters is not None:
            raise NotImplementedError(f"{self.name} has several models; run it with umbel")
        nodes = sorted(grid.get_node_ids())
        generator = numpy_generator(self.seed, purpose="select", round=server_round)
        chosen = self.select(Selection(server_round, len(nodes), generator))
        self._session.model = dict(arrays.to_torch_state_dict())
        members = [nodes[position] for position in chosen]
        return _messages(arrays, config, server_round, MessageType.TRAIN, members)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Flower's hook: fold the replies in the order of their nodes, then move the model."""
        model = self._session.model
        good = sorted(
            (reply for reply in replies if reply.has_content()),
            key=lambda reply: reply.metadata.src_node_id,
        )
        fault = self.lacks(len(good))
        if fault:
            log.warning("round %d: %s", server_round, fault)
        if model is None or not good or fault:
            return None, None
        if server_round == 1:
            self._session.rule = {}
        trained = frozenset(n for n, value in model.items() if value.is_floating_point())
        rule = self.combine
        if isinstance(rule, TellsApart):
            rule = rule.among(trained)
        if isinstance(rule, ByRound):
            rule = rule.in_round(server_round, self._session.rule)
        state = rule.init(model)
        for reply in good:
            state = rule.fold(state, _update(reply, model))
        combined = rule.finish(state)
        if isinstance(rule, ByRound):
            self._session.rule = rule.remembers(model, combined)
        if server_round == 1 or not self._session.state:
            self._session.state = self.step.init(model)
        turn = Turn(server_round, len(good), len(good), trained)
        moved, self._session.state = self.step.apply(model, combined, self._session.state, turn)
        return ArrayRecord(dict(moved)), _mean_metrics(good)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Flower's hook: every node evaluates."""
        nodes = sorted(grid.get_node_ids())
        return _messages(arrays, config, server_round, MessageType.EVALUATE, nodes)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Flower's hook: the clients' metrics, weighted by their examples."""
        good = [reply for reply in replies if reply.has_content()]
        return _mean_metrics(good) if good else None

    def summary(self) -> None:
        """Flower's hook: log the parts."""
        log.info("umbel strategy %s", self.name)
        for part in ("select", "local", "chain", "combine", "step"):
            log.info("\t%s: %s", part, getattr(self, part))


def _messages(
    arrays: ArrayRecord, config: ConfigRecord, server_round: int, kind: str, nodes: list[int]
) -> list[Message]:
    config["server-round"] = server_round
    record = RecordDict({"arrays": arrays, "config": config})
    return [Message(record, dst_node_id=node, message_type=kind) for node in nodes]


def _update(reply: Message, model: Tensors) -> Update:
    [arrays] = reply.content.array_records.values()
    tensors = {
        name: torch.as_tensor(value).to(model[name].dtype)
        for name, value in arrays.to_torch_state_dict().items()
    }
    return Update(str(reply.metadata.src_node_id), tensors, int(_examples(reply)))


def _examples(reply: Message) -> float:
    [metrics] = reply.content.metric_records.values()
    value = metrics["num-examples"]
    if isinstance(value, list):
        raise TypeError("num-examples is a list: one number a client is needed")
    return float(value)


def _mean_metrics(replies: list[Message]) -> MetricRecord:
    total: dict[str, float] = {}
    weight = 0.0
    for reply in replies:
        [metrics] = reply.content.metric_records.values()
        examples = _examples(reply)
        weight += examples
        for name, value in metrics.items():
            if name != "num-examples" and not isinstance(value, list):
                total[name] = total.get(name, 0.0) + examples * value
    means: dict[str, int | float] = {
        name: value / weight if weight else 0.0 for name, value in total.items()
    }
    return MetricRecord({**means})
