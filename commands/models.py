"""`umbel export`, `umbel pretrain`: models for other programs, and for other experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import File, Set
from .common import display, example, load_experiment

app = typer.Typer()


@app.command(epilog=example("umbel pretrain source.toml --out backbone.safetensors --epochs 20"))
def pretrain(
    file: File,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The safetensors file to write.", show_default=False),
    ],
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="experiment.rounds x client.epochs if not given."),
    ] = None,
    set_: Set = None,
) -> None:
    """Train an experiment's model on all its data in one place; write all but its output layer."""
    from ..exporting.pretraining import pretrain as run

    experiment = load_experiment(file, set_)
    with display() as observer:
        done = run(experiment, out, epochs=epochs, observer=observer)
    for name, value in done.table:
        print(f"{name:<24}{value}")
    print(done.path)


@app.command(epilog=example("umbel export runs/digits-20261121-060000 --out digits-model"))
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to make; RUN/export if not given."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Also write model.onnx.")] = True,
) -> None:
    """Write a run's model as safetensors and ONNX, with a model card; say where they lie."""
    from ..exporting.run import export as write

    print(write(folder, out, onnx=onnx))
