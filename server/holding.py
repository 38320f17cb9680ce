"""A folder of runs is held by whoever is at work in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import BadInput
from ..processes import locked

LOCK = "lock"
"""The file in it that is there as long."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder against every other process, until the block ends; it is made if need be,
    and goes again if nothing has come into it.

    Raises BadInput where it cannot be made, or another umbel holds it.
    """
    made = _make(folder)
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder / LOCK))
            except BlockingIOError as error:
                raise BadInput(
                    f"{folder}: another umbel is at work there; wait until it has ended, or name "
                    "another folder"
                ) from error
            except OSError as error:
                raise BadInput(f"{folder}: cannot be locked: {error.strerror}") from error
            yield
    finally:
        with suppress(OSError):  # something lies there
            for path in made:
                path.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder, and those above it; returns what was not there before, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be made: {error.strerror}") from error
    return missing
