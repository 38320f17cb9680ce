"""What a paradigm is asked whose clients learn from one another's models."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ..tensors import Tensors
from .base import Paradigm


@runtime_checkable
class AsksPeers(Protocol):
    """A paradigm whose clients learn from other clients' models, too.

    The server keeps what the updates of a round hold of the tensors that `lends` names, and gives
    it to the clients of the next: to each that of the others whose models are most like its own.
    """

    @property
    def peers(self) -> int:
        """Of how many others; 0 where it asks for none after all."""
        ...

    def lends(self, model: nn.Module) -> Collection[str]:
        """Names of the travelling tensors that others get of a client's model."""
        ...

    def place(self, model: nn.Module) -> Tensor:
        """Where a model is among others, (k,) in float64; close ones are alike."""
        ...

    def meet(self, peers: Sequence[Tensors]) -> None:
        """Take what each of the others lends, the closest first, before training; none in
        round 1."""
        ...


def peers_of(paradigm: Paradigm) -> AsksPeers | None:
    """A paradigm that asks for other clients' models; None for one that does not."""
    return paradigm if isinstance(paradigm, AsksPeers) and paradigm.peers else None
