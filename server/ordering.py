"""Replies in the order of the cohort, whatever order they arrive in.

Floating-point sums depend on their order. Folding the updates always in the same order makes
the result the same in every runtime, for any combining rule, a user's own included. A reply
that comes early waits: in memory while the waiting ones are few, on disk beyond that, so the
server's memory does not grow with the cohort.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..tensors import Buffer

MEMORY_LIMIT = 64_000_000
"""Bytes of early replies that may wait in memory."""

SPOOL = "umbel-early-"
"""How the folders of waiting replies are named."""


@dataclass(frozen=True)
class Parcel:
    """A reply's header and its tensors, still packed."""

    header: Mapping[str, Any]
    blob: Buffer


class InOrder:
    """Hands parcels out in the order of their senders.

    Args:
        senders: in their order.
        memory_limit: bytes that may wait in memory.
        folder: where the others wait, each run's of its own, so that what a killed server left
            there is found; the system's for temporary files if None.

    >>> with InOrder([10, 20]) as order:
    ...     early = list(order.arrive(20, Parcel({"n": 2}, b"")))
    ...     [sender for sender, _ in order.arrive(10, None)]
    [10, 20]
    >>> early
    []
    """

    def __init__(
        self,
        senders: Sequence[int],
        memory_limit: int = MEMORY_LIMIT,
        folder: Path | None = None,
    ) -> None:
        self._senders = list(senders)
        self._next = 0
        self._waiting: dict[int, Parcel | None] = {}
        self._on_disk: dict[int, Path] = {}
        self._memory_limit = memory_limit
        self._in_memory = 0
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def arrive(
        self, sender: int, parcel: Parcel | None, *, last: bool = False
    ) -> Iterator[tuple[int, Parcel | None]]:
        """Take one sender's parcel, None where it failed, and yield all whose turn has come:
        all that wait, where it is the last one to come."""
        if self._next < len(self._senders) and sender == self._senders[self._next]:
            self._next += 1
            held = [parcel]
            del parcel
            yield sender, held.pop()
        else:
            self._put_aside(sender, parcel)
        while self._next < len(self._senders) and self._senders[self._next] in self._waiting:
            turn = self._senders[self._next]
            self._next += 1
            yield turn, self._take_back(turn)
        if last:
            for turn in self._senders[self._next :]:
                yield turn, self._take_back(turn) if turn in self._waiting else None

    def _put_aside(self, sender: int, parcel: Parcel | None) -> None:
        if parcel is not None and self._in_memory + len(parcel.blob) > self._memory_limit:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix=SPOOL, dir=self._parent)
            path = Path(self._folder.name) / str(sender)
            path.write_bytes(parcel.blob)
            self._on_disk[sender] = path
            parcel = Parcel(parcel.header, b"")
        elif parcel is not None:
            # A copy, where it lies in memory that the sender's next parcel needs.
            parcel = Parcel(parcel.header, bytes(parcel.blob))
            self._in_memory += len(parcel.blob)
        self._waiting[sender] = parcel

    def _take_back(self, sender: int) -> Parcel | None:
        parcel = self._waiting.pop(sender)
        if parcel is None:
            return None
        path = self._on_disk.pop(sender, None)
        if path is None:
            self._in_memory -= len(parcel.blob)
            return parcel
        blob = bytearray(path.stat().st_size)
        with path.open("rb") as file:
            file.readinto(blob)
        path.unlink()
        return Parcel(parcel.header, blob)
