"""The two exchanges of a round: the cohort trains, then clients evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import RecordDict
from flwr.serverapp import Grid

from ..errors import UmbelError, UpdateRefused
from ..messages import record_bytes, release, split_record, unpack_groups
from ..paradigms.base import Paradigm
from ..randomness import numpy_generator
from ..tensors import Tensors
from .boundary import tell_boundary
from .drivers import Cohort, Driver, Sender
from .evaluation import means, total
from .exchange import Reply, exchange
from .observer import Observer, Silent
from .ordering import InOrder, Parcel
from .outcomes import Evaluated, TrainedRound, row_of
from .peers import Peers
from .population import Population
from .requests import Requests, make_requests
from .rest import Rest
from .subgraphs import tell_subgraphs
from .sums import Sums
from .validation import open_reply, read_metrics, read_statistics, read_update
from .watching import watch_for

if TYPE_CHECKING:
    from ..experiment import Experiment

Timed = Callable[[str], AbstractContextManager[None]]


class Phases:
    """Sends a round's tasks and takes in the answers."""

    def __init__(
        self,
        grid: Grid,
        population: Population,
        driver: Driver,
        experiment: Experiment,
        task: Mapping[str, Any],
    ) -> None:
        self._grid = grid
        self._population = population
        self._driver = driver
        self._experiment = experiment
        self._task = task
        self.observer: Observer = Silent()
        self.adopt: Callable[[Tensors], None] = lambda shared: None
        """Takes the model as it lies in the message that the cohort gets."""
        self.spool: Path | None = None
        self.rest = Rest({}, ())
        self.sums = Sums()
        self.peers: Peers | None = None

    def tell_boundary(self, paradigm: Paradigm) -> dict[str, Any]:
        """What environment.json says of what clients told each other before round 1."""
        way = self._grid, self._population, self.observer
        told = tell_boundary(way, self._experiment, self._task, paradigm)
        return {"boundary": told} if told else {}

    def tell_subgraphs(self, round: int) -> dict[str, Any]:
        """What subgraphs.json says, of as many clients as evaluate after a round."""
        way = self._grid, self._population, self.observer
        places = self._judges(round, len(self._population.nodes))
        return tell_subgraphs(way, self._experiment, {**self._task, "round": round}, places)

    def train(
        self, round: int, model: Tensors, statistics: Tensors, seconds: Timed
    ) -> TrainedRound:
        """The cohort trains from `model`; repeated until enough updates are good. A large model
        is in the same memory as the messages then.

        Raises UmbelError after `server.retries` repetitions with fewer good updates than
        `server.min_updates`, or than the strategy can combine, naming the last failures.
        """
        server = self._experiment.server
        for attempt in range(server.retries + 1):
            with seconds("select"):
                cohort = self._driver.select(round, attempt, self._population.nodes, model)
                members = [self._population.nodes[position] for position in cohort.positions]
                self._population.ask(members)
            self.observer.round_started(round, [self._population.name(n) for n in members])
            with seconds("train"):
                result, updates = self._collect(round, cohort, members, model, statistics)
            result.attempts = attempt + 1
            needed = self._needed(len(members))
            if updates >= needed and not self._driver.lacks(updates):
                with seconds("combine"):
                    result.model = self._driver.finish(round)
                if self.peers:
                    self.peers.end()
                return result
            rows = [row for row in result.clients if row["status"] != "ok"]
            last = "; ".join(f"{row['client']}: {row['reason']}" for row in rows[:3])
            self.observer.note(f"round {round}: {updates} good updates are too few ({last})")
            if attempt < server.retries:
                self._population.await_back(round, members, needed)
        few = self._driver.lacks(updates) or f"fewer than {server.min_updates} good updates"
        tries = f"in {server.retries + 1} tries; the last failures: {last or 'none'}"
        raise UmbelError(f"round {round}: {few} {tries}")

    def _needed(self, asked: int) -> int:
        """How many of the clients asked must answer well: more than `server.min_updates` where
        the strategy cannot combine so few."""
        least = min(self._experiment.server.min_updates, asked)
        return next((n for n in range(least, asked) if not self._driver.lacks(n)), asked)

    def evaluate(self, round: int, model: Tensors) -> Evaluated:
        """Clients score `model` on what they held out."""
        result = self.judge(f"round {round}", round, {"model": model})
        result.metrics = means(total(sums for _, sums in result.sums))
        for row in result.failures:
            row["reason"] = f"evaluation: {row['reason']}"
        return result

    def judge(
        self,
        what: str,
        round: int,
        groups: Mapping[str, Tensors],
        asked: Mapping[str, Any] | None = None,
        longer: float = 0.0,
    ) -> Evaluated:
        """What clients tell of the models that they are sent: all of them, or as many as
        `evaluation.clients` says, drawn anew for each round.

        Args:
            what: the exchange, as whoever watches is told of it.
            round: whose messages these are.
            groups: the tensors.
            asked: what the messages' header says beside the usual.
            longer: seconds to add to the deadline of an exchange.
        """
        nodes = self._population.nodes
        members = [nodes[position] for position in self._judges(round, len(nodes))]
        self._population.ask(members)
        made = self._requests(round, members, groups, asked or {})
        result = Evaluated(bytes_down=made.size)
        sums: dict[int, dict[str, float]] = {}
        requests, group = made.records, str(round)
        deadline = self._experiment.server.deadline + longer
        watch = watch_for(self.observer, what, self._population.name, made.largest)
        again = self.rest.supply(requests)
        for reply in exchange(self._grid, requests, "evaluate", group, deadline, watch, again):
            try:
                header, blob = open_reply(reply)
                result.bytes_up += record_bytes(reply.content) if reply.content else 0
                if asked:
                    result.statistics[self._population.name(reply.node)] = read_statistics(blob)
                sums[reply.node] = read_metrics(header.get("metrics", {}))
            except UpdateRefused as refusal:
                status = "refused" if reply.outcome == "ok" else reply.outcome
                name = self._population.name(reply.node)
                result.failures.append(row_of(name, status, str(refusal)))
        made.release()
        result.bytes_down += self.rest.take_bytes()
        result.sums = [(self._population.name(n), sums[n]) for n in members if n in sums]
        return result

    def _judges(self, round: int, population: int) -> list[int]:
        limit = self._experiment.evaluation.clients
        if population <= limit:
            return list(range(population))
        seed = self._experiment.experiment.seed
        generator = numpy_generator(seed, purpose="evaluate", round=round)
        chosen = generator.choice(population, limit, replace=False)
        return sorted(int(position) for position in chosen)

    def _collect(
        self, round: int, cohort: Cohort, members: list[int], model: Tensors, statistics: Tensors
    ) -> tuple[TrainedRound, int]:
        told = self.sums.told(statistics)
        groups = {"model": model, "statistics": told, "context": cohort.context}
        asked = {"config": dict(cohort.config)}
        made = self._requests(round, members, groups, asked, self.peers)
        requests, result = made.records, TrainedRound(bytes_down=made.size)
        if made.common is not None:
            self._share(made.common, model)
        deadline = self._experiment.server.deadline
        sums: list[Mapping[str, float]] = []
        places = dict(zip(members, cohort.positions, strict=True))
        good = 0
        returned = self.sums.begin(model)
        self._driver.begin(round, returned)
        if self.peers:
            self.peers.begin()
        watch = watch_for(self.observer, f"round {round}", self._population.name, made.largest)
        with InOrder(members, folder=self.spool) as order:
            again = self.rest.supply(requests)
            replies = exchange(self._grid, requests, "train", str(round), deadline, watch, again)
            for reply in replies:
                node, parcel = reply.node, self._receive(reply, result)
                good += parcel is not None
                enough = good == cohort.enough
                turns = order.arrive(node, parcel, last=enough)
                # A large reply is let go of before the next is put together.
                del reply, parcel
                for node, due in turns:
                    if due is not None:
                        sender = Sender(node, places[node])
                        sums += self._accept(sender, due, returned, result)
                    del due
                if enough:
                    replies.close()
                    break
        made.release()
        result.bytes_down += self.rest.take_bytes()
        self._spare(members, result)
        place = {self._population.name(node): turn for turn, node in enumerate(members)}
        result.clients.sort(key=lambda row: place[row["client"]])
        result.metrics = means(total(sums))
        return result, len(sums)

    def _receive(self, reply: Reply, result: TrainedRound) -> Parcel | None:
        """Note how a reply ended; its parcel is checked when its turn has come."""
        try:
            header, blob = open_reply(reply)
        except UpdateRefused as refusal:
            status = "refused" if reply.outcome == "ok" else reply.outcome
            self._fail(self._population.name(reply.node), status, str(refusal), result)
            return None
        result.bytes_up += record_bytes(reply.content) if reply.content else 0
        release(reply.content)
        return Parcel(header, blob)

    def _spare(self, members: list[int], result: TrainedRound) -> None:
        """Note who was asked and not waited for."""
        told = {row["client"] for row in result.clients}
        for name in map(self._population.name, members):
            if name not in told:
                self._fail(name, "spare", "enough others had answered", result)

    def _accept(
        self, sender: Sender, parcel: Parcel, returned: Tensors, result: TrainedRound
    ) -> list[Mapping[str, float]]:
        """Fold an update of the tensors that clients send back in; its metrics, or none of one that
        is refused."""
        client = self._population.name(sender.node)
        expected = self._driver.expected(returned)
        try:
            limit = self._experiment.server.max_examples
            update = read_update(parcel, client, expected, limit)
            self.sums.check(result.statistics, update.statistics)
            whole = self._driver.fold(update, sender)
            if self.peers:
                self.peers.note(client, whole.tensors)
            self.sums.add(result.statistics, update.statistics)
        except UpdateRefused as refusal:
            self._fail(client, "refused", str(refusal), result)
            return []
        mean = means(update.metrics).get("loss")
        seconds = parcel.header.get("seconds")
        row = row_of(client, "ok", "") | {"examples": update.examples, "loss": mean}
        row["seconds"] = seconds if isinstance(seconds, int | float) else None
        for key in ("clip_norm", "noise_multiplier"):
            if isinstance(parcel.header.get(key), int | float):
                row[key] = float(parcel.header[key])
        result.clients.append(row)
        self.observer.reply(client, ok=True)
        return [update.metrics]

    def _fail(self, client: str, status: str, reason: str, result: TrainedRound) -> None:
        result.clients.append(row_of(client, status, reason))
        self.observer.reply(client, ok=False, reason=reason)

    def _requests(
        self,
        round: int,
        members: list[int],
        groups: Mapping[str, Tensors],
        asked: Mapping[str, Any],
        peers: Peers | None = None,
    ) -> Requests:
        header = {**self._task, **self.rest.header, "round": round, "config": {}, **asked}
        named = {node: self._population.name(node) for node in members}
        return make_requests(header, groups, named, self._driver.models, peers)

    def _share(self, record: RecordDict, model: Tensors) -> None:
        """Have `model` be as it lies in the message to the cohort, so that it is in memory once."""
        _, blob = split_record(record)
        if isinstance(blob, bytearray):
            model.update(unpack_groups(blob)["model"])
            self.adopt(model)
