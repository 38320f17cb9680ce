"""A node's link to a SuperLink: Flower's Fleet API with everything kept open and warm."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
from flwr.app import Message

from ..answers import AnswerRefused
from ..errors import UmbelError, told
from ..flower_internals import (
    HEARTBEAT_MIN_INTERVAL,
    ActivateNodeRequest,
    ConfirmMessageReceivedRequest,
    DeactivateNodeRequest,
    Node,
    PullMessagesRequest,
    PullObjectRequest,
    PushMessagesRequest,
    PushObjectRequest,
    RegisterNodeFleetRequest,
    SendNodeHeartbeatRequest,
    set_message_id,
)
from ..http_internals import (
    await_news,
    fleet_client,
    restrict,
    set_piece_bytes,
    set_timeout,
)
from ..lines import Uplink
from ..objects_internals import LARGEST_BYTES, Outgoing, inflate_message, object_ids
from ..security.keys import public_pem
from ..transfer import AT_ONCE, Fetcher, Patience, each
from ..wire import ABOUT_HEADER, NODE_HEADER, pack_about
from .absence import Absence
from .answers import at_the_door, at_work
from .delivery import Budget, Delivery, Refused, Unacceptable
from .identity import Identity

LINGER_SECONDS = 1.5
"""How long a node stays after its last reply: a run looks for it several times a second."""

FAREWELL_SECONDS = 3.0
"""How long a node that ends waits for a SuperLink to hear of it."""

ENVELOPE_BYTES = 1_000_000
"""What an answer may hold beside an object, and all that an announcement may hold."""

HEARTBEAT_INTERVAL = 1.5 * HEARTBEAT_MIN_INTERVAL
"""What a node promises a SuperLink, which takes it for gone after twice as long: long enough for
a line that is dead for 20 s, short enough that a round need not wait for the dead."""

OFFLINE_SECONDS = 2.0 * HEARTBEAT_INTERVAL
"""A SuperLink takes a node for offline when this long has passed since its last heartbeat."""

HOLD_SECONDS = 5.0
"""A node waits at the SuperLink so long at a time until something is sent to it."""

KEPT_BYTES = 64_000
"""Objects of the last message from this size on are kept: a model sent for evaluation is the
model sent for the next round's training, and need not come twice."""


class FleetLink:
    """What a node says to a SuperLink; `patience` says how long to wait for one that is away.

    Args:
        address: the SuperLink's host and port.
        identity: who the node is.
        root_certificates: PEM of who may have signed its certificate; None is plain HTTP.
        patience: seconds to go on trying when it cannot be reached.
        stopped: set when the node is told to end.
        limit: bytes of the largest message that the node takes.
        about: what the server's owner may read of this node (`umbel nodes`).
    """

    def __init__(
        self,
        address: str,
        identity: Identity,
        *,
        root_certificates: bytes | None,
        patience: float,
        stopped: threading.Event,
        limit: int = LARGEST_BYTES,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self.node = 0
        self._identity = identity
        # A place may start again at any time, but two starts of it never run at once.
        headers = {NODE_HEADER: f"{identity.place}.{secrets.token_hex(8)}"}
        headers[ABOUT_HEADER] = pack_about(about or {})
        self._client = fleet_client(
            address, identity.key, root_certificates=root_certificates, headers=headers
        )
        restrict(self._client, limit + ENVELOPE_BYTES)
        self._limit = limit
        self.patience = Patience(address, patience, stopped, tell=Absence(address))
        self._stopped = stopped
        self._movers = ThreadPoolExecutor(AT_ONCE, "umbel-objects")
        self._fetcher = Fetcher(stopped)
        self._uplink = Uplink()
        self._answered = 0.0
        self._kept: dict[str, bytes] = {}
        self._mark: str | None = ""

    def join(self) -> int:
        """Become a node of the SuperLink, the same as before if it knows this node.

        A heartbeat is enough to come back, even while the SuperLink still takes the killed
        process for alive; the message that it had been given is then not lost.
        """
        former = self._identity.node_at(self.address)
        if former is not None and self._comes_back(former):
            self.node = former
        else:
            self.node = self._register()
            self._identity.remember(self.address, self.node)
        return self.node

    def _comes_back(self, node: int) -> bool:
        request = _heartbeat(node)
        try:
            return bool(self.patience(lambda: self._client.SendNodeHeartbeat(request)).success)
        except (httpx.HTTPStatusError, RuntimeError, AnswerRefused, ValueError):
            return False

    def _register(self) -> int:
        """Have the SuperLink know this node's key, and go online."""
        key = public_pem(self._identity.key.public_key())
        self._tolerant(lambda: self._client.RegisterNode(RegisterNodeFleetRequest(public_key=key)))
        request = ActivateNodeRequest(public_key=key, heartbeat_interval=HEARTBEAT_INTERVAL)
        end = time.monotonic() + 1.5 * OFFLINE_SECONDS
        while time.monotonic() < end:
            answer = self._tolerant(lambda: self._client.ActivateNode(request))
            if answer is not None:
                return int(answer.node_id)
            self._stopped.wait(0.5)
        raise UmbelError(
            f"{self.address}: the SuperLink does not let this node's key in, for another node uses "
            "it or it is not known there; a key is for one node (umbel keys add, umbel nodes)"
        )

    def close(self, *, leave: bool) -> None:
        """Let go of the connection.

        Args:
            leave: say that the node goes offline; a SuperLink that is gone need not know.
        """
        node, self.node = self.node, 0
        self._movers.shutdown(wait=False, cancel_futures=True)
        if leave and node:
            # The run has to fetch a reply before its sender is gone, or the SuperLink drops it.
            time.sleep(max(0.0, self._answered + LINGER_SECONDS - time.monotonic()))
            set_timeout(self._client, FAREWELL_SECONDS)
            with suppress(httpx.HTTPError, RuntimeError, ValueError):
                self._client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        self._client.close()

    def heartbeat(self) -> None:
        """Say that the node is alive; what goes wrong here shows in the next request."""
        try:
            self._client.SendNodeHeartbeat(_heartbeat(self.node))
        except (httpx.HTTPError, RuntimeError, ValueError):
            return

    def pull(self) -> Delivery | None:
        """The next message for this node, if there is one."""
        request = PullMessagesRequest(node=Node(node_id=self.node))
        answer = self._ask(lambda: self._client.PullMessages(request))
        if not answer.messages_list:
            return None
        if answer.ByteSize() > ENVELOPE_BYTES:
            raise Refused(f"{self.address}: announced a message in too many words")
        try:
            return Delivery(answer)
        except Exception as error:  # Whatever a hostile announcement does in Flower's reader.
            raise Refused(f"{self.address}: announced what is no message") from error

    def await_news(self) -> bool:
        """Wait until there may be a message for this node; whether the SuperLink let it wait."""
        if self._mark is None:
            return False
        mark = self._mark
        self._mark = self._ask(lambda: await_news(self._client, mark, HOLD_SECONDS))
        return bool(self._mark)

    def fetch(self, delivery: Delivery) -> Message:
        """A message with its content; raises Gone if that was not uploaded in time,
        Unacceptable if it is too large or cannot be read."""
        end = time.monotonic() + max(0.0, delivery.expires - time.time())
        names = object_ids(delivery.tree)
        held = {name: self._kept[name] for name in names if name in self._kept}
        missing = [name for name in names if name not in held]

        def pull(name: str) -> bytes:
            request = PullObjectRequest(
                node=Node(node_id=self.node), run_id=delivery.run, object_id=name
            )
            ask = lambda: self._ask(lambda: self._client.PullObject(request))  # noqa: E731
            content = self._fetcher(ask, name, end)
            budget.spend(len(content))
            return content

        budget = Budget(self._limit - sum(map(len, held.values())))
        contents = held | each(self._movers, pull, missing)
        self._kept = {n: content for n, content in contents.items() if len(content) >= KEPT_BYTES}
        try:
            message = inflate_message(delivery.message, delivery.tree, dict(contents), self._limit)
        except Exception as error:  # Whatever hostile objects do in Flower's reader.
            reason = f"the message cannot be read: {told(error, texts=True)}"
            raise Unacceptable(reason) from error
        set_message_id(message, delivery.message.metadata.message_id)
        return message

    def answer(self, delivery: Delivery, reply: Message, seconds: float) -> None:
        """Send the reply to a delivered message, and let the SuperLink forget the message."""
        outgoing = Outgoing(reply)
        request = PushMessagesRequest(
            node=Node(node_id=self.node),
            messages_list=[outgoing.announcement],
            message_object_trees=[outgoing.tree],
            clientapp_runtime_list=[seconds],
        )
        answer = self._ask(lambda: self._client.PushMessages(request))
        wanted = set(answer.objects_to_push)
        # Nothing is wanted where the run has heard of the reply already, from an earlier try
        # whose answer was lost, or does not wait for it any more: the first object shows which.
        # Without a session they count for the one that the earlier try began.
        names = [name for name in outgoing.objects if name in wanted or not wanted]
        session = answer.session_id if wanted else ""

        def push(name: str) -> bytes:
            request = PushObjectRequest(
                node=Node(node_id=self.node),
                run_id=delivery.run,
                object_id=name,
                object_content=outgoing.objects[name](),
                session_id=session,
            )
            stored = self._ask(lambda: self._client.PushObject(request)).stored
            self._uplink.add(len(request.object_content))
            return b"stored" if stored else b""

        self._uplink.begin()
        if wanted or push(names[0]):
            each(self._movers, push, names if wanted else names[1:])
        pieces = self._uplink.end()
        if pieces is not None:
            set_piece_bytes(pieces)
        self._answered = time.monotonic()
        self.confirm(delivery)

    def confirm(self, delivery: Delivery) -> None:
        """Let the SuperLink forget a message that has been dealt with."""
        request = ConfirmMessageReceivedRequest(
            node=Node(node_id=self.node),
            run_id=delivery.run,
            message_object_id=delivery.tree.object_id,
        )
        self._ask(lambda: self._client.ConfirmMessageReceived(request))

    def _tolerant(self, request: Callable[[], Any]) -> Any:
        """A request's answer, None where the SuperLink finds that it does not apply now."""
        try:
            return self.patience(request)
        except httpx.HTTPStatusError as error:
            meant = at_the_door(self.address, error)
            if meant is None:
                return None
            raise meant from error

    def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            return self.patience(request)
        except httpx.HTTPStatusError as error:
            raise at_work(self.address, error) from error
        except AnswerRefused as error:
            raise Unacceptable(str(error)) from error
        except ValueError as error:
            raise Refused(f"{self.address}: {error}") from error


def _heartbeat(node: int) -> SendNodeHeartbeatRequest:
    return SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=HEARTBEAT_INTERVAL)
