"""How a data source is written: `digits`, `shards/site?size=32`, `hf:NAME`, `torchvision:NAME`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from ..errors import BadInput
from ..registry import nearest
from .catalogue import DATASETS

KINDS = ("bundled", "hf", "torchvision", "planetoid", "factory", "path")


@dataclass(frozen=True)
class Source:
    """A source taken apart: its kind (one of `KINDS`), its name or path, its options."""

    text: str
    kind: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def take(self, known: Iterable[str]) -> dict[str, str]:
        """The options, after refusing those that are not `known` for this kind of source."""
        valid = sorted(known)
        faults = [
            f"{self.text}: unknown option {key!r}{nearest(key, valid)}"
            for key in self.options
            if key not in valid
        ]
        if faults:
            raise BadInput(faults)
        return dict(self.options)

    def says(self, key: str) -> bool:
        """Whether an option is "true"; raises BadInput where it is that no more than "false".

        >>> parse_source("drugs.csv?skip=true").says("skip"), parse_source("digits").says("skip")
        (True, False)
        """
        said = self.options.get(key, "false").lower()
        if said not in ("true", "false"):
            raise BadInput(f"data.source: {self.text}: {key} {said!r} is not true or false")
        return said == "true"


def parse_source(text: str) -> Source:
    """Take a source apart.

    Options follow a question mark, as in an address: `photos?size=32&mode=grey`. A bundled
    name wins over a file of the same name; write `./digits` for the file.

    >>> parse_source("hf:ylecun/mnist?label=digit").options
    {'label': 'digit'}
    >>> [parse_source(t).kind for t in ("digits", "./digits", "mine.data:hearts", "a/b.csv")]
    ['bundled', 'path', 'factory', 'path']
    """
    name, options = _cut(text)
    if name in DATASETS:
        return Source(text, "bundled", name, options)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in ("hf", "torchvision", "planetoid"):
        return Source(text, prefix, rest, options)
    if colon and _is_import_path(prefix, rest) and not Path(name).exists():
        return Source(text, "factory", name, options)
    return Source(text, "path", name, options)


def path_source(text: str) -> Source:
    """The source of a path that can be nothing else, such as a client's own folder."""
    name, options = _cut(text)
    return Source(text, "path", name, options)


def resolve_source(text: str, folder: Path) -> str:
    """The source with a relative path made absolute, seen from `folder`.

    What is not a path (a name, a factory, a hub's data set) comes back as it is; the folder
    in `hf:some/folder` and in `root=` counts as a path where it exists.

    >>> resolve_source("digits", Path("/home/ada")), resolve_source("a.csv", Path("/home/ada"))
    ('digits', '/home/ada/a.csv')
    """
    source = parse_source(text)
    query = text.partition("?")[2]
    tail = f"?{query}" if query else ""
    if source.kind == "path":
        if "/" not in source.name and not (folder / source.name).exists():
            return text if _looks_like_name(source.name) else f"{folder / source.name}{tail}"
        return f"{folder / Path(source.name).expanduser()}{tail}"
    if source.kind == "hf" and (folder / source.name).exists():
        return f"hf:{folder / source.name}{tail}"
    root = source.options.get("root")
    if source.kind in ("torchvision", "planetoid") and root and (folder / root).exists():
        return text.replace(f"root={root}", f"root={folder / root}")
    return text


def _cut(text: str) -> tuple[str, dict[str, str]]:
    name, _, query = text.partition("?")
    return name, dict(parse_qsl(query, keep_blank_values=True))


def _is_import_path(module: str, attribute: str) -> bool:
    return attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _looks_like_name(name: str) -> bool:
    """A word without a suffix is more likely a misspelt data set than a missing file."""
    return Path(name).suffix == "" and not name.startswith(("~", "."))
