"""Which paradigms need a run to be of some length."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class TakesRounds(Protocol):
    """A paradigm whose first rounds only prepare for later ones."""

    def lacking_rounds(self, rounds: int) -> str:
        """Why so many are too few; empty where they are enough."""
        ...
