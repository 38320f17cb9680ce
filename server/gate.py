"""The gate: what stands between the network and Flower's application.

Flower serves its Fleet, Control and Runtime APIs on one port, without user accounts: whoever
reaches it could start runs and take any run over. The gate lets clients reach the Fleet API,
operators the other two, and everybody the health check; all else is not there. It looks at a
request's head before it reads the body, and never lets a body grow beyond its limit.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..wire import REFUSAL_HEADER
from .admission import Admission, Head, Pass, Refusal
from .bodies import replay
from .refusals import Refusals
from .roster import REPLY_BYTES, Roster
from .superlink_internals import FLEET, FLEET_HTTP_PUBLIC_KEY_HEADER, PATHS, PROTOBUF_MEDIA_TYPE

HEALTH = "/health"
NODES = "/v1/umbel/nodes"
"""umbel's own request, for operators: who is connected."""

PULL, PUSH_OBJECT, LEAVE = f"{FLEET}pull-messages", f"{FLEET}push-object", f"{FLEET}deactivate-node"

BODY_BYTES = 16 * 2**20
"""Flower cuts tensors into pieces of 5 MB; nothing that umbel sends in one request is larger."""

OPERATOR_BODY_BYTES = 64 * 2**20
"""An operator announces its messages to all clients in one request."""

BODY_SECONDS = 60.0
"""A body of which nothing has come for so long is given up."""

AT_ONCE = 16
"""Requests that one key may have under way; a node needs four."""


class Insides(Protocol):
    """What the gate needs of the SuperLink behind it; its methods may block."""

    inspected: frozenset[str]
    """The requests whose whole body is looked at before they are let through."""

    def inspect(self, path: str, content: bytes) -> None:
        """Look at a body; raises Refusal."""

    def follow_keyring(self) -> None:
        """Do what a change of the keyring asks for."""

    def nodes(self, roster: Roster) -> bytes:
        """Who is connected, as JSON."""

    def offer_again(self, key: str) -> None:
        """Give a node, named by its key as requests show it, again what it has not answered."""


class Gate:
    """An ASGI application in front of Flower's.

    Args:
        app: Flower's application.
        admission: who may do what.
        insides: the SuperLink behind the gate.
    """

    def __init__(self, app: ASGIApp, admission: Admission, insides: Insides) -> None:
        self._app = app
        self._admission = admission
        self._insides = insides
        self._refusals = Refusals()
        self._roster = Roster()
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = head_of(scope)
        if (head.method, head.path) in (("GET", HEALTH), ("HEAD", HEALTH)):
            await self._app(scope, receive, send)
            return
        answered = _Answered(send)
        try:
            await self._let_through(head, scope, receive, answered)
        except Refusal as refusal:
            self._refusals.note(head, refusal)
            # Half an answer cannot be taken back.
            if not answered.begun:
                await refuse(refusal, send)

    async def _let_through(
        self, head: Head, scope: Scope, receive: Receive, send: _Answered
    ) -> None:
        keyring = self._admission.keyring
        if keyring is not None and keyring.refresh():
            await run_in_threadpool(self._insides.follow_keyring)
        allowed = self._admit(head)
        check_shape(head)
        limit = BODY_BYTES if allowed.role == "client" else OPERATOR_BODY_BYTES
        length = check_length(head.headers, limit)
        if allowed.role == "client":
            self._roster.see(head.headers, head.peer)
            if head.path == PUSH_OBJECT and not self._roster.upload(head.headers, length):
                raise Refusal(413, "too-large", f"more than {REPLY_BYTES} bytes for one reply")
        body = _Body(receive, limit, allowed.digest)
        user = f"{allowed.role} {allowed.name}" if allowed.holder else ""
        if user and self._under_way[user] >= AT_ONCE:
            raise Refusal(503, "busy", f"{AT_ONCE} requests of this key are under way already")
        self._under_way[user] += 1
        try:
            if head.path in self._insides.inspected or head.path == NODES:
                content = await body.whole()
                if head.path == NODES:
                    table = await run_in_threadpool(self._insides.nodes, self._roster)
                    await answer(200, table, send)
                    return
                await run_in_threadpool(self._insides.inspect, head.path, content)
                body = _Body(replay(content, receive), limit, None)
            await self._app(scope, body, send.unless(body))
        finally:
            self._under_way[user] -= 1
        if body.refusal is not None:
            raise body.refusal
        if head.path == LEAVE and send.good:
            self._admission.leases.leave(allowed.name)
        elif head.path == PULL and send.good:
            if send.length:
                self._roster.deliver(head.headers)
            elif self._roster.started(head.headers):
                # What its former start was given, and lost before it could note it.
                key = head.headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER, "")
                await run_in_threadpool(self._insides.offer_again, key)

    def _admit(self, head: Head) -> Pass:
        """As whom the sender may pass; raises Refusal if it may not."""
        if head.path in PATHS and head.path.startswith(FLEET):
            return self._admission.client(head)
        if head.path in PATHS or head.path == NODES:
            return self._admission.operator(head)
        raise Refusal(404, "no-such-place", "there is nothing here")


def head_of(scope: Scope) -> Head:
    """A request's head; where a header stands twice the first counts, as it does in Flower."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    host, port = scope.get("client") or ("?", 0)
    return Head(scope["method"], scope["path"], headers, f"{host}:{port}")


def check_shape(head: Head) -> None:
    """Raise Refusal for a request of the wrong method or the wrong kind of content."""
    if head.method != "POST":
        raise Refusal(405, "method", "only POST is answered here")
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Refusal(415, "encoding", "compressed requests are not taken")
    media = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != PROTOBUF_MEDIA_TYPE:
        raise Refusal(415, "content-type", f"only {PROTOBUF_MEDIA_TYPE} is taken")


def check_length(headers: Mapping[str, str], limit: int) -> int:
    """How long a body says that it is; raises Refusal where that is too long, or malformed.

    One that comes in chunks does not say; it is taken for as long as it may be.
    """
    if "content-length" not in headers:
        return limit
    text = headers["content-length"]
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, "length", "the content's length is malformed")
    if len(text) > 20 or int(text) > limit:
        raise Refusal(413, "too-large", f"more than the {limit} bytes that one request may hold")
    return int(text)


class _Body:
    """A body on its way to the application, which never sees the end of one that is refused.

    Flower's application reads the whole of a body before it acts. So the body can be hashed
    while it passes: where the hash is not the one that was signed, its last piece is withheld.
    """

    def __init__(self, receive: Receive, limit: int, digest: str | None) -> None:
        self._receive = receive
        self._limit = limit
        self._digest = digest
        self._hash = hashlib.sha256()
        self._length = 0
        self._ended = False
        self.refusal: Refusal | None = None

    async def __call__(self) -> Message:
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await self._receive()
        except TimeoutError:
            self.refusal = Refusal(408, "slow", f"nothing came for {BODY_SECONDS:g} s")
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._look(message)
        return {"type": "http.disconnect"} if self.refusal else message

    def _look(self, message: Message) -> None:
        piece = message.get("body", b"")
        self._length += len(piece)
        if self._length > self._limit:
            said = f"more than the {self._limit} bytes that one request may hold"
            self.refusal = Refusal(413, "too-large", said)
            return
        if self._digest is not None:
            self._hash.update(piece)
        if not message.get("more_body", False):
            self._ended = True
            if self._digest is not None and self._hash.hexdigest() != self._digest:
                self.refusal = Refusal(401, "bad-signature", "the body is not the one signed")

    async def whole(self) -> bytes:
        """All of it at once; raises Refusal."""
        pieces = []
        while not self._ended:
            message = await self()
            if self.refusal is not None:
                raise self.refusal
            if message["type"] != "http.request":
                raise Refusal(400, "cut-off", "the connection ended within the request")
            pieces.append(message.get("body", b""))
        return b"".join(pieces)


class _Answered:
    """Where the application's answer goes, and whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._body: _Body | None = None
        self.begun = False
        self.good = False
        self.length = 0

    def unless(self, body: _Body) -> _Answered:
        """Withhold the answer to a body that was refused."""
        self._body = body
        return self

    async def __call__(self, message: Message) -> None:
        if self._body is not None and self._body.refusal is not None:
            return
        if message["type"] == "http.response.start":
            self.begun = True
            self.good = message["status"] < 300
        else:
            self.length += len(message.get("body", b""))
        await self._send(message)


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer a request that is not let through, and close its connection: its body, which may
    be as long as the peer likes, was not read."""
    content = json.dumps({"detail": refusal.reason, "code": refusal.code}).encode()
    said = ((b"connection", b"close"), (REFUSAL_HEADER.encode(), refusal.code.encode()))
    await answer(refusal.status, content, send, said)


async def answer(
    status: int, content: bytes, send: Send, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with JSON."""
    kind = [(b"content-type", b"application/json")]
    length = [(b"content-length", str(len(content)).encode())]
    start = {"type": "http.response.start", "status": status, "headers": [*kind, *length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": content})
