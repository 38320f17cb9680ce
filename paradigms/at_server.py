"""Which paradigms train otherwise at a server that has examples of its own than at a client."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .base import Paradigm


@runtime_checkable
class TrainsAtServer(Protocol):
    """A paradigm by which a server's own examples are learnt otherwise than a client's."""

    def at_server(self) -> Paradigm:
        """The paradigm as the server trains by it, with the model that this one built."""
        ...


def at_server(paradigm: Paradigm) -> Paradigm:
    """A paradigm as the server trains by it."""
    return paradigm.at_server() if isinstance(paradigm, TrainsAtServer) else paradigm
