"""Who runs the messages: this process, or worker processes forked from it."""

from __future__ import annotations

import gc
import itertools
import math
import multiprocessing
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

import torch
from flwr.app import Message

from ..errors import BadInput
from ..flower_internals import ErrorCode
from ..processes import die_with_parent
from .executor import Run
from .framing import TaskReceiver, TaskSender, receive_reply, send_reply
from .memory import SharedFile, reply_in
from .runner import expired, failure, too_late

AHEAD = 2
"""A worker has this many messages at most: the next one lies ready when a reply is sent."""

SHORT_SECONDS = 0.02
"""Messages that take longer are given one at a time: whoever is idle first gets the next."""

SLOTS = AHEAD + 2
"""Places for replies: one for each message on the way, and those that are being looked at."""


def require_fork(workers: int) -> None:
    """Raises BadInput where this system cannot fork worker processes."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise BadInput(
            f"simulation.workers = {workers}: this system cannot fork processes; "
            "use simulation.workers = 1, or simulation.engine = 'ray'"
        )


@dataclass
class _Worker:
    """One process, and the messages that it was given, the oldest first."""

    process: ForkProcess
    connection: Connection
    sender: TaskSender
    files: Sequence[SharedFile]
    given: list[tuple[Message, int]] = field(default_factory=list)
    seconds: float = math.inf
    """How long its last message took it."""

    @property
    def slots(self) -> Sequence[SharedFile]:
        return self.files[1:]

    def give(self, message: Message) -> bool:
        """Send a message if it can be taken now; raises OSError if the process is gone."""
        taken = {slot for _, slot in self.given}
        slot = next(n for n, file in enumerate(self.slots) if n not in taken and not file.lent)
        sent = self.sender.send(message, slot, idle=not self.given)
        if sent:
            self.given.append((message, slot))
        return sent

    def take(self) -> Message:
        """Its next reply; raises EOFError or OSError if the process is gone."""
        lent = sum(file.lent for file in self.slots)
        # A slot must be left for each message on the way.
        lend = lent < SLOTS - AHEAD
        reply, self.seconds = receive_reply(self.connection, self.slots, lend=lend)
        del self.given[0]
        return reply

    def close(self) -> None:
        """Close what this process holds of the worker's."""
        self.connection.close()
        for file in self.files:
            file.close()


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
        self._again: list[Message] = []

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
        self._again.clear()

    def offer(self, queue: Mapping[str, Message], wanted: Set[str]) -> list[str]:
        self.start()
        self._give_again()
        given: list[str] = []
        while not self._again and (worker := self._least_busy()) is not None:
            waiting = (key for key in queue if key in wanted and key not in given)
            key = self._choice(worker, queue, waiting)
            if key is None or not self._give(worker, queue[key]):
                break
            given.append(key)
        return given

    def collect(self, timeout: float) -> list[Message]:
        replies: list[Message] = []
        self._stop_overdue()
        self._give_again()
        busy = [worker for worker in self._workers if worker.given]
        for worker in _with_news(busy, 0 if self._failed else timeout):
            try:
                while worker.given and worker.connection.poll():
                    replies.append(worker.take())
            except (EOFError, OSError):
                self._replace(worker)
        replies += self._failed
        self._failed = []
        return replies

    def _least_busy(self) -> _Worker | None:
        """The worker with the least to do, None where all have enough."""
        worker = min(self._workers, key=lambda worker: len(worker.given))
        ahead = AHEAD if worker.seconds < SHORT_SECONDS else 1
        return worker if len(worker.given) < ahead else None

    def _choice(
        self, worker: _Worker, queue: Mapping[str, Message], waiting: Iterator[str]
    ) -> str | None:
        """The next message for a worker: of a client that it has had before, if there is one,
        for then it has prepared that client's shard."""
        turn, first = self._workers.index(worker), next(waiting, None)
        for key in itertools.chain(() if first is None else (first,), waiting):
            if queue[key].metadata.dst_node_id % self._count == turn:
                return key
        return first

    def _give(self, worker: _Worker, message: Message) -> bool:
        try:
            return worker.give(message)
        except OSError:
            self._replace(worker, [message])
            return True

    def _give_again(self) -> None:
        """Give out anew what a worker that died had not begun."""
        while self._again:
            worker = self._least_busy()
            if worker is None or not self._give(worker, self._again[0]):
                return
            del self._again[0]

    def _stop_overdue(self) -> None:
        for worker in list(self._workers):
            if worker.given and expired(worker.given[0][0]) and not worker.connection.poll():
                worker.process.kill()
                self._replace(worker)

    def _replace(self, worker: _Worker, more: Sequence[Message] = ()) -> None:
        """Fail the message that a worker died of, and put a new worker in its place, which
        gets the others that the old one had not begun."""
        worker.close()
        exit_code = _reap(worker.process)
        lost, *rest = [*(message for message, _ in worker.given), *more]
        if expired(lost):
            code, reason = ErrorCode.REPLY_MESSAGE_UNAVAILABLE, too_late(lost)
        else:
            code = ErrorCode.CLIENT_APP_CRASHED
            reason = f"its worker process ended with exit code {exit_code}"
        self._failed.append(failure(lost, code, reason))
        self._workers[self._workers.index(worker)] = self._fork()
        self._again += rest

    def _fork(self) -> _Worker:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        files = [SharedFile.create() for _ in range(1 + SLOTS)]
        others = [worker.connection for worker in self._workers if not worker.connection.closed]
        process = context.Process(
            target=_work,
            args=(self._run, there, files, [here, *others], die_with_parent(signal.SIGKILL)),
            daemon=True,
        )
        process.start()
        there.close()
        return _Worker(process, here, TaskSender(here, files[0]), files)


def _work(
    run: Run,
    connection: Connection,
    files: Sequence[SharedFile],
    inherited: Sequence[Connection],
    bind: Callable[[], None],
) -> None:
    """A worker process's life: message in, reply out, until the other end closes.

    It closes its copies of the parent's ends, or no worker would see the parent go; where the
    parent is killed, `bind` has it end in the middle of its message, for the run's folder, which
    it writes to and holds, may then be another's.
    """
    bind()
    for copy in inherited:
        copy.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # What was there before the fork stays out of collections, and so stays shared.
    torch.set_num_threads(1)
    receiver = TaskReceiver(connection, files[0])
    try:
        while True:
            message, slot = receiver.receive()
            started = time.perf_counter()
            with reply_in(files[1 + slot]):
                reply = run(message)
            send_reply(connection, files[1:], reply, slot, time.perf_counter() - started)
            del reply  # Its slot is free for the next one only when nothing here looks at it.
    except (EOFError, OSError):
        return


def _with_news(workers: Sequence[_Worker], timeout: float) -> list[_Worker]:
    """The workers that sent something or ended; waits at most `timeout` seconds for the first."""
    poll = select.poll()
    by_file = {worker.connection.fileno(): worker for worker in workers}
    for file in by_file:
        poll.register(file, select.POLLIN)
    return [by_file[file] for file, _ in poll.poll(timeout * 1000)]


def _reap(process: ForkProcess) -> int | None:
    """Wait for a process that ends, insist after a while, and give its exit code."""
    process.join(timeout=5)
    if process.is_alive():
        process.kill()
        process.join()
    exit_code = process.exitcode
    process.close()
    return exit_code
