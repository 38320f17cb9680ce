"""The options that several of the `umbel` command's subcommands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from .logs import Format

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
    bool,
    typer.Option(
        "--data", help="Also read the data, divide it among the clients, and make the model."
    ),
]
Clients = Annotated[
    int | None, typer.Option("--clients", min=1, help="In place of data.clients.", metavar="N")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Connect beyond loopback although without TLS.")
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Who signed the server's certificate (ca.pem)."),
]
OperatorKey = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="An operator's private key (run.pem)."),
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


LogFormat = Annotated[
    Format,
    typer.Option(help="Of what it says on standard error: lines for people, or JSON objects."),
]
MetricsPort = Annotated[
    str | None,
    typer.Option(metavar="[HOST:]PORT", help="Serve figures for Prometheus there."),
]


@dataclass(frozen=True)
class Reports:
    """How a long-running command tells what it does."""

    log_format: LogFormat = "text"
    metrics_port: MetricsPort = None


@dataclass(frozen=True)
class Target:
    """A server, as its operator reaches it."""

    server: Address
    ca: Ca = None
    key: OperatorKey = None
    insecure: Insecure = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a subcommand take options together: each parameter that is a dataclass stands for
    its fields, which typer then sees one by one.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Where:
    ...     host: str = "127.0.0.1"
    ...     port: int = 8000
    >>> def serve(name: str, where: Where) -> None:
    ...     print(name, where.port)
    >>> str(inspect.signature(grouped(serve)))
    "(*, name: str, host: str = '127.0.0.1', port: int = 8000) -> None"
    >>> grouped(serve)(name="a", host="::1", port=9)
    a 9
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if isinstance(kind, type) and is_dataclass(kind):
            groups[name] = kind
            parameters += list(_expanded(kind))
        else:
            parameters.append(parameter.replace(annotation=kind, kind=Parameter.KEYWORD_ONLY))

    def call(**options: Any) -> None:
        for name, kind in groups.items():
            options[name] = kind(**{f.name: options.pop(f.name) for f in fields(kind)})
        command(**options)

    functools.update_wrapper(call, command)
    del call.__wrapped__  # type: ignore[attr-defined]
    call.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _expanded(group: type) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = Parameter.empty if field.default is MISSING else field.default
        yield Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )
