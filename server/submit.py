"""A run at a SuperLink, played by this process.

Flower starts a process for a run's ServerApp. umbel submits the run and takes its task over
instead: the round loop then runs here, with its progress in sight and without a second start.
What follows is what Flower's own `flwr-serverapp` does, in the same order.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from ..errors import BadInput, LinkLost, UmbelError
from ..flower_internals import (
    HEARTBEAT_MIN_INTERVAL,
    AcquireTaskRequest,
    Fab,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
    StartRunRequest,
    SubStatus,
    assume_server_identity,
    build_bundle,
    run_from_proto,
)
from ..http_internals import (
    ControlHttpClient,
    RuntimeHttpClient,
    control_client,
    is_healthy,
    refusal,
    runtime_client,
    set_timeout,
)
from ..processes import map_large_blocks
from ..security.keys import read_private_key
from ..transfer import PASSING, Patience, Tell, explain, trust
from ..wire import REFUSAL_HEADER
from .grid import LinkGrid

PYPROJECT = b"""[project]
name = "umbel"
version = "1.0.0"

[tool.flwr.app]
publisher = "umbel"

[tool.flwr.app.components]
serverapp = "umbel.server.app:app"
clientapp = "umbel.client.app:app"

[tool.flwr.app.config]
"""
"""The app bundle of every umbel run: it holds no code. A stock node finds in it the name of
the ClientApp to load from the umbel installed there; a warm node does not even fetch it."""

SERVER_APP = "flwr-serverapp"
FAREWELL_SECONDS = 3.0
"""How long a run that ends waits for a SuperLink to hear of it."""

TAKE_OVER_SECONDS = 45.0
"""A SuperLink offers a task again 30 s after a process took it and did not begin it."""


@dataclass(frozen=True)
class Link:
    """How to reach a SuperLink.

    Args:
        address: host and port.
        root_certificates: PEM of who may have signed its certificate; None is plain HTTP.
        secret: its SuperExec secret, if it was started with one.
        key: an operator's, where it asks for one.
        patience: seconds to go on trying when it cannot be reached.
    """

    address: str
    root_certificates: bytes | None = None
    secret: bytes | None = None
    key: EllipticCurvePrivateKey | None = None
    patience: float = 60.0

    def control(self) -> ControlHttpClient:
        """A client of its Control API, to be closed."""
        return control_client(self.address, root_certificates=self.root_certificates, key=self.key)

    def runtime(self, token: str | None = None) -> RuntimeHttpClient:
        """A client of its Runtime API, to be closed; `token` is the task's to speak for."""
        return runtime_client(
            self.address,
            root_certificates=self.root_certificates,
            token=token,
            secret=None if token else self.secret,
            key=self.key,
        )


@dataclass(frozen=True)
class Access:
    """What a user says of how to reach a SuperLink elsewhere.

    Args:
        ca: PEM file of who signed its certificate; None is plain HTTP.
        key: private key file (PEM) of an operator.
        insecure: allow plain HTTP beyond this machine.
    """

    ca: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def link(self, address: str, *, patience: float = 60.0) -> Link:
        """A Link to an address; raises BadInput for what cannot be read or would be unsafe."""
        trusted = trust(address, self.ca, insecure=self.insecure)
        key = read_private_key(self.key) if self.key else None
        return Link(address, trusted, key=key, patience=patience)

    def to_options(self) -> dict[str, str | bool]:
        """As kept in a run folder, for `umbel resume`."""
        files = {"ca": self.ca, "key": self.key}
        kept = {name: str(path.absolute()) for name, path in files.items() if path is not None}
        return {"insecure": self.insecure, **kept}

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Access:
        """What `to_options` made of it."""
        ca, key = (Path(str(options[n])) if n in options else None for n in ("ca", "key"))
        return cls(ca, key, bool(options.get("insecure")))


@contextmanager
def submitted(
    link: Link,
    check: Callable[[], None] = lambda: None,
    tell: Tell = lambda reason, since, left: None,
) -> Iterator[LinkGrid]:
    """Start a run at a SuperLink and yield its Grid; the run ends with the block.

    Args:
        link: the SuperLink.
        check: called again and again while the run goes on; raises to end it.
        tell: told whenever the SuperLink cannot be reached for a while.

    Raises UmbelError if the SuperLink refuses the run, LinkLost if it cannot be reached, goes
    away or forgets the run: what has been done so far can go on in another.
    """
    map_large_blocks()
    with _refusals(link):
        token = _take_over(link, _start(link))
    client = link.runtime(token=token)
    heartbeat = _Heartbeat(client, link.address)

    def go_on() -> None:
        check()
        heartbeat.check()

    grid: LinkGrid | None = None
    over = threading.Event()
    outcome, details = SubStatus.FAILED, "the process was interrupted"
    try:
        with _refusals(link):
            task = client.PullTaskInput(PullTaskInputRequest())
        assume_server_identity(task.run.run_id, task.task_id)
        heartbeat.start()
        patience = Patience(link.address, link.patience, over, check=go_on, tell=tell)
        grid = LinkGrid(client, run_from_proto(task.run), patience, go_on)
        yield grid
        outcome, details = SubStatus.COMPLETED, ""
    except Exception as error:
        details = f"{type(error).__name__}: {error}"
        raise
    finally:
        over.set()
        heartbeat.stop()
        _finish(client, outcome, details)
        (grid or client).close()


@contextmanager
def _refusals(link: Link) -> Iterator[None]:
    """Say in one line what a SuperLink said to a request at the start of a run."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        text = f"{link.address}: refused the run: {refusal(error)}"
        passing = error.response.status_code in PASSING
        if REFUSAL_HEADER in error.response.headers and not passing:
            raise BadInput(text) from error
        raise (LinkLost if passing else UmbelError)(text) from error
    except httpx.TransportError as error:
        raise LinkLost(
            f"{link.address}: the SuperLink went away ({type(error).__name__})"
        ) from error


def reach(link: Link) -> None:
    """Make sure that a SuperLink answers; raises BadInput if none does."""
    client = link.control()
    try:
        found = is_healthy(client, link.address, secure=link.root_certificates is not None)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BadInput(f"{link.address}: {explain(link.address, error)}") from error
    finally:
        client.close()
    if not found:
        raise BadInput(f"{link.address}: something else than a SuperLink answers there")


def _start(link: Link) -> str:
    """Submit a run; returns the sha256 of its bundle."""
    content = build_bundle(PYPROJECT)
    client = link.control()
    try:
        answer = client.StartRun(StartRunRequest(fab=Fab(content=content)))
    finally:
        client.close()
    if not answer.run_id:
        raise UmbelError(f"{link.address}: the SuperLink gave the run no number")
    return hashlib.sha256(content).hexdigest()


def _take_over(link: Link, bundle: str) -> str:
    """Take over a submitted run's ServerApp; returns the token to speak for it.

    Every umbel run has the same bundle and none has begun, so that of two processes which
    submit at once each may play either's run.
    """
    client = link.runtime()
    request = AcquireTaskRequest(supported_task_types=[SERVER_APP])
    end = time.monotonic() + TAKE_OVER_SECONDS
    try:
        while time.monotonic() < end:
            answer = client.AcquireTask(request)
            if answer.token and answer.task.fab_hash == bundle:
                return str(answer.token)
            time.sleep(0.2)
    finally:
        client.close()
    raise UmbelError(
        f"{link.address}: another process has taken the run; start this SuperLink with "
        "umbel server, or with --isolation process and no flower-superexec beside it"
    )


class _Heartbeat:
    """Tells the SuperLink that the run goes on, whatever the round loop is doing."""

    def __init__(self, client: RuntimeHttpClient, place: str) -> None:
        self._client = client
        self._place = place
        self._stopped = threading.Event()
        self._over = ""
        self._thread = threading.Thread(target=self._beat, name="umbel-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def check(self) -> None:
        """Raise LinkLost when the run is over for the SuperLink."""
        if self._over:
            raise LinkLost(f"{self._place}: {self._over}")

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_MIN_INTERVAL / 2):
            try:
                alive = self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
            except httpx.HTTPStatusError as error:
                if error.response.status_code in (401, 403):
                    self._over = "the SuperLink no longer knows the run (stopped or restarted)"
            except (httpx.HTTPError, RuntimeError):
                continue
            else:
                if not alive:
                    self._over = "the SuperLink has ended the run"


def _finish(client: RuntimeHttpClient, outcome: str, details: str) -> None:
    """Tell the SuperLink how the run ended; one that is gone need not know."""
    set_timeout(client, FAREWELL_SECONDS)
    try:
        client.PushTaskOutput(PushTaskOutputRequest(sub_status=outcome, details=details[:500]))
    except httpx.HTTPError:
        return
