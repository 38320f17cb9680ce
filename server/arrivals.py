"""Replies on their way from a SuperLink, fetched piece by piece as their senders upload them.

One thread goes round all of them and takes from each what is there, so that a reply that comes
over a slow line, or whose sender has died in the middle, never holds up another's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from flwr.app import Message

from ..flower_internals import (
    ErrorCode,
    ObjectTree,
    error_message,
    set_message_id,
)
from ..objects_internals import inflate_message, largest_bytes, object_ids
from ..transfer import AT_ONCE, FIRST_PAUSE, LONGEST_PAUSE, Found
from .tracking import Transfer

ANNOUNCE_SECONDS = 2.0
"""A reply is seen here within this time of its sender's beginning to send it."""

FORGET_SECONDS = 300.0
"""A reply that nobody has asked for in so long, because it came too late, is let go."""

UPLOAD_SECONDS = 180.0
"""How long a SuperLink keeps a reply whose upload has stopped."""

STOPPED_SECONDS = 10.0
"""Nothing came of a reply for so long: its sender may be gone, or on a slow line."""

ROOM_BYTES = 128_000_000
"""How many bytes of large replies may be in memory before the round loop has dealt with them."""

MOST_BESIDE = 1.25
"""In replies that are larger than that: one, and a quarter of it of those that have stopped."""


@dataclass(eq=False)
class Arrival:
    """A reply of which pieces are still missing; `moved` says when the last one came."""

    announced: Message
    tree: ObjectTree
    missing: list[str]
    contents: dict[str, bytes] = field(default_factory=dict)
    flowing: bool = True
    announced_at: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    asked: float = field(default_factory=time.monotonic)
    future: Future[Message] = field(default_factory=Future)
    _paused_at: float | None = field(default=None, init=False)

    @property
    def sender(self) -> int:
        """The node that it comes from."""
        return int(self.announced.metadata.src_node_id)

    @property
    def silent(self) -> float:
        """For how many seconds nothing has come of it, though it was asked for."""
        return (self._paused_at or time.monotonic()) - self.moved

    @property
    def stopped(self) -> bool:
        """Whether nothing has come of it for so long that others go before it."""
        return self.silent > STOPPED_SECONDS

    @property
    def room(self) -> int:
        """Bytes of memory that it takes when it is here."""
        return largest_bytes(self.tree)

    @property
    def received(self) -> int:
        """Bytes of it that are here."""
        return sum(map(len, self.contents.values()))

    @property
    def new(self) -> bool:
        """Whether nothing of it is here."""
        return not self.contents

    def turn(self) -> int:
        """Its place among those that want room: what comes goes before what has stopped."""
        return 2 if self.new else int(self.stopped)

    def pause(self) -> None:
        """Ask for nothing of it until it goes on."""
        if self._paused_at is None:
            self._paused_at = time.monotonic()

    def go_on(self) -> bool:
        """Ask for its pieces; whether it was paused, a time in which it could not move."""
        if self._paused_at is None:
            return False
        self.moved += time.monotonic() - self._paused_at
        self._paused_at = None
        return True

    def lost(self, reason: str) -> None:
        """Make of it an error that says that it was lost on the way, unless it is here."""
        self._end(error_message(self.announced, ErrorCode.MESSAGE_UNAVAILABLE, reason))

    def failed(self, error: Exception) -> None:
        """Have whoever asks for it get this error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def complete(self) -> None:
        """Put it together; what cannot be is its sender's error."""
        try:
            message = inflate_message(self.announced, self.tree, self.contents)
        except Exception as error:  # noqa: BLE001  # A client's bytes cost it its reply, no more.
            reason = f"the reply cannot be read: {type(error).__name__}: {error}"
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            message = error_message(self.announced, code, reason)
        else:
            set_message_id(message, self.announced.metadata.message_id)
        self._end(message)

    def _end(self, message: Message) -> None:
        # Two threads may find at once that it is over; the first is right.
        self.contents = {}
        with suppress(InvalidStateError):
            self.future.set_result(message)


class Arrivals:
    """Fetches replies in the background, by the id of the message that each answers.

    Args:
        pull: asks the SuperLink for an object.
        confirm: tells the SuperLink that a reply is here, or no longer wanted.
        movers: what `pull` runs in, `AT_ONCE` at a time.
    """

    def __init__(
        self,
        pull: Callable[[str], Found],
        confirm: Callable[[str], object],
        movers: ThreadPoolExecutor,
    ) -> None:
        self._pull = pull
        self._confirm = confirm
        self._movers = movers
        self._arriving: dict[str, Arrival] = {}
        self._taken: list[Arrival] = []
        self._lock = Lock()
        self._news = Event()
        self._stopped = Event()
        self._thread = Thread(target=self._work, name="umbel-replies", daemon=True)

    def __contains__(self, identity: str) -> bool:
        return identity in self._arriving

    def add(self, announced: Message, tree: ObjectTree) -> None:
        """Begin to fetch a reply that was announced."""
        if not self._thread.is_alive() and not self._stopped.is_set():
            self._thread.start()
        arrival = Arrival(announced, tree, object_ids(tree))
        with self._lock:
            self._arriving[announced.metadata.reply_to_message_id] = arrival
        self._news.set()

    def asked(self, identities: list[str]) -> list[Arrival]:
        """Those of the replies that are on their way, and are still wanted as of now."""
        # Whoever asks for more has dealt with what it took before.
        if self._taken:
            self._taken = []
            self._news.set()
        found = [self._arriving[name] for name in identities if name in self._arriving]
        now = time.monotonic()
        for arrival in found:
            arrival.asked = now
        return found

    def under_way(self) -> list[Arrival]:
        """The replies that have been announced and are not here in full."""
        with self._lock:
            return [a for a in self._arriving.values() if not a.future.done()]

    def take(self, identities: list[str]) -> list[Message]:
        """Those of the replies that are here in full; raises what went wrong with one."""
        done = [n for n in identities if n in self._arriving and self._arriving[n].future.done()]
        with self._lock:
            self._taken = [self._arriving.pop(name) for name in done]
        return [arrival.future.result() for arrival in self._taken]

    def lose_begun_again(self, transfers: Mapping[int, Transfer]) -> None:
        """Give up replies whose sender, started anew in the middle, has begun another since: a
        SuperLink takes no second upload of a reply that was announced, so it is asked for anew."""
        now = time.monotonic()
        for arrival in self.under_way():
            moved = transfers.get(arrival.sender)
            if moved is not None and moved.begun + ANNOUNCE_SECONDS < now - arrival.announced_at:
                arrival.lost("its sender was cut off while it sent it")

    def forget(self, identities: list[str]) -> None:
        """Let replies go that came too late; the SuperLink may forget them too."""
        with self._lock:
            dropped = [self._arriving.pop(n) for n in identities if n in self._arriving]
        for arrival in dropped:
            self._movers.submit(self._confirm, arrival.announced.metadata.message_id)

    def forget_unasked(self) -> None:
        """Let replies go that nobody has asked for in a long time."""
        oldest = time.monotonic() - FORGET_SECONDS
        self.forget([name for name, arrival in self._arriving.items() if arrival.asked < oldest])

    def close(self) -> None:
        """Give up whatever is under way."""
        self._stopped.set()
        self._news.set()

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopped.is_set():
            self._news.clear()
            arrivals = self._admitted()
            if not arrivals:
                self._news.wait()
                pause = FIRST_PAUSE
            elif self._sweep(arrivals):
                pause = FIRST_PAUSE
            else:
                self._stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _admitted(self) -> list[Arrival]:
        """The replies to go on with, so that there is room for them in memory: those that come,
        then those that had stopped, which wait while another comes, then new ones."""
        with self._lock:
            arriving = list(self._arriving.values())
            whole = [a for a in [*self._taken, *arriving] if a.future.done()]
        coming = [a for a in arriving if not a.future.done()]
        held = sum(a.room for a in whole) + sum(a.received for a in coming)
        busy, looked, admitted = any(a.room for a in whole), False, []
        for arrival in sorted(coming, key=Arrival.turn):
            stopped, need = arrival.stopped, arrival.room - arrival.received
            full = need > 0 and held + need > max(ROOM_BYTES, MOST_BESIDE * arrival.room)
            # A new one is not begun beside one that may be about to go on.
            if (looked or (held and full)) if arrival.new else (busy and full):
                arrival.pause()
                continue
            looked |= arrival.go_on() and stopped and not arrival.new
            admitted.append(arrival)
            if arrival.new or not stopped:
                held += need
                busy |= need > 0
        return admitted

    def _sweep(self, arrivals: list[Arrival]) -> bool:
        """Take from each what is there; whether that was anything."""
        moved = self._pull_some(arrivals)
        # No answer is held any more: a reply that is put together lets go of its pieces.
        for arrival in arrivals:
            if not arrival.missing and not arrival.future.done():
                arrival.complete()
                self._movers.submit(self._confirm, arrival.announced.metadata.message_id)
        return moved or any(arrival.future.done() for arrival in arrivals)

    def _pull_some(self, arrivals: list[Arrival]) -> bool:
        """Ask for pieces of each, and keep what came; whether that was anything."""
        asked = [
            (arrival, name, self._movers.submit(self._pull, name))
            for arrival in arrivals
            # One that is not there is the next, so that nobody asks for those behind it.
            for name in arrival.missing[: AT_ONCE if arrival.flowing else 1]
        ]
        moved = False
        for arrival, name, pulled in asked:
            try:
                moved |= self._put(arrival, name, pulled.result())
            except Exception as error:  # noqa: BLE001  # Raised to whoever asks for the reply.
                arrival.failed(error)
        return moved

    def _put(self, arrival: Arrival, name: str, answer: Found) -> bool:
        arrival.flowing = answer.object_available
        if answer.object_available:
            arrival.contents[name] = answer.object_content
            arrival.missing.remove(name)
            arrival.moved = time.monotonic()
        elif not arrival.future.done() and (
            not answer.object_found or arrival.silent > 1.1 * UPLOAD_SECONDS
        ):
            arrival.lost(f"object {name[:8]} is gone, or was not uploaded in time")
        return answer.object_available
