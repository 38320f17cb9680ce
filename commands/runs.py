"""`umbel check`, `simulate`, `up`, `run`, `resume`, `report`: experiments and their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    Clients,
    File,
    Json,
    Out,
    ReadData,
    Reports,
    Set,
    Target,
    grouped,
)
from .common import begin_log, display, done, example, load_experiment, say

app = typer.Typer()


@app.command(epilog=example("umbel check examples/digits.toml --set experiment.rounds=3"))
def check(file: File, set_: Set = None, json: Json = False, data: ReadData = False) -> None:
    """Check an experiment file without running it."""
    from .. import registry
    from ..strategies.fitting import unused

    experiment = load_experiment(file, set_)
    if data:
        from ..building import build_model, build_paradigm
        from ..data import check_learnable, make_shards

        shards = make_shards(experiment)
        check_learnable(experiment, shards)
        build_model(build_paradigm(experiment), experiment, shards.schema)
    if json:
        print(experiment.to_json())
    strategy = registry.build("strategy", experiment.strategy.name, experiment.strategy.parameters)
    if useless := unused(strategy, experiment.experiment.rounds):
        say(useless, name="warning")
    say(f"{file}: good")


@app.command(epilog=example("umbel simulate examples/digits.toml --set simulation.workers=2"))
def simulate(
    file: File,
    set_: Set = None,
    out: Out = None,
    json: Json = False,
    engine: Annotated[
        str | None, typer.Option(help="in-process or ray, in place of simulation.engine.")
    ] = None,
) -> None:
    """Run an experiment in this process, its clients simulated."""
    from ..simulation.engine import simulate as run

    overrides = [*(set_ or []), *([f"simulation.engine={engine}"] if engine else [])]
    with display() as observer:
        result = run(load_experiment(file, overrides), out=out, observer=observer)
    done(result, json)


@app.command(epilog=example("umbel up examples/digits.toml --clients 3"))
@grouped
def up(
    file: File,
    set_: Set = None,
    clients: Clients = None,
    out: Out = None,
    json: Json = False,
    stock_nodes: Annotated[
        bool, typer.Option("--stock-nodes", help="Flower's own SuperNodes as the clients.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="The SuperLink's port; a free one if not given.")
    ] = None,
    *,
    reports: Reports,
) -> None:
    """Run an experiment on a real network on this machine: a SuperLink and client processes."""
    from ..server.up import up as run

    begin_log(reports)
    experiment = load_experiment(file, set_)
    if clients is not None:
        experiment = experiment.with_clients(clients)
    with display(reports) as observer:
        result = run(experiment, out=out, observer=observer, stock_nodes=stock_nodes, port=port)
    done(result, json)


@app.command(epilog=example("umbel run examples/digits.toml --server 127.0.0.1:8000"))
@grouped
def run(
    file: File,
    target: Target,
    reports: Reports,
    set_: Set = None,
    clients: Clients = None,
    out: Out = None,
    json: Json = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with its unfinished run, if there is one.")
    ] = False,
) -> None:
    """Run an experiment with the clients that have joined a SuperLink."""
    from ..server.record import RunFolder
    from ..server.remote import run as submit
    from ..server.submit import Access

    begin_log(reports)
    experiment = load_experiment(file, set_)
    if clients is not None:
        experiment = experiment.with_clients(clients)
    unfinished = RunFolder.unfinished(out, experiment, "run") if resume else None
    if unfinished is not None:
        say(f"going on with {unfinished}")
    access = Access(target.ca, target.key, target.insecure)
    with display(reports) as observer:
        result = submit(
            experiment,
            target.server,
            out=out,
            observer=observer,
            resume=unfinished,
            access=access,
        )
    done(result, json)


@app.command(epilog=example("umbel resume runs/digits-20261121-060000"))
@grouped
def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    reports: Reports,
    json: Json = False,
) -> None:
    """Go on with a run that was interrupted, after its last finished round."""
    from ..resuming import resume as go_on

    begin_log(reports)
    with display(reports) as observer:
        result = go_on(folder, observer)
    done(result, json)


@app.command(epilog=example("umbel report runs/digits-20261121-060000"))
def report(folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Write a run's report.html anew, and say where it lies."""
    from ..result import Result
    from ..server.report import write_report

    Result.open(folder)
    print(write_report(folder))
