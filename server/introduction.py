"""What a client tells of itself before round 1, read with care."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.shard import UNLABELLED
from ..messages import EDGE_COUNT, HOMOPHILY, LABELS, Envelope
from ..rounds import printable
from ..schema import Schema
from .exchange import Reply

MOST_LINKS = 10**12
"""More edges than any client may say that it has."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Client:
    """One client as the server knows it; `examples`, the codes of the classes that it has `labels`
    of (-1: of some examples it has none), and of a graph the number of edges and their homophily
    are what it told, None if it did not."""

    node: int
    name: str
    schema: Schema
    examples: int | None = None
    labels: frozenset[int] | None = None
    links: int | None = None
    homophily: float | None = None

    @property
    def graph(self) -> dict[str, float]:
        """What it told of its graph, by the names that this has in a run's record."""
        told = {EDGE_COUNT: self.links, HOMOPHILY: self.homophily}
        return {name: value for name, value in told.items() if value is not None}


def read_introduction(reply: Reply) -> Client:
    """What a client answered; raises ValueError if it will not do."""
    if reply.content is None:
        raise ValueError(reply.reason)
    header = Envelope.from_record(reply.content).header
    name, examples = header.get("client"), header.get("examples")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a client's name (letters, digits, '.', '_', '-')")
    schema = Schema.from_json(str(header.get("schema")))
    examples = examples if isinstance(examples, int) else None
    labels = _codes(header.get(LABELS), schema)
    return Client(reply.node, name, schema, examples, labels, *_of_graph(header))


def _of_graph(header: Mapping[str, Any]) -> tuple[int | None, float | None]:
    """How many edges a client has, and their homophily; raises ValueError where these cannot be."""
    links, same = header.get(EDGE_COUNT), header.get(HOMOPHILY)
    if links is not None and not (type(links) is int and 0 <= links <= MOST_LINKS):
        raise ValueError(f"{EDGE_COUNT}: {printable(str(links), 40)} is not a number of edges")
    # What is no number in [0, 1] fails one of the comparisons, also NaN.
    if same is not None and not (type(same) in (int, float) and 0 <= same <= 1):
        raise ValueError(f"{HOMOPHILY}: {printable(str(same), 40)} is not a share of edges")
    return links, same


def _codes(found: Any, schema: Schema) -> frozenset[int] | None:
    if not isinstance(found, list) or not all(isinstance(code, int) for code in found):
        return None
    return frozenset(found) & frozenset({UNLABELLED, *range(len(schema.classes))})
