"""A grid in this process whose clients can be told to misbehave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from flwr.app import Error, Message
from flwr.clientapp import ClientApp

from umbel.client.app import make_client_app
from umbel.data import make_shards
from umbel.experiment import Experiment
from umbel.messages import Envelope
from umbel.server.app import run_experiment
from umbel.server.observer import Wait
from umbel.server.record import RunFolder
from umbel.simulation.grid import InProcessGrid
from umbel.strategies import ClientSide


def envelope_of(reply: Message) -> Envelope:
    return Envelope.from_record(reply.content)


class Faulty:
    """Clients over real shards; `faults` maps (client index, round) to what becomes of the
    train reply: the function gets the honest reply and returns another."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment = experiment
        self.shards = make_shards(experiment)
        self.faults: dict[tuple[int, int], Callable[[Message, Message], Message]] = {}
        self.trained: list[tuple[int, int]] = []
        self.app = self.make_app(folder, None)

    def make_app(self, folder: Path, side: ClientSide | None) -> ClientApp:
        return make_client_app(
            lambda context: self.shards.shard(context.node_id - 1),
            state_folder=lambda context: folder / "state",
            side=side,
        )

    def __call__(self, message: Message, context: object) -> Message:
        reply = self.app(message, context)
        if message.metadata.message_type == "train":
            key = (message.metadata.dst_node_id - 1, int(message.metadata.group_id))
            self.trained.append(key)
            if key in self.faults:
                return self.faults[key](message, reply)
        return reply


class Log:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.waits: list[Wait] = []
        self.failed: list[tuple[str, str]] = []
        self.records: list[dict] = []
        self.cohorts: list[list[str]] = []

    def started(self, experiment, clients, first_round=1):
        self.first_round = first_round

    def round_started(self, round, cohort):
        self.cohorts.append(list(cohort))

    def reply(self, client, ok, reason=""):
        if not ok:
            self.failed.append((client, reason))

    def round_finished(self, record):
        self.records.append(json.loads(json.dumps(record)))

    def finished(self, summary):
        self.summary = summary

    def waiting(self, wait):
        self.waits.append(wait)

    def note(self, text):
        self.notes.append(text)


class Bench:
    """Runs an experiment over faulty clients in one process."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.log = Log()

    def experiment(self, **sections) -> Experiment:
        sections.setdefault("experiment", {"rounds": 3, "seed": 5})
        sections.setdefault("data", {"clients": 4})
        sections.setdefault("model", {"name": "mlp", "hidden": [8]})
        return Experiment(**sections)

    def clients(self, experiment: Experiment) -> Faulty:
        return Faulty(experiment, self.tmp_path)

    def run(self, clients: Faulty, out: str = "run", **options):
        path = self.tmp_path / out
        folder = (
            RunFolder.open(path)
            if (path / "environment.json").exists()
            else RunFolder.create(path, clients.experiment, "simulate")
        )
        with InProcessGrid(lambda: clients, clients.experiment.data.clients) as grid:
            summary = run_experiment(
                options.pop("wrap", lambda grid: grid)(grid),
                clients.experiment,
                folder,
                observer=self.log,
                dataset=clients.shards.dataset,
                **options,
            )
        return summary


@pytest.fixture
def bench(tmp_path):
    threads = torch.get_num_threads()
    yield Bench(tmp_path)
    torch.set_num_threads(threads)


def changed(header=None, **groups) -> Callable[[Message, Message], Message]:
    """A fault: the honest reply with another header or other tensors."""

    def fault(message: Message, reply: Message) -> Message:
        honest = envelope_of(reply)
        tensors = {**honest.groups}
        for group, change in groups.items():
            tensors[group] = change(dict(tensors.get(group, {})))
        content = Envelope({**honest.header, **(header or {})}, tensors).to_record()
        return Message(content, reply_to=message)

    return fault


def asked_more(key: str, change: Callable[[Message, Message], Message]) -> Callable:
    """Clients' app with what `change` makes of its replies where it is asked for `key`."""

    def wrapped(app: Callable[..., Message]) -> Callable[..., Message]:
        def answer(message: Message, context: object) -> Message:
            reply = app(message, context)
            evaluates = message.metadata.message_type == "evaluate" and reply.has_content()
            asked = evaluates and envelope_of(message).header.get(key)
            return change(message, reply) if asked else reply

        return answer

    return wrapped


def raised(message: Message, reply: Message) -> Message:
    """A fault: the client's program failed."""
    return Message(Error(2, "RuntimeError: disk on fire"), reply_to=message)


def lost(message: Message, reply: Message) -> Message:
    """A fault: the reply did not get through."""
    return Message(Error(4, "reply lost"), reply_to=message)
