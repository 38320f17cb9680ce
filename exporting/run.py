"""`umbel export`: a run's model, its graph and its card in one folder, or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadInput
from ..result import MODEL_FILE
from ..tensors import write_tensors
from .card import CARD_FILE, card
from .graph import require_onnx, write_graph
from .library import write_library_files
from .trained import Trained

GRAPH_FILE = "model.onnx"

METADATA = {"format": "pt"}
"""Transformers reads no safetensors file that does not say so."""


def export(run: Path, out: Path | None = None, *, onnx: bool = True) -> Path:
    """Write a finished run's model into a folder of its own; returns the folder.

    Args:
        run: the run folder.
        out: the folder to make; `export` in the run folder if None.
        onnx: also write `model.onnx`, which needs the extra `umbel[onnx]`.

    Raises BadInput, with nothing written, where there is no run, or no model of it yet, where
    `out` holds something, or where the model cannot be written as ONNX.
    """
    out = run / "export" if out is None else out
    _check_free(out)
    if onnx:
        require_onnx()
    trained = Trained.open(run)
    with _whole(out) as folder:
        write_tensors(folder / MODEL_FILE, trained.tensors, METADATA)
        if onnx:
            write_graph(trained.model, trained.schema, folder / GRAPH_FILE)
        write_library_files(trained.model, folder)
        sha256 = hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
        (folder / CARD_FILE).write_text(card(trained, sha256, onnx=onnx), encoding="utf-8")
    return out


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; name a folder for the model")
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"{out}: is not empty; name another folder with --out")


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block is through, or goes with it."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        # Takes the place of an empty folder, too.
        os.replace(temporary, out)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
