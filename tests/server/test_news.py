"""Waiting at a SuperLink, rather than asking it again and again."""

from __future__ import annotations

import asyncio
import math

import pytest

from umbel.flower_internals import PushAppMessagesRequest
from umbel.http_internals import FLEET_NEWS, RUNTIME_NEWS, read_news, write_news
from umbel.server.news import News
from umbel.server.superlink_internals import FLEET_HTTP_PUBLIC_KEY_HEADER, RUNTIME

NODES = {"key-7": 7, "key-8": 8}
SEND = f"{RUNTIME}push-messages"


class Peer:
    """Sends one request to an application and keeps its answer."""

    def __init__(self, app, path: str, body: bytes, key: str = "") -> None:
        headers = [(FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode(), key.encode())]
        self._scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        self._app = app
        self._body = [{"type": "http.request", "body": body, "more_body": False}]
        self.gone = asyncio.Event()
        self.answer = b""

    async def receive(self):
        if self._body:
            return self._body.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message) -> None:
        self.answer += message.get("body", b"")

    async def ask(self) -> bytes:
        await self._app(self._scope, self.receive, self.send)
        return self.answer


class Behind:
    """What is behind the news: reads each request, and answers nothing."""

    async def __call__(self, scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass


def waiting(mark: str, seconds: float) -> bytes:
    from google.protobuf.struct_pb2 import Struct

    request = Struct()
    request.update({"mark": mark, "seconds": seconds})
    return request.SerializeToString()


def sent_to(*nodes: int) -> bytes:
    request = PushAppMessagesRequest()
    for node in nodes:
        request.messages_list.add().metadata.dst_node_id = node
    return request.SerializeToString()


async def mark_of(news: News, key: str) -> str:
    return read_news(await Peer(news, FLEET_NEWS, waiting("", 60.0), key).ask())[0]


@pytest.fixture
def news() -> News:
    return News(Behind(), NODES.get)


def test_a_node_hears_at_once_that_something_was_sent_to_it_and_to_nobody_else(news):
    async def scene():
        marks = [await mark_of(news, key) for key in NODES]
        mine = asyncio.create_task(Peer(news, FLEET_NEWS, waiting(marks[0], 60.0), "key-7").ask())
        other = asyncio.create_task(Peer(news, FLEET_NEWS, waiting(marks[1], 60.0), "key-8").ask())
        run = asyncio.create_task(Peer(news, RUNTIME_NEWS, waiting(marks[0], 60.0)).ask())
        await asyncio.sleep(0)
        await Peer(news, SEND, sent_to(7, 7)).ask()
        async with asyncio.timeout(10):
            mark = read_news(await mine)[0]
        assert mark != marks[0]
        # What was sent while nobody waited is heard of as soon as one does.
        await Peer(news, SEND, sent_to(7)).ask()
        async with asyncio.timeout(10):
            assert read_news(await Peer(news, FLEET_NEWS, waiting(mark, 60.0), "key-7").ask())
        assert not other.done() and not run.done()
        await Peer(news, SEND, sent_to(1)).ask()
        async with asyncio.timeout(10):
            await run
        assert not other.done()
        news.close()
        async with asyncio.timeout(10):
            assert read_news(await other)[0] == marks[1]

    asyncio.run(scene())


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.01, math.nan])
def test_a_wait_ends_with_the_same_mark_when_its_time_is_over(news, seconds):
    async def scene():
        mark = await mark_of(news, "key-7")
        async with asyncio.timeout(10):
            answer = await Peer(news, FLEET_NEWS, waiting(mark, seconds), "key-7").ask()
        assert read_news(answer)[0] == mark

    asyncio.run(scene())


def test_who_has_gone_waits_no_longer(news):
    async def scene():
        peer = Peer(news, FLEET_NEWS, waiting(await mark_of(news, "key-7"), 60.0), "key-7")
        asking = asyncio.create_task(peer.ask())
        await asyncio.sleep(0)
        peer.gone.set()
        async with asyncio.timeout(10):
            await asking

    asyncio.run(scene())


@pytest.mark.parametrize("body", [b"", b"\xff\xff", b"x" * 100_000, write_news("no such mark")])
def test_what_is_no_mark_is_answered_with_one_at_once(news, body):
    async def scene():
        async with asyncio.timeout(10):
            assert read_news(await Peer(news, FLEET_NEWS, body, "key-7").ask())[0]

    asyncio.run(scene())


def test_an_unknown_key_gets_no_mark(news):
    assert asyncio.run(mark_of(news, "a stranger's")) == ""
