"""Flower's Grid over clients that live on this machine, made when a message is for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..flower_internals import Run, assume_server_identity, empty_run, set_message_id
from .executor import Executor, Inline
from .runner import ClientRunner, expired
from .workers import WorkerPool

WAIT_SECONDS = 0.2
"""How long one pull waits for a first reply."""


class InProcessGrid(Grid):
    """Clients 0 to `population` - 1 as the nodes 1 to `population`.

    A message runs when its reply is pulled, so that no more replies are in memory than there
    are workers. With one worker it runs in this process, with more in processes forked from
    it. Use it as a context manager: entering it starts the workers, leaving it ends them.

    >>> app = ClientApp()
    >>> @app.query()
    ... def answer(message, context):
    ...     return Message(RecordDict(), reply_to=message)
    >>> with InProcessGrid(lambda: app, population=3) as grid:
    ...     question = Message(RecordDict(), dst_node_id=2, message_type="query")
    ...     [reply.metadata.src_node_id for reply in grid.send_and_receive([question])]
    [2]
    """

    queues = True

    def __init__(
        self, make_app: Callable[[], ClientApp], population: int, *, workers: int = 1
    ) -> None:
        run = ClientRunner(make_app, population)
        self._population = population
        self._executor: Executor = Inline(run) if workers == 1 else WorkerPool(run, workers)
        self._run = empty_run(1)
        self._pushed = 0
        self._queue: dict[str, Message] = {}
        self._done: dict[str, Message] = {}
        self._abandoned: set[str] = set()

    def __enter__(self) -> Self:
        assume_server_identity(self._run.run_id)
        self._executor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.close()

    def set_run(self, run: Run) -> None:
        self._run = run
        assume_server_identity(run.run_id)

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Sequence[int]:
        return range(1, self._population + 1)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue messages; their ids, in the same order."""
        identities: list[str] = []
        for message in messages:
            self._pushed += 1
            identity = str(self._pushed)
            set_message_id(message, identity)
            self._queue[identity] = message
            identities.append(identity)
        return identities

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies to the messages asked for, as soon as one is there; empty after a while."""
        wanted = set(message_ids)
        self._forget_expired(wanted)
        self._offer(wanted)
        if not self._done.keys() & wanted:
            for reply in self._executor.collect(WAIT_SECONDS):
                identity = reply.metadata.reply_to_message_id
                if identity not in self._abandoned:
                    self._done[identity] = reply
                self._abandoned.discard(identity)
            # Before the caller works on these replies, so that no worker waits meanwhile.
            self._offer(wanted)
        return [self._done.pop(identity) for identity in list(self._done) if identity in wanted]

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Forget messages that nobody waits for any more."""
        for identity in message_ids:
            if not (self._queue.pop(identity, None) or self._done.pop(identity, None)):
                self._abandoned.add(identity)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Push messages and pull until all have their replies, or `timeout` seconds went by."""
        end = None if timeout is None else time.monotonic() + timeout
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while waiting and (end is None or time.monotonic() < end):
            arrived = self.pull_messages(waiting)
            waiting -= {reply.metadata.reply_to_message_id for reply in arrived}
            replies += arrived
        return replies

    def _offer(self, wanted: set[str]) -> None:
        """Hand out queued messages that are asked for, in the order in which they were pushed."""
        for identity in self._executor.offer(self._queue, wanted):
            del self._queue[identity]

    def _forget_expired(self, wanted: set[str]) -> None:
        """Drop what belongs to a round that is over: nobody asks for it any more."""
        for messages in (self._queue, self._done):
            for identity in messages.keys() - wanted:
                if expired(messages[identity]):
                    del messages[identity]
