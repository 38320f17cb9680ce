"""Where a round's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by phase; a phase may be entered more than once."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self._phases[phase] = self._phases.get(phase, 0.0) + spent

    def read(self) -> dict[str, float]:
        """Seconds of each phase so far, and of all since the start as `total`."""
        phases = {**self._phases, "total": time.perf_counter() - self._started}
        return {phase: round(seconds, 4) for phase, seconds in phases.items()}
