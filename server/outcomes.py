"""What the two phases of a round gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..tensors import Tensors


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
    """What an evaluation phase gave; `sums` are the clients' own, by their names."""

    metrics: dict[str, float] = field(default_factory=dict)
    sums: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0
