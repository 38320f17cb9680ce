"""Before round 1, what clients tell of the nodes at the edges between their parts of a graph.

Every client is asked, the server adds up what they tell of a node, in the order of the clients'
names, and gives each client the totals of the nodes that it asks for; where a paradigm has it so,
again and again, until the totals stay. A run that goes on does this again, to the same totals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from flwr.app import RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from ..data.boundary import TOLD, TOLD_IDS
from ..errors import BadInput, UmbelError, UpdateRefused
from ..experiment import Experiment
from ..messages import BOUNDARY, OFFER, TELL, TURN, Envelope, record_bytes, release
from ..paradigms.base import Paradigm
from ..paradigms.boundary import TellsAgain, TellsBoundary
from ..rounds import human_bytes, natural
from ..tensors import Tensors, difference
from .exchange import exchange
from .observer import Observer
from .population import Population
from .watching import watch_for

WHAT = "what clients tell each other before round 1"
IDS = ("own", "keys", "asks")
LARGEST = 1e30
"""The largest value that a client may tell; sums of such are still finite in float32."""

_MEND = "mend the clients' ids and outward edges"


def tell_boundary(
    way: tuple[Grid, Population, Observer],
    experiment: Experiment,
    task: Mapping[str, Any],
    paradigm: Paradigm,
) -> dict[str, int] | None:
    """Have all clients tell and be told; bytes up and down, None where the paradigm has them do
    neither.

    Args:
        way: to the clients, who they are, and who watches.
        experiment: the run's.
        task: what every message's header says.
        paradigm: of the experiment.

    Raises UmbelError where a client is absent, fails, or tells what cannot be; BadInput where what
    they tell does not make one graph.
    """
    if not isinstance(paradigm, TellsBoundary):
        return None
    asking = _Asking(way, experiment, task)
    again = paradigm if isinstance(paradigm, TellsAgain) else None
    most, note = again.exchanges if again else 1, asking.observer.note
    last: Totals | None = None
    for turn in range(1, most + 1):
        total = asking.once(turn, paradigm, experiment.server.max_examples)
        moved = math.inf if last is None else total.moved(last)
        if not len(total) or (again and moved <= again.tolerance):
            break
        last = total
    else:
        if again:
            note(
                f"after {most} exchanges what clients are told still moves, by up to {moved:.2g}; "
                "a larger paradigm.exchanges mends it"
            )
    told = {"bytes_up": asking.bytes_up, "bytes_down": asking.bytes_down}
    up, down = human_bytes(told["bytes_up"]), human_bytes(told["bytes_down"])
    note(f"{WHAT}: {up} up, {down} down{f', in {turn} exchanges' if again else ''}")
    return told | ({"exchanges": turn} if again else {})


class _Asking:
    """Asks all clients, and those that failed again; names are what is the same at a new node."""

    def __init__(
        self,
        way: tuple[Grid, Population, Observer],
        experiment: Experiment,
        task: Mapping[str, Any],
    ) -> None:
        self._grid, self._population, self.observer = way
        self._server = experiment.server
        here, wanted = len(self._population), experiment.data.clients
        if here < wanted:
            raise UmbelError(
                f"{here} of {wanted} clients are here, and {experiment.paradigm.name} needs all of "
                "them before round 1; start the others, or raise server.wait"
            )
        self._population.ask(self._population.nodes)
        if self._population.schema is None:
            raise UmbelError("no client told its schema")
        self.schema = self._population.schema
        self.names = [self._population.name(node) for node in self._population.nodes]
        # Nothing of a round is in it; to a client's policy it is of the first.
        self.header = {**task, "round": 1, "config": {}}
        self.bytes_up = self.bytes_down = 0

    def once(self, turn: int, telling: TellsBoundary, most: int) -> Totals:
        """Have all clients tell and be told once more.

        Args:
            turn: the how manieth time it is, from 1.
            telling: the paradigm.
            most: the most nodes that a client may tell of.
        """
        width = telling.width(self.schema)
        offers: dict[str, Tensors] = {}

        def take(name: str, groups: Mapping[str, Tensors]) -> None:
            offers[name] = checked(groups, width, most)
            fault = telling.offer_fault(offers[name])
            if fault:
                raise UpdateRefused(fault)

        header = {**self.header, TURN: turn}
        self.all(OFFER, dict.fromkeys(self.names, Envelope(header).to_record()), take)
        check_one_graph(offers)
        if turn == 1 and len(offers) > 1 and not any(len(o["own"]) for o in offers.values()):
            self.observer.note(
                "no client has an edge to a node elsewhere: all see their own graph alone"
            )
        total = Totals(offers, width)
        records = {
            name: Envelope(header, {BOUNDARY: total.of(offer["asks"])}).to_record()
            for name, offer in offers.items()
        }
        self.all(TELL, records, lambda name, groups: None)
        return total

    def all(
        self,
        kind: str,
        records: Mapping[str, RecordDict],
        take: Callable[[str, Mapping[str, Tensors]], None],
    ) -> None:
        """Send each client its record, and take each one's answer; raises UmbelError where one does
        not answer, or not well."""
        left = dict(records)
        for attempt in range(self._server.retries + 1):
            nodes = {self._population.name(node): node for node in self._population.nodes}
            failed = self._once(kind, left, nodes, take)
            if not left:
                return
            if attempt < self._server.retries:
                self._population.await_back(1, [nodes[n] for n in left if n in nodes], len(left))
        whom = sorted(left, key=natural)
        raise UmbelError(
            f"{WHAT}: {', '.join(whom[:3])}{' and others' * (len(whom) > 3)} did not answer "
            f"({failed.get(whom[0], 'not connected')}), and all clients are needed; start them "
            "again and resume the run"
        )

    def _once(
        self,
        kind: str,
        left: dict[str, RecordDict],
        nodes: Mapping[str, int],
        take: Callable[[str, Mapping[str, Tensors]], None],
    ) -> dict[str, str]:
        """Ask those that are left, which leaves those that failed; why they did, by name."""
        asked = {nodes[name]: record for name, record in left.items() if name in nodes}
        self.bytes_down += sum(map(record_bytes, asked.values()))
        size = max(map(record_bytes, asked.values()), default=0)
        watch = watch_for(self.observer, WHAT, self._population.name, size)
        failed: dict[str, str] = {}
        for reply in exchange(self._grid, asked, kind, "0", self._server.deadline, watch):
            name = self._population.name(reply.node)
            if reply.outcome == "declined":
                raise UmbelError(f"{WHAT}: {name} declines: {reply.reason}")
            if reply.content is None:
                failed[name] = reply.reason
                continue
            self.bytes_up += record_bytes(reply.content)
            try:
                take(name, _read(reply.content, name))
            except UpdateRefused as refusal:
                raise UmbelError(f"{WHAT}: {name} is refused: {refusal}") from refusal
            release(left.pop(name))
        return failed


class Totals:
    """What all clients told of each node, added up in the order of their names.

    >>> told = {"keys": torch.tensor([4]), "sums": torch.ones(1, 2)}
    >>> Totals({"a": told, "b": told}, width=2).of(torch.tensor([4]))["told"]
    tensor([[2., 2.]])
    """

    def __init__(self, offers: Mapping[str, Tensors], width: int) -> None:
        keys = [offer["keys"] for offer in offers.values()]
        self._ids = torch.cat([torch.empty(0, dtype=torch.int64), *keys]).unique()
        self._sums = torch.zeros(len(self._ids), width, dtype=torch.float64)
        for name in sorted(offers, key=natural):
            # A client tells of a node once, so no row is added to twice here.
            self._sums[self._places(offers[name]["keys"])] += offers[name]["sums"].double()

    def __len__(self) -> int:
        return len(self._ids)

    def moved(self, before: Totals) -> float:
        """By how much a number differs at most from the one before, or by what share of it where
        that is above 1; infinite where others are told of."""
        if not torch.equal(self._ids, before._ids):
            return math.inf
        apart = (self._sums - before._sums).abs() / before._sums.abs().clamp(min=1.0)
        return float(apart.max())

    def of(self, asked: Tensor) -> Tensors:
        """Of nodes (a,) that somebody told of."""
        return {TOLD_IDS: asked, TOLD: self._sums[self._places(asked)].float()}

    def _places(self, ids: Tensor) -> Tensor:
        return torch.searchsorted(self._ids, ids)


def checked(groups: Mapping[str, Tensors], width: int, most: int) -> Tensors:
    """What a client told, if it is that; raises UpdateRefused, with the reason, if not.

    Args:
        groups: the reply's tensors.
        width: how many numbers are told of a node.
        most: the most nodes that a client may tell of.
    """
    found = groups.get(BOUNDARY, {})
    if set(groups) != {BOUNDARY} or set(found) != {*IDS, "sums"}:
        raise UpdateRefused(f"it sends {sorted(found)}, not own, keys, sums and asks")
    for name in IDS:
        ids = found[name]
        if ids.dtype != torch.int64 or ids.ndim != 1:
            raise UpdateRefused(f"{name} is {ids.dtype} {tuple(ids.shape)}, not ids in int64 (k,)")
        if len(ids) > most:
            raise UpdateRefused(f"{name} holds {len(ids)} ids, beyond server.max_examples ({most})")
        if bool((ids[1:] <= ids[:-1]).any()) or bool((ids < 0).any()):
            raise UpdateRefused(f"{name} does not hold ids from 0 in ascending order, each once")
    wanted = {"sums": torch.empty(len(found["keys"]), width)}
    fault = difference({"sums": found["sums"]}, wanted)
    if fault:
        raise UpdateRefused(fault)
    if not bool((found["sums"].abs() <= LARGEST).all()):
        raise UpdateRefused(f"sums holds a value that is not finite, or beyond {LARGEST:g}")
    if not bool(torch.isin(found["asks"], torch.cat([found["own"], found["keys"]])).all()):
        raise UpdateRefused("it asks for nodes that it has no edge to")
    return found


def check_one_graph(offers: Mapping[str, Tensors]) -> None:
    """Raise BadInput where what clients told is not of parts of one graph: a node has two owners,
    or an edge is known at one of its ends only."""
    names = sorted(offers, key=natural)
    owner: dict[int, str] = {}
    for name in names:
        for node in offers[name]["own"].tolist():
            if node in owner:
                raise BadInput(f"node {node} is at {owner[node]} and at {name}; {_MEND}")
            owner[node] = name
    named: set[int] = set()
    for name in names:
        keys, own = offers[name]["keys"], offers[name]["own"]
        for node in keys[~torch.isin(keys, own)].tolist():
            if node not in owner:
                raise BadInput(f"{name} has an edge to node {node}, and nobody from there; {_MEND}")
            named.add(node)
    for node, name in owner.items():
        if node not in named:
            raise BadInput(f"node {node} of {name} has an edge to elsewhere, nobody to it; {_MEND}")


def _read(content: RecordDict, client: str) -> Mapping[str, Tensors]:
    try:
        envelope = Envelope.from_record(content)
    except ValueError as error:
        raise UpdateRefused(str(error)) from error
    if envelope.header.get("client") != client:
        raise UpdateRefused(f"it answers as {envelope.header.get('client')!r}")
    return envelope.groups
