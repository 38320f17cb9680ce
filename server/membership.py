"""Which client is in which cluster, and how far its last updates went."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..rounds import natural


@dataclass
class Member:
    """What is known of a client: its cluster, in which round it was last heard, on how many
    examples it trained then, and the norms of its last updates, the latest last."""

    cluster: int
    heard: int
    examples: int
    norms: list[float] = field(default_factory=list)


@dataclass
class Membership:
    """Clients by their names, which they keep wherever they are connected from.

    >>> members = Membership(length=2)
    >>> members.note("b", 0.5, Member(cluster=0, heard=1, examples=10))
    >>> members.note("a", 0.25, Member(cluster=0, heard=1, examples=30))
    >>> members.divide([["a"], ["b"]])
    >>> members.clusters
    {0: ['a'], 1: ['b']}
    >>> members.home("b"), members.home("never met")
    (1, 0)
    """

    length: int
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def clusters(self) -> dict[int, list[str]]:
        """The clients of each cluster in the order of their names."""
        found: dict[int, list[str]] = {}
        for name in sorted(self.members, key=natural):
            found.setdefault(self.members[name].cluster, []).append(name)
        return dict(sorted(found.items()))

    def home(self, client: str) -> int:
        """A client's cluster; that with the most clients for one that was never heard."""
        member = self.members.get(client)
        if member is not None:
            return member.cluster
        sizes = Counter(member.cluster for member in self.members.values())
        return max(sizes, key=lambda number: (sizes[number], -number), default=0)

    def note(self, client: str, norm: float, now: Member) -> None:
        """Take in how far a client's update went, and what else is known of it `now`."""
        before = self.members[client].norms if client in self.members else []
        now.norms = [*before, norm][-self.length :]
        self.members[client] = now

    def examples(self, number: int) -> int:
        """How many examples a cluster's clients trained on when they were last heard."""
        return sum(m.examples for m in self.members.values() if m.cluster == number)

    def sequences(self, number: int, round: int, updates: int) -> dict[str, Sequence[float]]:
        """The norms of a cluster's clients, after a round in which so many of them answered.

        Left out is a client that has too few, and of which nothing came for as long as all would
        take for `length` updates each: it is gone, and would hold the others up for ever.
        """
        names = self.clusters[number]
        patience = self.length * math.ceil(len(names) / max(1, updates))
        kept = {name: self.members[name] for name in names}
        return {
            name: member.norms
            for name, member in kept.items()
            if len(member.norms) >= self.length or round - member.heard < patience
        }

    def divide(self, parts: Sequence[Sequence[str]]) -> None:
        """Split a cluster in two: the part of its first client keeps the cluster's number, the
        other takes the next free one, and those in neither are in the larger. All that is known of
        updates is then forgotten, also of other clusters' clients, as in the authors' code."""
        one, other = parts
        number, free = self.members[one[0]].cluster, max(self.clusters) + 1
        away = [name for name in self.clusters[number] if name not in {*one, *other}]
        moving = [*other, *(away if len(other) > len(one) else [])]
        for name in moving:
            self.members[name].cluster = free
        for member in self.members.values():
            member.norms = []

    def save(self) -> dict[str, Any]:
        """As what JSON can say."""
        return {
            name: [member.cluster, member.heard, member.examples, member.norms]
            for name, member in self.members.items()
        }

    def restore(self, facts: Mapping[str, Sequence[Any]]) -> None:
        """Take what `save` made."""
        self.members = {str(name): Member(*told) for name, told in facts.items()}
