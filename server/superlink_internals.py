"""Flower's non-public modules, as the SuperLink's own process uses them (`flower_internals`
says the rest): Flower's application is built here as `flower-superlink` builds it."""

from __future__ import annotations

import logging
import sys
from base64 import b64decode, b64encode
from collections.abc import Collection, Sequence

from flwr.common.constant import (
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SUPERLINK_NODE_ID,
    SYSTEM_TIME_TOLERANCE,
    TIMESTAMP_HEADER,
    TIMESTAMP_TOLERANCE,
    Status,
)
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import NodeInfo
from flwr.server.superlink.linkstate import InMemoryLinkState, LinkState
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    NodeStatus,
)
from flwr.supercore.date import now
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
from flwr.supercore.state.schema.linkstate_models import MessageIns, MessageRes
from flwr.supercore.state.schema.objectstore_models import StoredObject
from flwr.supercore.utils import uint64_to_int64
from flwr.superlink.cli.flower_superlink import (
    SuperLinkLifespan,
    _parse_superlink_lifespan_config,
)
from flwr.superlink.main import create_app
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from sqlalchemy import select, update
from starlette.types import ASGIApp, Scope

from ..http_internals import FLEET_NEWS, RUNTIME_NEWS, TRANSFERS

__all__ = [
    "FLEET_HTTP_PUBLIC_KEY_HEADER",
    "FLEET_HTTP_SIGNATURE_HEADER",
    "PROTOBUF_MEDIA_TYPE",
    "SUPERLINK_NODE_ID",
    "SYSTEM_TIME_TOLERANCE",
    "TIMESTAMP_HEADER",
    "TIMESTAMP_TOLERANCE",
    "DecodeError",
    "LinkState",
    "NodeInfo",
    "PushMessagesRequest",
    "StartRunRequest",
    "now",
]

FLEET, CONTROL, RUNTIME = "/v1/fleet/", "/v1/control/", "/v1/runtime/"

PATHS: frozenset[str] = frozenset(
    path
    for method, path in PROTOBUF_REQUEST_TYPES
    if method == "POST" and path.startswith((FLEET, CONTROL, RUNTIME))
) | {TRANSFERS, FLEET_NEWS, RUNTIME_NEWS}
"""The requests that Flower's three APIs know, and umbel's own, all of them by POST."""


def node_of(state: LinkState, public_key: str) -> int | None:
    """The node that has a public key, given as a request's header has it."""
    try:
        found = state.get_node_id_by_public_key(b64decode(public_key, validate=True))
    except ValueError:
        return None
    return None if found is None else int(found)


def header_of(scope: Scope, header: str) -> str:
    """A request's header, empty where it has none of that name."""
    name = header.lower().encode()
    return next((value.decode("latin-1") for n, value in scope["headers"] if n == name), "")


def addressees(content: bytes) -> set[int]:
    """The nodes that the messages in a request are for; raises DecodeError.

    A run's request and a node's have the messages in the same place.
    """
    messages = PushMessagesRequest.FromString(content).messages_list
    return {message.metadata.dst_node_id for message in messages}


def announced(content: bytes) -> tuple[int, ObjectTree]:
    """The run and the object tree of the reply that a node's request announces; raises
    DecodeError, or IndexError where there is none."""
    request = PushMessagesRequest.FromString(content)
    return request.messages_list[0].metadata.run_id, request.message_object_trees[0]


def make_superlink(arguments: Sequence[str]) -> tuple[ASGIApp, LinkState]:
    """Flower's application, and the state behind it.

    Args:
        arguments: what would be told to `flower-superlink`.
    """
    former, sys.argv = sys.argv, ["flower-superlink", *arguments]
    try:
        config = _parse_superlink_lifespan_config()
    finally:
        sys.argv = former
    app = create_app(config, SuperLinkLifespan)
    return app, app.state.linkstate_factory.state()


def route_log(handler: logging.Handler, level: int) -> None:
    """Have Flower write to a handler of ours what is at least as grave as `level`."""
    flower = logging.getLogger("flwr")
    flower.handlers[:] = [handler]
    flower.setLevel(level)
    flower.propagate = False


def admit_node(state: LinkState, public_key: bytes, name: str) -> None:
    """Have a SuperLink that knows its nodes by their keys know one more, by a name."""
    if state.get_node_id_by_public_key(public_key) is None:
        state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public_key, 0, name=name)


def online_nodes(state: LinkState) -> int:
    """How many nodes are connected."""
    return len(state.get_node_info(statuses=[NodeStatus.ONLINE]))


def dismiss_nodes_but(state: LinkState, public_keys: Collection[bytes]) -> None:
    """Have a SuperLink take all nodes for offline that have none of these keys.

    They stay registered: Flower would never admit the key of an unregistered node again.
    """
    for node in state.get_node_info():
        if node.public_key not in public_keys:
            state.deactivate_node(node.node_id)


def nodes_by_key(state: LinkState) -> dict[str, NodeInfo]:
    """What a SuperLink knows of its nodes, by their keys as they stand in requests."""
    return {b64encode(node.public_key).decode("ascii"): node for node in state.get_node_info()}


def offer_again(state: LinkState, node: int) -> None:
    """Give a node once more what it was given and has not answered."""
    if isinstance(state, InMemoryLinkState):
        with state.lock:
            replies = state.message_res_store.values()
            answered = {reply.metadata.reply_to_message_id for reply in replies}
            for message in state.message_ins_store.values():
                known = message.metadata
                if known.dst_node_id == node and known.message_id not in answered:
                    known.delivered_at = ""
        return
    mine = MessageIns.dst_node_id == uint64_to_int64(node)
    unanswered = MessageIns.message_id.not_in(select(MessageRes.reply_to_message_id))
    with state.session() as session:  # type: ignore[attr-defined]
        session.execute(update(MessageIns).where(mine, unanswered).values(delivered_at=""))


def clean_runs(state: LinkState, cleaned: set[int]) -> None:
    """Delete the messages of runs that nobody waits for any more, and all that is of runs that
    are over; `cleaned` keeps which runs those were."""
    for run in state.get_run_info():
        if run.status.status != Status.FINISHED:
            waiting = state.get_message_ids_from_run_id(run.run_id)
            state._check_stored_messages(waiting)  # type: ignore[attr-defined]
        elif run.run_id not in cleaned:
            state.cleanup_run(run.run_id)
            cleaned.add(run.run_id)


def clean_finished(state: LinkState, runs: Collection[int]) -> set[int]:
    """Delete all that is of those of some runs that are over, or unknown; which they are."""
    found = state.get_run_info(run_ids=list(runs))
    over = set(runs) - {run.run_id for run in found if run.status.status != Status.FINISHED}
    for run in over:
        state.cleanup_run(run)
    return over


def stores_in_memory(state: LinkState) -> bool:
    """Whether a SuperLink keeps in its memory what it is sent."""
    return isinstance(state.object_store, InMemoryObjectStore)


def is_stored(state: LinkState, name: str) -> bool:
    """Whether an object is stored, or is expected."""
    return name in state.object_store


def orphans(state: LinkState) -> set[str]:
    """Ids of the stored messages' objects whose message is gone; Flower keeps them, with all
    that is under them, until their run is over."""
    store = state.object_store
    if isinstance(store, InMemoryObjectStore) and isinstance(state, InMemoryLinkState):
        with store.lock_store, state.lock:
            roots = {name for name, entry in store.store.items() if entry.ref_count == 0}
            return roots - state.message_ins_store.keys() - state.message_res_store.keys()
    if isinstance(store, SqlObjectStore):
        messages = select(MessageIns.message_id).union(select(MessageRes.message_id))
        unreferenced = select(StoredObject.object_id).where(StoredObject.ref_count == 0)
        with store.session() as session:
            found = set(session.scalars(unreferenced).all())
            return {str(name) for name in found - set(session.scalars(messages).all())}
    return set()


def delete_objects(state: LinkState, names: Collection[str]) -> None:
    """Delete objects, and what is only under them."""
    for name in names:
        state.object_store.delete(name)
