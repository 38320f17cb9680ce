"""What server and client say to each other: a JSON header and named groups of tensors.

Flower moves every record, array and chunk of a message as an object of its own, each by its
own HTTP request, so a model of a dozen tensors would cost dozens of requests. An `Envelope`
therefore travels as two records at most: the header, with all tensors as one safetensors
blob beside it while that is small, and as one chunked array above `INLINE_LIMIT`. It also
keeps every dtype as it is, where Flower's arrays refuse bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from .tensors import Buffer, Tensors, nbytes, pack, pack_into, unpack
from .wire import PROTOCOL

INLINE_LIMIT = 1_000_000
"""Blobs up to this many bytes travel inside the header's record."""

REST = "rest"
"""In a message's header the hash of the tensors that it leaves out, and among its groups those
tensors, where a client has asked for them."""

GAIN = "gain"
"""In the header of an evaluation says that the model is compared to those without the run."""

START = "start"
"""Among such a message's groups what travels of the model, as it was before round 1."""

CONFUSION = "confusion"
"""In the header of an evaluation says that the client is to tell which classes the model confuses;
among the reply's statistics the counts (k, 3) of true class, told class and examples."""

Pack: TypeAlias = Callable[[Mapping[str, Tensor]], Buffer]

OFFER, TELL = "query.offer", "query.tell"
"""Kinds of message before round 1: what a client tells of the nodes at its graph's boundary, and
what all told together."""

SHOW = "query.show"
"""The kind of message that asks for a part of a client's graph, to be drawn."""

SUBGRAPH, CODES = "subgraph", "codes"
"""Among its reply's groups the part, and in that the nodes' class codes."""

BOUNDARY = "boundary"
"""Among their groups the tensors that are told."""

LABELS, SHARE = "labels", "held_out"
"""In the header of a client's first reply the codes of the classes of which it has labels to train
on, and -1 where it has examples without one; in that of the question the share of examples that it
is to hold out."""

EDGE_COUNT, HOMOPHILY = "links", "homophily"
"""In that of the reply of a client with a graph how many edges it has, and the share of them that
link nodes of one class."""

PEERS = "peers."
"""How the names of groups begin whose tensors other clients lend; a number follows."""

TURN = "turn"
"""In their header, the how manieth time clients are asked, from 1."""

_RECORD = "umbel"
_BLOB = "umbel.tensors"
_STYPE = "umbel.safetensors"


@dataclass(frozen=True)
class Envelope:
    """A message's content.

    `header` holds what JSON can say; `groups` maps a group (`model`, `update`, `context`,
    `statistics`) to its named tensors.

    >>> import torch
    >>> sent = Envelope({"round": 3}, {"model": {"weight": torch.ones(2)}})
    >>> got = Envelope.from_record(sent.to_record())
    >>> got.header["round"], got.groups["model"]["weight"]
    (3, tensor([1., 1.]))
    """

    header: Mapping[str, Any]
    groups: Mapping[str, Tensors] = field(default_factory=dict)

    def to_record(self, pack: Pack = pack) -> RecordDict:
        """The envelope as a Flower record; `pack` makes one blob of its tensors."""
        blob = pack(_join(self.groups)) if self.groups else b""
        header = json.dumps({"protocol": PROTOCOL, **self.header}, sort_keys=True)
        config: dict[str, Any] = {"header": header}
        inline = isinstance(blob, bytes) and len(blob) <= INLINE_LIMIT
        if blob and inline:
            config["tensors"] = blob
        record = RecordDict({_RECORD: ConfigRecord(config)})
        if blob and not inline:
            attach_blob(record, blob)
        return record

    @classmethod
    def from_record(cls, record: RecordDict) -> Envelope:
        """Read what `to_record` made; raises ValueError for anything else."""
        header, blob = split_record(record)
        return cls(header, _split(unpack(blob)) if blob else {})


def split_record(record: RecordDict) -> tuple[Mapping[str, Any], Buffer]:
    """An envelope's header and its tensors still packed; raises ValueError if it is none.

    Kept apart from unpacking so that a client which gets the same model twice need not
    unpack it twice, and a server may put a reply aside unread. The header is not to be changed.
    """
    config = record.get(_RECORD)
    if not isinstance(config, ConfigRecord) or not isinstance(config.get("header"), str):
        raise ValueError("not an umbel message: it has no header")  # noqa: TRY004
    header = _parse(str(config["header"]))
    if not isinstance(header, dict) or header.get("protocol") != PROTOCOL:
        spoken = header.get("protocol") if isinstance(header, dict) else None
        raise ValueError(f"speaks protocol {spoken!r} of umbel, this side speaks {PROTOCOL}")
    blob = config.get("tensors", b"")
    arrays = record.get(_BLOB)
    if isinstance(arrays, ArrayRecord) and _BLOB in arrays:
        blob = arrays[_BLOB].data
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise ValueError("the tensors are not bytes")  # noqa: TRY004
    return header, blob


def release(record: RecordDict | None) -> None:
    """Take the arrays out of a record that has served: Flower's records refer to themselves, so
    that they would be in memory until Python happens to look for such circles.

    >>> record = RecordDict()
    >>> attach_blob(record, b"tensors")
    >>> release(record)
    >>> [array.data for arrays in record.values() for array in arrays.values()]
    [b'']
    """
    for part in () if record is None else record.values():
        if isinstance(part, ArrayRecord):
            for array in part.values():
                array.data = b""


# The members of a cohort get the same header, which holds the whole experiment.
@lru_cache(maxsize=4)
def _parse(header: str) -> Any:
    try:
        return json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header is not JSON: {error}") from error


def detach_blob(record: RecordDict) -> tuple[RecordDict, Buffer]:
    """An envelope without its tensors, and these packed; other records as they are."""
    config, arrays = record.get(_RECORD), record.get(_BLOB)
    if not isinstance(config, ConfigRecord):
        return record, b""
    rest = {name: part for name, part in record.items() if name != _BLOB}
    if isinstance(arrays, ArrayRecord) and set(arrays) == {_BLOB}:
        return RecordDict(rest), arrays[_BLOB].data
    blob = config.get("tensors", b"")
    if not isinstance(blob, bytes) or arrays is not None:
        return record, b""
    rest[_RECORD] = ConfigRecord({k: v for k, v in config.items() if k != "tensors"})
    return RecordDict(rest), blob


def attach_blob(record: RecordDict, blob: Buffer) -> None:
    """Give an envelope its tensors back, wherever they lie."""
    array = Array(dtype="uint8", shape=(len(blob),), stype=_STYPE, data=b"")
    array.data = blob  # type: ignore[assignment]  # Flower's constructor takes nothing but bytes.
    arrays = ArrayRecord()
    arrays[_BLOB] = array
    record[_BLOB] = arrays


def record_bytes(record: RecordDict) -> int:
    """Bytes of an envelope's header and tensors, as they travel; 0 for any other record."""
    config = record.get(_RECORD)
    if not isinstance(config, ConfigRecord):
        return 0
    arrays = record.get(_BLOB)
    blob = arrays[_BLOB].data if isinstance(arrays, ArrayRecord) and _BLOB in arrays else b""
    inside = sum(len(value) for value in config.values() if isinstance(value, str | bytes))
    return inside + len(blob)


def pack_to_share(tensors: Mapping[str, Tensor]) -> Buffer:
    """Small tensors as bytes, which travel at once; large ones in memory to be shared."""
    if nbytes(tensors) <= INLINE_LIMIT:
        return pack(tensors)
    view = pack_into(tensors, lambda size: memoryview(bytearray(size)))
    return cast(bytearray, view.obj)  # A view could not be sent to another process.


def unpack_groups(blob: Buffer) -> dict[str, Tensors]:
    """The groups of tensors in a blob; raises ValueError if it is damaged."""
    return _split(unpack(blob)) if blob else {}


def _join(groups: Mapping[str, Tensors]) -> dict[str, Tensor]:
    return {f"{group}/{name}": t for group, named in groups.items() for name, t in named.items()}


def _split(tensors: Tensors) -> dict[str, Tensors]:
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        group, separator, rest = name.partition("/")
        if not separator:
            raise ValueError(f"tensor {name!r} belongs to no group")
        groups.setdefault(group, {})[rest] = tensor
    return groups
