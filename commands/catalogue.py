"""`umbel list`: the names that an experiment file may use."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import BadInput
from ..options import Json
from .common import example

app = typer.Typer()

HOLDS = {True: "a sum", False: "every update", None: ""}
"""What of a round's updates a strategy has the server hold, by whether it streams."""

CLUSTERS = "a model and a sum for each cluster"


@app.command("list", epilog=example("umbel list strategies"))
def list_(
    kind: Annotated[
        str,
        typer.Argument(help="strategies, paradigms, models, datasets, partitioners or attacks."),
    ],
    json: Json = False,
) -> None:
    """Print every name of a kind with its meaning, its paper and its parameters."""
    from .. import registry

    kinds = {plural: name for name, plural in registry.PLURALS.items()}
    if kind not in kinds:
        raise BadInput(f"list {kind}: unknown{registry.nearest(kind, sorted(kinds))}")
    entries = registry.describe(kinds[kind])
    facts = {entry.name: _facts(kinds[kind], entry.name) for entry in entries}
    if json:
        told = [{**vars(entry), **facts[entry.name]} for entry in entries]
        print(json_module.dumps(told, default=dict))
        return
    table = Table("name", "meaning", "parameters", "paper")
    if kinds[kind] == "strategy":
        table.add_column("server holds")
    for entry in entries:
        parameters = ", ".join(f"{name}={value}" for name, value in entry.parameters.items())
        known = facts[entry.name]
        holds = [CLUSTERS if known["clusters"] else HOLDS[known["streams"]]] if known else []
        table.add_row(entry.name, entry.summary, parameters, entry.paper, *holds)
    Console().print(table)


def _facts(kind: str, name: str) -> dict[str, bool | None]:
    """What is known of a strategy beside its signature: whether it streams, where that does not
    hang on parameters that only a user can give, and whether it has a model for each of several
    clusters."""
    from .. import registry

    if kind != "strategy":
        return {}
    try:
        strategy = registry.make(kind, name, {})
    except (BadInput, ValueError):
        strategy = None
    rule, clusters = getattr(strategy, "combine", None), getattr(strategy, "clusters", None)
    return {
        "streams": None if rule is None else bool(rule.streams),
        "clusters": clusters is not None,
    }
