"""Who is connected, as the gate sees it: what `umbel nodes` shows, and how much each may send."""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wire import ABOUT_HEADER, NODE_HEADER, VERSION_HEADER, read_about
from .superlink_internals import FLEET_HTTP_PUBLIC_KEY_HEADER, NodeInfo

MOST = 10_000
"""Where keys are not asked for, a stranger may show as many as it likes; the eldest go."""

REPLY_BYTES = 4 * 2**30
"""What a client may upload for one message that it was given."""


@dataclass
class _Seen:
    peer: str
    version: str
    at: datetime.datetime
    header: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    uploaded: int = 0
    start: str = ""


class Roster:
    """What is known of the nodes beyond what Flower knows, by the key in their requests."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def see(self, headers: Mapping[str, str], peer: str) -> None:
        """Note that a request of a node has come."""
        key = headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER, "")
        now = datetime.datetime.now(datetime.UTC)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(peer, "", now)
            if len(self._seen) > MOST:
                self._seen.popitem(last=False)
        seen.peer, seen.at = peer, now
        seen.version = headers.get(VERSION_HEADER, "")[:80]
        header = headers.get(ABOUT_HEADER, "")
        if header != seen.header:
            seen.header, seen.about = header, read_about(header)

    def upload(self, headers: Mapping[str, str], length: int) -> bool:
        """Count an upload; returns whether the node may still send so much."""
        seen = self._seen.get(headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER, ""))
        if seen is None or seen.uploaded + length > REPLY_BYTES:
            return False
        seen.uploaded += length
        return True

    def deliver(self, headers: Mapping[str, str]) -> None:
        """A node was given a message, and may answer it."""
        seen = self._seen.get(headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER, ""))
        if seen is not None:
            seen.uploaded = 0

    def started(self, headers: Mapping[str, str]) -> bool:
        """Whether a node of umbel's has been started since this was last asked of it; it says
        which start of it this is. It works on one message at a time, and asks for the next with
        none in hand."""
        seen = self._seen.get(headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER, ""))
        start = headers.get(NODE_HEADER, "")[:160]
        if seen is None or not start or seen.start == start:
            return False
        seen.start = start
        return True

    def table(self, nodes: Mapping[str, NodeInfo]) -> list[dict[str, Any]]:
        """All nodes, by name.

        Args:
            nodes: what Flower knows of each, by its key as it stands in requests.
        """
        return sorted(
            (self._row(info, self._seen.get(key)) for key, info in nodes.items()),
            key=lambda row: (row["name"], row["node"]),
        )

    def _row(self, info: NodeInfo, seen: _Seen | None) -> dict[str, Any]:
        about = seen.about if seen else {}
        return {
            "name": info.name or about.get("name", ""),
            "node": info.node_id,
            "status": info.status,
            "since": info.last_activated_at,
            "last_seen": seen.at.isoformat() if seen else "",
            "address": seen.peer if seen else "",
            "version": (seen.version or "flower-supernode") if seen else "",
            "schema": about.get("schema", ""),
        }
