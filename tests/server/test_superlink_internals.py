"""What a server's process does with Flower's state: who is known, and what is let go."""

from __future__ import annotations

import hashlib
import sys
import time

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID

from umbel.flower_internals import assume_server_identity, build_bundle, message_from_envelope
from umbel.objects_internals import Outgoing
from umbel.security.keys import new_key, public_pem
from umbel.server import superlink_internals as internals
from umbel.server.submit import PYPROJECT
from umbel.server.superlink_settings import Settings


@pytest.fixture(params=["memory", "file"])
def state(request, tmp_path):
    """Flower's state, in memory and in a database."""
    database = ("--database", str(tmp_path / "state.db")) if request.param == "file" else ()
    settings = Settings("127.0.0.1", 1, "log", flower=database)
    before = list(sys.argv)
    app, state = internals.make_superlink(settings.flower_options)
    assert sys.argv == before and callable(app)
    return state


def test_paths_are_those_of_the_three_apis():
    assert {"/v1/fleet/pull-messages", "/v1/control/start-run", "/v1/runtime/acquire-task"} <= set(
        internals.PATHS
    )
    assert not [path for path in internals.PATHS if "responses" in path or path.endswith("/")]


def test_only_admitted_nodes_are_online(state):
    pems = [public_pem(new_key().public_key()) for _ in range(2)]
    for _ in range(2):
        internals.admit_node(state, pems[0], "site-a")
        internals.admit_node(state, pems[1], "site-b")
    assert [node.name for node in internals.nodes_by_key(state).values()] == ["site-a", "site-b"]
    for pem in pems:
        assert state.activate_node(state.get_node_id_by_public_key(pem), 30)
    assert internals.online_nodes(state) == 2
    internals.dismiss_nodes_but(state, {pems[0]})
    assert internals.online_nodes(state) == 1
    # One that is admitted again is the node that it was.
    internals.admit_node(state, pems[1], "site-b")
    assert state.activate_node(state.get_node_id_by_public_key(pems[1]), 30)


def start_run(state) -> int:
    content = build_bundle(PYPROJECT)
    run = state.create_run(
        fab_id="umbel/umbel",
        fab_version="1.0.0",
        fab_hash=hashlib.sha256(content).hexdigest(),
        override_config={},
        federation_id="@none/default",
        federation_config=None,
        flwr_aid=None,
        primary_task_type="flwr-serverapp",
    )
    assert run
    return run


def send(state, run: int, node: int, ttl: float) -> str:
    """Store a message with its objects, as a run does; its id."""
    assume_server_identity(run)
    content = RecordDict({"umbel": ConfigRecord({"header": f"{ttl}"})})
    out = Outgoing(Message(content, node, "train", ttl=ttl, group_id="1"))
    message = message_from_envelope(out.announcement)
    assert message.metadata.src_node_id == SUPERLINK_NODE_ID
    session = state.start_session(run)
    stored, _ = state.store_message_and_object_tree(message, out.tree, session)
    assert stored
    for name, make in out.objects.items():
        assert state.store_object(run, session, name, make())
    return out.tree.object_id


def test_messages_that_nobody_waits_for_go_with_their_objects(state):
    pem = public_pem(new_key().public_key())
    internals.admit_node(state, pem, "site-a")
    node = state.get_node_id_by_public_key(pem)
    state.activate_node(node, 30)
    run = start_run(state)
    short, long = send(state, run, node, 0.05), send(state, run, node, 600.0)
    count = len(state.object_store)
    assert internals.orphans(state) == set()
    time.sleep(0.06)
    cleaned: set[int] = set()
    internals.clean_runs(state, cleaned)
    assert internals.orphans(state) == {short}
    internals.delete_objects(state, {short})
    assert short not in state.object_store and long in state.object_store
    assert 0 < len(state.object_store) < count
    assert state.stop_run(run)
    internals.clean_runs(state, cleaned)
    assert cleaned == {run}
    assert len(state.object_store) == 0


def test_what_a_node_was_given_and_has_not_answered_is_offered_again(state):
    nodes = []
    for name in ("site-a", "site-b"):
        pem = public_pem(new_key().public_key())
        internals.admit_node(state, pem, name)
        nodes.append(state.get_node_id_by_public_key(pem))
        state.activate_node(nodes[-1], 30)
    run = start_run(state)
    mine, others = send(state, run, nodes[0], 600.0), send(state, run, nodes[1], 601.0)
    for node, message in zip(nodes, (mine, others), strict=True):
        [given] = state.get_message_ins(node, limit=1)
        assert given.metadata.message_id == message
        assert state.get_message_ins(node, limit=1) == []
    internals.offer_again(state, nodes[0])
    [given] = state.get_message_ins(nodes[0], limit=1)
    assert given.metadata.message_id == mine
    assert state.get_message_ins(nodes[1], limit=1) == []


def test_what_is_stored_of_runs_that_are_over_goes_at_once(state):
    pem = public_pem(new_key().public_key())
    internals.admit_node(state, pem, "site-a")
    node = state.get_node_id_by_public_key(pem)
    state.activate_node(node, 30)
    run, other = start_run(state), start_run(state)
    message, kept = send(state, run, node, 600.0), send(state, other, node, 601.0)
    assert internals.clean_finished(state, {run, other}) == set()
    assert internals.is_stored(state, message)
    assert state.stop_run(run)
    assert internals.clean_finished(state, {run, other, 12345}) == {run, 12345}
    assert not internals.is_stored(state, message) and internals.is_stored(state, kept)
    assert internals.clean_finished(state, set()) == set()


def test_where_a_superlink_keeps_what_it_is_sent(state, request):
    assert internals.stores_in_memory(state) == ("memory" in request.node.name)


def test_announcement_says_its_run_and_its_objects():
    assume_server_identity(7)
    out = Outgoing(Message(RecordDict({}), 9, "train", ttl=60.0))
    request = internals.PushMessagesRequest(
        messages_list=[out.announcement], message_object_trees=[out.tree]
    )
    run, tree = internals.announced(request.SerializeToString())
    assert (run, tree.object_id) == (7, out.tree.object_id)
    with pytest.raises(IndexError):
        internals.announced(b"")
    with pytest.raises(internals.DecodeError):
        internals.announced(b"\xff\xff")
