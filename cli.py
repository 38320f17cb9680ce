"""The `umbel` command: its subcommands in one, and faults as lines and exit codes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click
import typer

from .commands import catalogue, comparison, data, keys, models, network, new, runs
from .commands.common import say
from .errors import UmbelError
from .stopping import Stop, stoppable

INTERRUPTED = 130

app = typer.Typer(
    name="umbel",
    help="Federated learning: one experiment file, simulated or on a real network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for part in (runs, models, comparison, network, keys, catalogue, data, new):
    app.add_typer(part.app)


def main() -> None:
    """The command's entry point: every fault is one line, and an exit code that says its kind."""
    # As with `python -m umbel`: an experiment may name a module of the folder it is run in.
    sys.path.append(str(Path.cwd()))
    with stoppable() as stop:
        code = _run(stop)
        stop.leave(code)
    sys.exit(code)


def _run(stop: Stop) -> int:
    """Run the subcommand; its exit code."""
    try:
        code = int(app(standalone_mode=False) or 0)
        if code != INTERRUPTED:  # typer's word for it
            return code
        raise KeyboardInterrupt
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UmbelError as error:
        for line in str(error).splitlines():
            say(f"umbel: {line}", name="fault", level=logging.ERROR)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("umbel: interrupted", name="interrupted", level=logging.WARNING)
        return stop.code
