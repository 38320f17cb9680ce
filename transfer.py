"""Requests that outlast a SuperLink's bad moments, and objects moved several at a time."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Lock
from typing import Protocol, TypeAlias, TypeVar

import httpx

from .errors import BadInput, UmbelError
from .wire import NO_ROOM, REFUSAL_HEADER

Result = TypeVar("Result")

AT_ONCE = 2
"""Objects under way at a time: the SuperLink handles requests one by one, so that more only
wait there, while two keep it busy when one side is copying."""

FIRST_PAUSE = 0.008
LONGEST_PAUSE = 0.5
RETRY_PAUSES = (0.05, 2.0)
PASSING = frozenset({502, 503, 504})

TOLD_AFTER = 2.0
"""A SuperLink that is away for less, in seconds, is nothing to talk about."""

TLS_FAULTS = {
    "certificate has expired": "the server's certificate has expired; its owner renews it with "
    "umbel certs make",
    "certificate is not yet valid": "the server's certificate is not valid yet; is this machine's "
    "clock right?",
    "hostname mismatch": "the server's certificate is for another host; use the name that it was "
    "made for, or have it made anew (umbel certs make --host)",
    "ip address mismatch": "the server's certificate is not for this address; use the name that "
    "it was made for, or have it made anew (umbel certs make --host)",
    "certificate verify failed": "the server's certificate was signed by somebody else than --ca "
    "says; is it this server's ca.pem?",
    "wrong version number": "the server speaks plain HTTP and no TLS; leave --ca out, and give "
    "--insecure if that is meant",
    "record layer failure": "the server speaks plain HTTP and no TLS; leave --ca out, and give "
    "--insecure if that is meant",
}
"""What a TLS connection ends with when a second try would end so too; any other end, as a
handshake that was cut, may pass."""

PROTOBUF = "application/protobuf"


def is_loopback(address: str) -> bool:
    """Whether an address ("host" or "host:port") never leaves this machine.

    >>> is_loopback("127.0.0.1:8000"), is_loopback("localhost"), is_loopback("0.0.0.0:8000")
    (True, True, False)
    >>> is_loopback("[::1]:8000"), is_loopback("127.example.org:8000")
    (True, False)
    """
    host = address.rsplit(":", 1)[0] if address.count(":") == 1 or "]" in address else address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def trust(address: str, root_certificates: Path | None, *, insecure: bool) -> bytes | None:
    """Whose certificates to trust for an address, as PEM; None means plain HTTP.

    Raises BadInput where plain HTTP would leave this machine unasked.
    """
    if root_certificates is not None:
        return read_file(root_certificates)
    if not (insecure or is_loopback(address)):
        raise BadInput(
            f"{address}: is not this machine, and no --ca is given; name the file of who signed "
            "the server's certificate, or say --insecure"
        )
    return None


def read_file(path: Path) -> bytes:
    """A file's bytes; raises BadInput if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error


Tell: TypeAlias = Callable[[str, float, float], None]
"""Told why a SuperLink cannot be reached, for how long that has been so, and how long it will be
waited for still, in seconds; an empty reason says that it is back."""


class Patience:
    """Repeats a request while the SuperLink cannot be reached, up to a deadline.

    Args:
        place: the SuperLink's address, for the error.
        seconds: how long to go on after the first failure.
        stopped: set to give up at once.
        check: called before each repetition; raises where there is nothing to wait for.
        tell: told of every failure that lasts, and of its end.
    """

    def __init__(
        self,
        place: str,
        seconds: float,
        stopped: Event | None = None,
        check: Callable[[], None] = lambda: None,
        tell: Tell = lambda reason, since, left: None,
    ) -> None:
        self._place = place
        self.seconds = seconds
        self._stopped = stopped or Event()
        self._check = check
        self._tell = tell
        self._lock = Lock()
        self._away_since: float | None = None
        self._away = 0.0

    @property
    def away(self) -> float:
        """Seconds, all in all, in which requests failed that were repeated."""
        with self._lock:
            since = self._away_since
            return self._away + (0.0 if since is None else time.monotonic() - since)

    def _note(self, *, away: bool) -> None:
        """Count the time from the first of some failures to the next request that succeeds."""
        with self._lock:
            now = time.monotonic()
            if away:
                self._away_since = self._away_since or now
            elif self._away_since is not None:
                self._away += now - self._away_since
                self._away_since = None

    def __call__(self, request: Callable[[], Result]) -> Result:
        """The request's result; raises UmbelError when patience runs out."""
        began: float | None = None
        pause, longest = RETRY_PAUSES
        while True:
            try:
                result = request()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if not is_passing(error):
                    if isinstance(error, httpx.HTTPStatusError):
                        raise
                    raise BadInput(f"{self._place}: {explain(self._place, error)}") from error
                if is_held_up(error):
                    began = None
                    self._note(away=False)
                else:
                    now = time.monotonic()
                    began = now if began is None else began
                    self._note(away=True)
                    self._wait(error, now - began)
            else:
                self._note(away=False)
                if began is not None and time.monotonic() - began > TOLD_AFTER:
                    self._tell("", time.monotonic() - began, 0.0)
                return result
            if self._stopped.wait(pause):
                raise UmbelError(f"{self._place}: stopped while waiting for the SuperLink")
            self._check()
            pause = min(2 * pause, longest)

    def _wait(self, error: httpx.HTTPError, since: float) -> None:
        """Tell of a failure; raises UmbelError where it has lasted too long."""
        if since >= self.seconds:
            raise UmbelError(
                f"{self._place}: no SuperLink has answered for {self.seconds:g} s "
                f"({type(error).__name__}); is it running, and is the address right?"
            ) from error
        if since > TOLD_AFTER:
            if isinstance(error, httpx.RemoteProtocolError) and speaks_tls(self._place):
                raise BadInput(f"{self._place}: {explain(self._place, error)}") from error
            self._tell(type(error).__name__, since, self.seconds - since)


def tls_context(root_certificates: bytes | None) -> ssl.SSLContext | bool:
    """What trusts an authority and no other; False for plain HTTP, which needs none."""
    if root_certificates is None:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root_certificates.decode("ascii"))
    return context


def explain(address: str, error: Exception) -> str:
    """What a failed connection means, and how to mend it, in one line."""
    said = " ".join(str(error).lower().replace("_", " ").split())
    for words, meaning in TLS_FAULTS.items():
        if words in said:
            return meaning
    cut = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
    if cut and speaks_tls(address):
        return "the server speaks TLS; give --ca with the file of who signed its certificate"
    return (
        f"no SuperLink answers there ({type(error).__name__}: {error}); start one with umbel "
        "server, or mend the address"
    )


def speaks_tls(address: str) -> bool:
    """Whether a TLS handshake begins at an address; nothing is trusted, and nothing sent."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except (OSError, ValueError):
        return False


def is_passing(error: httpx.TransportError | httpx.HTTPStatusError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING
    said = str(error).lower().replace("_", " ")
    return not any(words in said for words in TLS_FAULTS)


def is_held_up(error: httpx.TransportError | httpx.HTTPStatusError) -> bool:
    """Whether the SuperLink is there, and has only no room yet."""
    said = error.response.headers if isinstance(error, httpx.HTTPStatusError) else {}
    return said.get(REFUSAL_HEADER) == NO_ROOM


class Found(Protocol):
    """Flower's answer to a request for an object."""

    object_found: bool
    object_available: bool
    object_content: bytes


class Gone(Exception):
    """An object is no longer there, or was not uploaded in time."""


class Fetcher:
    """Gets objects, waiting for those that their sender is still uploading.

    A request for an object that is not there yet costs the SuperLink as much as a small one
    that is. Objects come in order, so while one is waited for nobody asks for another.

    Args:
        stopped: set to give up.
    """

    def __init__(self, stopped: Event) -> None:
        self._stopped = stopped
        self._waiting = Lock()

    def __call__(self, ask: Callable[[], Found], identity: str, end: float) -> bytes:
        """One object; raises Gone if it is not there by `end`, on the monotonic clock."""
        answer = _found(ask, identity)
        if answer.object_available:
            return answer.object_content
        with self._waiting:
            pause = FIRST_PAUSE
            while not answer.object_available:
                if time.monotonic() > end or self._stopped.wait(pause):
                    raise Gone(f"object {identity[:8]} was not uploaded in time")
                pause = min(2 * pause, LONGEST_PAUSE)
                answer = _found(ask, identity)
        return answer.object_content


def _found(ask: Callable[[], Found], identity: str) -> Found:
    answer = ask()
    if not answer.object_found:
        raise Gone(f"object {identity[:8]} is gone")
    return answer


def each(
    pool: ThreadPoolExecutor, move: Callable[[str], bytes], identities: Iterable[str]
) -> dict[str, bytes]:
    """Move objects through a pool and gather what `move` returns; the first error is raised."""
    futures: dict[str, Future[bytes]] = {name: pool.submit(move, name) for name in identities}
    wait(futures.values(), return_when=FIRST_EXCEPTION)
    for future in futures.values():
        future.cancel()
    return {name: future.result() for name, future in futures.items()}
