"""The `umbel` command: one function a subcommand, each only as much as its options need."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich.console import Console
from rich.table import Table

from .errors import BadInput, UmbelError
from .options import (
    Address,
    AllowImport,
    Classes,
    Clients,
    File,
    Insecure,
    Json,
    Label,
    Out,
    ReadData,
    Set,
    State,
)

if TYPE_CHECKING:
    from .experiment import Experiment
    from .progress import Progress
    from .result import Result

app = typer.Typer(
    name="umbel",
    help="Federated learning: one experiment file, simulated or on a real network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data_app = typer.Typer(help="Bundled data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _example(text: str) -> str:
    return f"Example: `{text}`"


@app.command(epilog=_example("umbel check examples/digits.toml --set experiment.rounds=3"))
def check(file: File, set_: Set = None, json: Json = False, data: ReadData = False) -> None:
    """Check an experiment file without running it."""
    experiment = _load(file, set_)
    if data:
        from .data import make_shards

        make_shards(experiment)
    if json:
        print(experiment.to_json())
    _say(f"{file}: good")


@app.command(epilog=_example("umbel simulate examples/digits.toml --set simulation.workers=2"))
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
    from .simulation.engine import simulate as run

    overrides = [*(set_ or []), *([f"simulation.engine={engine}"] if engine else [])]
    with _display() as observer:
        result = run(_load(file, overrides), out=out, observer=observer)
    _done(result, json)


@app.command(epilog=_example("umbel up examples/digits.toml --clients 3"))
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
) -> None:
    """Run an experiment on a real network on this machine: a SuperLink and client processes."""
    from .server.up import up as run

    experiment = _load(file, set_)
    if clients is not None:
        experiment = experiment.with_clients(clients)
    with _display() as observer:
        result = run(experiment, out=out, observer=observer, stock_nodes=stock_nodes, port=port)
    _done(result, json)


@app.command(epilog=_example("umbel server --host 127.0.0.1 --port 8000"))
def server(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback although without TLS.")
    ] = False,
) -> None:
    """Start a SuperLink and serve until interrupted."""
    from .server.serve import serve

    serve(host, port, insecure=insecure)


@app.command(
    epilog=_example("umbel client --server 127.0.0.1:8000 --data shards/client-3 --name site-a")
)
def client(
    server: Address,
    data: Annotated[
        str, typer.Option(metavar="PATH", help="This client's examples: a shard, folder or file.")
    ],
    name: Annotated[
        str | None, typer.Option(help="This client's name; the shard's if not given.")
    ] = None,
    label: Label = None,
    state: State = Path(".umbel"),
    classes: Classes = None,
    allow_import: AllowImport = None,
    insecure: Insecure = False,
) -> None:
    """Join a SuperLink as a client, and stay until interrupted."""
    from .client.node import NodeOptions, run_node
    from .client.site import Site, make_site_app

    labels = tuple(classes.split(",")) if classes else None
    site = Site(data, state / "state", name, label, labels, tuple(allow_import or ()))
    shard = site.read()
    options = NodeOptions(address=server, state=state, insecure=insecure)
    run_node(options, lambda: make_site_app(site, shard))


@app.command(epilog=_example("umbel run examples/digits.toml --server 127.0.0.1:8000"))
def run(
    file: File,
    server: Address,
    set_: Set = None,
    clients: Clients = None,
    out: Out = None,
    json: Json = False,
    insecure: Insecure = False,
) -> None:
    """Run an experiment with the clients that have joined a SuperLink."""
    from .server.remote import run as submit

    experiment = _load(file, set_)
    if clients is not None:
        experiment = experiment.with_clients(clients)
    with _display() as observer:
        result = submit(experiment, server, out=out, observer=observer, insecure=insecure)
    _done(result, json)


@app.command(epilog=_example("umbel resume runs/digits-20261121-060000"))
def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    json: Json = False,
) -> None:
    """Go on with a run that was interrupted, after its last finished round."""
    from .resuming import resume as go_on

    with _display() as observer:
        result = go_on(folder, observer)
    _done(result, json)


@app.command("list", epilog=_example("umbel list strategies"))
def list_(
    kind: Annotated[
        str, typer.Argument(help="strategies, paradigms, models, datasets or partitioners.")
    ],
    json: Json = False,
) -> None:
    """Print every name of a kind with its meaning, its paper and its parameters."""
    from . import registry

    kinds = {plural: name for name, plural in registry.PLURALS.items()}
    if kind not in kinds:
        raise BadInput(f"list {kind}: unknown{registry.nearest(kind, sorted(kinds))}")
    entries = registry.describe(kinds[kind])
    if json:
        print(json_module.dumps([vars(entry) for entry in entries], default=dict))
        return
    table = Table("name", "meaning", "parameters", "paper")
    for entry in entries:
        parameters = ", ".join(f"{name}={value}" for name, value in entry.parameters.items())
        table.add_row(entry.name, entry.summary, parameters, entry.paper)
    Console().print(table)


@app.command(epilog=_example("umbel report runs/digits-20261121-060000"))
def report(folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Write a run's report.html anew, and say where it lies."""
    from .result import Result
    from .server.report import write_report

    Result.open(folder)
    print(write_report(folder))


@app.command(epilog=_example("umbel partition examples/digits.toml --plot partition.png"))
def partition(
    file: File,
    set_: Set = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="Draw it (PNG, SVG or PDF).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one folder a client.")
    ] = None,
) -> None:
    """Divide an experiment's data among its clients: draw it, or write the shards."""
    from . import data

    if plot is None and out is None:
        raise BadInput("partition: nothing to do; give --plot PICTURE or --out DIR")
    shards = data.make_shards(_load(file, set_))
    if plot is not None:
        print(data.plot_partition(shards, plot))
    if out is not None:
        written = data.write_shards(shards, out)
        print(f"{len(written)} shards in {out}")


@data_app.command("fetch", epilog=_example("umbel data fetch mnist"))
def fetch(
    name: Annotated[str, typer.Argument(help="A bundled data set (umbel list datasets).")],
) -> None:
    """Get a bundled data set onto this machine."""
    from . import data

    print(data.fetch(name))


def main() -> None:
    """The command's entry point: every fault is one line, and an exit code that says its kind."""
    # As with `python -m umbel`: an experiment may name a module of the folder it is run in.
    sys.path.append(str(Path.cwd()))
    try:
        code = app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except UmbelError as error:
        for line in str(error).splitlines():
            _say(f"umbel: {line}")
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("umbel: interrupted")
        code = 130
    sys.exit(code)


def _load(file: Path, overrides: list[str] | None) -> Experiment:
    from .experiment import load

    return load(file, overrides or ())


@contextmanager
def _display() -> Iterator[Progress]:
    from .progress import Progress

    progress = Progress()
    try:
        yield progress
    finally:
        progress.close()


def _done(result: Result, json: bool) -> None:
    if json:
        print(result.to_json())


def _say(text: Any) -> None:
    print(text, file=sys.stderr)
