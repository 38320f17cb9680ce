"""A Grid over a SuperLink that answers as soon as a reply is there.

Flower's own `HttpGrid` fetches replies one after another and waits a second and more for an
object whose upload has only begun; a lost connection it retries without end. This one fetches
in the background, with short waits, so that a slow reply never holds up a quick one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import httpx
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from ..errors import LinkLost, UmbelError
from ..flower_internals import (
    SUPERLINK_NODE_ID,
    ConfirmMessageReceivedRequest,
    GetNodesRequest,
    Node,
    PullAppMessagesRequest,
    PullObjectRequest,
    PushAppMessagesRequest,
    PushObjectRequest,
    Run,
    message_from_envelope,
)
from ..http_internals import RuntimeHttpClient, await_news, read_transfers, refusal
from ..objects_internals import Outgoing
from ..transfer import AT_ONCE, Patience, each
from .arrivals import Arrivals
from .tracking import Transfer

ARRIVAL_WAIT = 0.25
"""When every reply asked for is on its way already, a pull waits for one up to this long."""

LATE_LOOK_SECONDS = 1.0
"""How often, at most, the SuperLink is asked for replies that are too late."""

UNKNOWN = frozenset({401, 403})
"""What a SuperLink says to the process of a run that is over for it, or that it never knew."""

SERVER_ERROR = 500


class LinkGrid(Grid):
    """Flower's Grid over the Runtime API of a SuperLink.

    Args:
        client: speaks to the SuperLink as the run's ServerApp.
        run: the run as the SuperLink knows it.
        patience: what to do when the SuperLink cannot be reached.
        check: called whenever the round loop asks for something; raises when the run is over.
    """

    def __init__(
        self,
        client: RuntimeHttpClient,
        run: Run,
        patience: Patience,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._run = run
        self._patience = patience
        self._check = check
        self._node = Node(node_id=SUPERLINK_NODE_ID)
        self._movers = ThreadPoolExecutor(AT_ONCE, "umbel-objects")
        self._arrivals = Arrivals(self._pull, self._confirm, self._movers)
        self._abandoned: set[str] = set()
        self._looked = 0.0
        self._counts = True
        self._mark: str | None = ""
        self.names: Mapping[int, str] = {}

    @property
    def run(self) -> Run:
        """The run as the SuperLink knows it."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Take another run's place."""
        self._run = run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to a node; Flower's older name for its constructor."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_nodes(self) -> Iterable[Any]:
        """What the SuperLink knows of the nodes that are online."""
        self._check()
        nodes: Iterable[Any] = self._ask(lambda: self._client.GetNodes(GetNodesRequest())).nodes
        self.names = {node.node_id: node.name for node in nodes if node.name}
        return nodes

    def get_node_ids(self) -> Sequence[int]:
        """The ids of the nodes that are online."""
        return [node.node_id for node in self.get_nodes()]

    def push_messages(  # type: ignore[override]
        self, messages: Iterable[Message]
    ) -> list[str | None]:
        """Send messages; their ids in order, None where the SuperLink refused one, as when its
        node is no longer known."""
        self._check()
        outgoing = [Outgoing(message) for message in messages]
        if not outgoing:
            return []
        self._arrivals.forget_unasked()
        request = PushAppMessagesRequest(
            messages_list=[out.announcement for out in outgoing],
            message_object_trees=[out.tree for out in outgoing],
        )
        answer = self._ask(lambda: self._client.PushMessages(request))
        self._upload(outgoing, answer.objects_to_push, answer.session_id)
        return [identity or None for identity in answer.message_ids]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that have arrived in full since they were last asked for."""
        self._check()
        wanted = list(message_ids)
        unheard = [identity for identity in wanted if identity not in self._arrivals]
        if unheard:
            self._announce(unheard)
        self._forget_abandoned()
        arriving = self._arrivals.asked(wanted)
        if arriving and len(arriving) == len(wanted):
            futures = [arrival.future for arrival in arriving]
            wait(futures, timeout=ARRIVAL_WAIT, return_when=FIRST_COMPLETED)
        return self._arrivals.take(wanted)

    def rest(self, pause: float, longest: float) -> None:
        """Wait until a reply may have come, at most `longest` seconds; `pause` seconds where the
        SuperLink is Flower's and cannot tell, or where some are on their way already."""
        if self._mark is None or self._arrivals.under_way():
            time.sleep(pause)
            return
        mark = self._mark
        self._mark = self._ask(lambda: await_news(self._client, mark, longest))

    @property
    def away(self) -> float:
        """Seconds, all in all, in which the SuperLink could not be reached."""
        return self._patience.away

    def transfers(self) -> dict[int, Transfer]:
        """What has moved of late from and to each node.

        From a SuperLink that does not count (Flower's own), only what has arrived here.
        """
        found = {
            arrival.sender: Transfer(up=arrival.received, idle=arrival.silent)
            for arrival in self._arrivals.under_way()
        }
        for node, counted in self._counted().items():
            found[node] = counted
        self._arrivals.lose_begun_again(found)
        return found

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for these replies any more: the messages are taken back where no node
        has fetched them yet, and replies that come all the same are let go unread."""
        for identity in message_ids:
            self._abandoned.add(identity)
            self._movers.submit(self._confirm, identity)

    def _forget_abandoned(self) -> None:
        """Let go of the replies that came too late, so that the SuperLink need not keep them."""
        now = time.monotonic()
        if not self._abandoned or now - self._looked < LATE_LOOK_SECONDS:
            return
        self._looked = now
        self._announce([name for name in self._abandoned if name not in self._arrivals])
        late = [name for name in self._abandoned if name in self._arrivals]
        self._arrivals.forget(late)
        self._abandoned.difference_update(late)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Send messages and wait for their replies, at most `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        pending = {identity for identity in self.push_messages(messages) if identity}
        replies: list[Message] = []
        while pending and (end is None or time.monotonic() < end):
            found = self.pull_messages(pending)
            pending -= {message.metadata.reply_to_message_id for message in found}
            replies += found
            if not found:
                time.sleep(0.02)
        return replies

    def close(self) -> None:
        """Give up whatever is under way and let go of the connection."""
        self._arrivals.close()
        self._movers.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _announce(self, message_ids: list[str]) -> None:
        """Ask which replies there are and begin to fetch them."""
        request = PullAppMessagesRequest(message_ids=message_ids)
        answer = self._ask(lambda: self._client.PullMessages(request))
        for envelope, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            self._arrivals.add(message_from_envelope(envelope), tree)

    def _counted(self) -> dict[int, Transfer]:
        """What the SuperLink has counted, if it is umbel's own and can be reached now."""
        if not self._counts:
            return {}
        try:
            counted = read_transfers(self._client)
        except httpx.HTTPStatusError:
            self._counts = False
            return {}
        except (httpx.TransportError, ValueError, TypeError):
            return {}
        return {
            node: Transfer(int(up), int(down), idle, begun)
            for node, (up, down, idle, begun) in counted.items()
        }

    def _pull(self, name: str) -> Any:
        request = PullObjectRequest(node=self._node, run_id=self._run.run_id, object_id=name)
        return self._ask(lambda: self._client.PullObject(request))

    def _confirm(self, identity: str) -> None:
        """Let the SuperLink forget a message's objects; it forgets them with the run at last."""
        request = ConfirmMessageReceivedRequest(
            node=self._node, run_id=self._run.run_id, message_object_id=identity
        )
        with suppress(httpx.HTTPError, RuntimeError):
            self._client.ConfirmMessageReceived(request)

    def _upload(self, outgoing: list[Outgoing], wanted: Iterable[str], session: str) -> None:
        """Send the objects that the SuperLink does not hold yet."""
        missing = set(wanted)
        contents: dict[str, Callable[[], bytes]] = {}
        for out in outgoing:
            contents |= {name: make for name, make in out.objects.items() if name in missing}

        def push(name: str) -> bytes:
            request = PushObjectRequest(
                node=self._node,
                run_id=self._run.run_id,
                object_id=name,
                object_content=contents[name](),
                session_id=session,
            )
            # Not stored is no fault: a quick node has answered before the message object, which
            # it does not need, was here; or this request is a repeated one.
            self._ask(lambda: self._client.PushObject(request))
            return b""

        each(self._movers, push, contents)

    def _ask(self, request: Callable[[], Any]) -> Any:
        """A request's answer, once the SuperLink can be reached.

        Raises LinkLost where it no longer knows the run, or fails; UmbelError where it refuses.
        """
        try:
            return self._patience(request)
        except httpx.HTTPStatusError as error:
            self._check()
            status = error.response.status_code
            if status in UNKNOWN or status >= SERVER_ERROR:
                raise LinkLost(f"the SuperLink has lost the run: {refusal(error)}") from error
            raise UmbelError(
                f"the SuperLink refuses the run: {refusal(error)}; go on with umbel resume"
            ) from error
