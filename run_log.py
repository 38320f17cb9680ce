"""A run's progress as log events, for programs that read the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .gain import WORDS, read_gain
from .logs import event
from .rounds import client_counts, flatten, printable
from .waiting import Waiting

if TYPE_CHECKING:
    from .experiment import Experiment
    from .server.loop import RunSummary
    from .server.observer import Wait

log = logging.getLogger("umbel.run")


class RunLog:
    """An observer that writes one event for what happens, and none for each good reply."""

    def __init__(self) -> None:
        self._round = 0
        self._waiting = Waiting()

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        name, rounds = experiment.experiment.name, experiment.experiment.rounds
        fields = event("run-started", name=name, rounds=rounds, clients=clients, first=first_round)
        log.info("%s: %d rounds with %d clients", name, rounds, clients, extra=fields)

    def round_started(self, round: int, cohort: Sequence[str]) -> None:
        self._round = round
        log.info("round %d", round, extra=event("round-started", round=round, clients=len(cohort)))

    def reply(self, client: str, ok: bool, reason: str = "") -> None:
        if ok:
            return
        who, why = printable(client, 100), printable(reason)
        fields = event("update-refused", round=self._round, client=who, reason=why)
        log.warning("round %d: %s: %s", self._round, who, why, extra=fields)

    def round_finished(self, record: Mapping[str, Any]) -> None:
        self._waiting.over()
        good, bad = client_counts(record)
        fields = event("round-finished", **flatten(record))
        log.info("round %d: %d ok, %d failed", record["round"], good, bad, extra=fields)

    def finished(self, summary: RunSummary) -> None:
        self._waiting.over()
        self._tell_gain(summary.folder.path)
        fields = event(
            "run-finished",
            status=summary.status,
            reason=summary.reason,
            rounds=summary.rounds,
            folder=str(summary.folder.path),
            model_sha256=summary.model_sha256,
        )
        log.info("%s after %d rounds", summary.status, summary.rounds, extra=fields)

    def _tell_gain(self, folder: Path) -> None:
        gain = read_gain(folder)
        if gain is None:
            return
        fields = event(
            "transfer-gain",
            metric=printable(gain.metric, 40),
            clients=len(gain.scores),
            left_out=len(gain.left_out),
            hurt=len(gain.hurt),
            **{model: gain.mean(model) for model in WORDS},
        )
        log.log(
            logging.WARNING if gain.hurt else logging.INFO,
            "%s",
            gain.warning or gain.summary,
            extra=fields,
        )

    def note(self, text: str) -> None:
        log.info("%s", printable(text, 500), extra=event("note"))

    def waiting(self, wait: Wait) -> None:
        if self._waiting.due(wait):
            fields = event(
                "waiting", what=wait.what, whom=list(wait.whom), since=wait.since, left=wait.left
            )
            log.info("%s", printable(self._waiting.text, 500), extra=fields)
