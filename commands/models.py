"""`umbel export`, `umbel pretrain`: models for other programs, and for other experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import example

app = typer.Typer()


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
