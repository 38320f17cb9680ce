"""The warm node: a client process that keeps its ClientApp, model and data in memory.

A stock SuperNode sleeps three seconds between looks for work and starts a new Python for every
message. This one speaks the same Fleet API, looks often when there is work and seldom when
there is none, and calls the ClientApp in its own process. It never fetches an app bundle: what
runs is the umbel installed here, so whoever controls the server cannot run programs here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import getpid
from pathlib import Path
from typing import TypeAlias

import torch
from flwr.app import Context, Error, Message, RecordDict

from ..errors import BadInput, Declined, UmbelError, told
from ..flower_internals import (
    DECLINED,
    HEARTBEAT_MIN_INTERVAL,
    ErrorCode,
    PullMessagesResponse,
    assume_identity,
)
from ..logs import Format, event, show, where
from ..objects_internals import LARGEST_BYTES
from ..rounds import printable
from ..stopping import Told, stoppable
from ..transfer import Gone, trust
from .answers import Barred
from .delivery import Delivery, Dismissed, Obsolete, Refused, Unacceptable
from .fleet import FleetLink
from .identity import Identity
from .watching import Watch

log = logging.getLogger("umbel.node")

ClientApp: TypeAlias = Callable[[Message, Context], Message]

SHORTEST_PAUSE = 0.01
LONGEST_PAUSE = 1.0
PATIENCE = 0.1
"""Between two looks for work the node sleeps this share of the time since it last had some, where
the SuperLink is Flower's and does not let it wait for news."""

REFUSED_PAUSE = 30.0  # the longest between two tries to join where this node is refused
ATTEMPTS = 2
"""A message that was being worked on when the node was killed is begun again once; if it kills
the node again, the server is told so."""


@dataclass(frozen=True)
class NodeOptions:
    """How a warm node runs.

    Args:
        address: the SuperLink's host and port.
        state: the folder for the node's key, and for what its ClientApp keeps.
        node_config: what the ClientApp finds in `Context.node_config`.
        root_certificates: PEM file of who may have signed the SuperLink's certificate.
        insecure: allow plain HTTP beyond this machine.
        key: private key file (PEM) where the SuperLink admits only keys it was told of.
        about: what the server's owner may read of this node (`umbel nodes`).
        connect: seconds to wait for the SuperLink at the start.
        reconnect: seconds to go on trying when it goes away later; a week.
        threads: torch's threads.
        max_message_bytes: how large a message it takes.
        error_texts: tell the server, and the log, the texts of exceptions that are not umbel's
            own, which may quote data; else only their kind.
        log_format: of the log on standard error.
    """

    address: str
    state: Path
    node_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    root_certificates: Path | None = None
    insecure: bool = False
    key: Path | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    connect: float = 30.0
    reconnect: float = 604_800.0
    threads: int = 1
    max_message_bytes: int = LARGEST_BYTES
    error_texts: bool = False
    log_format: Format = "text"


def run_node(
    options: NodeOptions, load_app: Callable[[], ClientApp], watch: Watch | None = None
) -> None:
    """Serve a SuperLink until told to end by SIGTERM or SIGINT.

    Raises BadInput if the SuperLink cannot be reached at the start or another client uses the
    state folder, UmbelError if the SuperLink stays away later.

    Args:
        options: where and how.
        load_app: gives the ClientApp; called once, after the node has joined.
        watch: looks on while the node works.
    """
    show(options.log_format)
    certificates = trust(options.address, options.root_certificates, insecure=options.insecure)
    identity = Identity(options.state, options.key)
    stopped = threading.Event()
    with identity.held(), stoppable():
        link = FleetLink(
            options.address,
            identity,
            root_certificates=certificates,
            patience=options.connect,
            stopped=stopped,
            limit=options.max_message_bytes,
            about=options.about,
        )
        try:
            _Node(link, identity, options, load_app, stopped, watch or Watch()).serve()
        except Told as told:
            log.info("told to end by %s", told, extra=event("ended"))
        finally:
            stopped.set()
            # One that was told to end in the middle of something may be back at once to finish
            # it, and is waited for as long as one that was killed.
            link.close(leave=not identity.under_way())


class _Node:
    """A node that has its link and its identity."""

    def __init__(
        self,
        link: FleetLink,
        identity: Identity,
        options: NodeOptions,
        load_app: Callable[[], ClientApp],
        stopped: threading.Event,
        watch: Watch,
    ) -> None:
        self._watch = watch
        self._link = link
        self._identity = identity
        self._options = options
        self._load_app = load_app
        self._stopped = stopped
        self._context: Context | None = None

    def serve(self) -> None:
        """Join, then work until stopped; join again whenever the SuperLink has forgotten us."""
        try:
            self._link.join()
        except UmbelError as error:
            raise BadInput(str(error)) from error
        self._link.patience.seconds = self._options.reconnect
        threading.Thread(target=self._beat, name="umbel-heartbeat", daemon=True).start()
        address, node = self._link.address, self._link.node
        fields = event("joined", server=address, node=node, process=getpid())
        log.info("joined %s as node %d, process %d", address, node, getpid(), extra=fields)
        torch.set_num_threads(self._options.threads)
        self._app = self._load_app()
        self._finish_interrupted()
        while not self._stopped.is_set():
            try:
                self._work()
            except Dismissed:
                self._join_again()
            except (Refused, Unacceptable) as error:
                log.warning("%s", error)
                self._stopped.wait(LONGEST_PAUSE)

    def _join_again(self) -> None:
        """Join a SuperLink that has forgotten this node, as after its restart; one that refuses
        it is asked again, for it may not know yet whom it is to admit."""
        self._identity.end()
        end = time.monotonic() + self._options.reconnect
        pause = LONGEST_PAUSE
        while not self._stopped.is_set():
            try:
                self._link.join()
            except UmbelError as error:
                if isinstance(error, Barred) or time.monotonic() >= end:
                    raise
                log.warning("%s; trying again", error)
                self._stopped.wait(pause)
                pause = min(2 * pause, REFUSED_PAUSE)
            else:
                fields = event("joined", server=self._link.address, node=self._link.node)
                log.info("joined again as node %d", self._link.node, extra=fields)
                return

    def _beat(self) -> None:
        """Heartbeats, also while the ClientApp is training."""
        while not self._stopped.wait(0.4 * HEARTBEAT_MIN_INTERVAL):
            self._link.heartbeat()

    def _work(self) -> None:
        """Look for work, and do it, for as long as the SuperLink knows us."""
        busy_until = time.monotonic()
        while not self._stopped.is_set():
            delivery = self._link.pull()
            if delivery is not None:
                self._handle(delivery, attempt=1)
                busy_until = time.monotonic()
                continue
            # Also where the server says that it always has news.
            self._stopped.wait(SHORTEST_PAUSE)
            if not self._link.await_news():
                idle = time.monotonic() - busy_until
                self._stopped.wait(min(PATIENCE * idle, LONGEST_PAUSE))

    def _finish_interrupted(self) -> None:
        """Take up the message that was being worked on when the node was killed."""
        note = self._identity.under_way()
        if not note:
            return
        delivery = Delivery(PullMessagesResponse.FromString(note[1:]))
        try:
            self._handle(delivery, attempt=note[0] + 1)
        except Dismissed:
            self._identity.end()

    def _handle(self, delivery: Delivery, attempt: int) -> None:
        """Work one message off; a message that nobody waits for any more is dropped."""
        metadata = delivery.message.metadata
        what = printable(f"{metadata.message_type} of round {metadata.group_id}", 60)
        if delivery.expires <= time.time():
            log.info("dropped %s: too late", what, extra=event("dropped", kind=what))
            self._identity.end()
            return
        self._identity.begin(bytes([attempt]) + delivery.answer.SerializeToString())
        try:
            assume_identity(delivery.run, self._link.node)
            begun = time.perf_counter()
            message, reply = self._fetched(delivery, what)
            started = time.perf_counter()
            if reply is None and attempt > ATTEMPTS:
                reply = _error(message, "the client was killed while it worked on this")
            elif reply is None:
                reply = self._call(message, what)
            seconds = time.perf_counter() - started
            self._watch.leaving(message, reply)
            self._link.answer(delivery, reply, seconds)
            spent = {"fetch": started - begun, "work": seconds}
            spent["send"] = time.perf_counter() - started - seconds
            self._watch.spent(spent)
            fields = event("answered", kind=what, seconds=spent)
            log.info("answered %s, %.2f s of work", what, seconds, extra=fields)
        except (Obsolete, Gone, Refused) as error:
            reason = str(error) or type(error).__name__.lower()
            fields = event("dropped", kind=what, reason=reason)
            log.warning("dropped %s: %s", what, reason, extra=fields)
        except Told:
            # It is begun again as if it had not been begun: nothing went wrong with it.
            self._identity.begin(bytes([attempt - 1]) + delivery.answer.SerializeToString())
            raise
        self._identity.end()

    def _fetched(self, delivery: Delivery, what: str) -> tuple[Message, Message | None]:
        """A message with its content, or as announced and the reply that it is not taken."""
        try:
            return self._link.fetch(delivery), None
        except Unacceptable as refusal:
            return delivery.message, _declined(delivery.message, what, refusal)

    def _call(self, message: Message, what: str) -> Message:
        """The ClientApp's reply, or what went wrong in it."""
        try:
            return self._app(message, self._context_of(message.metadata.run_id))
        except Declined as refusal:
            return _declined(message, what, refusal)
        except Exception as error:  # noqa: BLE001  # Whatever it is, it costs one reply.
            reason = told(error, texts=self._options.error_texts)
            place = where(error.__traceback__)
            fields = event("failed", kind=what, reason=reason, at=place)
            log.error("%s failed: %s, at %s", what, reason, place, extra=fields)
            return _error(message, reason)

    def _context_of(self, run: int) -> Context:
        """The context of a run; only the latest run's is kept."""
        node = self._link.node
        if self._context is None or (self._context.run_id, self._context.node_id) != (run, node):
            config = {**self._options.node_config, "threads": self._options.threads}
            config["state"] = str(self._options.state)
            self._context = Context(run, node, config, RecordDict(), {})
        return self._context


def _declined(message: Message, what: str, refusal: Exception) -> Message:
    fields = event("declined", kind=what, reason=str(refusal))
    log.warning("declined %s: %s", what, refusal, extra=fields)
    return Message(Error(DECLINED, f"declined by the site: {refusal}"), reply_to=message)


def _error(message: Message, reason: str) -> Message:
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
