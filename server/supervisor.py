"""The client processes of `umbel up`: started, watched, and started again when they are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from ..errors import UmbelError
from ..processes import last_line, stop_all
from .observer import Observer
from .superlink import flower_environment, flower_program, free_port, spawn

LOOK_SECONDS = 0.25
"""How often the supervisor looks whether a client has ended."""

RESTARTS = 5
"""How often one client is started again before it is given up."""

REFUSED = 2
"""The exit code of a client that finds its input bad: starting it again would not help."""


@dataclass(frozen=True)
class Places:
    """Where the clients of a run keep what is theirs.

    Args:
        folder: the run folder.
        address: the SuperLink's host and port.
        imports: modules from which the experiment names parts.
    """

    folder: Path
    address: str
    imports: tuple[str, ...] = ()

    def data(self, name: str) -> Path:
        return self.folder.absolute() / "shards" / name

    def state(self, name: str) -> Path:
        return self.folder.absolute() / "nodes" / name

    def log(self, name: str) -> Path:
        return self.folder.absolute() / "logs" / f"{name}.log"


class Nodes(Protocol):
    """A kind of client process."""

    def start(self, name: str) -> None:
        """Start the client of a name."""

    def ended(self) -> dict[str, int]:
        """The clients that have ended since the last time, with their exit codes."""

    def stop(self) -> None:
        """End them all."""


class WarmNodes:
    """umbel's own nodes, forked from one process that has imported torch (`client.nursery`)."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._running: set[str] = set()
        self._ended: dict[str, int] = {}
        self._lock = threading.Lock()
        self._nursery = self._open()

    def start(self, name: str) -> None:
        if self._nursery.poll() is not None:
            self._nursery = self._open()
        places = self._places
        order = {
            "name": name,
            "data": str(places.data(name)),
            "state": str(places.state(name)),
            "log": str(places.log(name)),
        }
        with self._lock:
            self._running.add(name)
        # A nursery that has just ended is noticed by `_listen`, with all its nodes.
        with suppress(BrokenPipeError):
            orders = pipe(self._nursery.stdin)
            orders.write(f"{json.dumps(order)}\n".encode())
            orders.flush()

    def ended(self) -> dict[str, int]:
        with self._lock:
            found, self._ended = self._ended, {}
            return found

    def stop(self) -> None:
        stop_all([self._nursery])

    def _open(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "umbel.client.nursery", self._places.address]
        with self._places.log("nursery").open("ab") as log:
            nursery = spawn(
                [*command, *self._places.imports],
                log,
                flower_environment(self._places.folder / "nodes"),
                piped=True,
            )
        threading.Thread(target=self._listen, args=(nursery,), daemon=True).start()
        return nursery

    def _listen(self, nursery: subprocess.Popen[bytes]) -> None:
        """Note what a nursery says, and that all its nodes end with it."""
        for line in pipe(nursery.stdout):
            report = json.loads(line)
            with self._lock:
                self._running.discard(report["name"])
                self._ended[report["name"]] = report["code"]
        code = nursery.wait()
        with self._lock:
            self._ended |= dict.fromkeys(self._running, code)
            self._running.clear()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """A piped process's stream, which is there."""
    if stream is None:
        raise TypeError("the process was started without pipes")
    return stream


class StockNodes:
    """Flower's own SuperNodes, which start umbel's ClientApp anew for every message."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        places = self._places
        state = places.state(name)
        config = {"data": places.data(name), "name": name, "state": state / "state"}
        told = " ".join(f"{key}='{value}'" for key, value in config.items())
        command = [flower_program("flower-supernode"), "--insecure", "--superlink", places.address]
        command += ["--host", "127.0.0.1", "--port", str(free_port()), "--node-config", told]
        with places.log(name).open("ab") as log:
            self._processes[name] = spawn(command, log, flower_environment(state))

    def ended(self) -> dict[str, int]:
        codes = {name: process.poll() for name, process in self._processes.items()}
        found = {name: code for name, code in codes.items() if code is not None}
        for name in found:
            del self._processes[name]
        return found

    def stop(self) -> None:
        stop_all(self._processes.values())


class Supervisor:
    """Keeps clients running; one that was killed, or crashed, is started again.

    Args:
        places: where the clients keep what is theirs.
        names: the clients.
        observer: told of every end.
        stock: Flower's nodes in place of umbel's.
    """

    def __init__(
        self, places: Places, names: Sequence[str], observer: Observer, *, stock: bool
    ) -> None:
        self._places = places
        self._names = names
        self._observer = observer
        self._stock = stock
        self._given_up: dict[str, str] = {}
        self._ready = threading.Event()
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have the clients run in this block; `begin` starts them."""
        # A child ends with the thread that started it, so one thread starts and watches all.
        thread = threading.Thread(target=self._watch, name="umbel-supervisor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._ready.set()
            thread.join()

    def begin(self) -> None:
        """Start the clients: their shards are there."""
        self._ready.set()

    def check(self) -> None:
        """Raise UmbelError if no client is left."""
        if len(self._given_up) == len(self._names):
            name, reason = next(iter(self._given_up.items()))
            raise UmbelError(f"every client has ended; {name}: {reason}")

    def _watch(self) -> None:
        nodes: Nodes = StockNodes(self._places) if self._stock else WarmNodes(self._places)
        restarts = dict.fromkeys(self._names, 0)
        try:
            self._ready.wait()
            for name in self._names if not self._over.is_set() else ():
                nodes.start(name)
            while not self._over.wait(LOOK_SECONDS):
                for name, code in nodes.ended().items():
                    restarts[name] += 1
                    again = code != REFUSED and restarts[name] <= RESTARTS
                    self._tell(name, code, again=again)
                    if again:
                        nodes.start(name)
        finally:
            nodes.stop()

    def _tell(self, name: str, code: int, *, again: bool) -> None:
        said = last_line(self._places.log(name))
        how = f"was killed by signal {-code}" if code < 0 else f"ended (exit code {code})"
        outlook = "starting it again" if again else f"given up; log: {self._places.log(name)}"
        self._observer.note(f"{name} {how}: {said}; {outlook}")
        if not again:
            self._given_up[name] = said
