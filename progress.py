"""What a run shows while it goes on: a live line on a terminal, one line a round elsewhere.

All of it goes to standard error; standard output is left to `--json`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.progress import BarColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from .gain import read_gain
from .rounds import (
    SOURCES,
    client_counts,
    evaluation,
    failures,
    headline_metric,
    human_bytes,
    human_seconds,
    printable,
    read_records,
    selection,
    total_seconds,
    training_loss,
)
from .screen import Screen
from .server.observer import Observer, Silent, Wait
from .waiting import Waiting

if TYPE_CHECKING:
    from .experiment import Experiment
    from .server.loop import RunSummary

FAILURES_MOST = 5


def display(*, quiet: bool = False) -> Observer:
    """The observer for a command: a display on standard error, or none at all if `quiet`."""
    return Silent() if quiet else Progress()


class Progress:
    """Shows a run's rounds, replies and failures as they come, and a table at the end.

    Args:
        stream: where to write; standard error if None.
        live: draw a bar that moves (True), print one line a round (False), or find out from
            whether `stream` is a terminal (None).
        clock: seconds that only grow, for the estimate of the time left.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._screen = Screen(stream, live=live, clock=clock)
        self._clock = clock
        self._task = TaskID(0)
        self._total = self._first = self._round = 1
        self._started = self._ended = 0.0
        self._cohort = self._replies = 0
        self._shown: set[tuple[str, str]] = set()
        self._unshown = 0
        self._last: Mapping[str, Any] = {}
        self._finished = 0
        self._waiting = Waiting()

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        """Begin: `clients` clients are here, and round `first_round` comes next."""
        name = printable(experiment.experiment.name, 40)
        self.close()
        self._finished = 0
        self._total, self._first = experiment.experiment.rounds, first_round
        self._started = self._clock()
        resumed = f", going on at round {first_round}" if first_round > 1 else ""
        self._screen.say(f"{name}: {self._total} rounds with {clients} clients{resumed}")
        if self._screen.live:
            width = min(30, max(8, self._screen.console.width - 72))
            bars = self._screen.start(
                BarColumn(bar_width=width), TextColumn("{task.description}", markup=False)
            )
            self._task = bars.add_task("", total=self._total, completed=first_round - 1)

    def round_started(self, round: int, cohort: Sequence[str]) -> None:
        """A round, or another try at it, begins: the cohort's tasks go out."""
        self._round, self._cohort, self._replies = round, len(cohort), 0
        self._shown.clear()
        self._unshown = 0
        self._draw(at_once=True)

    def reply(self, client: str, ok: bool, reason: str = "") -> None:
        """A client's update came in and counts, or it failed for `reason`."""
        self._replies += 1
        self._waiting.over()
        if not ok:
            self._show_failure(client, reason)
        self._draw()

    def round_finished(self, record: Mapping[str, Any]) -> None:
        """A round is over; `record` is its line of metrics.jsonl."""
        for failure in failures([record]):
            self._show_failure(failure.client, failure.reason)
        if self._unshown:
            self._screen.say(f"round {self._round}: {self._unshown} more failed", style="yellow")
        self._waiting.over()
        self._last = record
        self._finished += 1
        self._ended = self._clock()
        if not self._screen.live:
            self._screen.say(self._line(record))
        self._draw(at_once=True, finished=True)

    def finished(self, summary: RunSummary) -> None:
        """The run is over: a table of its rounds, what it took, and where it lies."""
        self.close()
        records = read_records(summary.folder.metrics)
        if records:
            self._screen.console.print(rounds_table(records))
        up, down = (
            sum(record.get(key) or 0 for record in records) for key in ("bytes_up", "bytes_down")
        )
        took = human_seconds(sum(map(total_seconds, records)))
        reason = f" ({printable(summary.reason)})" if summary.reason else ""
        self._screen.say(
            f"{summary.status}{reason}: {len(records)} rounds in {took}, "
            f"{human_bytes(up)} up, {human_bytes(down)} down"
        )
        self._show_gain(summary.folder.path)
        self._screen.say(f"run folder: {summary.folder.path}")

    def note(self, text: str) -> None:
        """Something to know that is no failure of one update."""
        self._screen.say(printable(text, 500))

    def waiting(self, wait: Wait) -> None:
        """Something is waited for: said after ten seconds, and ever more seldom then."""
        if self._waiting.due(wait):
            self._screen.say(printable(self._waiting.text, 500))
        self._draw()

    def close(self) -> None:
        """Take the bar off the terminal, also when the run ended in an error."""
        self._screen.close()

    def _show_gain(self, folder: Path) -> None:
        gain = read_gain(folder)
        if gain is None:
            return
        self._screen.say(gain.summary)
        if gain.warning:
            self._screen.say(gain.warning, style="yellow")

    def _show_failure(self, client: str, reason: str) -> None:
        if (client, reason) in self._shown:
            return
        self._shown.add((client, reason))
        if len(self._shown) > FAILURES_MOST:
            self._unshown += 1
            return
        name = printable(client, 60) or "a client"
        self._screen.say(f"round {self._round}: {name}: {printable(reason)}", style="yellow")

    def _draw(self, *, at_once: bool = False, finished: bool = False) -> None:
        bars = self._screen.due(at_once=at_once)
        if bars is None:
            return
        share = self._replies / self._cohort if self._cohort else 0.0
        done = self._round if finished else self._round - 1 + min(share, 1.0)
        described = self._description(self._clock())
        bars.update(self._task, completed=done, description=described)
        bars.refresh()

    def _description(self, now: float) -> str:
        parts = [f"round {self._round}/{self._total}", f"{self._replies}/{self._cohort} in"]
        if self._finished:
            parts += scores(self._last, short=True)
            each = (self._ended - self._started) / self._finished
            left = each * (self._total - self._first + 1 - self._finished) - (now - self._ended)
            parts.append(f"{human_seconds(max(1, math.ceil(left)))} left")
        if self._waiting.text:
            parts.append(printable(self._waiting.text, 160))
        return " · ".join(parts)

    def _line(self, record: Mapping[str, Any]) -> str:
        width = len(str(self._total))
        good, bad = client_counts(record)
        parts = [
            f"round {record['round']:>{width}}/{self._total}",
            *scores(record),
            f"{good} ok" + (f", {bad} failed" if bad else ""),
            f"{human_bytes(record.get('bytes_up') or 0)} up",
            f"{human_bytes(record.get('bytes_down') or 0)} down",
            human_seconds(total_seconds(record)),
        ]
        return "  ".join(parts)


def scores(record: Mapping[str, Any], *, short: bool = False) -> list[str]:
    """A round's headline metric by source and its loss, or the first source's alone if `short`.

    >>> scores({"round": 1, "loss": 0.5, "metrics": {"central": {"accuracy": 0.91}}})
    ['central accuracy 0.9100', 'loss 0.5000']
    """
    metric = headline_metric([record])
    shown = printable(metric, 40)
    values = {source: evaluation(record, source, metric) for source in SOURCES}
    known = [(source, value) for source, value in values.items() if value is not None]
    loss = training_loss(record)
    ending = [] if loss is None else [f"loss {loss:.4f}"]
    if short:
        return [f"{shown} {value:.4f}" for _, value in known[:1]] + ending
    return [f"{source} {shown} {value:.4f}" for source, value in known] + ending


def rounds_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A run's rounds as a short table: all of a few, or the first, every k-th and the last."""
    metric = headline_metric(records)
    known = [s for s in SOURCES if any(evaluation(r, s, metric) is not None for r in records)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = [
        *(f"{source}\n{printable(metric, 20)}" for source in known),
        "training\nloss",
        "clients\nok",
    ]
    for column in ("round", *columns, "clients\nfailed", "bytes\nup", "bytes\ndown", "seconds"):
        table.add_column(Text(column), justify="right", no_wrap=True)
    for index in selection(len(records)):
        record = records[index]
        values = [evaluation(record, source, metric) for source in known]
        good, bad = client_counts(record)
        table.add_row(
            str(record["round"]),
            *(
                "" if value is None else f"{value:.4f}"
                for value in [*values, training_loss(record)]
            ),
            str(good),
            str(bad),
            *(human_bytes(record.get(key) or 0) for key in ("bytes_up", "bytes_down")),
            f"{total_seconds(record):.2f}",
        )
    return table
