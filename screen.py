"""Where progress is shown: lines that stay, and on a terminal bars that move below them."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import ProgressColumn
from rich.text import Text

REDRAW_SECONDS = 0.1


class Screen:
    """A terminal, or whatever else progress is written to.

    Args:
        stream: where to write; standard error if None.
        live: draw bars that move (True), print lines only (False), or find out from whether
            `stream` is a terminal (None).
        clock: seconds that only grow.

    Nothing is drawn from a thread of its own, for simulations fork their workers; bars are drawn
    anew when something happens, at most ten times a second.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self.console = Console(
            file=stream, force_terminal=live, highlight=False, markup=False, emoji=False
        )
        terminal = stream.isatty() and not self.console.is_dumb_terminal
        self.live = terminal if live is None else live
        self.bars: Bars | None = None
        self._is_stderr = stream is sys.stderr
        self._clock = clock
        self._drawn = 0.0

    def say(self, line: str, style: str = "") -> None:
        """Print a line that stays."""
        self.console.print(Text(line, style=style), soft_wrap=True)

    def start(self, *columns: ProgressColumn) -> Bars:
        """Bars with these columns, for tasks to be added to; they go with `close`, or when the
        program ends in an error."""
        self.bars = Bars(
            *columns,
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=self._is_stderr,
        )
        self.bars.start()
        atexit.register(self.close)
        return self.bars

    def due(self, *, at_once: bool) -> Bars | None:
        """The bars, where it is time to draw them anew."""
        now = self._clock()
        if self.bars is None or (not at_once and now - self._drawn < REDRAW_SECONDS):
            return None
        self._drawn = now
        return self.bars

    def close(self) -> None:
        """Take the bars off the terminal."""
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
            atexit.unregister(self.close)
