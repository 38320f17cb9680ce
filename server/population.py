"""Who the clients are: the schema handshake before round 1, and who joins or comes back later."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

from flwr.app import RecordDict
from flwr.serverapp import Grid

from ..errors import BadInput, UmbelError
from ..experiment import Experiment
from ..messages import SHARE, Envelope
from ..rounds import natural
from ..schema import Schema
from .exchange import Reply, exchange
from .introduction import Client, read_introduction
from .observer import Observer, Wait

ASKED_AT_ONCE = 1000
"""A population up to this size is asked for its schemas before round 1; the clients of a
larger one are asked when they are first selected."""

QUERY_SECONDS = 60.0


@runtime_checkable
class Named(Protocol):
    """A Grid whose SuperLink admits only keys that it knows: their owners' names, by node."""

    names: Mapping[int, str]


class Population:
    """The clients in the order of their names, so that selection means the same everywhere."""

    def __init__(self, grid: Grid, experiment: Experiment, observer: Observer) -> None:
        self._grid = grid
        self._experiment = experiment
        self._observer = observer
        self._by_node: dict[int, Client] = {}
        self._left_out: set[int] = set()
        self._order: Sequence[int] = []
        self._twins: set[int] = set()
        self._moved = self._going_on = False
        self._reference = ""
        self.schema: Schema | None = None

    def __len__(self) -> int:
        return len(self._order)

    @property
    def nodes(self) -> Sequence[int]:
        """The clients' node ids, in the order of the population."""
        return self._order

    @property
    def labelled(self) -> frozenset[int] | None:
        """The codes of the classes of which some client has a label, and -1 where one has examples
        without; None unless all told."""
        clients = [self._by_node.get(node) for node in self._order[:ASKED_AT_ONCE]]
        told = [client.labels for client in clients if client and client.labels is not None]
        return frozenset().union(*told) if len(told) == len(self._order) else None

    @property
    def graphs(self) -> dict[str, dict[str, float]]:
        """What clients told of their graphs, by their names in order; nothing of a population too
        large to be asked."""
        nodes = self._order if len(self._order) <= ASKED_AT_ONCE else []
        clients = [self._by_node[node] for node in nodes if node in self._by_node]
        return {client.name: client.graph for client in clients if client.graph}

    @property
    def names(self) -> list[str]:
        """The clients' names in order; none of a population too large to be asked."""
        if len(self._order) > ASKED_AT_ONCE:
            return []
        return [self.name(node) for node in self._order]

    def facts(self) -> dict[str, Any]:
        """What a run's record tells of the clients, and of what all their examples look like."""
        schema = None if self.schema is None else asdict(self.schema)
        facts = {"clients": len(self), "names": self.names, "schema": schema}
        return {**facts, "graphs": graphs} if (graphs := self.graphs) else facts

    def name(self, node: int) -> str:
        """The client's name, or what can be said of a node that never answered."""
        client = self._by_node.get(node)
        return client.name if client else f"node {node}"

    def meet(self, former: frozenset[str] = frozenset()) -> None:
        """Wait for the clients and ask them for their schemas.

        Waits until `data.clients` clients have answered, at most `server.wait` seconds, and for
        those of a run that goes on at most `server.deadline`, for they may still be at work on
        what they were told before it was cut off. Raises UmbelError if fewer than
        `server.min_updates` came, BadInput if two of them have different schemas (unless
        `server.mismatched` is `leave-out`) or the same name.

        Args:
            former: the names of the clients that the run had before.
        """
        wanted = self._experiment.data.clients
        self._going_on = bool(former)
        began = time.monotonic()
        pause = 0.01
        while True:
            nodes = self._grid.get_node_ids()
            # A simulated population of a million is a range, and stays one.
            nodes = nodes if isinstance(nodes, range) else sorted(nodes)
            if len(nodes) > ASKED_AT_ONCE:
                self._order = nodes
                self.ask(nodes[:1])
                return
            self.refresh(nodes)
            away = sorted(former - {client.name for client in self._by_node.values()}, key=natural)
            enough = len(self) + len(self._left_out) >= wanted and not away
            since = time.monotonic() - began
            limit = self._patience(len(away))
            if enough or since > limit:
                break
            self._observer.waiting(self._wait_for(away, since, limit - since))
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        self._going_on = True
        needed = min(wanted, self._experiment.server.min_updates)
        if len(self) < needed:
            raise UmbelError(
                f"{len(self)} of {wanted} clients answered within {self._experiment.server.wait:g}"
                f" s, at least {needed} are needed; start the others, or raise server.wait"
            )
        if len(self) < wanted:
            self._observer.note(f"{len(self)} of {wanted} clients are here; going on with them")

    def _patience(self, away: int) -> float:
        """Seconds to wait at the start where so many clients are away that were here before."""
        server = self._experiment.server
        return max(server.wait, server.deadline) if away else server.wait

    def _wait_for(self, away: Sequence[str], since: float, left: float) -> Wait:
        more = self._experiment.data.clients - len(self) - len(self._left_out) - len(away)
        whom = [*away, *([f"{more} more clients" if away else f"{more} clients"] * (more > 0))]
        return Wait("the start", whom, since, left)

    def await_back(self, round: int, nodes: Sequence[int], least: int) -> None:
        """Wait for those of a cohort that are away, before its round is repeated.

        For all of them at most `server.wait` seconds; until at least `least` are connected at
        most `server.deadline`, if that is longer.

        Args:
            round: which round.
            nodes: the cohort's.
            least: how many of them the round needs.
        """
        server = self._experiment.server
        began, pause = time.monotonic(), 0.05
        while True:
            self.refresh()
            away = self._away(nodes)
            since = time.monotonic() - began
            enough = len(nodes) - len(away) >= least
            limit = server.wait if enough else max(server.wait, server.deadline)
            if not away or since > limit:
                return
            self._observer.waiting(Wait(f"round {round} again", away, since, limit - since))
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _away(self, nodes: Sequence[int]) -> list[str]:
        """The names of those of the clients, once at these nodes, that are not connected now."""
        online = self._grid.get_node_ids()
        online = online if isinstance(online, range) else set(online)
        places = {client.name: client.node for client in self._by_node.values()}
        named = [(self.name(node), node) for node in nodes]
        return [name for name, node in named if places.get(name, node) not in online]

    def refresh(self, nodes: Sequence[int] | None = None) -> None:
        """Ask nodes that appeared since the last time; a known name on a new node moves there."""
        if nodes is None:
            if len(self._order) > ASKED_AT_ONCE:
                return
            nodes = list(self._grid.get_node_ids())
        met = len(self._by_node), len(self._left_out)
        self.ask(node for node in nodes if node not in self._by_node)
        if (len(self._by_node), len(self._left_out)) == met and not self._moved:
            return
        self._moved = False
        known = self._by_node.values()
        self._order = [client.node for client in sorted(known, key=lambda c: natural(c.name))]

    def ask(self, nodes: Iterable[int]) -> None:
        """Ask those of the nodes for their schemas that have not told them yet."""
        strangers = [n for n in nodes if n not in self._by_node and n not in self._left_out]
        if not strangers:
            return
        share, seed = self._experiment.data.held_out, self._experiment.experiment.seed
        record = Envelope({"round": 0, SHARE: share, "seed": seed}).to_record()
        asked: dict[int, RecordDict] = dict.fromkeys(strangers, record)
        seconds = min(QUERY_SECONDS, self._experiment.server.deadline)
        answers: list[Client] = []
        for reply in exchange(self._grid, asked, "query", "0", seconds):
            try:
                answers.append(self._read(reply))
            except ValueError as error:
                self._observer.note(f"node {reply.node} left out: {error}")
        for client in sorted(answers, key=lambda c: natural(c.name)):
            self._admit(client)

    def _admit(self, client: Client) -> None:
        if self.schema is None:
            self.schema = client.schema
            self._reference = client.name
        differences = client.schema.differences(self.schema)
        if differences:
            fault = f"client {client.name} does not match {self._reference}: {differences[0]}"
            if self._experiment.server.mismatched == "refuse":
                raise BadInput(f"{fault}; mend its data, or set server.mismatched = 'leave-out'")
            self._left_out.add(client.node)
            self._observer.note(f"{fault}; left out")
            return
        twin = next((c for c in self._by_node.values() if c.name == client.name), None)
        if twin is not None and len(self._order) <= ASKED_AT_ONCE:
            if twin.node in set(self._grid.get_node_ids()):
                self._refuse_twin(client)
                return
            del self._by_node[twin.node]
            self._moved = True
        self._by_node[client.node] = client

    def _refuse_twin(self, client: Client) -> None:
        """A second client of a name: a mistake before round 1, and later perhaps the same one
        in a new place, which is asked again until its former node is gone."""
        if not self._going_on:
            raise BadInput(f"two clients are named {client.name}; give each a --name of its own")
        if client.node not in self._twins:
            self._twins.add(client.node)
            self._observer.note(
                f"a second client named {client.name} is here; it takes part when the first is gone"
            )

    def _read(self, reply: Reply) -> Client:
        """What a client answered; raises ValueError if it will not do, or is not its own."""
        client = read_introduction(reply)
        key = self._grid.names.get(reply.node) if isinstance(self._grid, Named) else None
        if key is not None and key != client.name:
            raise ValueError(
                f"it calls itself {client.name} but has the key of {key}; give it --name {key}"
            )
        return client
