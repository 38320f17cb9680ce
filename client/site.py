"""A site's ClientApp: over its owner's data, importing only what the owner allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context, Message

from .. import registry
from ..data import read_shard
from ..data.shard import Shard


@dataclass(frozen=True)
class Site:
    """What a site's owner decides.

    Args:
        data: the examples: a written shard, a folder, or a file.
        state: where what the client keeps between rounds lies.
        name: the client's name, else the shard's.
        label: the label column of a table.
        classes: all label names, in order, where this site may lack some that others have.
        allow_imports: modules from which an experiment may name parts.
    """

    data: str
    state: Path
    name: str | None = None
    label: str | None = None
    classes: tuple[str, ...] | None = None
    allow_imports: tuple[str, ...] = ()

    def read(self) -> Shard:
        """The site's shard; raises BadInput for what cannot be read."""
        return read_shard(self.data, client=self.name, label=self.label, classes=self.classes)


def make_site_app(site: Site, shard: Shard) -> Callable[[Message, Context], Message]:
    """The ClientApp of a site, its shard already read.

    The experiment in a message comes from the server: an import path in it, which would run
    any module of this site's Python that the server picks, works only below `allow_imports`.
    """
    from .app import make_client_app

    app = make_client_app(lambda _: shard, state_folder=lambda _: site.state)
    return _Restricted(app, site.allow_imports)


class _Restricted:
    def __init__(self, app: Callable[[Message, Context], Message], allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed

    def __call__(self, message: Message, context: Context) -> Message:
        with registry.restrict_imports(self._allowed):
            return self._app(message, context)
