"""Who watches a run: the progress display, loggers, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..experiment import Experiment
    from .loop import RunSummary


class Observer(Protocol):
    """Told what happens in a run, as it happens; it must not raise."""

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None: ...

    def round_started(self, round: int, cohort: Sequence[str]) -> None: ...

    def reply(self, client: str, ok: bool, reason: str = "") -> None: ...

    def round_finished(self, record: Mapping[str, Any]) -> None: ...

    def finished(self, summary: RunSummary) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """An observer that looks away."""

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        return

    def round_started(self, round: int, cohort: Sequence[str]) -> None:
        return

    def reply(self, client: str, ok: bool, reason: str = "") -> None:
        return

    def round_finished(self, record: Mapping[str, Any]) -> None:
        return

    def finished(self, summary: RunSummary) -> None:
        return

    def note(self, text: str) -> None:
        return
