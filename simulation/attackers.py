"""Which simulated clients attack, and how it comes into what they hold and send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from .. import registry
from ..data.rows import by_example
from ..data.shard import Shard, ShardSource, divided_rows
from ..errors import BadInput
from ..flower_internals import Run
from ..messages import Envelope
from ..randomness import numpy_generator, torch_generator
from ..schema import Schema
from ..strategies.chain import Chain
from ..tensors import Tensors
from .attacks import DataAttack, ModelAttack, Plot

if TYPE_CHECKING:
    from ..experiment import Experiment


def attackers(experiment: Experiment) -> frozenset[int]:
    """The clients that attack, by index: the first ones after a shuffle by the seed.

    >>> from ..experiment import Experiment
    >>> attack = {"name": "sign_flip", "clients": 3}
    >>> sorted(attackers(Experiment(simulation={"attack": attack})))
    [3, 7, 8]
    """
    attack = experiment.simulation.attack
    if attack is None:
        return frozenset()
    generator = numpy_generator(experiment.experiment.seed, purpose="attackers")
    chosen = generator.permutation(experiment.data.clients)[: attack.clients]
    return frozenset(int(index) for index in chosen)


def build_attack(experiment: Experiment) -> Any:
    """The experiment's attack, None where there is none; raises BadInput where it is neither a
    data attack nor a model attack."""
    choice = experiment.simulation.attack
    if choice is None:
        return None
    attack = registry.build("attack", choice.name, choice.parameters)
    if not isinstance(attack, DataAttack | ModelAttack):
        raise BadInput(f"simulation.attack.name: {choice.name} has neither poison nor forge")
    return attack


def with_poison(experiment: Experiment, shards: ShardSource) -> ShardSource:
    """The shards, the attackers' poisoned where the experiment's attack is one on data.

    Raises BadInput where such examples cannot be attacked so.
    """
    attack = build_attack(experiment)
    if not isinstance(attack, DataAttack):
        return shards
    fault = attack.unfit(shards.schema)
    if fault:
        raise BadInput(f"simulation.attack: {fault}")
    held_out, seed = experiment.data.held_out, experiment.experiment.seed
    return PoisonedShards(shards, attack, attackers(experiment), held_out, seed)


@dataclass(frozen=True)
class PoisonedShards:
    """Shards of which the attackers have changed their training examples; what they hold out
    stays as it was, so that the federated metrics speak of the true task."""

    shards: ShardSource
    attack: DataAttack
    attackers: frozenset[int]
    held_out: float
    seed: int

    @property
    def schema(self) -> Schema:
        return self.shards.schema

    def __len__(self) -> int:
        return len(self.shards)

    def name(self, index: int) -> str:
        return self.shards.name(index)

    def shard(self, index: int) -> Shard:
        own = self.shards.shard(index)
        if index not in self.attackers:
            return own
        rows, _ = divided_rows(own.arrays, self.held_out, self.seed, own.client)
        generator = numpy_generator(self.seed, purpose="poison", client=own.client)
        training = {name: array[rows] for name, array in by_example(own.arrays).items()}
        poisoned = self.attack.poison(training, own.schema, generator)
        arrays = {name: array.copy() for name, array in own.arrays.items()}
        for name, values in poisoned.items():
            arrays[name][rows] = values
        return Shard(own.client, own.schema, arrays)


@dataclass
class _Round:
    """A round's attackers: how many clients take part, what they were sent, and the replies."""

    cohort: int
    model: Tensors
    waiting: set[str]
    replies: list[Message]


class AttackedGrid(Grid):
    """A grid some of whose nodes agree on what they send in place of their updates.

    The attackers' replies of a round are held back until all of them have come, for they look
    at one another's; a reply that is an error, or asks for what the client lacks, passes at once.
    """

    queues = True

    def __init__(
        self, grid: Grid, attack: ModelAttack, indices: frozenset[int], chain: Chain, seed: int
    ) -> None:
        self._grid, self._attack, self._chain, self._seed = grid, attack, chain, seed
        nodes = grid.get_node_ids()
        ordered = nodes if isinstance(nodes, range) else sorted(nodes)
        self._nodes = {ordered[index] for index in indices}
        self._round_of: dict[str, _Round] = {}
        self._held: set[str] = set()
        self._asked: dict[tuple[int, str], tuple[str, _Round]] = {}

    def set_run(self, run: Run) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        identities = list(self._grid.push_messages(sent))
        asked = [
            (identity, message)
            for identity, message in zip(identities, sent, strict=False)
            if message.metadata.message_type == "train"
            and message.metadata.dst_node_id in self._nodes
        ]
        first = [pair for pair in asked if not self._told_again(*pair)]
        if first:
            model = Envelope.from_record(first[0][1].content).groups["model"]
            plot = _Round(len(sent), model, {identity for identity, _ in first}, [])
            self._round_of.update(dict.fromkeys(plot.waiting, plot))
        return identities

    def _told_again(self, identity: str, message: Message) -> bool:
        """Whether a message is to an attacker that asked for what it lacks, in the same round."""
        asked = self._asked.pop((message.metadata.dst_node_id, message.metadata.group_id), None)
        if asked is None:
            return False
        former, plot = asked
        plot.waiting = plot.waiting - {former} | {identity}
        self._round_of[identity] = plot
        return True

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        passed: list[Message] = []
        # What is held back has been pulled: a grid would say that it knows it no more.
        left = [identity for identity in message_ids if identity not in self._held]
        for reply in self._grid.pull_messages(left):
            identity = reply.metadata.reply_to_message_id
            plot = self._round_of.pop(identity, None)
            if plot is None:
                passed.append(reply)
                continue
            if reply.has_content() and not _has_update(reply):
                told = reply.metadata
                self._asked[told.src_node_id, told.group_id] = identity, plot
                passed.append(reply)
                continue
            plot.waiting.discard(identity)
            if reply.has_content():
                plot.replies.append(reply)
                self._held.add(identity)
            else:
                passed.append(reply)
            if not plot.waiting:
                passed += self._forged(plot)
        return passed

    def abandon(self, message_ids: Iterable[str]) -> None:
        abandon = getattr(self._grid, "abandon", None)
        if abandon is not None:
            abandon(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Not for attackers: umbel's round loop pushes and pulls."""
        return self._grid.send_and_receive(messages, timeout=timeout)

    def _forged(self, plot: _Round) -> Sequence[Message]:
        """The attackers' replies with what they agreed on in place of their updates."""
        replies = sorted(plot.replies, key=lambda reply: reply.metadata.src_node_id)
        if not replies:
            return []
        envelopes = [Envelope.from_record(reply.content) for reply in replies]
        names = [str(envelope.header["client"]) for envelope in envelopes]
        round = int(replies[0].metadata.group_id)

        def generators(purpose: str) -> list[Any]:
            return [
                torch_generator(self._seed, purpose=purpose, round=round, client=name)
                for name in names
            ]

        honest = [self._chain.decode(e.groups["update"], plot.model) for e in envelopes]
        known = Plot(plot.model, honest, plot.cohort, generators("attack"))
        coins = generators("attack, chain")
        forged = zip(replies, envelopes, self._attack.forge(known), coins, strict=True)
        for reply, envelope, values, coin in forged:
            sent = self._chain.encode(values, plot.model, coin)
            groups = {**envelope.groups, "update": sent}
            reply.content = Envelope(envelope.header, groups).to_record()
            self._held.discard(reply.metadata.reply_to_message_id)
        return replies


def _has_update(reply: Message) -> bool:
    return "update" in Envelope.from_record(reply.content).groups
