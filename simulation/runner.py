"""Runs a client's message in this process: never raises, and answers nothing that came too late."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from ..flower_internals import ErrorCode
from ..training.threads import one_thread


@dataclass
class ClientRunner:
    """Client `index` of a population, as the node with id `index + 1`, on one ClientApp.

    The app is made when the first message comes, so that each worker process makes its own,
    with its own caches. A context is made for each message: what a client keeps, its app
    keeps on disk, so that memory does not grow with the clients seen.
    """

    make_app: Callable[[], ClientApp]
    population: int
    _app: ClientApp | None = field(default=None, init=False, repr=False)

    def __call__(self, message: Message) -> Message:
        """The client's reply, or an error reply where it raises or the message's time is over
        before it begins. A reply that is there counts, however long it took: nobody waited for
        anything else, and whether a client is late must not depend on how quick a machine is."""
        if expired(message):
            return failure(message, ErrorCode.MESSAGE_UNAVAILABLE, too_late(message))
        if self._app is None:
            try:
                self._app = self.make_app()
            except Exception as error:  # noqa: BLE001  # Whatever it is, it is the reply.
                return failure(message, ErrorCode.LOAD_CLIENT_APP_EXCEPTION, describe(error))
        node = message.metadata.dst_node_id
        if not 1 <= node <= self.population:
            return failure(message, ErrorCode.NODE_UNAVAILABLE, f"there is no node {node}")
        try:
            with one_thread():
                reply = self._app(message, self._context(message.metadata.run_id, node))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # It costs one reply.
            return failure(message, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, describe(error))
        if not isinstance(reply, Message):
            reason = f"the client replied with a {type(reply).__name__} instead of a Message"
            return failure(message, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
        return reply

    def _context(self, run_id: int, node: int) -> Context:
        return Context(
            run_id=run_id,
            node_id=node,
            node_config={"partition-id": node - 1, "num-partitions": self.population},
            state=RecordDict(),
            run_config={},
        )


def expired(message: Message) -> bool:
    """Whether a message has outlived its time to live."""
    return time.time() > message.metadata.created_at + message.metadata.ttl


def too_late(message: Message) -> str:
    return f"no reply within {message.metadata.ttl:g} s"


def describe(error: BaseException) -> str:
    """An exception in one line.

    >>> describe(ValueError("no labels"))
    'ValueError: no labels'
    """
    return f"{type(error).__name__}: {error}"


def failure(message: Message, code: int, reason: str) -> Message:
    """The reply that says why a message got no answer."""
    return Message(Error(code=code, reason=reason), reply_to=message)
