"""Figures of a long-running command for Prometheus, at `http://HOST:PORT/metrics`.

Every set of figures has a registry of its own, so that a process tells what it is asked for
and nothing of Python's. Labels are words of umbel's own, never what a peer sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from .errors import BadInput
from .rounds import failures, phases

if TYPE_CHECKING:
    from .experiment import Experiment
    from .server.loop import RunSummary
    from .server.observer import Wait

APIS = ("fleet", "control", "runtime")
KINDS = frozenset({"query", "query.offer", "query.tell", "query.show", "train", "evaluate"})


def place_of(text: str) -> tuple[str, int]:
    """Where figures are served: `PORT` on this machine alone, or `HOST:PORT`.

    >>> place_of("9464"), place_of("0.0.0.0:9464"), place_of("[::]:9464")
    (('127.0.0.1', 9464), ('0.0.0.0', 9464), ('::', 9464))

    Raises BadInput for anything else.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadInput(f"--metrics-port {text}: is not PORT or HOST:PORT, with PORT in 1 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def served(registry: CollectorRegistry, place: str | None) -> Iterator[None]:
    """Serve a registry's figures in this block; None serves nothing.

    Raises BadInput where the port is in use.
    """
    if place is None:
        yield
        return
    host, port = place_of(place)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise BadInput(f"--metrics-port {place}: {error.strerror or error}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1.0)


class RunMetrics:
    """A run's figures; an observer of it."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._round = Gauge("umbel_run_round", "The last finished round.", registry=registry)
        self._of = Gauge("umbel_run_rounds_planned", "Rounds of the run.", registry=registry)
        self._clients = Gauge("umbel_run_clients", "Clients of the run.", registry=registry)
        self._rounds = Counter("umbel_run_rounds", "Rounds finished here.", registry=registry)
        self._bytes = _bytes("umbel_run_bytes", registry)
        self._refusals = Counter(
            "umbel_run_refusals", "Updates that did not count.", ["status"], registry=registry
        )
        self._seconds = _seconds("umbel_run_seconds", registry)

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        self._of.set(experiment.experiment.rounds)
        self._clients.set(clients)
        self._round.set(first_round - 1)

    def round_started(self, round: int, cohort: Sequence[str]) -> None:
        return

    def reply(self, client: str, ok: bool, reason: str = "") -> None:
        return

    def round_finished(self, record: Mapping[str, Any]) -> None:
        self._round.set(record["round"])
        self._rounds.inc()
        for direction in ("up", "down"):
            self._bytes.labels(direction).inc(record.get(f"bytes_{direction}") or 0)
        for failure in failures([record]):
            self._refusals.labels(failure.status).inc()
        for phase, seconds in phases(record).items():
            self._seconds.labels(phase).inc(seconds)

    def finished(self, summary: RunSummary) -> None:
        return

    def note(self, text: str) -> None:
        return

    def waiting(self, wait: Wait) -> None:
        return


class ClientMetrics:
    """A client's figures."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._answered = Counter(
            "umbel_client_answers",
            "Messages answered, by kind and by how: ok, declined by the policy, or error.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._rounds = Counter(
            "umbel_client_rounds", "Trainings whose update was sent.", registry=registry
        )
        self._refusals = Counter(
            "umbel_client_refusals", "Messages that the policy declined.", registry=registry
        )
        self._bytes = _bytes("umbel_client_bytes", registry)
        self._seconds = _seconds("umbel_client_seconds", registry)

    def answered(self, kind: str, outcome: str, received: int, sent: int) -> None:
        """Count a message: its kind, `ok`, `declined` or `error`, and bytes of both contents."""
        kind = kind if kind in KINDS else "other"
        self._answered.labels(kind, outcome).inc()
        if outcome == "declined":
            self._refusals.inc()
        elif outcome == "ok" and kind == "train":
            self._rounds.inc()
        self._bytes.labels("down").inc(received)
        self._bytes.labels("up").inc(sent)

    def spent(self, seconds: Mapping[str, float]) -> None:
        """Count seconds by phase."""
        for phase, more in seconds.items():
            self._seconds.labels(phase).inc(more)


class ServerMetrics:
    """A SuperLink's figures.

    Args:
        nodes: how many nodes are connected at the moment; called when the figures are asked for.
    """

    def __init__(self, nodes: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        gauge = Gauge("umbel_server_nodes", "Nodes that are connected.", registry=registry)
        gauge.set_function(lambda: float(nodes()))
        self._requests = Counter(
            "umbel_server_requests", "Requests that were let through.", ["api"], registry=registry
        )
        self._refusals = Counter(
            "umbel_server_refusals", "Requests that were refused.", ["code"], registry=registry
        )
        self._bytes = Counter(
            "umbel_server_bytes", "Bytes of bodies: in, or out.", ["direction"], registry=registry
        )

    def request(self, path: str, received: int, sent: int) -> None:
        """Count a request that was let through, and the bytes of both bodies."""
        api = next((api for api in APIS if path.startswith(f"/v1/{api}/")), "other")
        self._requests.labels(api).inc()
        self._bytes.labels("in").inc(received)
        self._bytes.labels("out").inc(sent)

    def refused(self, code: str) -> None:
        """Count a request that was refused."""
        self._refusals.labels(code).inc()


def _bytes(name: str, registry: CollectorRegistry) -> Counter:
    text = "Bytes of messages: up to the server, down from it."
    return Counter(name, text, ["direction"], registry=registry)


def _seconds(name: str, registry: CollectorRegistry) -> Counter:
    return Counter(name, "Seconds spent.", ["phase"], registry=registry)
