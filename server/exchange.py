"""One exchange: a message to each of some clients, and their replies as they come.

This is all that the round loop knows of the transport: `Grid.push_messages` and
`Grid.pull_messages`. Flower's own `send_and_receive` sleeps three seconds between pulls.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from ..flower_internals import DECLINED, ErrorCode
from .rest import Again
from .tracking import Queueing, Tracking, Transfer

Outcome: TypeAlias = Literal["ok", "failed", "late", "declined"]

SHORTEST_PAUSE = 0.002
LONGEST_PAUSE = 0.25
PATIENCE = 0.03
"""Between pulls the loop sleeps this share of the time it has waited so far: a quick reply is
seen at once, and a slow one costs few requests."""

LONGEST_TRANSFER = 10.0
"""So many deadlines after its message a client is late, although its bytes still move: one that
sends a byte now and then cannot hold a round for ever."""

LOOK_SECONDS = 1.0
"""How often, at most, the exchange looks what is moving, and tells whoever watches."""

LOST = frozenset({ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE})
"""Errors that mean the message or its reply was lost on the way: it is asked for once more."""


@dataclass(frozen=True)
class Reply:
    """What became of one client's message; `reason` says why where there is no content."""

    node: int
    outcome: Outcome
    content: RecordDict | None = None
    reason: str = ""


@dataclass(frozen=True)
class Pending:
    """Who has not replied yet.

    Args:
        since: seconds since the last reply, or since the messages were sent.
        left: by node, seconds until it is late.
        moved: by node, what has moved for this message so far.
    """

    since: float
    left: Mapping[int, float]
    moved: Mapping[int, Transfer]


Watch: TypeAlias = Callable[[Pending], None]


def exchange(
    grid: Grid,
    records: Mapping[int, RecordDict],
    kind: str,
    group: str,
    deadline: float,
    watch: Watch = lambda pending: None,
    again: Again = lambda node, reply: None,
) -> Generator[Reply]:
    """Send each node its record and yield one reply a node, in the order of arrival.

    Args:
        grid: Flower's way to the clients.
        records: what each node gets, by node id.
        kind: `query`, `train` or `evaluate`.
        group: Flower's name for messages that belong together, here the round.
        deadline: seconds after which a node that has not replied is late, counted from its
            message, from the last byte that moved between it and the SuperLink where the grid
            knows of that, or from the last reply of any node where they take turns. Messages
            die with the exchange, so that no client works off a stale backlog.
        watch: told about once a second who is waited for.
        again: looks at each node's first reply; what it gives is sent to the node in its place.
    """
    return _Exchange(grid, records, kind, group, deadline, again).run(watch)


class _Exchange:
    """An exchange that is under way."""

    def __init__(
        self,
        grid: Grid,
        records: Mapping[int, RecordDict],
        kind: str,
        group: str,
        deadline: float,
        again: Again,
    ) -> None:
        self._again = again
        self._looked_at: set[int] = set()
        self._grid = grid
        self._tracking = grid if isinstance(grid, Tracking) else None
        self._queueing = grid if isinstance(grid, Queueing) else None
        self._records = dict(records)
        self._kind = kind
        self._group = group
        self._deadline = deadline
        self._pending: dict[str, int] = {}
        self._retried: set[int] = set()
        self._before = dict(self._tracking.transfers()) if self._tracking else {}
        self._moved: Mapping[int, Transfer] = {}
        self._away = self._tracking.away if self._tracking else 0.0
        self._ends: dict[int, float] = {}
        self._looked = 0.0

    def run(self, watch: Watch) -> Generator[Reply]:
        """Yield the replies; closed before the last, the others are not waited for any more."""
        try:
            yield from self._replies(watch)
        except GeneratorExit:
            self._abandon(self._pending)
            raise

    def _replies(self, watch: Watch) -> Iterator[Reply]:
        yield from self._send()
        waited_since = time.monotonic()
        while self._pending:
            arrived = deque(self._grid.pull_messages(list(self._pending)))
            some = bool(arrived)
            while arrived:
                # Nothing here holds a reply any longer than whoever takes it.
                yield from self._take(arrived.popleft())
            now = time.monotonic()
            if some:
                waited_since = now
                if self._queueing:
                    self._ends.update(dict.fromkeys(self._pending.values(), now + self._deadline))
                continue
            waited = now - waited_since
            self._look(now, waited, watch)
            yield from self._give_up(now)
            if self._pending:
                soonest = min(self._ends[node] for node in self._pending.values()) - now
                self._rest(SHORTEST_PAUSE + PATIENCE * waited, max(0.0, soonest))

    def _rest(self, pause: float, soonest: float) -> None:
        if self._tracking:
            longest = min(LOOK_SECONDS / 2, soonest)
            self._tracking.rest(min(pause, LONGEST_PAUSE, soonest), longest)
        else:
            time.sleep(min(pause, LONGEST_PAUSE, soonest))

    def _send(self) -> Iterator[Reply]:
        sent = self._push(self._records, self._longest_wait())
        began = time.monotonic()
        self._began = began
        for node, message_id in sent:
            self._ends[node] = began + self._deadline
            if message_id is None:
                yield Reply(node, "failed", reason="the message could not be delivered")
            else:
                self._pending[message_id] = node

    def _longest_wait(self) -> float:
        """Seconds that a message lives."""
        turns = len(self._records) if self._queueing else 1
        return (LONGEST_TRANSFER if self._tracking else turns) * self._deadline

    def _take(self, message: Message) -> Iterator[Reply]:
        """A reply that has come, nothing if it is not the last word of its node."""
        identity = message.metadata.reply_to_message_id
        if identity not in self._pending:
            return
        node = self._pending.pop(identity)
        left = self._ends[node] - time.monotonic()
        if not _is_lost(message):
            if not self._has_another(node, message):
                reply = [_reply(node, message)]
                del message
                yield reply.pop()
        elif left <= 0:
            yield self._late(node)
        elif node in self._retried or not self._ask_again(node, left):
            yield _reply(node, message)
        else:
            self._retried.add(node)

    def _has_another(self, node: int, message: Message) -> bool:
        """Whether a node's first reply asks for another message, which it is then sent."""
        if node in self._looked_at or not message.has_content():
            return False
        self._looked_at.add(node)
        record = self._again(node, message.content)
        if record is None:
            return False
        self._records[node] = record
        self._ends[node] = time.monotonic() + self._deadline
        return self._ask_again(node, self._deadline)

    def _ask_again(self, node: int, left: float) -> bool:
        """Send a node its message once more; whether that could be."""
        longest = self._latest() - time.monotonic() if self._tracking else left
        again = self._push({node: self._records[node]}, longest)
        self._pending.update({name: node for _, name in again if name})
        return node in self._pending.values()

    def _latest(self) -> float:
        """When the last of the nodes is late, whatever moves."""
        away = self._tracking.away - self._away if self._tracking else 0.0
        return self._began + LONGEST_TRANSFER * self._deadline + away

    def _look(self, now: float, waited: float, watch: Watch) -> None:
        """See what has moved, and put off the deadline of those that it moved for."""
        if now - self._looked < min(LOOK_SECONDS, self._deadline / 8) or waited < LOOK_SECONDS / 2:
            return
        self._looked = now
        nodes = set(self._pending.values())
        if self._tracking:
            away = self._tracking.away - self._away
            moved = {n: t for n, t in self._tracking.transfers().items() if n in nodes}
            self._moved = {node: self._since_sent(node, moved[node]) for node in moved}
            for node in nodes:
                last = now - moved[node].idle if node in moved else self._began
                end = max(last, self._began + away) + self._deadline
                self._ends[node] = min(end, self._latest())
        left = {node: max(0.0, self._ends[node] - now) for node in nodes}
        watch(Pending(waited, left, self._moved))

    def _since_sent(self, node: int, now: Transfer) -> Transfer:
        """What has moved since the messages were sent; a SuperLink that began anew counts anew."""
        before = self._before.get(node, Transfer())
        up, down = now.up - before.up, now.down - before.down
        return Transfer(now.up if up < 0 else up, now.down if down < 0 else down, now.idle)

    def _give_up(self, now: float) -> Iterator[Reply]:
        late = {name: node for name, node in self._pending.items() if now >= self._ends[node]}
        if late:
            self._abandon(late)
        for name, node in late.items():
            del self._pending[name]
            yield self._late(node)

    def _abandon(self, names: Iterable[str]) -> None:
        grid = self._tracking or self._queueing
        if grid:
            grid.abandon(names)

    def _push(self, records: Mapping[int, RecordDict], ttl: float) -> list[tuple[int, str | None]]:
        messages = [
            Message(record, dst_node_id=n, message_type=self._kind, ttl=ttl, group_id=self._group)
            for n, record in records.items()
        ]
        identities: list[str | None] = list(self._grid.push_messages(messages))
        identities += [None] * (len(messages) - len(identities))
        return list(zip(records, identities, strict=True))

    def _late(self, node: int) -> Reply:
        moved = self._moved.get(node)
        if moved is None or not moved.up + moved.down:
            return Reply(node, "late", reason=f"no reply within {self._deadline:g} s")
        if self._ends[node] >= self._latest():
            whole = LONGEST_TRANSFER * self._deadline
            return Reply(node, "late", reason=f"still transferring after {whole:g} s")
        said = f"no reply within {self._deadline:g} s of the last byte from or to it"
        return Reply(node, "late", reason=said)


def _is_lost(message: Message) -> bool:
    return message.has_error() and message.error.code in LOST


def _reply(node: int, message: Message) -> Reply:
    if message.has_error():
        reason = (message.error.reason or "").strip() or f"error {message.error.code}"
        outcome: Outcome = "declined" if message.error.code == DECLINED else "failed"
        return Reply(node, outcome, reason=reason.splitlines()[-1])
    return Reply(node, "ok", content=message.content)
