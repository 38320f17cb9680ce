"""What of the model travels in which round."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ..paradigms.base import Paradigm, Unfreezes


class Stages:
    """The names of the tensors that a round's messages hold; in no later round are there fewer.

    Args:
        paradigm: of the experiment.
        module: the model as it was built, in round 1; what the paradigm trains of it follows the
            rounds that are asked for.
        rounds: the experiment's.
    """

    def __init__(self, paradigm: Paradigm, module: nn.Module, rounds: int) -> None:
        self._paradigm, self._module, self._rounds = paradigm, module, rounds
        self._left_out: Collection[str] = ()

    def leave_out(self, names: Collection[str]) -> None:
        """These stay at the clients."""
        self._left_out = names

    def names(self, round: int) -> list[str]:
        """Of a round, sorted."""
        if isinstance(self._paradigm, Unfreezes):
            self._paradigm.enter(self._module, round)
        return sorted(set(self._paradigm.travels(self._module)) - set(self._left_out))

    def new(self, round: int) -> list[str]:
        """Those that are not in the round before it, if there is one."""
        before = self.names(round - 1) if round > 1 else self.names(1)
        return [name for name in self.names(round) if name not in set(before)]

    @property
    def last(self) -> list[str]:
        """Of the last round: all that ever travel."""
        return self.names(self._rounds)
