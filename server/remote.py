"""`umbel run`: an experiment with the clients that have joined a SuperLink somewhere."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadInput, LinkLost
from ..experiment import Experiment
from ..result import Result
from .app import check_networked, note_end, run_experiment
from .comeback import Comeback
from .observer import Observer, Silent
from .record import RunFolder
from .submit import Access, Link, reach, submitted

HERE = Access()


def run(
    experiment: Experiment,
    server: str,
    *,
    out: Path | None = None,
    observer: Observer | None = None,
    resume: Path | None = None,
    access: Access = HERE,
) -> Result:
    """Run an experiment with the clients of a SuperLink; the round loop runs in this process.

    A SuperLink that goes away in mid-run is waited for, `server.reconnect` seconds at most; the
    run then goes on after the last finished round, also where the SuperLink has lost its memory.

    Args:
        experiment: what to run; `data.clients` says how many clients to wait for.
        server: the SuperLink's host and port.
        out: the run folder.
        observer: told what happens.
        resume: a run folder to go on with, in place of `out`.
        access: how to reach it and be let in; plain HTTP on this machine by default.

    Raises BadInput before anything is written where the SuperLink cannot be reached, or another
    umbel is at work on the run.
    """
    check_networked(experiment)
    where = access.link(server, patience=experiment.server.reconnect)
    reach(where)
    told = {"server": server, **access.to_options()}
    with RunFolder.held(experiment, "run", out=out, resume=resume, options=told) as folder:
        return _play(experiment, where, folder, observer or Silent())


def _play(experiment: Experiment, where: Link, folder: RunFolder, observer: Observer) -> Result:
    comeback = Comeback(where, observer, experiment.server.reconnect)
    try:
        comeback.retire(folder)
        while True:
            try:
                with submitted(where, tell=comeback.tell) as grid:
                    folder.update_environment({"flower_run": grid.run.run_id})
                    run_experiment(grid, experiment, folder, observer=observer)
                return Result.open(folder.path)
            except LinkLost as lost:
                comeback.wait(lost, folder)
    except BadInput:
        folder.discard()
        raise
    except BaseException as error:
        note_end(folder, error)
        raise
