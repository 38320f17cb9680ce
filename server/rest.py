"""What of a model never travels in a round: a client that lacks it gets it once.

A round's message names it by its hash. A client that has the same, made from the seed or kept
from an earlier run, goes on; any other asks for it, and is sent its message again with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from flwr.app import RecordDict

from ..messages import REST, Envelope, pack_to_share, record_bytes, split_record, unpack_groups
from ..tensors import Tensors, digest

Again: TypeAlias = Callable[[int, RecordDict], RecordDict | None]
"""From a node and its reply, what to send it instead of taking the reply; None to take it."""


class Rest:
    """The tensors of a model that its rounds leave out.

    Args:
        model: all of its tensors.
        travels: the names of those that are in a round's messages.
    """

    def __init__(self, model: Mapping[str, Any], travels: Collection[str]) -> None:
        self.tensors: Tensors = {name: model[name] for name in sorted(set(model) - set(travels))}
        self.digest = digest(self.tensors) if self.tensors else ""
        self._bytes = 0

    @property
    def header(self) -> dict[str, str]:
        """What a message says of it."""
        return {REST: self.digest} if self.digest else {}

    def take_bytes(self) -> int:
        """Bytes of messages sent again since this was last asked."""
        taken, self._bytes = self._bytes, 0
        return taken

    def supply(self, records: Mapping[int, RecordDict]) -> Again:
        """Gives a client that asks for the rest the same message with it; many nodes may have one
        record."""
        whole: dict[int, RecordDict] = {}

        def again(node: int, reply: RecordDict) -> RecordDict | None:
            if not self.digest or _asked(reply) != self.digest:
                return None
            record = records[node]
            if id(record) not in whole:
                header, blob = split_record(record)
                groups = {**unpack_groups(blob), REST: self.tensors}
                whole[id(record)] = Envelope(header, groups).to_record(pack_to_share)
            made = whole[id(record)]
            self._bytes += record_bytes(made)
            return made

        return again


def _asked(reply: RecordDict) -> object:
    try:
        return split_record(reply)[0].get("needs")
    except ValueError:
        return None
