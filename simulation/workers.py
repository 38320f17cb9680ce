"""Who runs the messages: this process, or worker processes forked from it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Protocol

import torch
from flwr.app import Message

from ..errors import BadInput
from ..flower_internals import ErrorCode
from .framing import Lane, Receiver, Sender, shared_file
from .runner import expired, failure, too_late

Run = Callable[[Message], Message]


class Executor(Protocol):
    """Takes messages as long as it has room, and gives their replies back."""

    def start(self) -> None: ...

    def close(self) -> None: ...

    def offer(self, message: Message) -> bool:
        """Take a message, or say that there is no room for it now."""
        ...

    def collect(self, timeout: float) -> list[Message]:
        """Replies that are there; waits at most `timeout` seconds for the first."""
        ...


@dataclass
class Inline:
    """Runs each message in this process, when its reply is asked for."""

    run: Run
    _taken: Message | None = None

    def start(self) -> None:
        return

    def close(self) -> None:
        self._taken = None

    def offer(self, message: Message) -> bool:
        if self._taken is not None:
            return False
        self._taken = message
        return True

    def collect(self, timeout: float) -> list[Message]:
        message, self._taken = self._taken, None
        return [] if message is None else [self.run(message)]


def require_fork(workers: int) -> None:
    """Raises BadInput where this system cannot fork worker processes."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise BadInput(
            f"simulation.workers = {workers}: this system cannot fork processes; "
            "use simulation.workers = 1, or simulation.engine = 'ray'"
        )


@dataclass
class _Worker:
    """One process, and the message that it was given."""

    process: ForkProcess
    connection: Connection
    sender: Sender
    receiver: Receiver
    files: tuple[int, int]
    given: Message | None = None

    def close(self) -> None:
        """Close what this process holds of the worker's."""
        self.connection.close()
        for file in self.files:
            os.close(file)


class WorkerPool:
    """Worker processes of one torch thread each, forked so that they share the data set's memory.

    Each calls `run` on its own copy of everything. A process that dies costs the message it
    ran, which gets an error reply, and is replaced; so is one that works on a message whose
    time is over.
    """

    def __init__(self, run: Run, workers: int) -> None:
        require_fork(workers)
        self._run = run
        self._count = workers
        self._workers: list[_Worker] = []
        self._failed: list[Message] = []

    @property
    def process_ids(self) -> list[int]:
        """The workers' process ids, for those who measure them."""
        return [worker.process.pid or 0 for worker in self._workers]

    def start(self) -> None:
        """Fork the workers; best done before this process starts threads."""
        while len(self._workers) < self._count:
            self._workers.append(self._fork())

    def close(self) -> None:
        """End the workers, also those that are at work."""
        for worker in self._workers:
            worker.close()
            worker.process.terminate()
        for worker in self._workers:
            _reap(worker.process)
        self._workers.clear()
        self._failed.clear()

    def offer(self, message: Message) -> bool:
        self.start()
        idle = next((worker for worker in self._workers if worker.given is None), None)
        if idle is None:
            return False
        idle.given = message
        try:
            idle.sender.send(message)
        except OSError:
            self._replace(idle, message)
        return True

    def collect(self, timeout: float) -> list[Message]:
        replies: list[Message] = []
        self._stop_overdue()
        busy = [(worker, worker.given) for worker in self._workers if worker.given is not None]
        ready = wait([worker.connection for worker, _ in busy], 0 if self._failed else timeout)
        for worker, message in busy:
            if worker.connection not in ready:
                continue
            worker.given = None
            try:
                replies.append(worker.receiver.receive())
            except (EOFError, OSError):
                self._replace(worker, message)
        replies += self._failed
        self._failed = []
        return replies

    def _stop_overdue(self) -> None:
        for worker in list(self._workers):
            if worker.given and expired(worker.given) and not worker.connection.poll():
                worker.process.kill()
                self._replace(worker, worker.given)

    def _replace(self, worker: _Worker, message: Message) -> None:
        """Fail the message of a worker that died, and put a new worker in its place."""
        worker.close()
        exit_code = _reap(worker.process)
        if expired(message):
            code, reason = ErrorCode.REPLY_MESSAGE_UNAVAILABLE, too_late(message)
        else:
            code = ErrorCode.CLIENT_APP_CRASHED
            reason = f"its worker process ended with exit code {exit_code}"
        self._failed.append(failure(message, code, reason))
        self._workers[self._workers.index(worker)] = self._fork()

    def _fork(self) -> _Worker:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        files = shared_file(), shared_file()
        others = [worker.connection for worker in self._workers if not worker.connection.closed]
        process = context.Process(
            target=_work, args=(self._run, there, files, [here, *others]), daemon=True
        )
        process.start()
        there.close()
        down, up = (Lane(here, file) for file in files)
        return _Worker(process, here, Sender(down), Receiver(up), files)


def _work(
    run: Run, connection: Connection, files: tuple[int, int], inherited: Sequence[Connection]
) -> None:
    """A worker process's life: message in, reply out, until the other end closes.

    It closes its copies of the parent's ends, or no worker would see the parent go.
    """
    for copy in inherited:
        copy.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # What was there before the fork stays out of collections, and so stays shared.
    torch.set_num_threads(1)
    down, up = (Lane(connection, file) for file in files)
    receiver, sender = Receiver(down), Sender(up, remember=False)
    try:
        while True:
            sender.send(run(receiver.receive()))
    except (EOFError, OSError):
        return


def _reap(process: ForkProcess) -> int | None:
    """Wait for a process that ends, insist after a while, and give its exit code."""
    process.join(timeout=5)
    if process.is_alive():
        process.kill()
        process.join()
    exit_code = process.exitcode
    process.close()
    return exit_code
