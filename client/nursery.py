"""Many warm nodes from one start: what they all import is imported once, then each is forked.

`umbel up` starts its clients so. Each is a process of its own, the same as `umbel client`
makes, but ten of them cost one import of torch, and one that was killed is back at once.

It speaks JSON lines. In: `{"name": ..., "data": ..., "state": ..., "log": ...}` starts a node.
Out: `{"name": ..., "code": ...}` says that one has ended, with its exit code (negative: the
signal that ended it). When its standard input ends, it ends its nodes and itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from .. import experiment as experiment  # what every node needs is imported before any fork
from ..data import storage as storage
from ..errors import UmbelError
from ..processes import die_with_parent
from . import app as app
from . import workbench as workbench
from .node import NodeOptions, run_node
from .policy import Leave, Policy
from .site import Site, make_site_app

GRACE_SECONDS = 3.0
"""What the nodes have to end in when their run is over."""


class Nursery:
    """Forks nodes as it is told.

    Args:
        address: the SuperLink's host and port.
        imports: modules from which an experiment may name parts.
    """

    def __init__(self, address: str, imports: tuple[str, ...]) -> None:
        self._address = address
        # The experiment's author owns these clients: nothing else is kept from it.
        self._policy = Policy(leave=Leave(subgraph="classes")).with_imports(imports)
        self._nodes: dict[int, str] = {}
        # Unbuffered, so that a selector sees every line that has not been read.
        self._orders = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)

    def serve(self) -> None:
        """Start nodes and report their ends until standard input ends."""
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, _leave)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._orders, selectors.EVENT_READ)
                selector.register(wake, selectors.EVENT_READ)
                while self._turn(selector, wake):
                    pass
        finally:
            self._stop()

    def _turn(self, selector: selectors.DefaultSelector, wake: int) -> bool:
        """Do what there is to do now; False when standard input has ended."""
        ready = {key.fd for key, _ in selector.select()}
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            self._reap()
        if self._orders.fileno() not in ready:
            return True
        line = self._orders.readline()
        if line:
            self._start(json.loads(line))
        return bool(line)

    def _start(self, order: dict[str, str]) -> None:
        bind = die_with_parent()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            bind()
            os.setsid()  # Told to end by the nursery alone, and once.
            self._become(order)
        self._nodes[pid] = order["name"]

    def _become(self, order: dict[str, str]) -> NoReturn:
        """Be a node, in a process just forked."""
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for there, here in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(there, here)
        state = Path(order["state"])
        site = Site(order["data"], state / "state", order["name"], policy=self._policy)
        code = 1
        try:
            shard = site.read()
            options = NodeOptions(address=self._address, state=state, error_texts=True)
            run_node(options, lambda: make_site_app(site, shard))
            code = 0
        except UmbelError as error:
            print(f"umbel: {error}", file=sys.stderr)
            code = error.exit_code
        except BaseException:  # noqa: BLE001  # Nothing may leave a forked process but its code.
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self._nodes):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                name = self._nodes.pop(pid)
                report = {"name": name, "code": os.waitstatus_to_exitcode(status)}
                print(json.dumps(report), flush=True)

    def _stop(self) -> None:
        """End all nodes, politely first."""
        signal.set_wakeup_fd(-1)
        end = time.monotonic() + GRACE_SECONDS
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._nodes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self._nodes and (number == signal.SIGKILL or time.monotonic() < end):
                with contextlib.suppress(BrokenPipeError):
                    self._reap()
                time.sleep(0.01)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Nursery(sys.argv[1], tuple(sys.argv[2:])).serve()
