"""Flower's objects, as a message travels in: taken apart and put together, from non-public modules.

A message is a tree of objects, each sent by its own request. Flower splits an array into
chunks and sends equal ones once; an array's object lists its chunks by their place, so that a
few bytes can call for the same chunk a million times. What comes from a peer is therefore
measured before it is put together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flwr.app import Array, Message, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.app.message.message import remove_content_from_message
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_body,
    get_object_head_values_from_object_content,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from .flower_internals import copy_message, set_message_id

LARGEST_BYTES = 4_000_000_000
"""How large a message may become in memory where nobody says otherwise."""


SMALL_OBJECTS = 4
"""Objects of a message beside its chunks: its record, the records in it, and the array."""


def object_ids(tree: ObjectTree) -> list[str]:
    """The ids of the objects under a message, its own left out: the announcement that comes
    with the tree says all that the message object would."""
    return [node.object_id for child in tree.children for node in iterate_object_tree(child)]


def large_objects(tree: ObjectTree) -> int:
    """How many of the objects under a message may be large; 0 for a message so small that it does
    not matter."""
    return max(0, len(object_ids(tree)) - SMALL_OBJECTS)


def largest_bytes(tree: ObjectTree) -> int:
    """The most bytes that the objects under a message can hold, as Flower cuts them; 0 for a
    message so small that it does not matter."""
    return large_objects(tree) * int(FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE)


def inflate_message(
    envelope: Message,
    tree: ObjectTree,
    contents: dict[str, bytes],
    limit: int = LARGEST_BYTES,
) -> Message:
    """A message from its announcement and the contents of the objects under it, which are let
    go of one by one, so that a large message is never in memory twice.

    Raises ValueError if it would take more than `limit` bytes, and whatever Flower's reader
    raises for objects that do not fit together.
    """
    if not tree.children:
        return envelope
    if unfolded_bytes(contents) > limit:
        raise ValueError(f"it unfolds to more than {limit} bytes")
    arrays: dict[str, InflatableObject] = {}
    joined: dict[bytes, bytearray] = {}
    for identity, array, data in _join_arrays(contents):
        arrays[identity], joined[array.data] = array, data
    content = inflate_object_from_contents(tree.children[0].object_id, contents, objects=arrays)
    if not isinstance(content, RecordDict):
        raise TypeError(f"a message holds a {type(content).__name__}")
    for record in content.array_records.values():
        for array in record.values():
            # Flower's constructors take nothing but bytes, and would copy.
            array.data = joined[array.data]  # type: ignore[assignment]
    return copy_message(envelope, content)


def unfolded_bytes(contents: Mapping[str, bytes]) -> int:
    """Bytes of a message's objects, with every chunk counted as often as it is used."""
    total = 0
    for content in contents.values():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind != ArrayChunk.__qualname__:
            total += len(content)
        if kind == Array.__qualname__:
            used = json.loads(get_object_body(content, Array))["arraychunk_ids"]
            total += sum(len(contents[children[place]]) for place in used)
    return total


def _join_arrays(contents: dict[str, bytes]) -> Iterator[tuple[str, Array, bytearray]]:
    """A message's arrays by their ids, each with its chunks in one piece of memory that may be
    written to; the array itself holds its id in their place."""
    uses: Counter[str] = Counter()
    plans: list[tuple[str, dict[str, Any], list[str]]] = []
    for identity, content in contents.items():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == Array.__qualname__:
            facts = json.loads(get_object_body(content, Array))
            chunks = [children[place] for place in facts["arraychunk_ids"]]
            uses.update(chunks)
            plans.append((identity, facts, chunks))
    for identity, facts, chunks in plans:
        # Grown piece by piece: made whole, it would be in memory beside all of its chunks.
        data = bytearray()
        for name in chunks:
            uses[name] -= 1
            content = contents[name] if uses[name] else contents.pop(name)
            data += memoryview(content)[len(content) - _body_bytes(content) :]
        shape, mark = tuple(facts["shape"]), identity.encode()
        yield identity, Array(facts["dtype"], shape, facts["stype"], mark), data


def _body_bytes(content: bytes) -> int:
    kind, children, size = get_object_head_values_from_object_content(content)
    if kind != ArrayChunk.__qualname__ or children or size > len(content):
        raise ValueError("an array holds what is no chunk")
    return size


class Outgoing:
    """A message taken apart into what travels.

    `announcement` is all but its content, `tree` the ids of its objects, and `objects` makes
    each object's bytes by its id: children before parents, the message itself last.
    """

    def __init__(self, message: Message) -> None:
        with no_object_id_recompute():
            set_message_id(message, message.object_id)
            self.tree: ObjectTree = get_object_tree(message)
            nested = get_all_nested_objects(message)
        self.objects: dict[str, Callable[[], bytes]] = {
            identity: found.deflate for identity, found in nested.items()
        }
        self.announcement: ProtoMessage = message_to_proto(remove_content_from_message(message))
