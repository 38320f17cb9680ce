"""Large replies come in one at a time, and nothing of them stays longer than it is needed."""

from __future__ import annotations

import gc
import time
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from flwr.app import Message, RecordDict

from umbel.answers import read_at_once
from umbel.flower_internals import assume_server_identity, message_from_envelope, set_message_id
from umbel.messages import Envelope, attach_blob, release, split_record
from umbel.objects_internals import Outgoing, inflate_message
from umbel.server import arrivals as module
from umbel.server.arrivals import Arrivals
from umbel.tensors import pack

PIECES = bytearray(12_000_000)


@pytest.fixture(autouse=True)
def identity():
    assume_server_identity(1, 1)


def reply(number: int, body: bytes | None = None) -> Outgoing:
    record = Envelope({"number": number}, {"update": {}}).to_record()
    attach_blob(record, bytes([number]) * len(PIECES) if body is None else body)
    asked = Message(RecordDict(), dst_node_id=number, message_type="train")
    set_message_id(asked, f"message {number}")
    return Outgoing(Message(record, reply_to=asked))


class Link:
    """A SuperLink that has some replies, and remembers what it was asked for."""

    def __init__(self, replies: list[Outgoing]) -> None:
        self.contents = {name: make for out in replies for name, make in out.objects.items()}
        self.asked: set[str] = set()

    def pull(self, name: str) -> SimpleNamespace:
        self.asked.add(name)
        content = self.contents[name]()
        return SimpleNamespace(object_found=True, object_available=True, object_content=content)


def wait_for(found) -> None:
    end = time.monotonic() + 30.0
    while not found():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_large_reply_waits_until_the_one_before_it_was_dealt_with(monkeypatch):
    monkeypatch.setattr(module, "ROOM_BYTES", 20_000_000)
    replies = [reply(1), reply(2)]
    link = Link(replies)
    own = [set(out.objects) for out in replies]
    with ThreadPoolExecutor(2) as movers:
        arrivals = Arrivals(link.pull, lambda name: None, movers)
        names = ["message 1", "message 2"]
        for out in replies:
            arrivals.add(message_from_envelope(out.announcement), out.tree)
        futures = [arrival.future for arrival in arrivals.asked(names)]
        wait_for(lambda: any(future.done() for future in futures))
        [first] = arrivals.take(names)
        begun = [bool(link.asked & objects) for objects in own]
        assert sorted(begun) == [False, True]
        later = [name for name in names if name != first.metadata.reply_to_message_id]
        arrivals.asked(later)
        wait_for(lambda: all(future.done() for future in futures))
        [second] = arrivals.take(later)
        arrivals.close()
    bodies = [bytes(split_record(message.content)[1]) for message in (first, second)]
    assert sorted(bodies) == [bytes([number]) * len(PIECES) for number in (1, 2)]


class Slow(Link):
    """A SuperLink to which only the named objects have come."""

    def __init__(self, replies: list[Outgoing]) -> None:
        super().__init__(replies)
        self.here: set[str] = set()

    def pull(self, name: str) -> SimpleNamespace:
        self.asked.add(name)
        if name not in self.here:
            return SimpleNamespace(object_found=True, object_available=False, object_content=b"")
        return super().pull(name)


def body(number: int) -> bytes:
    """45 MB, which travel in nine pieces of which no two are alike."""
    return np.arange(number, 11_250_000 + number, dtype=np.int32).tobytes()


def chunks(out: Outgoing) -> list[str]:
    """A reply's pieces that are large."""
    return [name for name, make in out.objects.items() if len(make()) > 1_000_000]


def test_a_reply_that_stopped_is_paused_while_another_comes(monkeypatch):
    ahead = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0])
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "ROOM_BYTES", 60_000_000)
    stopped, other = reply(1, body(1)), reply(2, body(2))
    link = Slow([stopped, other])
    small = [set(out.objects) - set(chunks(out)) for out in (stopped, other)]
    link.here = {*small[0], chunks(stopped)[0]}
    with ThreadPoolExecutor(2) as movers:
        arrivals = Arrivals(link.pull, lambda name: None, movers)
        arrivals.add(message_from_envelope(stopped.announcement), stopped.tree)
        [waiting] = arrivals.asked(["message 1"])
        wait_for(lambda: waiting.received > 1_000_000)
        ahead[0] += module.STOPPED_SECONDS + 1.0

        link.here |= {*small[1], chunks(other)[0]}
        arrivals.add(message_from_envelope(other.announcement), other.tree)
        [coming] = arrivals.asked(["message 2"])
        wait_for(lambda: waiting._paused_at is not None)
        # All that its sender has uploaded meanwhile stays where it is, and it is not lost.
        link.here |= set(chunks(stopped))
        link.asked.clear()
        ahead[0] += 0.9 * module.UPLOAD_SECONDS
        coming.moved += 0.9 * module.UPLOAD_SECONDS
        wait_for(lambda: set(chunks(other)) & link.asked)
        assert not set(chunks(stopped)) & link.asked
        ahead[0] += 0.9 * module.UPLOAD_SECONDS
        coming.moved += 0.9 * module.UPLOAD_SECONDS
        link.here |= set(chunks(other))
        wait_for(coming.future.done)
        assert not set(chunks(stopped)) & link.asked

        [second] = arrivals.take(["message 2"])
        arrivals.asked(["message 1"])
        wait_for(waiting.future.done)
        [first] = arrivals.take(["message 1"])
        arrivals.close()
    for number, message in ((1, first), (2, second)):
        assert not message.has_error()
        assert bytes(split_record(message.content)[1]) == body(number)


class Bytes(bytearray):
    """Bytes that can be watched."""


def test_a_released_record_lets_its_tensors_go_at_once():
    record = Envelope({"number": 1}, {"update": {}}).to_record()
    blob = Bytes(pack({}))
    attach_blob(record, blob)
    # Each look at a record's parts makes a circle that holds them.
    assert len(record.array_records) == 1
    watched = weakref.ref(blob)
    gc.disable()
    try:
        release(record)
        del blob, record
        assert watched() is None
    finally:
        gc.enable()


def test_an_answer_is_let_go_of_as_soon_as_it_has_been_read():
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=b"x" * 1000))
    client = httpx.Client(transport=transport, event_hooks={"response": [read_at_once]})
    answer = client.get("http://superlink/")
    assert answer.content == b"x" * 1000
    watched = weakref.ref(answer)
    gc.disable()
    try:
        del answer
        assert watched() is None
    finally:
        gc.enable()


def test_a_reply_is_never_in_memory_twice_while_it_is_put_together():
    gc.collect()
    tracemalloc.start()
    try:
        made = reply(1, body(1))
        contents = {name: make() for name, make in made.objects.items()}
        size = sum(map(len, contents.values()))
        announced, tree = message_from_envelope(made.announcement), made.tree
        del made
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        message = inflate_message(announced, tree, contents)
        assert tracemalloc.get_traced_memory()[1] < before + 0.4 * size
    finally:
        tracemalloc.stop()
    assert bytes(split_record(message.content)[1]) == body(1)
