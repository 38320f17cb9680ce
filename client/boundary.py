"""What a client tells of the nodes at its graph's boundary before round 1, and is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..data.boundary import TOLD, TOLD_IDS
from ..data.shard import Shard
from ..errors import UmbelError
from ..messages import BOUNDARY, TURN, Envelope
from ..paradigms.base import Paradigm
from ..paradigms.boundary import TellsBoundary
from ..tensors import Tensors, difference, is_finite
from .state import StateStore
from .workbench import Workbench


def shard_to_tell(
    bench: Workbench, shard: Shard, store: StateStore, header: Mapping[str, Any]
) -> Shard:
    """The part of a client's shard that it trains on, with what it was told the time before, if
    this is not the first by the message's header.

    Raises UmbelError where the client does not know that any more.
    """
    train, run = bench.divided(shard)[0], str(header["run"])
    if header.get(TURN, 1) == 1:
        return train
    if store.told(run, shard.client) is None:
        raise UmbelError("what this client was told before is not in its state folder any more")
    return with_told(bench.paradigm, train, store, run)


def offered(paradigm: Paradigm, shard: Shard) -> Envelope:
    """What a client tells; raises UmbelError where the paradigm has it tell nothing."""
    return Envelope({"client": shard.client}, {BOUNDARY: _telling(paradigm).offer(shard)})


def keep(
    paradigm: Paradigm, shard: Shard, groups: dict[str, Tensors], store: StateStore, run: str
) -> Envelope:
    """Keep what a client is told, for all rounds of a run, and say so; raises UmbelError where it
    is not what it asked for."""
    telling, told = _telling(paradigm), groups.get(BOUNDARY, {})
    asks = telling.asks(shard)
    wanted = {TOLD_IDS: asks, TOLD: torch.zeros(len(asks), telling.width(shard.schema))}
    fault = difference(told, wanted)
    if not fault and not torch.equal(told[TOLD_IDS], asks):
        fault = "it is about other nodes than this client asked for"
    if not fault and not is_finite(told[TOLD]):
        fault = "it holds values that are not finite"
    if fault:
        raise UmbelError(f"what the server tells of neighbours elsewhere does not fit: {fault}")
    store.keep_told(run, shard.client, told)
    return Envelope({"client": shard.client})


def _telling(paradigm: Paradigm) -> TellsBoundary:
    if not isinstance(paradigm, TellsBoundary):
        raise UmbelError("this experiment's paradigm has clients tell nothing before round 1")
    return paradigm


def with_told(paradigm: Paradigm, shard: Shard, store: StateStore, run: str) -> Shard:
    """A shard with what its client was told before round 1, if it was told anything."""
    if not isinstance(paradigm, TellsBoundary):
        return shard
    told = store.told(run, shard.client)
    if told is None:
        return shard
    arrays = {name: tensor.numpy() for name, tensor in told.items()}
    return Shard(shard.client, shard.schema, {**shard.arrays, **arrays})
