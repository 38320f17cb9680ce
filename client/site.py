"""A site's ClientApp: over its owner's data, and no further than its policy goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Context, Message

from .. import registry
from ..data import read_shard
from ..data.shard import Shard
from ..data.storage import ABOUT
from ..errors import BadInput, Declined, UmbelError
from ..flower_internals import copy_message
from ..messages import SHOW, Envelope, split_record, unpack_groups
from ..training import pace
from .admission import admit
from .departures import FILE, Departures
from .policy import Leave, Policy
from .release import release
from .watching import SiteWatch

if TYPE_CHECKING:
    from .node import NodeOptions


@dataclass(frozen=True)
class Site:
    """What a site's owner decides.

    Args:
        data: the examples: a written shard, a folder, or a file.
        state: where what the client keeps between rounds lies.
        name: the client's name, else the shard's.
        label: the label column of a table.
        classes: all label names, in order, where this site may lack some that others have.
        policy: what may be asked of it, and what may leave.
    """

    data: str
    state: Path
    name: str | None = None
    label: str | None = None
    classes: tuple[str, ...] | None = None
    policy: Policy = field(default_factory=Policy)

    def read(self) -> Shard:
        """The site's shard; raises BadInput for what cannot be read."""
        return read_shard(self.data, client=self.name, label=self.label, classes=self.classes)

    def written(self) -> tuple[int, int] | None:
        """Which writing of a shard's folder this is; None for data that are no shard."""
        about = Path(self.data) / ABOUT
        try:
            found = about.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def make_site_app(site: Site, shard: Shard) -> Callable[[Message, Context], Message]:
    """The ClientApp of a site, its shard already read.

    The experiment in a message comes from the server: an import path in it, which would run
    any module of this site's Python that the server picks, works only below `allow.imports`.
    A shard that was written anew is read anew when the next run begins.
    """
    return _Fresh(site, shard)


def serve_site(site: Site, options: NodeOptions, metrics_port: str | None = None) -> None:
    """Serve a SuperLink with a site's data until told to end, and write down what leaves.

    Args:
        site: what its owner decides.
        options: how to reach the SuperLink.
        metrics_port: where to serve figures, as `metrics.place_of` reads it; None is nowhere.

    Raises BadInput before it joins for data or a log that will not do; see `run_node`.
    """
    from ..metrics import ClientMetrics, served
    from .node import run_node

    shard = site.read()
    log = site.policy.log
    departures = Departures(
        Path(log.path) if log.path else options.state / FILE, max_bytes=log.max_bytes, keep=log.keep
    )
    limits, leave = site.policy.limits, site.policy.leave
    options = replace(
        options,
        max_message_bytes=limits.max_message_bytes,
        error_texts=leave.errors,
        about={"name": shard.client, "schema": shard.schema.summary()},
    )
    figures = ClientMetrics() if metrics_port else None
    watch = SiteWatch(departures, figures)
    with served(figures.registry, metrics_port) if figures else nullcontext():
        run_node(options, lambda: make_site_app(site, shard), watch)


class _Fresh:
    """A site's ClientApp over the shard as it is on disk when a run begins."""

    def __init__(self, site: Site, shard: Shard) -> None:
        self._site = site
        self._written = site.written()
        self._app = self._over(shard)

    def __call__(self, message: Message, context: Context) -> Message:
        # A query is the first that a client hears of a run.
        if message.metadata.message_type == "query":
            written = self._site.written()
            if written != self._written:
                self._app, self._written = self._over(self._read()), written
        return self._app(message, context)

    def _read(self) -> Shard:
        """The shard as it is now; what is wrong with it may quote examples, and stays here."""
        try:
            return self._site.read()
        except BadInput as error:
            raise UmbelError("the site's data was written anew and cannot be read") from error

    def _over(self, shard: Shard) -> Callable[[Message, Context], Message]:
        from .app import make_client_app

        app = make_client_app(
            lambda _: shard,
            state_folder=lambda _: self._site.state,
            max_state_bytes=self._site.policy.limits.max_state_bytes,
        )
        return _Guarded(app, self._site.policy, shard)


class _Guarded:
    """A ClientApp that gets and gives what the site's policy allows."""

    def __init__(
        self, app: Callable[[Message, Context], Message], policy: Policy, shard: Shard
    ) -> None:
        self._app = app
        self._policy = policy
        self._shard = shard
        # Where nothing could be held back, tensors are not looked at a second time.
        free = Leave(subgraph=policy.leave.subgraph)
        self._looks = policy.leave != free or policy.limits.min_examples > 1

    def __call__(self, message: Message, context: Context) -> Message:
        """The reply as it may leave; raises Declined, with the reason, where none may."""
        policy, kind = self._policy, message.metadata.message_type
        looks = self._looks or kind == SHOW
        try:
            header, blob = split_record(message.content)
            groups = unpack_groups(blob) if looks else {}
        except ValueError as error:
            raise Declined(f"the message cannot be read: {error}") from error
        with (
            registry.restrict_imports(policy.allow.imports),
            pace.within(policy.limits.max_seconds),
        ):
            admit(policy, kind, header, groups, self._shard)
            reply = self._app(message, context)
            pace.check()
        if not looks:
            return reply
        released = release(policy, kind, groups, Envelope.from_record(reply.content))
        return copy_message(reply, released.to_record())
