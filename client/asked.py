"""What a client tells of its shard before round 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.homophily import edge_homophily
from ..data.rows import EDGES, is_graph
from ..data.shard import Shard, label_codes
from ..messages import EDGE_COUNT, HOMOPHILY, LABELS, SHARE


def described(shard: Shard, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a reply to a query, whose header says how examples are held out."""
    told: dict[str, Any] = {
        "client": shard.client,
        "schema": shard.schema.to_json(),
        "examples": len(shard),
    }
    share, seed = asked.get(SHARE), asked.get("seed")
    if isinstance(share, float) and 0 <= share < 1 and isinstance(seed, int):
        told[LABELS] = label_codes(shard, share, seed)
    if EDGES in shard.arrays:
        told[EDGE_COUNT] = len(shard.arrays[EDGES])
    if is_graph(shard.arrays):
        same = edge_homophily(shard.arrays[EDGES], shard.arrays["y"])
        told |= {} if same is None else {HOMOPHILY: same}
    return told
