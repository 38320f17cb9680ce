"""Lets out of a client's reply what the site's policy lets leave, and nothing else.

It works on the reply itself, after whatever made it, so that no paradigm and no strategy can
send anything past it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import Declined
from ..messages import (
    BOUNDARY,
    CODES,
    CONFUSION,
    EDGE_COUNT,
    HOMOPHILY,
    LABELS,
    OFFER,
    SHOW,
    SUBGRAPH,
    TELL,
    Envelope,
)
from ..randomness import secret_normal
from ..tensors import Tensors, difference
from .policy import Leave, Policy

_GRID_BITS = 20


def release(
    policy: Policy, kind: str, received: Mapping[str, Tensors], reply: Envelope
) -> Envelope:
    """A reply as it may leave; raises Declined, with the reason, if none of it may.

    Args:
        policy: the site's.
        kind: what is replied to: `query`, `query.offer`, `query.tell`, `query.show`, `train` or
            `evaluate`.
        received: the tensors of the message.
        reply: what the client would say.
    """
    if kind == "query":
        return Envelope(_described(policy, reply.header), reply.groups)
    if kind in (OFFER, TELL):
        _check_boundary(policy, reply.groups)
        return reply
    if kind == SHOW:
        return _part_of_graph(policy.leave, reply)
    if set(reply.header) - {"protocol"} == {"needs"} and not reply.groups:
        return reply
    header = _told(policy, kind, reply.header)
    update = reply.groups.get("update", {})
    _check_names(policy.leave, reply.groups)
    if kind == "evaluate":
        _check_counts(policy, reply.groups.get("statistics", {}))
    if policy.leave.clip_norm is None or not update:
        return Envelope(header, reply.groups)
    update = bounded(update, received.get("model", {}), policy.leave)
    header["clip_norm"] = policy.leave.clip_norm
    if policy.leave.noise_multiplier is not None:
        header["noise_multiplier"] = policy.leave.noise_multiplier
    return Envelope(header, {**reply.groups, "update": update})


def _described(policy: Policy, header: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of the data before round 1."""
    kept = set(policy.leave.unlisted_statistics([LABELS, EDGE_COUNT, HOMOPHILY]))
    if policy.leave.sizes != "exact":
        kept |= {"examples", EDGE_COUNT, HOMOPHILY}
    if policy.limits.min_examples > 1:
        # It may be of a single edge.
        kept.add(HOMOPHILY)
    return {name: value for name, value in header.items() if name not in kept}


def _part_of_graph(leave: Leave, reply: Envelope) -> Envelope:
    """What is shown of a graph, with the nodes' classes only where these may leave."""
    if leave.subgraph == "classes":
        return reply
    edges = {name: t for name, t in reply.groups.get(SUBGRAPH, {}).items() if name != CODES}
    return Envelope(reply.header, {SUBGRAPH: edges})


def _told(policy: Policy, kind: str, header: Mapping[str, Any]) -> dict[str, Any]:
    """The header with sizes and metrics as the policy wants them told."""
    leave, least = policy.leave, policy.limits.min_examples
    told = dict(header)
    metrics = dict(told.get("metrics", {}))
    examples = int(told["examples"] if kind == "train" else metrics.get("examples", 0))
    if examples < least:
        raise Declined("fewer examples than limits.min_examples: nothing is told of them")
    if not leave.metrics_may:
        metrics = {}
    if leave.sizes != "exact":
        size = leave.told_size(examples, least)
        # Metrics are sums over examples: as they stand they would tell how many there are, and
        # so would the number of steps.
        metrics = {name: value * size / examples for name, value in metrics.items()}
        told.pop("steps", None)
        if kind == "train":
            told["examples"] = size
    return told | {"metrics": metrics}


def _check_boundary(policy: Policy, groups: Mapping[str, Tensors]) -> None:
    """What is told of a node is a sum over its neighbours, of which there may be only one."""
    least = policy.limits.min_examples
    if groups.get(BOUNDARY) and least > 1:
        raise Declined(
            f"sums over a node's neighbours are of fewer than limits.min_examples ({least})"
        )
    _check_names(policy.leave, groups)


def _check_counts(policy: Policy, statistics: Tensors) -> None:
    """Counts by class add up to how many examples there are, and one of them may be of few."""
    if CONFUSION not in statistics:
        return
    least = policy.limits.min_examples
    if policy.leave.sizes != "exact":
        raise Declined("counts by class tell how many examples there are (leave.sizes)")
    if bool((statistics[CONFUSION][:, 2] < least).any()):
        raise Declined(f"a count by class is of fewer than limits.min_examples ({least})")


def _check_names(leave: Leave, groups: Mapping[str, Tensors]) -> None:
    unlisted = leave.unlisted(groups.get("update", {}))
    if unlisted:
        raise Declined(f"tensor {unlisted[0]} is not among leave.tensors")
    for group, tensors in groups.items():
        unlisted = leave.unlisted_statistics(tensors) if group != "update" else []
        if unlisted:
            raise Declined(f"{unlisted[0]}, sent beside the model, is not among leave.statistics")


def bounded(update: Tensors, received: Tensors, leave: Leave) -> Tensors:
    """The update with its difference to the received model clipped, and noise added to it.

    Without noise, an update within the bound stays as it is to the last bit. With noise, the
    difference and the noise are whole multiples of one small number and their sum is exact:
    of naively added floating-point noise the last bits would tell what it was added to
    (Mironov 2012, On significance of the least significant bits for differential privacy,
    doi 10.1145/2382196.2382264).

    >>> received, update = {"w": torch.zeros(2)}, {"w": torch.tensor([3.0, 4.0])}
    >>> bounded(update, received, Leave(clip_norm=1.0))
    {'w': tensor([0.6000, 0.8000])}
    """
    fault = difference(update, received)
    if fault:
        raise Declined(f"the update does not fit what was received: {fault}")
    moved = difference_of(update, received)
    norm = norm_of(moved)
    if not math.isfinite(norm):
        raise Declined("the update is not finite")
    limit = float(leave.clip_norm or math.inf)
    scale = min(1.0, limit / norm) if norm else 1.0
    if leave.noise_multiplier is None:
        if scale == 1.0:
            return update
        return update | {n: _moved(received[n], moved[n] * scale) for n in moved}
    for name in update.keys() - moved.keys():
        if not torch.equal(update[name], received[name]):
            raise Declined(f"tensor {name} holds whole numbers, which noise cannot cover")
    deviation = leave.noise_multiplier * limit
    noisy = {name: _noisy(value * scale, deviation) for name, value in sorted(moved.items())}
    return update | {name: _moved(received[name], value) for name, value in noisy.items()}


def difference_of(update: Tensors, received: Tensors) -> Tensors:
    """How far the floating-point tensors of an update are from those received, in float64;
    one that was not received, or in another shape, counts from zero."""
    moved: Tensors = {}
    for name, value in update.items():
        if value.is_floating_point():
            start = received.get(name, torch.zeros(()))
            known = start.shape == value.shape
            moved[name] = value.double() - start.double() if known else value.double()
    return moved


def norm_of(tensors: Tensors) -> float:
    """The L2 norm of tensors taken together, in float64.

    >>> norm_of({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])})
    5.0
    """
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors.values()))


def _noisy(moved: torch.Tensor, deviation: float) -> torch.Tensor:
    """Differences cut towards zero to a grid, plus normal noise rounded to the same grid."""
    grid = 2.0 ** (math.floor(math.log2(deviation)) - _GRID_BITS)
    drawn = torch.from_numpy(secret_normal(moved.numel())).reshape(moved.shape)
    return ((moved / grid).trunc_() + (drawn * (deviation / grid)).round_()) * grid


def _moved(start: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return (start.double() + by).to(start.dtype)
