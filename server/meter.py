"""Counts the bytes of models and updates that pass through a SuperLink, so that a run knows of
those that are still on their way over a slow line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..http_internals import TRANSFERS, write_transfers
from .superlink_internals import (
    FLEET,
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    PROTOBUF_MEDIA_TYPE,
    header_of,
)

UP, DOWN = f"{FLEET}push-object", f"{FLEET}pull-object"
BEGIN = f"{FLEET}push-messages"

TRIFLE = 256
"""An answer of up to so many bytes says that an object is not there yet, and moves nothing."""

PIECE_BYTES = 128 * 1024
"""A body is handed on in such pieces, so that it is counted as the line takes it."""

KEPT_SECONDS = 3600.0
"""What a node that has been silent for so long has moved is forgotten."""


@dataclass
class Count:
    """What has passed from (`up`) and to (`down`) one node, when the last of it did, and when
    it began its last reply."""

    up: int = 0
    down: int = 0
    last: float = field(default_factory=time.monotonic)
    begun: float = 0.0


class Meter:
    """An ASGI application around Flower's, behind the gate.

    Args:
        app: Flower's application.
        node_of: the node that has a public key, as it stands in a request's header; None for
            a key that is not known.
    """

    def __init__(self, app: ASGIApp, node_of: Callable[[str], int | None]) -> None:
        self._app = app
        self._node_of = node_of
        self._counts: dict[str, Count] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path") if scope["type"] == "http" else None
        if path == TRANSFERS:
            await self._tell(send)
        elif path == BEGIN:
            self._count(_key(scope)).begun = time.monotonic()
            await self._app(scope, receive, send)
        elif path == UP:
            await self._app(scope, self._counting(self._count(_key(scope)), receive), send)
        elif path == DOWN:
            await self._app(scope, receive, self._piecemeal(self._count(_key(scope)), send))
        else:
            await self._app(scope, receive, send)

    def touch(self, key: str) -> None:
        """Count nothing, but as of now, for a node that is held up here."""
        self._count(key).last = time.monotonic()

    def _count(self, key: str) -> Count:
        return self._counts.setdefault(key, Count())

    def _counting(self, count: Count, receive: Receive) -> Receive:
        async def counted() -> Message:
            message = await receive()
            count.up += len(message.get("body", b""))
            count.last = time.monotonic()
            return message

        return counted

    def _piecemeal(self, count: Count, send: Send) -> Send:
        async def counted(message: Message) -> None:
            body = message.get("body", b"")
            if message["type"] != "http.response.body" or len(body) <= TRIFLE:
                await send(message)
                return
            for start in range(0, len(body), PIECE_BYTES):
                piece = body[start : start + PIECE_BYTES]
                more = start + len(piece) < len(body) or message.get("more_body", False)
                await send({**message, "body": piece, "more_body": more})
                count.down += len(piece)
                count.last = time.monotonic()

        return counted

    async def _tell(self, send: Send) -> None:
        """Answer a run that asks what has moved."""
        now = time.monotonic()
        self._counts = {k: c for k, c in self._counts.items() if now - c.last < KEPT_SECONDS}
        found = {}
        for key, count in self._counts.items():
            node = self._node_of(key)
            if node is not None:
                found[node] = (count.up, count.down, now - count.last, now - count.begun)
        headers = [(b"content-type", PROTOBUF_MEDIA_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": write_transfers(found)})


def _key(scope: Scope) -> str:
    return header_of(scope, FLEET_HTTP_PUBLIC_KEY_HEADER)
