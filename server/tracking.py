"""What is known of the bytes on their way between the clients and their SuperLink."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Transfer:
    """What has moved from and to one node.

    Args:
        up: bytes from the node, of updates.
        down: bytes to the node, of models.
        idle: seconds since the last of them.
        begun: seconds since the node began to send a reply.
    """

    up: int = 0
    down: int = 0
    idle: float = math.inf
    begun: float = math.inf


@runtime_checkable
class Tracking(Protocol):
    """A grid that knows what is under way, as one over a network does."""

    @property
    def away(self) -> float:
        """Seconds, all in all, in which no message could be sent or received."""
        ...

    def transfers(self) -> Mapping[int, Transfer]:
        """What has moved of late, by node."""
        ...

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for the replies to these messages any more."""
        ...

    def rest(self, pause: float, longest: float) -> None:
        """Wait until a reply may have come, at most `longest` seconds, or `pause` seconds where
        nothing can tell."""
        ...


@runtime_checkable
class Queueing(Protocol):
    """A grid whose clients take turns on a few workers, as simulated ones do: nobody is late while
    others still answer."""

    queues: bool

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for the replies to these messages any more."""
        ...
