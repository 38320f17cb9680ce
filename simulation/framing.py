"""Messages between processes: large values through a shared file, the rest as Flower's protobuf.

No pickle. The model that a whole cohort gets is the same bytes in every message, so a sender
remembers which large values the other end has and sends those only once.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from ..flower_internals import copy_message, message_from_bytes, message_to_bytes

LARGE = 4096
"""A value of at least this many bytes travels beside its message instead of in it."""

_AT_ONCE = 1 << 30

_Place = tuple[str, str]


class Lane:
    """One direction between two processes: a pipe for frames, and a file that is nowhere on a
    disk for large values, which would go through a pipe in small pieces, each waiting for the
    reader.

    The values of a frame stand at the file's start, one after another, so a frame must be
    received before the next is sent: as it is where one side asks and the other answers.
    """

    def __init__(self, connection: Connection, file: int) -> None:
        self.connection = connection
        self._file = file

    def write(self, frame: bytes, values: Sequence[bytes]) -> None:
        """Send a frame with its values; raises OSError if the other end is gone."""
        start = 0
        for value in values:
            for piece in _pieces(len(value)):
                os.pwrite(self._file, memoryview(value)[piece], start + piece.start)
            start += len(value)
        self.connection.send_bytes(frame)

    def read(self, sizes: Sequence[int]) -> list[bytes]:
        """The values of the frame last received."""
        values: list[bytes] = []
        start = 0
        for size in sizes:
            pieces = [
                os.pread(self._file, piece.stop - piece.start, start + piece.start)
                for piece in _pieces(size)
            ]
            values.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            start += size
        return values


def shared_file() -> int:
    """The descriptor of a file in memory, which a forked process shares; close it after use."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("umbel")
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor


def _pieces(size: int) -> list[slice]:
    """A range of bytes in pieces that the system reads or writes in one call."""
    return [slice(at, min(at + _AT_ONCE, size)) for at in range(0, size, _AT_ONCE)]


class Sender:
    """The sending end of a lane, with a memory of the large values that the other end holds.

    Both ends hold the values of the last message that had any and as many older ones, so
    that training and evaluation may alternate between two models. With `remember=False`
    every message is sent whole and nothing is held, as suits replies, of which no two are
    alike.
    """

    def __init__(self, lane: Lane, *, remember: bool = True) -> None:
        self._lane = lane
        self._remember = remember
        self._held: dict[bytes, int] = {}
        self._sent = 0

    def send(self, message: Message) -> None:
        """Send a message; raises OSError if the other end is gone."""
        places: list[tuple[_Place, int]] = []
        new: list[bytes] = []
        for place, value in _large_values(message):
            number = self._held.pop(value, None) if self._remember else None
            if number is None:
                self._sent += 1
                number = self._sent
                new.append(value)
            if self._remember:
                self._held[value] = number  # Entered last: the first is unused the longest.
            places.append((place, number))
        forgotten = self._forget(places)
        sizes = [len(value) for value in new]
        head = json.dumps({"places": places, "sizes": sizes, "forget": forgotten}).encode()
        small = message_to_bytes(_without(message, [place for place, _ in places]))
        self._lane.write(len(head).to_bytes(4, "big") + head + small, new)

    def _forget(self, places: Sequence[tuple[_Place, int]]) -> list[int]:
        """The numbers of the values that the other end need no longer hold."""
        if not self._remember:
            return [number for _, number in places]
        forgotten: list[int] = []
        while places and len(self._held) > 2 * len(places):
            forgotten.append(self._held.pop(next(iter(self._held))))
        return forgotten


class Receiver:
    """The receiving end of a lane."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._held: dict[int, bytes] = {}
        self._received = 0

    def receive(self) -> Message:
        """Wait for the next message; raises EOFError or OSError if the other end is gone."""
        frame = self._lane.connection.recv_bytes()
        start = 4 + int.from_bytes(frame[:4], "big")
        head = json.loads(frame[4:start])
        for value in self._lane.read(head["sizes"]):
            self._received += 1
            self._held[self._received] = value
        message = message_from_bytes(frame[start:])
        for (record, key), number in head["places"]:
            _put(message.content, record, key, self._held[number])
        for number in head["forget"]:
            del self._held[number]
        return message


def _large_values(message: Message) -> Iterator[tuple[_Place, bytes]]:
    if not message.has_content():
        return
    for name, record in message.content.items():
        for key, value in record.items():
            data = value.data if isinstance(value, Array) else value
            if isinstance(data, bytes) and len(data) >= LARGE:
                yield (name, key), data


def _without(message: Message, places: Sequence[_Place]) -> Message:
    """The message with the values at some places left empty; the message itself is not changed."""
    if not places:
        return message
    content = message.content.copy()
    for name in {record for record, _ in places}:
        content[name] = content[name].copy()
    for name, key in places:
        _put(content, name, key, b"")
    return copy_message(message, content)


def _put(content: RecordDict, name: str, key: str, value: bytes) -> None:
    record = content[name]
    if isinstance(record, ArrayRecord):
        array = record[key]
        record[key] = Array(dtype=array.dtype, shape=array.shape, stype=array.stype, data=value)
    elif isinstance(record, ConfigRecord):
        record[key] = value
