"""The ClientApp: answers the server's queries, trains and evaluates on its own shard.

One app object serves every runtime. It is told how to open the shard of the node that a
message is for, and where that node keeps its state; everything else comes with the message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from ..data.shard import Shard
from ..errors import UmbelError
from ..messages import OFFER, REST, SHOW, TELL, Envelope, Pack, split_record, unpack_groups
from ..paradigms.base import LocalRequest
from ..randomness import torch_generator, torch_seeded
from ..schema import Schema
from ..strategies.local_parts import LocalRun
from ..strategies.strategy import ClientSide
from ..tensors import Buffer, Tensors, pack
from .asked import described
from .boundary import keep, offered, shard_to_tell, with_told
from .configured import shard_of_node, state_of_node
from .evaluation import answer, load
from .features import KeptFeatures
from .rest import settle
from .state import StateStore, grouped, named
from .stragglers import in_time
from .subgraph import shown
from .workbench import Workbench, Workplace, build_client_side

OpenShard: TypeAlias = Callable[[Context], Shard]
StateFolder: TypeAlias = Callable[[Context], Path]


@dataclass(frozen=True)
class _Task:
    """A message, read."""

    header: Mapping[str, Any]
    groups: dict[str, Tensors]

    @property
    def round(self) -> int:
        return int(self.header["round"])

    @property
    def run(self) -> str:
        return str(self.header["run"])


class Worker:
    """Answers messages; keeps the model, the prepared shards and the last model received."""

    def __init__(
        self,
        open_shard: OpenShard,
        state_folder: StateFolder,
        side: ClientSide | None = None,
        pack: Pack = pack,
        max_state_bytes: int | None = None,
    ) -> None:
        self._max_state_bytes = max_state_bytes
        self._open_shard = open_shard
        self._state_folder = state_folder
        self._side = side
        self._pack = pack
        self._bench: Workbench | None = None
        self._bench_key: tuple[str, Any, Schema] | None = None
        self._opened: tuple[int, Shard | None] = (0, None)
        self._schemas: dict[int, Schema] = {}
        self._last: tuple[Buffer, dict[str, Tensors]] = (b"", {})

    def query(self, message: Message, context: Context) -> Message:
        """Tell the shard's schema, its owner's name, how many examples it holds and which classes
        it has labels of."""
        shard = self._shard(context)
        self._schemas[context.node_id] = shard.schema
        told = described(shard, split_record(message.content)[0])
        return Message(Envelope(told).to_record(), reply_to=message)

    def offer(self, message: Message, context: Context) -> Message:
        """Tell of the nodes at the boundary of the shard's graph."""
        task, shard = self._read(message), self._shard(context)
        bench = self._workbench(task, context)
        part = shard_to_tell(bench, shard, self._store(context), task.header)
        return Message(offered(bench.paradigm, part).to_record(self._pack), reply_to=message)

    def tell(self, message: Message, context: Context) -> Message:
        """Keep what all clients together told of them."""
        task, shard = self._read(message), self._shard(context)
        bench = self._workbench(task, context)
        told = keep(bench.paradigm, shard, task.groups, self._store(context), task.run)
        bench.forget(context.node_id)
        return Message(told.to_record(), reply_to=message)

    def show(self, message: Message, context: Context) -> Message:
        """Tell a part of the shard's graph, to be drawn."""
        return Message(shown(self._shard(context)).to_record(self._pack), reply_to=message)

    def train(self, message: Message, context: Context) -> Message:
        """Train on the shard from the received model and send back what travels."""
        started = time.perf_counter()
        task = self._read(message)
        bench = self._workbench(task, context)
        if not self._settled(bench, task, context):
            return _asking(message, task)
        bench.enter(task.round)
        place = self._workplace(bench, task, context)
        if place.examples == 0:
            raise UmbelError(f"{place.client}: no {bench.learns_from} to train on")
        store = self._store(context)
        state = _state(store, bench, task.run, place.client, before=task.round)
        update = _train(bench, place, task, state)
        if update.keep:
            store.save(task.run, place.client, task.round, update.keep)
        header = {
            "client": place.client,
            "examples": update.examples,
            "metrics": update.metrics,
            "steps": update.steps,
            "seconds": time.perf_counter() - started,
        }
        return Message(Envelope(header, update.groups).to_record(self._pack), reply_to=message)

    def evaluate(self, message: Message, context: Context) -> Message:
        """Score the received model on the examples held out, beside others if that is asked."""
        started = time.perf_counter()
        task = self._read(message)
        bench = self._workbench(task, context)
        if not self._settled(bench, task, context):
            return _asking(message, task)
        bench.enter(task.round)
        place = self._workplace(bench, task, context)
        store = self._store(context)
        state = _state(store, bench, task.run, place.client, before=task.round + 1)
        kept = grouped(state, "kept")
        metrics, groups = answer(bench, place, task.round, task.header, task.groups, kept)
        header = {
            "client": place.client,
            "metrics": metrics,
            "seconds": time.perf_counter() - started,
        }
        return Message(Envelope(header, groups).to_record(), reply_to=message)

    def _workplace(self, bench: Workbench, task: _Task, context: Context) -> Workplace:
        def open_shard() -> Shard:
            return with_told(bench.paradigm, self._shard(context), self._store(context), task.run)

        kept = KeptFeatures(self._store(context), task.run)
        return bench.workplace(context.node_id, open_shard, kept)

    def _store(self, context: Context) -> StateStore:
        return StateStore(self._state_folder(context), self._max_state_bytes)

    def _settled(self, bench: Workbench, task: _Task, context: Context) -> bool:
        """Whether the tensors that the message leaves out are those that it means."""
        return settle(
            bench, task.header.get(REST), task.groups.get(REST), self._state_folder(context)
        )

    def _read(self, message: Message) -> _Task:
        try:
            header, blob = split_record(message.content)
            if blob != self._last[0]:
                self._last = (blob, unpack_groups(blob))
        except ValueError as error:
            raise UmbelError(f"the message cannot be read: {error}") from error
        return _Task(header, self._last[1])

    def _workbench(self, task: _Task, context: Context) -> Workbench:
        from ..experiment import Experiment

        schema = self._schemas.get(context.node_id)
        if schema is None:
            schema = self._schemas[context.node_id] = self._shard(context).schema
        config = task.header.get("config", {})
        key = (task.header["experiment"], config, schema)
        if self._bench is None or key != self._bench_key:
            experiment = Experiment.from_json(task.header["experiment"])
            side = self._side or build_client_side(experiment, config)
            self._bench, self._bench_key = Workbench(experiment, schema, side), key
        return self._bench

    def _shard(self, context: Context) -> Shard:
        """A node's shard; the last one is kept, for its schema is asked for before it is."""
        node, shard = self._opened
        if shard is None or node != context.node_id:
            shard = self._open_shard(context)
            self._opened = (context.node_id, shard)
        return shard


@dataclass(frozen=True)
class _Trained:
    groups: dict[str, Tensors]
    examples: int
    metrics: dict[str, float]
    steps: int
    keep: Tensors


def _train(bench: Workbench, place: Workplace, task: _Task, state: Tensors) -> _Trained:
    received = task.groups.get("model", {})
    context = task.groups.get("context", {})
    load(bench, received, grouped(state, "kept"))
    seed = bench.experiment.experiment.seed
    generator = torch_generator(seed, purpose="train", round=task.round, client=place.client)
    paradigm: Any = bench.paradigm
    bench.receive(task.groups)
    with _seeded(bench, task, place.client, "torch"):
        if bench.updates_locally:
            totals = task.groups.get("statistics", {})
            request = LocalRequest(task.round, totals, grouped(state, "paradigm"), generator)
            result = paradigm.local_update(bench.model, place.train, request)
            update = _update(bench, place, task) if bench.sends_model else {}
            groups = {"update": update, "statistics": result.statistics}
            keep = named("paradigm", result.state) | named("kept", bench.values(bench.kept))
            return _Trained(_full(groups), result.examples, result.metrics, 0, keep)
        optimizer, rate = bench.optimizer(task.round)
        own = grouped(state, "local")
        run = LocalRun(bench.model, received, context, own, task.round, place.train, rate)
        memo = bench.local.begin(run)
        try:
            trainer = in_time(bench.trainer, bench.experiment, task.round, place.client)
            trained = trainer.train(place.train, run, optimizer, memo, generator)
            extra, own = bench.local.finish(memo, run, trained.steps)
        finally:
            bench.local.release(memo)
    groups = {"update": _update(bench, place, task), "extra": extra}
    if bench.shares_statistics:
        groups["statistics"] = paradigm.statistics(bench.model, place.train)
    keep = named("local", own) | named("kept", bench.values(bench.kept))
    return _Trained(_full(groups), place.examples, trained.metrics, trained.steps, keep)


def _update(bench: Workbench, place: Workplace, task: _Task) -> Tensors:
    """What travels of the model, as the strategy's chain makes it."""
    seed = bench.experiment.experiment.seed
    coins = torch_generator(seed, purpose="chain", round=task.round, client=place.client)
    received = task.groups.get("model", {})
    return bench.chain.encode(bench.values(bench.travels), received, coins)


def _asking(message: Message, task: _Task) -> Message:
    """The reply of a client that lacks what the message leaves out."""
    return Message(Envelope({"needs": task.header[REST]}).to_record(), reply_to=message)


def _state(store: StateStore, bench: Workbench, run: str, client: str, before: int) -> Tensors:
    """What a client kept; the disk is not asked where nothing is ever kept."""
    return store.load(run, client, before=before) if bench.keeps_state else {}


def _seeded(bench: Workbench, task: _Task, client: str, purpose: str) -> Any:
    seed = bench.experiment.experiment.seed
    return torch_seeded(seed, purpose=purpose, round=task.round, client=client)


def _full(groups: dict[str, Tensors]) -> dict[str, Tensors]:
    return {group: tensors for group, tensors in groups.items() if tensors}


def make_client_app(
    open_shard: OpenShard,
    *,
    state_folder: StateFolder,
    side: ClientSide | None = None,
    pack: Pack = pack,
    max_state_bytes: int | None = None,
) -> ClientApp:
    """A Flower ClientApp over shards.

    Args:
        open_shard: gives the shard of the node that a context belongs to.
        state_folder: the folder where that node keeps its state between rounds.
        side: what clients must know of the strategy, where that is an object in this process
            and has no name that the experiment could send.
        pack: makes one blob of an update's tensors, where the runtime has a place for it.
        max_state_bytes: the most that all clients keep in their folder; None is no limit.
    """
    worker = Worker(open_shard, state_folder, side, pack, max_state_bytes)
    app = ClientApp()
    app.query()(worker.query)
    app.query(OFFER.removeprefix("query."))(worker.offer)
    app.query(TELL.removeprefix("query."))(worker.tell)
    app.query(SHOW.removeprefix("query."))(worker.show)
    app.train()(worker.train)
    app.evaluate()(worker.evaluate)
    return app


app = make_client_app(shard_of_node, state_folder=state_of_node)
"""The app that stock Flower nodes load; it reads the node's own configuration."""
