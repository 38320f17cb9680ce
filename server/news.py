"""Lets nodes and runs wait at a SuperLink until something is sent to them.

Flower's APIs have to be asked again and again. Each question costs the SuperLink as much as an
answer, and the pauses between them cost every exchange their length. Here one request waits in
their place. It carries nothing and takes nothing: whoever hears that there is news asks Flower
for it as before, so that no message can be handed to a line that has died in the meantime.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..http_internals import FLEET_NEWS, RUNTIME_NEWS, read_news, write_news
from .superlink_internals import (
    FLEET,
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    PROTOBUF_MEDIA_TYPE,
    RUNTIME,
    SUPERLINK_NODE_ID,
    DecodeError,
    addressees,
    header_of,
)

SENDING = frozenset({f"{FLEET}push-messages", f"{RUNTIME}push-messages"})
WAITING = frozenset({FLEET_NEWS, RUNTIME_NEWS})

LONGEST_HOLD = 30.0
"""A request waits no longer than this, whatever it asks for."""

MARK_BYTES = 4096
"""What is read of a request that waits."""


class News:
    """An ASGI application around Flower's, behind the gate.

    Whoever asks says which mark it was given last, and is answered with another as soon as
    something has been sent to it since, or with the same when the time that it gave is over.

    Args:
        app: Flower's application.
        node_of: the node that has a public key, as it stands in a request's header; it may
            block. None for a key that is not known.
    """

    def __init__(self, app: ASGIApp, node_of: Callable[[str], int | None]) -> None:
        self._app = app
        self._node_of = node_of
        # Marks of an earlier process mean nothing here.
        self._epoch = secrets.token_hex(4)
        self._sent: dict[int, int] = defaultdict(int)
        self._changed: dict[int, asyncio.Event] = {}
        self._closed = False

    def close(self) -> None:
        """Answer whoever waits: the server is told to end."""
        self._closed = True
        for changed in self._changed.values():
            changed.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path") if scope["type"] == "http" else None
        if path in SENDING:
            await self._pass_on(scope, receive, send)
        elif path in WAITING:
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let messages through, and tell those that they are for."""
        pieces: list[bytes] = []

        async def noted() -> Message:
            message = await receive()
            pieces.append(message.get("body", b""))
            return message

        await self._app(scope, noted, send)
        try:
            nodes = addressees(b"".join(pieces))
        except DecodeError:
            return
        for node in nodes:
            self._sent[node] += 1
            changed = self._changed.pop(node, None)
            if changed is not None:
                changed.set()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        known, seconds = await _request(receive)
        node: int | None = SUPERLINK_NODE_ID
        if scope["path"] == FLEET_NEWS:
            key = header_of(scope, FLEET_HTTP_PUBLIC_KEY_HEADER)
            node = await run_in_threadpool(self._node_of, key)
        mark = "" if node is None else await self._wait(node, known, seconds, receive)
        headers = [(b"content-type", PROTOBUF_MEDIA_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": write_news(mark)})

    async def _wait(self, node: int, known: str, seconds: float, receive: Receive) -> str:
        """The node's mark, once it is not the one that is known."""
        if known == self._mark_of(node) and not self._closed:
            changed = self._changed.setdefault(node, asyncio.Event())
            over = [asyncio.create_task(changed.wait()), asyncio.create_task(gone(receive))]
            limit = min(max(0.0, seconds), LONGEST_HOLD)
            await asyncio.wait(over, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for task in over:
                task.cancel()
        return self._mark_of(node)

    def _mark_of(self, node: int) -> str:
        return f"{self._epoch}.{self._sent.get(node, 0)}"


async def _request(receive: Receive) -> tuple[str, float]:
    """The mark in a request's body and the seconds to wait."""
    body, more = b"", True
    while more and len(body) <= MARK_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return read_news(body)


async def gone(receive: Receive) -> None:
    """Wait until whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
