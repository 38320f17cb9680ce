"""What the two phases of a round gave, and the line that a run's record has of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import UpdateRefused
from ..rounds import natural
from ..tensors import Tensors

Found = TypeVar("Found")


@dataclass
class TrainedRound:
    """What a training phase gave; `clients` has one row for each member of the cohort."""

    model: Tensors = field(default_factory=dict)
    statistics: Tensors = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    clients: list[dict[str, Any]] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0
    attempts: int = 1


@dataclass
class Evaluated:
    """What an evaluation phase gave; `sums` are the clients' own, by their names, `statistics` what
    those told beside them that were asked for more."""

    metrics: dict[str, float] = field(default_factory=dict)
    sums: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    statistics: dict[str, Tensors] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0


def row_of(client: str, status: str, reason: str) -> dict[str, Any]:
    """How a client's part in a round ended, before what it told of its training."""
    return {
        "client": client,
        "examples": None,
        "loss": None,
        "seconds": None,
        "status": status,
        "reason": reason,
    }


def failure_rows(failures: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    """Clients that were asked in vain, by the statuses and reasons of each, in the order of names.

    >>> failure_rows({"b": ("late", "asleep")})
    [{'client': 'b', 'status': 'late', 'reason': 'asleep'}]
    """
    return [
        {"client": client, "status": failures[client][0], "reason": failures[client][1]}
        for client in sorted(failures, key=natural)
    ]


def believed(
    judged: Evaluated, read: Callable[[str, Mapping[str, float]], Found]
) -> tuple[dict[str, Found], dict[str, tuple[str, str]]]:
    """What is made of the clients' replies, and the statuses and reasons of those in vain.

    Args:
        judged: what an exchange gave.
        read: makes something of a client, by its name and metric sums; raises UpdateRefused.
    """
    failures = {row["client"]: (row["status"], row["reason"]) for row in judged.failures}
    found: dict[str, Found] = {}
    for client, sums in judged.sums:
        try:
            found[client] = read(client, sums)
        except UpdateRefused as refusal:
            failures[client] = ("refused", str(refusal))
    return found, failures


def noised_by(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The clients that added noise of their own: with any, a run cannot be repeated exactly.

    >>> noised_by([{"clients": [{"client": "a", "noise_multiplier": 0.5}, {"client": "b"}]}])
    ['a']
    """
    rows = [row for record in records for row in record["clients"]]
    return sorted({row["client"] for row in rows if row.get("noise_multiplier")}, key=natural)


def round_record(
    round: int,
    metrics: Mapping[str, Any],
    trained: TrainedRound,
    evaluated: Evaluated,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """A round's line of metrics.jsonl."""
    failures = [
        {"client": row["client"], "status": row["status"], "reason": row["reason"]}
        for row in [*trained.clients, *evaluated.failures]
        if row["status"] != "ok"
    ]
    return {
        "round": round,
        "loss": trained.metrics.get("loss"),
        "metrics": dict(metrics),
        "clients": trained.clients,
        "bytes_up": trained.bytes_up + evaluated.bytes_up,
        "bytes_down": trained.bytes_down + evaluated.bytes_down,
        "seconds": dict(seconds),
        "attempts": trained.attempts,
        "failures": failures,
    }
