"""Plays a comparison: what is finished is kept, what was interrupted goes on, the rest begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, UmbelError
from ..experiment import Experiment
from ..rounds import Record
from ..server.holding import hold
from ..server.record import write_text
from ..simulation.engine import simulate
from .grid import Cell, lay_out, read_contenders
from .page import as_csv, cells_of, headings, page
from .progress import GridProgress
from .summary import Line, Yardstick, by_contender, curve, measure

TABLE_FILE = "comparison.csv"
PAGE_FILE = "comparison.html"


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: where it lies, what it is measured by, a line for each strategy,
    and the runs that failed with the reason."""

    folder: Path
    yardstick: Yardstick
    lines: tuple[Line, ...]
    failed: tuple[str, ...] = ()

    @property
    def table(self) -> list[list[str]]:
        """The table for people, its headings first."""
        rows = [cells_of(line, self.yardstick) for line in self.lines]
        return [headings(self.yardstick), *rows]

    def to_json(self) -> str:
        """One line of JSON: the folder, the metric, the target, and every run by strategy."""
        return json.dumps(
            {
                "comparison": str(self.folder),
                "metric": self.yardstick.metric,
                "source": self.yardstick.source,
                "target": self.yardstick.target,
                "strategies": [_told(line) for line in self.lines],
                "failed": list(self.failed),
            },
            allow_nan=False,
        )


def compare(
    experiment: Experiment,
    strategies: Sequence[str],
    *,
    seeds: int = 1,
    out: str | Path | None = None,
    target: float | None = None,
    observer: GridProgress | None = None,
) -> Comparison:
    """Simulate an experiment under several strategies and seeds.

    Called again with the same `out`, it keeps the runs that are finished and goes on with those
    that were interrupted. Table and plot are written anew after every run.

    Args:
        experiment: what to run.
        strategies: `name` or `name(key=value, ...)` each, values as in TOML.
        seeds: how many seeds, from the experiment's own on, at least 1.
        out: the folder of all runs; `runs/<name>-compare` if None.
        target: a value of the headline metric; the rounds and bytes to it are counted. The
            target of `evaluation.stop` if None, where there is one.
        observer: told what happens.

    Raises BadInput before anything is written where a strategy does not fit the experiment or
    a folder holds another run, or another umbel is at work there. A run that fails is told in
    `failed`, and the others go on.
    """
    name = experiment.experiment.name
    folder = Path("runs") / f"{name}-compare" if out is None else Path(out)
    cells = lay_out(experiment, read_contenders(strategies), seeds, folder)
    stop = experiment.evaluation.stop
    aim = stop.target if target is None and stop is not None else target
    with hold(folder):
        failed = _play_all(cells, lambda: _write(name, folder, cells, aim), observer)
        written = _write(name, folder, cells, aim)
    return Comparison(folder, *written, failed=failed)


def _play_all(
    cells: Sequence[Cell], write: Callable[[], object], observer: GridProgress | None
) -> tuple[str, ...]:
    """Play what is not over yet, and write after each; the runs that failed, with the reason."""
    failed: list[str] = []
    if observer is not None:
        observer.begun(cells)
    for number, cell in enumerate(cells, start=1):
        if cell.over:
            continue
        if observer is not None:
            observer.cell(cell, number)
        fault = _play(cell, observer)
        if fault:
            failed.append(f"{cell.contender.label}, seed {cell.seed}: {fault}")
        if observer is not None:
            observer.cell_over(fault)
        write()
    return tuple(failed)


def _play(cell: Cell, observer: GridProgress | None) -> str:
    """Play a run to its end; why it failed, or nothing."""
    begun = cell.begun
    try:
        simulate(
            cell.experiment,
            out=None if begun else cell.folder,
            resume=cell.folder if begun else None,
            observer=observer,
        )
    except BadInput:
        with suppress(OSError):  # other runs lie there
            cell.folder.parent.rmdir()
        raise
    except KeyboardInterrupt:
        if observer is not None:
            observer.note("interrupted; the same command goes on from here")
        raise
    except UmbelError as error:
        return str(error).partition("\n")[0]
    return ""


def _write(
    name: str, folder: Path, cells: Sequence[Cell], target: float | None
) -> tuple[Yardstick, tuple[Line, ...]]:
    """Write table and page from what lies in the run folders."""
    results = filter(None, (cell.result() for cell in cells))
    records: list[Record] = [record for result in results for record in result.records]
    yardstick = Yardstick.of(records, target)
    lines = measure(cells, yardstick)
    curves = [curve(label, own, yardstick) for label, own in by_contender(cells).items()]
    write_text(folder / TABLE_FILE, as_csv(lines))
    write_text(folder / PAGE_FILE, page(name, lines, curves, yardstick, folder))
    return yardstick, tuple(lines)


def _told(line: Line) -> dict[str, Any]:
    final, rounds = line.spread("final"), line.spread("rounds_to_target")
    return {
        "strategy": line.strategy,
        "final_mean": final.mean if final.count else None,
        "final_deviation": final.deviation,
        "rounds_to_target_mean": rounds.mean if rounds.count else None,
        "runs": [asdict(run) for run in line.runs],
    }
