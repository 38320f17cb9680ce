"""What a client keeps for itself between rounds, on disk, so that it outlives its process."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ..errors import Declined
from ..tensors import Tensors, nbytes, read_tensors, write_tensors

KEPT_VERSIONS = 2
"""A server that crashed repeats at most its last round, so the version before that is enough."""

TOLD = "told"
"""In place of a round in the name of the file of what a client was told before round 1."""

FEATURES = "features-"
"""How the names of files begin that can be made anew."""

FEATURES_SHARE = 0.5
"""The share of what a client may keep that one file of them may take."""

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


class StateStore:
    """Tensors by run, client and round, under one folder.

    A state is filed under the round that made it. Round r reads the newest state made before
    r, so a round that is repeated after a crash starts from what it started from before.

    >>> import tempfile, torch
    >>> store = StateStore(Path(tempfile.mkdtemp()))
    >>> store.save("run-1", "client-0", 1, {"momentum": torch.ones(1)})
    >>> store.save("run-1", "client-0", 2, {"momentum": torch.zeros(1)})
    >>> store.load("run-1", "client-0", before=2)
    {'momentum': tensor([1.])}
    >>> store.load("run-1", "client-0", before=1)
    {}

    Args:
        folder: where they lie.
        max_bytes: the most to keep there; the runs that were longest away go first.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def load(self, run: str, client: str, *, before: int) -> Tensors:
        """The newest state made before a round; empty if there is none."""
        versions = [round for round in self._rounds(run, client) if round < before]
        if not versions:
            return {}
        return read_tensors(self._path(run, client, max(versions)))[0]

    def save(self, run: str, client: str, round: int, tensors: Tensors) -> None:
        """File a state under the round that made it, and drop versions no longer needed."""
        self._write(self._path(run, client, round), tensors)
        for old in sorted(self._rounds(run, client))[:-KEPT_VERSIONS]:
            self._path(run, client, old).unlink(missing_ok=True)
        self._bound(run)

    def told(self, run: str, client: str) -> Tensors | None:
        """What `keep_told` kept; None if nothing was."""
        path = self._path(run, client, TOLD)
        return read_tensors(path)[0] if path.is_file() else None

    def keep_told(self, run: str, client: str, tensors: Tensors) -> None:
        """File what the client was told before round 1, for all rounds."""
        self._write(self._path(run, client, TOLD), tensors)
        self._bound(run)

    def features(self, run: str, client: str, name: str) -> Tensors | None:
        """What `keep_features` kept under a name; None where nothing is, or is damaged."""
        try:
            return read_tensors(self._path(run, client, FEATURES + name))[0]
        except (OSError, ValueError):
            return None

    def keep_features(self, run: str, client: str, name: str, tensors: Tensors) -> None:
        """File what can be made anew, where there is room for it."""
        most = self._max_bytes
        if most is None or nbytes(tensors) < FEATURES_SHARE * most:
            self._write(self._path(run, client, FEATURES + name), tensors)
            self._bound(run)

    def _write(self, path: Path, tensors: Tensors) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(".*.tmp"):  # by a client that was killed
            left.unlink(missing_ok=True)
        write_tensors(path, tensors)

    def _bound(self, run: str) -> None:
        if self._max_bytes is not None:
            self._make_room(self._max_bytes, self._folder / run)

    def _make_room(self, most: int, current: Path) -> None:
        """Drop the states of the runs that were longest away until `most` bytes are kept."""
        runs = sorted((path for path in self._folder.iterdir() if path.is_dir()), key=_last_change)
        sizes = {path: _bytes_below(path) for path in runs}
        for path in runs:
            if sum(sizes.values()) <= most:
                return
            if path != current:
                shutil.rmtree(path, ignore_errors=True)
                del sizes[path]
        if sum(sizes.values()) > most:
            for path in current.rglob(f"{FEATURES}*"):
                path.unlink(missing_ok=True)
        if _bytes_below(current) > most:
            shutil.rmtree(current, ignore_errors=True)
            raise Declined(
                f"what the client would keep is more than limits.max_state_bytes ({most})"
            )

    def _rounds(self, run: str, client: str) -> list[int]:
        folder = self._path(run, client, 0).parent
        if not folder.is_dir():
            return []
        return [int(path.stem) for path in folder.glob("*.safetensors") if path.stem.isdigit()]

    def _path(self, run: str, client: str, version: int | str) -> Path:
        for name in (run, client):
            if not is_safe_name(name):
                raise ValueError(f"{name!r} is not a name that a folder can have")
        return self._folder / run / client / f"{version}.safetensors"


def _last_change(run: Path) -> float:
    return max((path.stat().st_mtime for path in run.rglob("*")), default=0.0)


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def is_safe_name(name: str) -> bool:
    """Whether a name that came from elsewhere may be a folder's.

    >>> is_safe_name("digits-1a2b3c4d"), is_safe_name("../digits"), is_safe_name("a/b")
    (True, False, False)
    """
    return _SAFE.fullmatch(name) is not None


def named(group: str, tensors: Tensors) -> Tensors:
    """Tensors as one group of a state."""
    return {f"{group}/{name}": tensor for name, tensor in tensors.items()}


def grouped(tensors: Tensors, group: str) -> Tensors:
    """One group of a state's tensors."""
    start = f"{group}/"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
