"""Counts what comes to a SuperLink and what it answers, refused or not, for its figures."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..metrics import ServerMetrics
from ..wire import REFUSAL_HEADER


class Metered:
    """An ASGI application around the gate that counts every request and its bytes.

    Args:
        app: the gate.
        metrics: the figures.
        passed: told how many bytes a request has moved, when it is over.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, passed: Callable[[int], None]) -> None:
        self._app = app
        self._metrics = metrics
        self._passed = passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = sent = 0
        refusal = ""

        async def take() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def give(message: Message) -> None:
            nonlocal sent, refusal
            sent += len(message.get("body", b""))
            for name, value in message.get("headers", ()):
                if name == REFUSAL_HEADER.encode():
                    refusal = value.decode()
            await send(message)

        try:
            await self._app(scope, take, give)
        finally:
            self._passed(received + sent)
            if refusal:
                self._metrics.refused(refusal)
            else:
                self._metrics.request(scope["path"], received, sent)
