"""Prepared shards that take long to make, kept on a client's disk from one process to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.shard import Shard
from ..paradigms.base import Prepared
from .state import StateStore

FIXED = "biufcSU"
"""The kinds of numpy's types whose values are all as long."""


@dataclass(frozen=True)
class KeptFeatures:
    """Those of one run's clients.

    Args:
        store: where they lie.
        run: the run's name.
    """

    store: StateStore
    run: str

    def of(self, shard: Shard, facts: str, make: Callable[[], Prepared]) -> Prepared:
        """A shard as `make` prepares it, or as it did before from the same examples and facts."""
        name = fingerprint(shard, facts)
        found = self.store.features(self.run, shard.client, name)
        if found is None:
            found = dict(make())
            self.store.keep_features(self.run, shard.client, name, found)
        return found


def fingerprint(shard: Shard, facts: str) -> str:
    """A hash of a shard's examples, and of what else says how they are prepared.

    >>> import numpy as np
    >>> from umbel.schema import Schema
    >>> schema = Schema("classification", (2,), "float32", ("a", "b"))
    >>> one, other = (
    ...     Shard("c", schema, {"x": np.full((1, 2), value, "float32"), "y": np.zeros(1, int)})
    ...     for value in (0.0, 1.0)
    ... )
    >>> fingerprint(one, "model") == fingerprint(one, "model")
    True
    >>> len({fingerprint(one, "model"), fingerprint(other, "model"), fingerprint(one, "another")})
    3
    """
    found = hashlib.sha256(facts.encode())
    for name, array in sorted(shard.arrays.items()):
        found.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        # Texts of any length lie elsewhere than in their array.
        found.update(
            np.ascontiguousarray(array).tobytes()
            if array.dtype.kind in FIXED
            else json.dumps(array.tolist()).encode()
        )
    return found.hexdigest()[:32]
