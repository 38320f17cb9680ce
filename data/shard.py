"""A shard: the examples that one client holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..schema import Schema

UNLABELLED = -1
"""The label code of an example that has no label."""


@dataclass(frozen=True)
class Shard:
    """One client's examples as arrays whose first axis counts examples.

    For classification `arrays` holds `x` (n, *schema.shape), as stored, and `y` (n,) int64
    label codes, -1 where there is no label. Other tasks add arrays of their own.
    """

    client: str
    schema: Schema
    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["y"])


@dataclass(frozen=True)
class Dataset:
    """A whole data set, before it is divided among clients.

    `train` and `test` are laid out as `Shard.arrays`; `test` is None where the set has no
    test part of its own; `groups` (n,) names each train example's natural owner, if known.
    """

    name: str
    schema: Schema
    train: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray] | None = None
    groups: np.ndarray | None = None


class ShardSource(Protocol):
    """Shards by client index, made when asked for: a population may be a million."""

    schema: Schema

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The client's name, `client-<index>` unless the data says otherwise."""
        ...

    def shard(self, index: int) -> Shard: ...
