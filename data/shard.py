"""A shard: the examples that one client holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..randomness import numpy_generator
from ..schema import Schema
from .rows import ROLE, TEST, TRAIN

UNLABELLED = -1
"""The label code of an example that has no label."""

TRUTH = "truth"
"""What `Shard.arrays` calls the label codes (n,) of examples whose labels were hidden for a study:
they tell how many pseudo-labels were right, and nothing is learnt from them."""


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


def held_out_rows(count: int, share: float, seed: int, client: str) -> tuple[list[int], list[int]]:
    """A shard's rows as (train, held out), each ascending: the same in every round and runtime.

    `share` in [0, 1) is what only evaluation sees, rounded; a client with an example keeps at
    least one for training.

    >>> [len(rows) for rows in held_out_rows(10, 0.2, seed=0, client="client-0")]
    [8, 2]
    """
    size = min(round(share * count), max(0, count - 1))
    if size == 0:
        return list(range(count)), []
    order = numpy_generator(seed, purpose="held-out", client=client).permutation(count)
    return sorted(order[size:].tolist()), sorted(order[:size].tolist())


def divided_rows(
    arrays: Mapping[str, np.ndarray], share: float, seed: int, client: str
) -> tuple[list[int], list[int]]:
    """A shard's rows as (train, held out): by their roles, where the data set brings those."""
    role = arrays.get(ROLE)
    if role is None:
        return held_out_rows(len(arrays["y"]), share, seed, client)
    return np.flatnonzero(role == TRAIN).tolist(), np.flatnonzero(role == TEST).tolist()


def label_codes(shard: Shard, share: float, seed: int) -> list[int]:
    """The codes of the classes of which a shard has a label, ascending, held-out examples aside,
    with -1 before them where some of it have none; no code where its labels are no classes."""
    labels = shard.arrays["y"]
    if not shard.schema.classes or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return []
    train, _ = divided_rows(shard.arrays, share, seed, shard.client)
    return [int(code) for code in np.unique(labels[train])]


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

    @property
    def schema(self) -> Schema: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The client's name, `client-<index>` unless the data says otherwise."""
        ...

    def shard(self, index: int) -> Shard: ...
