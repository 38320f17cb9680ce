"""Child processes that never outlive their purpose, files that are not for others, and locks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE_SECONDS = 5.0

_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3


def die_with_parent(signal_number: int = signal.SIGTERM) -> Callable[[], None]:
    """What a child runs before its program, so that it is ended when its parent is killed.

    Only Linux can do this; elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def stop_all(processes: Iterable[subprocess.Popen[bytes]], grace: float = GRACE_SECONDS) -> None:
    """End processes, each with all that it started: politely, then at once after `grace` s."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        _signal(process, signal.SIGTERM)
    end = time.monotonic() + grace
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a child that leads a session of its own, and all its group."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        process.send_signal(number)


def last_line(log: Path) -> str:
    """The last line of a log that says something, at most 300 characters of it."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "its log is gone"
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:300] if said else "it said nothing"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside a file, which takes the file's place when the block is through; what
    a block that fails or is interrupted wrote there is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, under a temporary name first."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def map_large_blocks() -> None:
    """Have every block of a megabyte and more go back to the system when it is freed: glibc would
    keep those of a large message's pieces for later use. Does nothing where there is no glibc."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, 2**20)


def return_freed_memory() -> None:
    """Give the system back what was freed so far. Does nothing where there is no glibc.

    For where large blocks come and go all the time, as in training: had each to be asked for
    anew (`map_large_blocks`), that would take longer than the work.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file against every other process, until the block or this process ends.

    The file is removed with the block; one that a killed process left holds nobody up. Children
    that were forked within the block hold it, too. Raises BlockingIOError where another has it,
    any other OSError where it cannot be made.
    """
    while True:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(file.fileno(), path):
                continue  # Its former holder removed it while this process opened it.
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one that a path names."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
