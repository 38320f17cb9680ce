"""Lets the clients' large replies into a SuperLink's memory only as there is room for them.

Flower stores what clients upload until a run has fetched it: a hundred that answer at once would
all be in memory. So a node is held up here where it announces a large reply, before any of it is
sent, until there is room (`server.room`); Flower does not know of the reply yet, and its times
have not begun. What is held is looked up in Flower's own store, so that nothing that leaves it in
whatever way is counted any longer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..objects_internals import large_objects, object_ids
from ..wire import NO_ROOM, REFUSAL_HEADER
from .bodies import replay, whole
from .gate import answer
from .inspection import PUSH
from .meter import UP
from .news import gone
from .room import Room, Upload
from .superlink_internals import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    RUNTIME,
    DecodeError,
    LinkState,
    announced,
    clean_finished,
    header_of,
    is_stored,
)

FETCH, CONFIRM = f"{RUNTIME}pull-object", f"{RUNTIME}confirm-message-received"

HOLD_SECONDS = 20.0
"""How long one request waits for room before it is answered that there is none: Flower's own
nodes give a request up after 30 s, and repeat one that is answered so."""

LOOK_SECONDS = 1.0
"""How often it is looked, while somebody waits, what has left the store."""

log = logging.getLogger("umbel.gate")


class Uploads:
    """An ASGI application around Flower's, behind the gate.

    Args:
        app: Flower's application.
        state: Flower's; what it stores, it stores in memory.
        touch: told about once a second which nodes wait, by their public keys.
        room: how much may come at a time.
        hold: seconds after which a request that waits is answered that there is no room.
    """

    def __init__(
        self,
        app: ASGIApp,
        state: LinkState,
        touch: Callable[[str], None],
        room: Room | None = None,
        hold: float = HOLD_SECONDS,
    ) -> None:
        self._app = app
        self._state = state
        self._touch = touch
        self._room = room or Room()
        self._hold = hold
        self._called: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._closed = False

    def close(self) -> None:
        """Answer whoever waits: the server is told to end."""
        self._closed = True
        self._changed.set()
        self._call(self._called)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path") if scope["type"] == "http" else None
        if path == PUSH:
            await self._announce(scope, receive, send)
        elif path == UP:
            await self._app(scope, self._counted(scope, receive), send)
        else:
            await self._app(scope, receive, send)
            if path == FETCH:
                self._room.stir()
            elif path == CONFIRM:
                self._changed.set()

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """Count an object on its way, if it is of a large reply."""
        upload = self._room.sent_by(header_of(scope, FLEET_HTTP_PUBLIC_KEY_HEADER))
        if upload is None:
            return receive
        length = 0

        async def counted() -> Message:
            nonlocal length
            message = await receive()
            if message["type"] == "http.request":
                count = len(message.get("body", b""))
                length += count
                upload.receive(count, so_far=length, last=not message.get("more_body", False))
                self._room.stir()
            return message

        return counted

    async def _announce(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a reply's announcement through, a large one's as soon as there is room for it."""
        content = await whole(receive)
        if content is None:
            return
        upload = None
        with suppress(DecodeError, IndexError):  # Flower, too, finds that there is nothing in it.
            run, tree = announced(content)
            pieces = large_objects(tree)
            if pieces:
                key = header_of(scope, FLEET_HTTP_PUBLIC_KEY_HEADER)
                count = len(object_ids(tree)) + 1
                upload = self._room.ask(Upload(tree.object_id, key, run, count, pieces))
        if upload is None:
            await self._app(scope, replay(content, receive), send)
        elif await self._wait(upload, receive):
            try:
                await self._app(scope, replay(content, receive), send)
            finally:
                # Unless Flower has refused it.
                upload.stored = True
        else:
            said = json.dumps({"detail": "there is no room for the reply yet"}).encode()
            await answer(503, said, send, [(REFUSAL_HEADER.encode(), NO_ROOM.encode())])

    async def _wait(self, upload: Upload, receive: Receive) -> bool:
        """Wait until there is room for a reply; whether there is."""
        called = self._called.setdefault(upload.root, asyncio.Event())
        upload.asking += 1
        over = [asyncio.create_task(called.wait()), asyncio.create_task(gone(receive))]
        try:
            self._admit()
            if upload not in self._room and not self._closed:
                self._tend()
                await asyncio.wait(over, timeout=self._hold, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in over:
                task.cancel()
            upload.asking -= 1
            if not upload.asking:
                self._called.pop(upload.root, None)
        return upload in self._room

    def _admit(self, over: Collection[int] = ()) -> None:
        """Let in whom there is room for now."""
        held = [upload for upload in self._room.held if upload.stored]
        self._room.remove([u for u in held if not is_stored(self._state, u.root)])
        self._call({upload.root for upload in self._room.admit(over)})

    def _call(self, roots: Collection[str]) -> None:
        for root in roots:
            if root in self._called:
                self._called[root].set()

    def _tend(self) -> None:
        """Look after those who wait, from now on."""
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._look_after())

    async def _look_after(self) -> None:
        while self._room.waiting and not self._closed:
            try:
                self._changed.clear()
                known = {upload.run for upload in [*self._room.waiting, *self._room.held]}
                self._admit(clean_finished(self._state, known))
            except Exception:
                log.exception("looking after large replies failed")
            for upload in self._room.waiting:
                self._touch(upload.sender)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
