"""`umbel resume`: an interrupted run goes on in the runtime that it was started in."""

from __future__ import annotations

from pathlib import Path

from .errors import BadInput
from .experiment import load
from .result import Result
from .server.observer import Observer
from .server.record import RunFolder


def resume(path: Path, observer: Observer | None = None) -> Result:
    """Go on after the last finished round, to the same model as an undisturbed run.

    Args:
        path: the run folder.
        observer: told what happens.

    Raises BadInput where the folder holds no run, or one that Flower itself has started.
    """
    folder = RunFolder.open(path)
    experiment = load(path / "experiment.toml")
    if folder.runtime == "simulate":
        from .simulation.engine import simulate

        return simulate(experiment, observer=observer, resume=path)
    if folder.runtime == "up":
        from .server.up import up

        stock = bool(folder.option("stock_nodes"))
        return up(experiment, observer=observer, stock_nodes=stock, resume=path)
    if folder.runtime == "run":
        from .server.remote import run
        from .server.submit import Access

        server, access = str(folder.option("server")), Access.from_options(folder.options)
        return run(experiment, server, observer=observer, resume=path, access=access)
    raise BadInput(f"{path}: was started by Flower; only runs of umbel's own can be resumed")
