"""The in-process grid, with a stand-in ClientApp: what it answers, and what it survives."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from umbel.flower_internals import ErrorCode
from umbel.simulation.grid import InProcessGrid

MODEL = os.urandom(300_000)


def make_app() -> ClientApp:
    """Does what its message says; tells its process and how often this app was called."""
    app = ClientApp()
    calls = 0

    @app.train()
    def train(message: Message, context: Context) -> Message:
        nonlocal calls
        calls += 1
        config = message.content["task"]
        assert isinstance(config, ConfigRecord)
        if context.node_id in config.get("raise", []):
            raise ValueError("no labels here")
        if context.node_id in config.get("exit", []):
            raise SystemExit(3)
        if context.node_id in config.get("hang", []):
            threading.Event().wait(30)
        if context.node_id in config.get("die", []):
            os.kill(os.getpid(), signal.SIGKILL)
        facts = {
            "index": int(context.node_config["partition-id"]),
            "process": os.getpid(),
            "calls": calls,
            "threads": torch.get_num_threads(),
        }
        reply = RecordDict({"facts": ConfigRecord(facts)})
        for name in ("task", "model"):
            if name in message.content:
                reply[name] = message.content[name]
        return Message(reply, reply_to=message)

    return app


@pytest.fixture(params=[1, 2])
def grid(request: pytest.FixtureRequest) -> Iterator[InProcessGrid]:
    with InProcessGrid(make_app, population=10, workers=request.param) as grid:
        yield grid


def ask(
    nodes: list[int], ttl: float = 60.0, **task: object
) -> Callable[[InProcessGrid], dict[int, Message]]:
    """Send all nodes the same record and pull until each has its reply."""

    def run(grid: InProcessGrid) -> dict[int, Message]:
        record = RecordDict({"task": ConfigRecord({"bytes": MODEL, **task})})
        record["model"] = ArrayRecord({"m": Array("uint8", (len(MODEL),), "raw", MODEL)})
        messages = [Message(record, node, "train", ttl=ttl) for node in nodes]
        replies = grid.send_and_receive(messages, timeout=60)
        return {reply.metadata.src_node_id: reply for reply in replies}

    return run


def facts(reply: Message) -> dict[str, int]:
    return dict(reply.content["facts"])


def test_every_node_answers_for_its_own_client(grid: InProcessGrid) -> None:
    assert list(grid.get_node_ids()) == list(range(1, 11))
    assert [node.node_id for node in grid.get_nodes()] == list(range(1, 11))
    replies = ask([3, 1, 7])(grid)
    assert {node: facts(reply)["index"] for node, reply in replies.items()} == {1: 0, 3: 2, 7: 6}


def test_large_values_arrive_whole_both_ways(grid: InProcessGrid) -> None:
    for _ in range(3):
        for reply in ask(list(range(1, 11)))(grid).values():
            assert reply.content["task"]["bytes"] == MODEL
            assert reply.content["model"]["m"].data == MODEL


def test_a_client_runs_with_one_thread_and_the_callers_threads_come_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with InProcessGrid(make_app, population=1) as grid:
            assert facts(ask([1])(grid)[1])["threads"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_worker_runs_a_message_only_when_its_reply_is_pulled() -> None:
    with InProcessGrid(make_app, population=5) as grid:
        record = RecordDict({"task": ConfigRecord({})})
        identities = grid.push_messages([Message(record, node, "train") for node in (1, 2, 3)])
        calls = [facts(grid.pull_messages(identities)[0])["calls"] for _ in range(3)]
        assert calls == [1, 2, 3]
        assert grid.pull_messages(identities) == []


def test_workers_share_the_work_and_keep_their_app() -> None:
    with InProcessGrid(make_app, population=10, workers=2) as grid:
        replies = [
            facts(reply) for _ in range(3) for reply in ask(list(range(1, 11)))(grid).values()
        ]
        by_process: dict[int, list[int]] = {}
        for reply in replies:
            by_process.setdefault(reply["process"], []).append(reply["calls"])
        assert len(by_process) == 2 and os.getpid() not in by_process
        assert sum(max(calls) for calls in by_process.values()) == 30


@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_client_that_raises_costs_only_its_own_reply(grid: InProcessGrid, fault: str) -> None:
    replies = ask(list(range(1, 6)), **{fault: [2]})(grid)
    assert replies[2].error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    expected = "ValueError: no labels here" if fault == "raise" else "SystemExit: 3"
    assert replies[2].error.reason == expected
    assert all(replies[node].has_content() for node in (1, 3, 4, 5))


def test_a_worker_killed_at_work_costs_one_reply_and_is_replaced() -> None:
    with InProcessGrid(make_app, population=10, workers=2) as grid:
        replies = ask(list(range(1, 11)), die=[4, 7])(grid)
        for node in (4, 7):
            assert replies[node].error.code == ErrorCode.CLIENT_APP_CRASHED
            assert replies[node].error.reason == "its worker process ended with exit code -9"
        assert all(replies[node].has_content() for node in (1, 2, 3, 5, 6, 8, 9, 10))
        assert all(reply.has_content() for reply in ask(list(range(1, 11)))(grid).values())


def test_a_worker_killed_while_idle_is_replaced() -> None:
    with InProcessGrid(make_app, population=4, workers=2) as grid:
        victim = facts(ask([1])(grid)[1])["process"]
        os.kill(victim, signal.SIGKILL)
        replies = ask([1, 2, 3, 4])(grid)
        assert sum(reply.has_error() for reply in replies.values()) <= 1
        assert all(reply.has_content() for reply in ask([1, 2, 3, 4])(grid).values())


def test_a_client_that_hangs_is_stopped_when_its_message_expires() -> None:
    with InProcessGrid(make_app, population=4, workers=2) as grid:
        replies = ask([1, 2, 3, 4], ttl=1.5, hang=[2])(grid)
        assert replies[2].error.reason == "no reply within 1.5 s"
        assert all(replies[node].has_content() for node in (1, 3, 4))
        assert ask([2])(grid)[2].has_content()


def test_a_message_whose_time_is_over_never_runs(grid: InProcessGrid) -> None:
    replies = ask([1, 2], ttl=1e-9)(grid)
    assert {reply.error.code for reply in replies.values()} <= {
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    }


def test_nodes_outside_the_population_and_unknown_ids(grid: InProcessGrid) -> None:
    assert ask([11])(grid)[11].error.code == ErrorCode.NODE_UNAVAILABLE
    assert grid.pull_messages(["999"]) == []


def test_an_app_that_cannot_be_made_is_an_error_reply() -> None:
    def broken() -> ClientApp:
        raise OSError("shard 3 is gone")

    with InProcessGrid(broken, population=2, workers=2) as grid:
        reply = ask([1])(grid)[1]
    assert reply.error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION
    assert reply.error.reason == "OSError: shard 3 is gone"


def test_workers_end_with_the_grid(tmp_path: Path) -> None:
    with InProcessGrid(make_app, population=2, workers=2) as grid:
        processes = {facts(reply)["process"] for reply in ask([1, 2])(grid).values()}
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_an_abandoned_message_does_not_delay_those_asked_for() -> None:
    with InProcessGrid(make_app, population=3) as grid:
        record = RecordDict({"task": ConfigRecord({})})
        grid.push_messages([Message(record, node, "train") for node in (1, 2)])
        assert facts(ask([3])(grid)[3])["calls"] == 1
