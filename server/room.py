"""How much of the clients' large replies a SuperLink takes into its memory at a time.

Replies are let in one by one, whole: one that has begun may always come to its end, so that
half-uploaded ones can never fill the room and wait for one another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ..lines import PIECE_BYTES

ROOM_BYTES = 128_000_000
"""What the large replies may take together; two of any size are let in at the same time, one
that is uploaded and one that the run fetches meanwhile."""

AHEAD_SECONDS = 30.0
"""A reply that has been uploaded for so long takes what has come of it, and what will come in as
long again: one on a slow line, or whose sender has died, holds up no quicker one."""

STUCK_SECONDS = 60.0
"""When nothing has come or gone for so long the next is let in all the same: whatever holds the
room, as a run that was killed, holds up others' replies no longer."""

ABSENT_SECONDS = 60.0
"""A waiting reply whose sender has not asked for so long loses its place; Flower's own nodes
pause up to 20 s before they ask again."""


@dataclass(eq=False)
class Upload:
    """A large reply that waits for room, or has it.

    Args:
        root: the id of its message object.
        sender: the public key of its node, as it stands in requests.
        run: the id of its run.
        objects: how many objects it consists of.
        pieces: how many of them may be large.
    """

    root: str
    sender: str
    run: int
    objects: int
    pieces: int
    heard: float = 0.0
    asking: int = 0
    began: float = 0.0
    stored: bool = False
    received: int = 0
    largest: int = 0

    def receive(self, count: int, *, so_far: int, last: bool) -> None:
        """Count bytes of an object of which so many have come, these being the `last` or not."""
        self.received += count
        if last:
            self.largest = max(self.largest, so_far)
            self.objects -= 1

    @property
    def size(self) -> int:
        """Bytes of it, as far as is known: what is missing is in pieces as large as the largest
        that has come, and before one has come as large as Flower makes them at most."""
        least, most = PIECE_BYTES
        missing = max(0, min(self.pieces, self.objects))
        return self.received + missing * (self.largest if self.largest >= least else most)

    def takes(self, now: float) -> int:
        """Bytes of the room that it takes, once it is let in."""
        age = now - self.began
        if age < AHEAD_SECONDS:
            return self.size
        return min(self.size, int(self.received * (1.0 + AHEAD_SECONDS / age)))


class Room:
    """Who may upload a large reply, and who waits; in the order in which they asked first.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, Upload] = {}
        self._held: dict[str, Upload] = {}
        self._sending: dict[str, Upload] = {}
        self._stirred = clock()

    @property
    def waiting(self) -> list[Upload]:
        return list(self._waiting.values())

    @property
    def held(self) -> list[Upload]:
        """Those that were let in and have not left."""
        return list(self._held.values())

    def __contains__(self, upload: Upload) -> bool:
        """Whether it has been let in."""
        return upload.root in self._held

    def ask(self, upload: Upload) -> Upload:
        """Note that a reply is to be uploaded; it as noted, if it was asked for before."""
        known = self._held.get(upload.root) or self._waiting.setdefault(upload.root, upload)
        known.heard = self._clock()
        return known

    def admit(self, over: Collection[int] = ()) -> list[Upload]:
        """Let in those that there is room for; one behind another waits also where it would fit,
        so that a large one's turn comes.

        Args:
            over: runs that have ended; nothing is uploaded for them, so that none waits.
        """
        admitted = []
        now = self._clock()
        for upload in self.waiting:
            if not upload.asking:
                if now - upload.heard > ABSENT_SECONDS:
                    del self._waiting[upload.root]
                continue
            if upload.run not in over and not self._fits(upload, now):
                break
            del self._waiting[upload.root]
            self._held[upload.root] = self._sending[upload.sender] = upload
            upload.began = self._stirred = now
            admitted.append(upload)
        return admitted

    def _fits(self, upload: Upload, now: float) -> bool:
        if not self._held or now - self._stirred > STUCK_SECONDS:
            return True
        taken = sum(other.takes(now) for other in self._held.values())
        return taken + upload.size <= max(ROOM_BYTES, 2 * upload.size)

    def sent_by(self, sender: str) -> Upload | None:
        """What a node uploads, or has uploaded last, if that is large and here."""
        return self._sending.get(sender)

    def stir(self) -> None:
        """Note that something has come or gone."""
        self._stirred = self._clock()

    def remove(self, uploads: Iterable[Upload]) -> None:
        """These are no longer in the SuperLink's memory, or no longer wait to be."""
        for upload in uploads:
            self._waiting.pop(upload.root, None)
            if self._held.pop(upload.root, None) is not None:
                self.stir()
            if self._sending.get(upload.sender) is upload:
                del self._sending[upload.sender]
