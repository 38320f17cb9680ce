"""What a comparison shows while it goes on: two bars on a terminal, a line a run elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from ..progress import scores
from ..rounds import client_counts, human_seconds, printable
from ..screen import Screen
from ..server.observer import Silent
from .grid import Cell

if TYPE_CHECKING:
    from ..experiment import Experiment


class GridProgress(Silent):
    """Shows which run of how many goes on, its rounds, and how each ended.

    Args:
        stream: where to write; standard error if None.
        live: draw bars that move (True), print one line a run (False), or find out (None).
        clock: seconds that only grow.
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
        self._runs = self._rounds = TaskID(0)
        self._total = self._number = self._left = self._played = 0
        self._began = self._started = 0.0
        self._cell: Cell | None = None
        self._failed = 0
        self._last: Mapping[str, Any] = {}

    def begun(self, cells: Sequence[Cell]) -> None:
        """Say how many runs there are, and how many of them are left."""
        self._total, self._began = len(cells), self._clock()
        over = sum(cell.over for cell in cells)
        open_ = sum(cell.begun for cell in cells) - over
        self._left = self._total - over
        told = [f"{over} finished before"] if over else []
        told += [f"{open_} to go on with"] if open_ else []
        self._screen.say(f"{self._total} runs" + (f", {', '.join(told)}" if told else ""))
        if self._screen.live:
            bars = self._screen.start(
                TextColumn("{task.fields[unit]}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.description}", markup=False),
            )
            self._runs = bars.add_task("", total=self._total, completed=over, unit="runs")
            self._rounds = bars.add_task("", total=1, unit="rounds")

    def cell(self, cell: Cell, number: int) -> None:
        """The next run: the one with this number, from 1."""
        self._cell, self._number, self._started = cell, number, self._clock()
        self._failed, self._last = 0, {}
        self._draw(at_once=True)

    def started(self, experiment: Experiment, clients: int, first_round: int = 1) -> None:
        if self._screen.bars is not None:
            total = experiment.experiment.rounds
            self._screen.bars.update(self._rounds, total=total, completed=first_round - 1)
        self._draw(at_once=True)

    def round_finished(self, record: Mapping[str, Any]) -> None:
        self._last = record
        self._failed += client_counts(record)[1]
        if self._screen.bars is not None:
            self._screen.bars.update(self._rounds, completed=int(record["round"]))
        self._draw()

    def cell_over(self, fault: str = "") -> None:
        """The run is over, or failed for `fault`."""
        took = human_seconds(self._clock() - self._started)
        told = [f"failed: {printable(fault, 300)}"] if fault else scores(self._last)[:1]
        told += [] if fault else [f"{self._last.get('round', 0)} rounds in {took}"]
        told += [f"{self._failed} updates failed"] if self._failed else []
        style = "yellow" if fault or self._failed else ""
        self._screen.say(f"{self._where()}: {', '.join(told)}", style)
        self._played += 1
        if self._screen.bars is not None:
            self._screen.bars.advance(self._runs)
        self._draw(at_once=True)

    def note(self, text: str) -> None:
        self._screen.say(f"{self._where()}: {printable(text, 500)}")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The table of the comparison."""
        self.close()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(Text(headings[0]), overflow="fold")
        for heading in headings[1:]:
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        self._screen.console.print(table)

    def said(self, text: str) -> None:
        """A line of its own."""
        self._screen.say(text)

    def close(self) -> None:
        """Take the bars off the terminal, also when it ended in an error."""
        self._screen.close()

    def _where(self) -> str:
        if self._cell is None:
            return "comparison"
        number = f"{self._number:>{len(str(self._total))}}/{self._total}"
        return f"{number} {printable(self._cell.contender.label, 80)}, seed {self._cell.seed}"

    def _draw(self, *, at_once: bool = False) -> None:
        bars = self._screen.due(at_once=at_once)
        if bars is None:
            return
        now = self._clock()
        left = ""
        if self._played:
            each = (self._started - self._began) / self._played
            seconds = each * (self._left - self._played)
            left = f"{human_seconds(max(1, math.ceil(seconds - (now - self._started))))} left"
        bars.update(self._runs, description=left)
        told = " · ".join([self._where(), *(scores(self._last, short=True) if self._last else [])])
        bars.update(self._rounds, description=told)
        bars.refresh()
