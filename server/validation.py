"""An update is believed only as far as it can be checked; what breaks a rule is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from ..errors import UpdateRefused
from ..messages import split_record, unpack_groups
from ..strategies.parts import Update
from ..tensors import Buffer, Tensors, difference, is_finite
from .exchange import Reply
from .ordering import Parcel

MOST_STEPS = 1_000_000_000
"""The most optimiser steps that a client may claim to have taken in a round."""

GROUPS = frozenset({"update", "extra", "statistics"})


def read_update(
    parcel: Parcel, client: str, expected: tuple[Tensors, Tensors], max_examples: int
) -> Update:
    """A client's parcel as an update; `expected` is what its update and its extras must be.

    Raises UpdateRefused, with the reason, if it comes from another client, misses a tensor or
    adds one, changes a shape or a dtype, holds a value that is not finite, or claims a number
    of examples outside 1 to `max_examples`.
    """
    header = parcel.header
    if header.get("client") != client:
        raise UpdateRefused(f"it answers as {header.get('client')!r}")
    examples = header.get("examples")
    if not isinstance(examples, int) or isinstance(examples, bool):
        raise UpdateRefused(f"num_examples {examples!r} is not a whole number")
    if not 1 <= examples <= max_examples:
        raise UpdateRefused(f"num_examples {examples} is not in 1 to {max_examples}")
    groups = read_groups(parcel.blob)
    _check_known(groups, GROUPS)
    tensors, extra = groups.get("update", {}), groups.get("extra", {})
    fault = difference(tensors, expected[0]) or difference(extra, expected[1])
    if fault:
        raise UpdateRefused(fault)
    for named in groups.values():
        _check_finite(named)
    return Update(
        client=client,
        tensors={name: tensors[name] for name in expected[0]},
        examples=examples,
        metrics=read_metrics(header.get("metrics", {})),
        extra={name: extra[name] for name in expected[1]},
        statistics=groups.get("statistics", {}),
        steps=_steps(header.get("steps")),
    )


def open_reply(reply: Reply) -> tuple[Mapping[str, Any], Buffer]:
    """A reply's header and its tensors, still packed; raises UpdateRefused, with the reason, where
    there is none."""
    if reply.content is None:
        raise UpdateRefused(reply.reason)
    try:
        return split_record(reply.content)
    except ValueError as error:
        raise UpdateRefused(str(error)) from error


def _steps(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MOST_STEPS:
        raise UpdateRefused(f"steps {found!r} is not in 0 to {MOST_STEPS}")
    return found


def read_metrics(found: Any) -> dict[str, float]:
    """Metric sums as a client told them; raises UpdateRefused unless all are finite numbers."""
    if not isinstance(found, Mapping):
        raise UpdateRefused("its metrics are not a table")
    metrics: dict[str, float] = {}
    for name, value in found.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise UpdateRefused(f"metric {name!r} is {value!r}, not a finite number")
        metrics[str(name)] = float(value)
    if metrics.get("examples", 0.0) < 0:
        raise UpdateRefused(f"metric 'examples' is {metrics['examples']:g}, less than 0")
    return metrics


def read_statistics(blob: Buffer) -> Tensors:
    """What a client told beside its metrics; raises UpdateRefused for anything else."""
    groups = read_groups(blob)
    _check_known(groups, {"statistics"})
    return groups.get("statistics", {})


def read_groups(blob: Buffer) -> Mapping[str, Tensors]:
    """A reply's tensors by group; raises UpdateRefused where they cannot be read."""
    try:
        return unpack_groups(blob)
    except ValueError as error:
        raise UpdateRefused(str(error)) from error


def _check_known(groups: Iterable[str], known: AbstractSet[str]) -> None:
    unknown = sorted(set(groups) - known)
    if unknown:
        raise UpdateRefused(f"unknown group of tensors {unknown[0]!r}")


def check_statistics(total: Tensors, more: Tensors) -> None:
    """Raise UpdateRefused where a client's sums differ in name or shape from the others'."""
    if total and set(total) != set(more):
        raise UpdateRefused("its statistics are named unlike the other clients'")
    for name, value in more.items():
        if name in total and total[name].shape != value.shape:
            raise UpdateRefused(f"statistic {name!r} has another shape than the other clients'")


def add_statistics(total: Tensors, more: Tensors) -> None:
    """Add a client's sums to the total in place, in float64.

    >>> import torch
    >>> total = {"count": torch.tensor([1.0], dtype=torch.float64)}
    >>> add_statistics(total, {"count": torch.tensor([2.0], dtype=torch.float64)})
    >>> total["count"].tolist()
    [3.0]
    """
    for name, value in more.items():
        total[name] = total[name] + value.double() if name in total else value.double()


def _check_finite(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise UpdateRefused(f"tensor {name!r} holds values that are not finite")
