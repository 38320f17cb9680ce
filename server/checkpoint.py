"""A run's checkpoint: one file, replaced whole after every round."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, UmbelError, told
from ..tensors import Tensors, read_tensors, write_tensors
from ..wire import version_of

FILE = "latest.safetensors"

MEND = "go on with the umbel that made it, or begin the run anew from its experiment.toml"

FORMAT = 1
"""Counts the layouts of a checkpoint's tensors and facts; one of another number is not read."""


@dataclass(frozen=True)
class Checkpoint:
    """What the server knows after a finished round.

    `model` is the whole state dict, `server` the strategy's own tensors, `statistics` the sum
    of what the clients shared, `peers` what clients are lent of one another's models; `facts` is
    what JSON can say (the strategy's numbers, the early-stopping counters, the round's line of
    metrics.jsonl).
    """

    round: int
    model: Tensors
    server: Tensors = field(default_factory=dict)
    statistics: Tensors = field(default_factory=dict)
    peers: Tensors = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Replace the folder's checkpoint; a crash leaves the old one or the new one."""
        folder.mkdir(parents=True, exist_ok=True)
        groups = {
            "model": self.model,
            "server": self.server,
            "statistics": self.statistics,
            "peers": self.peers,
        }
        tensors = {f"{g}/{name}": t for g, named in groups.items() for name, t in named.items()}
        metadata = {
            "format": str(FORMAT),
            "umbel": version_of("umbel"),
            "round": str(self.round),
            "facts": json.dumps(self.facts),
        }
        write_tensors(folder / FILE, tensors, metadata)

    @classmethod
    def read(cls, folder: Path) -> Checkpoint | None:
        """The folder's checkpoint, None if no round was finished.

        Raises BadInput for one that an umbel of another format made, UmbelError for a damaged one.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            tensors, metadata = read_tensors(path)
            if metadata.get("format") != str(FORMAT):
                raise BadInput(f"{path}: {_made_elsewhere(metadata)}; {MEND}")
            groups: dict[str, Tensors] = {"model": {}, "server": {}, "statistics": {}, "peers": {}}
            for name, tensor in tensors.items():
                group, _, rest = name.partition("/")
                groups[group][rest] = tensor
            return cls(int(metadata["round"]), **groups, facts=json.loads(metadata["facts"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UmbelError(f"{path}: the checkpoint cannot be read: {error}") from error

    @contextmanager
    def understood(self, folder: Path) -> Iterator[None]:
        """Say in one line that the block cannot make sense of what it reads in this checkpoint,
        as where the strategy has changed since; `folder` is where it was read."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"{folder / FILE}: does not fit this umbel or its strategy "
                f"({told(error, texts=True)}); {MEND}"
            ) from error


def _made_elsewhere(metadata: Mapping[str, str]) -> str:
    """Which umbel made a checkpoint of another format, and which one this is."""
    own = f"this is umbel {version_of('umbel')}, which reads format {FORMAT}"
    if "format" not in metadata:
        return f"made by an umbel whose checkpoints had no format number; {own}"
    return f"made by umbel {metadata.get('umbel', '?')} in format {metadata['format']}; {own}"
