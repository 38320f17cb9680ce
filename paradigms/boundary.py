"""What a paradigm is asked whose clients have parts of one graph, and tell sums about its nodes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from ..data.shard import Shard
from ..schema import Schema
from ..tensors import Tensors


@runtime_checkable
class TellsBoundary(Protocol):
    """A paradigm whose clients have parts of one graph, and tell sums about the nodes at the edges
    between them once, before round 1.

    The server adds up what all tell of a node, in the order of the clients' names, and gives every
    client what it asks for. A client's shard holds it from then on, as `data.boundary` says.
    """

    def width(self, schema: Schema) -> int:
        """How many numbers are told of a node."""
        ...

    def asks(self, shard: Shard) -> Tensor:
        """The nodes whose total a client needs, int64 and ascending."""
        ...

    def offer(self, shard: Shard) -> Tensors:
        """What leaves a client with such a training part, all ids int64 and ascending: `own`, those
        of its nodes that have neighbours elsewhere; `keys` (k,), the nodes that it tells of; `sums`
        (k, width) float32; `asks`, which are among the others."""
        ...

    def offer_fault(self, offer: Tensors) -> str:
        """Why a client's well-formed offer is none of an honest one's; empty where it may be."""
        ...


@runtime_checkable
class TellsAgain(TellsBoundary, Protocol):
    """A paradigm whose clients tell again and again before round 1, each time by what they were
    told the time before, which their shards hold, until that moves no more.

    At most `exchanges` times, and no more once a total moves by at most `tolerance`, or by that
    share of it where it is above 1.
    """

    exchanges: int
    tolerance: float
