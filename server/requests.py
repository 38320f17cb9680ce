"""The messages of an exchange: one for all of its clients, or one for those that get the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flwr.app import RecordDict

from ..messages import Envelope, pack_to_share, record_bytes, release
from ..tensors import Tensors
from .peers import Peers

Models: TypeAlias = Callable[[Tensors, Sequence[str]], list[tuple[Tensors, list[str]]]]
"""From the model and clients' names, which of them get which model."""


@dataclass(frozen=True)
class Requests:
    """What each node is sent.

    Args:
        records: by node; many nodes may have one record.
        size: bytes of all of them together.
        largest: bytes of the largest.
        common: one of them, where all have the exchange's own model in them.
    """

    records: Mapping[int, RecordDict]
    size: int
    largest: int
    common: RecordDict | None

    def release(self) -> None:
        """Let go of the tensors in them."""
        for record in self.records.values():
            release(record)


def make_requests(
    header: Mapping[str, Any],
    groups: Mapping[str, Tensors],
    members: Mapping[int, str],
    models: Models,
    peers: Peers | None = None,
) -> Requests:
    """One message for all, unless they get different models, or are lent different tensors.

    Args:
        header: what all messages say.
        groups: the tensors; those of `model` are replaced by what `models` gives.
        members: the clients' names by their nodes.
        models: which of them get which model.
        peers: who lends them tensors, if anybody does.
    """
    made: dict[int, tuple[RecordDict, int]] = {}
    parts = models(groups["model"], list(members.values()))
    for tensors, names in parts:
        own, chosen = {**groups, "model": tensors}, set(names)
        nodes = [node for node, name in members.items() if name in chosen]
        lent = peers.told(names, tensors) if peers else {}
        if lent:
            made |= {node: _record(header, {**own, **lent[members[node]]}) for node in nodes}
        else:
            made |= dict.fromkeys(nodes, _record(header, own))
    records = {node: made[node][0] for node in members}
    sizes = [made[node][1] for node in members]
    same = all(tensors is groups["model"] for tensors, _ in parts)
    common = next(iter(records.values()), None) if same else None
    return Requests(records, sum(sizes), max(sizes, default=0), common)


def _record(header: Mapping[str, Any], groups: Mapping[str, Tensors]) -> tuple[RecordDict, int]:
    filled = {group: tensors for group, tensors in groups.items() if tensors}
    record = Envelope(dict(header), filled).to_record(pack_to_share)
    return record, record_bytes(record)
