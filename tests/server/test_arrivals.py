"""Large replies come in one at a time, and nothing of them stays longer than it is needed."""

from __future__ import annotations

import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
from flwr.app import Message, RecordDict

from umbel.answers import read_at_once
from umbel.flower_internals import assume_server_identity, message_from_envelope, set_message_id
from umbel.messages import Envelope, attach_blob, release, split_record
from umbel.objects_internals import Outgoing
from umbel.server import arrivals as module
from umbel.server.arrivals import Arrivals
from umbel.tensors import pack

PIECES = bytearray(12_000_000)


@pytest.fixture(autouse=True)
def identity():
    assume_server_identity(1, 1)


def reply(number: int) -> Outgoing:
    record = Envelope({"number": number}, {"update": {}}).to_record()
    attach_blob(record, bytes([number]) * len(PIECES))
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
