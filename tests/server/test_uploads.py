"""Nodes held up at a SuperLink until there is room in its memory for what they announce."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest
from flwr.common.constant import Status

from umbel.flower_internals import PushMessagesRequest
from umbel.lines import PIECE_BYTES
from umbel.objects_internals import SMALL_OBJECTS
from umbel.server.inspection import PUSH
from umbel.server.meter import DOWN, UP
from umbel.server.room import ROOM_BYTES, Room
from umbel.server.superlink_internals import FLEET_HTTP_PUBLIC_KEY_HEADER, DecodeError
from umbel.server.uploads import CONFIRM, Uploads
from umbel.wire import NO_ROOM, REFUSAL_HEADER

PIECES = ROOM_BYTES // PIECE_BYTES[1] // 2 + 1
"""Of a reply of which there is room for two."""


class State:
    """What is asked of Flower's state: the objects that are stored, and the runs."""

    def __init__(self) -> None:
        self.object_store: set[str] = set()
        self.over: set[int] = set()
        self.cleaned: list[int] = []

    def get_run_info(self, run_ids):
        going = [run for run in run_ids if run not in self.over]
        status = SimpleNamespace(status=Status.RUNNING)
        return [SimpleNamespace(run_id=run, status=status) for run in going]

    def cleanup_run(self, run):
        self.cleaned.append(run)


class Flower:
    """The application behind: stores what is announced, and refuses what is named in `refused`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.announced: list[str] = []
        self.refused: set[str] = set()

    async def __call__(self, scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"] == PUSH:
            with suppress(DecodeError):
                for tree in PushMessagesRequest.FromString(body).message_object_trees:
                    self.announced.append(tree.object_id)
                    self.state.object_store |= {tree.object_id} - self.refused
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Bench:
    """The layer over an application of ours; each node has its own key."""

    def __init__(self, hold: float = 60.0) -> None:
        self.state = State()
        self.flower = Flower(self.state)
        self.touched: list[str] = []
        self.app = Uploads(self.flower, self.state, self.touched.append, Room(), hold)

    async def ask(self, path: str, body: bytes = b"", key: str = "", gone=None):
        """Send a request; its status and headers."""
        header = FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode()
        scope = {"type": "http", "path": path, "headers": [(header, key.encode())]}
        pieces = [{"type": "http.request", "body": body, "more_body": False}]
        answers = []

        async def receive():
            if pieces:
                return pieces.pop()
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message):
            answers.append(message)

        await self.app(scope, receive, send)
        return answers[0]["status"], dict(answers[0]["headers"])

    def announce(self, name: str, pieces: int = PIECES, run: int = 1, gone=None):
        request = PushMessagesRequest()
        request.messages_list.add().metadata.run_id = run
        tree = request.message_object_trees.add(object_id=name)
        for index in range(pieces + SMALL_OBJECTS):
            tree.children.add(object_id=f"{name}{index}")
        body = request.SerializeToString()
        return asyncio.create_task(self.ask(PUSH, body, f"key of {name}", gone))

    async def confirm(self, name: str) -> None:
        self.state.object_store.discard(name)
        await self.ask(CONFIRM)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def play(scene) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(bounded())


def test_large_replies_are_announced_as_there_is_room_in_their_order():
    async def scene():
        bench = Bench()
        asked = []
        for name in "abcd":
            asked.append(bench.announce(name))
            await settle()
        assert bench.flower.announced == ["a", "b"]
        await bench.confirm("b")
        assert (await asked[2])[0] == 200 and bench.flower.announced == ["a", "b", "c"]
        assert not asked[3].done() and "key of d" in bench.touched
        await bench.confirm("a")
        assert (await asked[3])[0] == 200

    play(scene)


def test_small_replies_and_other_requests_never_wait():
    async def scene():
        bench = Bench()
        for name in "abc":
            bench.announce(name)
            await settle()
        assert (await bench.announce("small", pieces=0))[0] == 200
        assert (await bench.ask(UP, b"x" * 1000, "key of a"))[0] == 200
        assert (await bench.ask(DOWN, b"", "key of c"))[0] == 200
        for nonsense in (b"", b"\xff\xff"):
            status, _ = await bench.ask(PUSH, nonsense)
            assert status == 200, "Flower says what is wrong with it"
        assert bench.flower.announced[:2] == ["a", "b"] and "c" not in bench.flower.announced

    play(scene)


def test_what_leaves_the_store_in_whatever_way_makes_room():
    """Nothing tells that a reply has expired; it is looked for once a second."""

    async def scene():
        bench = Bench()
        for name in "ab":
            await bench.announce(name)
        waiting = bench.announce("c")
        await settle()
        assert not waiting.done()
        bench.state.object_store.clear()
        assert (await waiting)[0] == 200

    play(scene)


def test_what_flower_refuses_takes_no_room():
    async def scene():
        bench = Bench()
        bench.flower.refused |= {"a", "b"}
        for name in "abc":
            assert (await bench.announce(name))[0] == 200

    play(scene)


def test_replies_of_a_run_that_is_over_make_room_and_do_not_wait():
    async def scene():
        bench = Bench()
        for name in "ab":
            await bench.announce(name, run=7)
        waiting = bench.announce("c", run=7)
        await settle()
        assert not waiting.done()
        bench.state.over.add(7)
        assert (await waiting)[0] == 200 and 7 in bench.state.cleaned

    play(scene)


def test_a_wait_ends_after_a_while_with_the_place_kept():
    async def scene():
        bench = Bench(hold=0.05)
        for name in "ab":
            await bench.announce(name)
        status, headers = await bench.announce("c")
        assert (status, headers[REFUSAL_HEADER.encode()]) == (503, NO_ROOM.encode())
        assert (await bench.announce("d"))[0] == 503
        again = [bench.announce(name) for name in "dc"]
        await settle()
        await bench.confirm("a")
        assert (await again[1])[0] == 200, "c has asked before d"
        assert (await again[0])[0] == 503

    play(scene)


@pytest.mark.parametrize("end", ["gone", "closed"])
def test_who_has_gone_waits_no_longer_and_a_server_that_ends_lets_nobody_wait(end):
    async def scene():
        bench, gone = Bench(), asyncio.Event()
        for name in "ab":
            await bench.announce(name)
        waiting = bench.announce("c", gone=gone)
        await settle()
        if end == "gone":
            gone.set()
        else:
            bench.app.close()
        assert (await waiting)[0] == 503
        await bench.confirm("a")
        assert bench.flower.announced == ["a", "b"]

    play(scene)
