"""`umbel run`: an experiment with the clients that have joined a SuperLink somewhere."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadInput
from ..experiment import Experiment, check
from ..result import Result
from .app import run_experiment
from .observer import Observer
from .record import RunFolder
from .submit import link, reach, submitted


def run(
    experiment: Experiment,
    server: str,
    *,
    out: Path | None = None,
    observer: Observer | None = None,
    resume: Path | None = None,
    insecure: bool = False,
) -> Result:
    """Run an experiment with the clients of a SuperLink; the round loop runs in this process.

    Args:
        experiment: what to run; `data.clients` says how many clients to wait for.
        server: the SuperLink's host and port.
        out: the run folder.
        observer: told what happens.
        resume: a run folder to go on with, in place of `out`.
        insecure: allow plain HTTP beyond this machine.

    Raises BadInput before anything is written where the SuperLink cannot be reached.
    """
    check(experiment)
    where = link(server, insecure=insecure)
    reach(where)
    if resume is None:
        folder = RunFolder.create(out, experiment, "run", {"server": server, "insecure": insecure})
    else:
        folder = RunFolder.open(resume)
    try:
        with submitted(where) as grid:
            run_experiment(grid, experiment, folder, observer=observer)
    except BadInput:
        folder.discard()
        raise
    return Result.open(folder.path)
