"""The process of a SuperLink: Flower's application behind umbel's gate, served by uvicorn.

`server.superlink` starts it, with a `Settings` as JSON for its one argument.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import uvicorn
from uvicorn.main import STARTUP_FAILURE

from ..logs import Format, formatter
from ..metrics import ServerMetrics, served
from ..processes import map_large_blocks
from .admission import Admission
from .downloads import Downloads
from .garbage import Garbage
from .gate import Gate
from .inspection import INSPECTED, inspect
from .keyring import Keyring
from .meter import Meter
from .metering import Metered
from .news import News
from .refusals import Sparingly
from .roster import Roster
from .superlink_internals import (
    LinkState,
    admit_node,
    clean_runs,
    delete_objects,
    dismiss_nodes_but,
    make_superlink,
    node_of,
    nodes_by_key,
    offer_again,
    online_nodes,
    orphans,
    route_log,
    stores_in_memory,
)
from .superlink_settings import Settings
from .uploads import Uploads

LOG_BYTES = 10_000_000
LOGS_KEPT = 3

KEEP_ALIVE_SECONDS = 30
"""A node that has nothing to do asks every five seconds."""

CLEAN_SECONDS = 300.0
"""How often spent messages are looked for; what is found twice goes."""

log = logging.getLogger("umbel.gate")


def serve(settings: Settings) -> None:
    """Serve until told to end by SIGTERM or SIGINT."""
    map_large_blocks()
    _log_to(settings.log, settings.log_format)
    app, state = make_superlink(settings.flower_options)
    keyring = Keyring(Path(settings.keys)) if settings.keys else None
    insides = _Insides(state, keyring, nodes_have_keys=settings.tls is not None)
    insides.follow_keyring()
    tls = tls_context(settings.tls[0], settings.tls[1]) if settings.tls else None
    admission = Admission(keyring, clients_need_keys=settings.tls is not None)
    threading.Thread(target=insides.keep_clean, name="umbel-janitor", daemon=True).start()
    meter = Meter(Downloads(app), lambda key: node_of(state, key))
    news = News(meter, lambda key: node_of(state, key))
    # What is kept in a database is not in memory, and nobody need wait.
    uploads = Uploads(news, state, meter.touch) if stores_in_memory(state) else None
    figures = ServerMetrics(lambda: online_nodes(state))
    with served(figures.registry, settings.metrics):
        config = uvicorn.Config(
            Metered(Gate(uploads or news, admission, insides), figures, Garbage().passed),
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_config=None,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
            ssl_context_factory=(lambda *_: tls) if tls else None,
        )
        server = _Server(config, [news, uploads] if uploads else [news])
        with suppress(KeyboardInterrupt):
            server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _Server(uvicorn.Server):
    """Uvicorn's, which waits for all requests before it ends: those that are held are answered
    first."""

    def __init__(self, config: uvicorn.Config, holding: Sequence[News | Uploads]) -> None:
        super().__init__(config)
        self._holding = holding

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for layer in self._holding:
            layer.close()
        await super().shutdown(sockets)


class _Insides:
    """The SuperLink behind the gate.

    Args:
        state: Flower's.
        keyring: the keys that the server knows.
        nodes_have_keys: whether Flower, too, knows its nodes by keys of the keyring.
    """

    inspected = INSPECTED

    def __init__(self, state: LinkState, keyring: Keyring | None, *, nodes_have_keys: bool) -> None:
        self._state = state
        self._keyring = keyring
        self._nodes_have_keys = nodes_have_keys

    def inspect(self, path: str, content: bytes) -> None:
        """Look at a request's body; raises Refusal."""
        inspect(path, content, foreign=self._keyring is None)

    def follow_keyring(self) -> None:
        """Have Flower know the nodes that the keyring names, and take no other for online."""
        if self._keyring is None or not self._nodes_have_keys:
            return
        holders = self._keyring.keys.clients.values()
        for holder in holders:
            admit_node(self._state, holder.pem, holder.name)
        dismiss_nodes_but(self._state, {holder.pem for holder in holders})

    def nodes(self, roster: Roster) -> bytes:
        """Who is connected, as JSON."""
        return json.dumps(roster.table(nodes_by_key(self._state))).encode()

    def offer_again(self, key: str) -> None:
        """Give a node, named by its key as requests show it, again what it has not answered."""
        node = node_of(self._state, key)
        if node is not None:
            offer_again(self._state, node)

    def keep_clean(self) -> None:
        """Delete what nobody will ask for any more, for as long as the process lives."""
        cleaned: set[int] = set()
        suspects: set[str] = set()
        while True:
            time.sleep(CLEAN_SECONDS)
            try:
                clean_runs(self._state, cleaned)
                found = orphans(self._state)
                # What had no message the last time, too, is not just being fetched.
                delete_objects(self._state, found & suspects)
                suspects = found - suspects
            except Exception:
                log.exception("cleaning up failed")


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with a server's certificate; failed handshakes are logged."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.sslobject_class = _Logged
    return context


_handshakes = Sparingly()


class _Logged(ssl.SSLObject):
    """A connection's TLS that says why no connection came of it: neither asyncio nor uvicorn
    tells, and plain HTTP or a mistrusted certificate would leave no trace."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            _handshakes.warn(f"a connection: TLS: {error.reason or 'no handshake'}")
            raise


def _log_to(path: str, format: Format) -> None:
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, delay=True)
    handler.setFormatter(formatter(format))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    route_log(handler, logging.WARNING)


def main() -> None:
    """The process's entry point."""
    settings = Settings.from_json(sys.argv[1])
    try:
        serve(settings)
    except Exception:
        log.exception("the SuperLink ended")
        raise


if __name__ == "__main__":
    main()
