"""Who a node is: a private key and what SuperLinks know it as, kept in its state folder."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..processes import locked, write_private
from ..security.keys import new_key, private_pem, read_private_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY = "node-key.pem"
NODES = "nodes.json"
UNDER_WAY = "under-way.bin"
LOCK = "lock"
PLACE = "place"

ADDRESSES = 100
"""So many SuperLinks are remembered, the latest."""


class Identity:
    """A node's identity on disk; a node that starts again with its folder is itself again.

    Args:
        folder: the node's state folder; made if it is not there.
        key: a private key (PEM) to use in place of the one in the folder, for a SuperLink that
            admits only keys it was told of.
    """

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"--state {folder}: cannot be made: {error.strerror}") from error
        self.key: EllipticCurvePrivateKey = _load_key(key or folder / KEY, fresh=key is None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder against a second node; raises BadInput if another holds it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / LOCK))
            except BlockingIOError as error:
                raise BadInput(
                    f"--state {self.folder}: another client is using it; give each its own"
                ) from error
            except OSError as error:
                raise BadInput(
                    f"--state {self.folder}: cannot be locked: {error.strerror}"
                ) from error
            for name in (KEY, NODES, UNDER_WAY):
                for left in self.folder.glob(f".{name}.*"):  # by a node that was killed
                    left.unlink(missing_ok=True)
            yield

    @cached_property
    def place(self) -> str:
        """What tells this folder from any other; random, and kept."""
        path = self.folder / PLACE
        if not path.is_file():
            write_private(path, secrets.token_hex(16).encode())
        return path.read_text("ascii").strip()

    def node_at(self, address: str) -> int | None:
        """The node id that the SuperLink at an address gave this node the last time."""
        node = self._nodes().get(address)
        return node if isinstance(node, int) else None

    def remember(self, address: str, node: int) -> None:
        """Keep the node id that the SuperLink at an address gave."""
        if self.node_at(address) != node:
            others = [item for item in self._nodes().items() if item[0] != address]
            text = json.dumps(dict([*others[1 - ADDRESSES :], (address, node)]))
            write_private(self.folder / NODES, text.encode())

    def under_way(self) -> bytes:
        """What `begin` left when the node was killed; empty if it was not."""
        path = self.folder / UNDER_WAY
        return path.read_bytes() if path.is_file() else b""

    def begin(self, note: bytes) -> None:
        """Note on disk what is being worked on."""
        write_private(self.folder / UNDER_WAY, note)

    def end(self) -> None:
        """Nothing is being worked on any more."""
        (self.folder / UNDER_WAY).unlink(missing_ok=True)

    def _nodes(self) -> dict[str, object]:
        try:
            found = json.loads((self.folder / NODES).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _load_key(path: Path, *, fresh: bool) -> EllipticCurvePrivateKey:
    if fresh and not path.exists():
        key = new_key()
        write_private(path, private_pem(key))
        return key
    return read_private_key(path)
