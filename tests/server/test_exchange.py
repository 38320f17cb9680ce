"""One exchange over a grid that is slow, lossy, or deaf."""

import time

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from umbel.server.exchange import exchange
from umbel.simulation.grid import InProcessGrid

RECORD = RecordDict({"c": ConfigRecord({"x": 1})})


def echo():
    app = ClientApp()

    @app.query()
    def answer(message, context):
        return Message(message.content, reply_to=message)

    return app


class Grid:
    """An echo grid; `deaf` nodes never answer, `losing` ones lose that many replies."""

    def __init__(self, grid, deaf=(), losing=None):
        self._grid, self._deaf, self._losing = grid, set(deaf), dict(losing or {})
        self.pulls = 0

    def push_messages(self, messages):
        messages = list(messages)
        identities = self._grid.push_messages(messages)
        self._of = getattr(self, "_of", {}) | {
            identity: message.metadata.dst_node_id
            for identity, message in zip(identities, messages, strict=True)
        }
        return identities

    def pull_messages(self, identities):
        self.pulls += 1
        wanted = [i for i in identities if self._of[i] not in self._deaf]
        replies = []
        for reply in self._grid.pull_messages(wanted) if wanted else []:
            node = self._of[reply.metadata.reply_to_message_id]
            if self._losing.get(node, 0) > 0:
                self._losing[node] -= 1
                identity = reply.metadata.reply_to_message_id
                reply = Message(Error(4, "lost"), reply_to=reply)
                reply.metadata.__dict__["_reply_to_message_id"] = identity
            replies.append(reply)
        return replies


@pytest.fixture
def grid():
    with InProcessGrid(echo, population=5) as grid:
        yield grid


def outcomes(grid, deadline=30.0, nodes=(1, 2, 3)):
    return {r.node: r for r in exchange(grid, dict.fromkeys(nodes, RECORD), "query", "0", deadline)}


def test_every_node_answers_once(grid):
    found = outcomes(grid)
    assert {node: reply.outcome for node, reply in found.items()} == {1: "ok", 2: "ok", 3: "ok"}


def test_a_node_that_does_not_answer_is_late_and_costs_no_busy_waiting(grid):
    slow = Grid(grid, deaf=[2])
    started = time.monotonic()
    found = outcomes(slow, deadline=0.6)
    assert time.monotonic() - started >= 0.6
    assert found[2].outcome == "late" and "within 0.6 s" in found[2].reason
    assert found[1].outcome == found[3].outcome == "ok"
    assert slow.pulls < 120


def slow_app(seconds):
    """A client that takes so long to answer."""
    app = ClientApp()

    @app.query()
    def answer(message, context):
        time.sleep(seconds)
        return Message(message.content, reply_to=message)

    return app


def test_nobody_is_late_while_others_take_their_turns():
    """Simulated clients wait for each other: five of them take longer than the deadline."""
    with InProcessGrid(lambda: slow_app(0.2), population=5) as grid:
        found = outcomes(grid, deadline=0.5, nodes=range(1, 6))
    assert {reply.outcome for reply in found.values()} == {"ok"}


def test_a_simulated_client_that_answers_is_not_late():
    with InProcessGrid(lambda: slow_app(0.6), population=1) as grid:
        assert outcomes(grid, deadline=0.3, nodes=[1])[1].outcome == "ok"


def test_what_nobody_waits_for_any_more_is_forgotten(grid):
    replies = exchange(grid, dict.fromkeys(range(1, 6), RECORD), "query", "0", 30.0)
    next(replies)
    replies.close()
    assert not grid._queue and not grid._done


def test_a_lost_reply_is_asked_for_once_more_only(grid):
    assert outcomes(Grid(grid, losing={2: 1}))[2].outcome == "ok"
    twice = outcomes(Grid(grid, losing={2: 2}))[2]
    assert twice.outcome == "failed" and twice.reason == "lost"


def test_a_message_that_cannot_be_delivered_is_a_failure_of_its_node(grid):
    class Refusing(Grid):
        def push_messages(self, messages):
            identities = super().push_messages(messages)
            return [None if self._of[i] == 3 else i for i in identities]

    found = outcomes(Refusing(grid))
    assert found[3].outcome == "failed" and "delivered" in found[3].reason
    assert found[1].outcome == "ok"
