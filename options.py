"""The options that several of the `umbel` command's subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE", help="An experiment file (TOML).")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as strategy.name=fedprox."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The run folder; runs/NAME-TIME if not given."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output at the end.")
]
ReadData = Annotated[
    bool, typer.Option("--data", help="Also read the data, and divide it among the clients.")
]
Clients = Annotated[
    int | None, typer.Option("--clients", min=1, help="In place of data.clients.", metavar="N")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Connect beyond loopback although without TLS.")
]
Address = Annotated[str, typer.Option("--server", metavar="HOST:PORT", help="The SuperLink.")]
Label = Annotated[str | None, typer.Option(metavar="COLUMN", help="The label column of a table.")]
State = Annotated[
    Path, typer.Option(metavar="DIR", help="Where it keeps its identity and its state.")
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="All labels, where this client may lack some."),
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="A module that an experiment may name parts of."),
]
