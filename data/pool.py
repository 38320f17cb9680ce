"""What a partitioner is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True)
class Pool:
    """The examples to divide, and among how many clients.

    `labels` (n,) holds label codes, -1 where there is none; `groups` (n,) the examples'
    natural owners, where known; `classes` is the number of classes, `names` what they are called;
    `edges` (m, 2) are a graph's, whose nodes the examples are. Every draw derives from `seed`.
    """

    labels: np.ndarray
    clients: int
    seed: int
    classes: int
    groups: np.ndarray | None = None
    edges: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


Partition: TypeAlias = Callable[[int], np.ndarray]
"""A client's index to the indices (int64) of its examples in the pool."""


@dataclass(frozen=True)
class Overlapping:
    """A partition whose clients have examples in common: of a graph's, no edge is known that leads
    to what only other clients have."""

    rows: Callable[[int], np.ndarray]

    def __call__(self, index: int) -> np.ndarray:
        return self.rows(index)
