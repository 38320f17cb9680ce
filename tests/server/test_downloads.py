"""What many nodes fetch at the same time is in the SuperLink's memory once."""

from __future__ import annotations

import asyncio

from umbel.server.downloads import ENDS, MADE_AT_ONCE, Downloads
from umbel.server.meter import DOWN, UP


class Objects:
    """An application that makes a new answer for each request: twice the bytes in it."""

    def __init__(self) -> None:
        self.most = self.now = 0

    async def __call__(self, scope, receive, send) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        body = (await receive())["body"]
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        await send({"type": "http.response.body", "body": body[10:] + body})
        self.now -= 1


class Line:
    """Asks for something, and takes no answer before `open` is set."""

    def __init__(self, app, body: bytes, path: str = DOWN) -> None:
        self.open = asyncio.Event()
        self.messages: list[dict] = []
        self.body = b""
        self._content = body
        self._app = app
        self._path = path

    async def ask(self) -> None:
        await self._app({"type": "http", "path": self._path}, self._receive, self._send)

    async def _receive(self):
        return {"type": "http.request", "body": self._content, "more_body": False}

    async def _send(self, message) -> None:
        if message["type"] == "http.response.body":
            self.body = message["body"]
        self.messages.append(message)
        await self.open.wait()


def played(contents: list[bytes], path: str = DOWN) -> tuple[Objects, list[Line]]:
    """All ask at once, and none takes its answer before each has one."""

    async def scene():
        flower = Objects()
        app = Downloads(flower)
        lines = [Line(app, content, path) for content in contents]
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(line.ask())
            while not all(line.messages for line in lines):
                await asyncio.sleep(0.001)
            for line in lines:
                line.open.set()
        assert app._copies == {}
        return flower, lines

    return asyncio.run(scene())


def test_slow_lines_share_one_copy_and_hold_up_nobody():
    flower, lines = played([b"x" * 100_000] * 50)
    assert {len(line.body) for line in lines} == {200_000}
    assert len({id(line.body) for line in lines}) == 1
    assert flower.most <= MADE_AT_ONCE
    assert lines[0].messages[0]["headers"] == [(b"a", b"b")]


def test_answers_that_only_look_alike_are_not_mixed_up():
    ends = b"x" * ENDS
    contents = [ends + middle + ends for middle in (b"a" * 1000, b"b" * 1000)] * 3
    _, lines = played(contents)
    assert [line.body for line in lines] == [content + content for content in contents]


def test_other_requests_pass_untouched():
    flower, lines = played([b"x" * 100] * 10, UP)
    assert flower.most == 10 and len({id(line.body) for line in lines}) == 10
