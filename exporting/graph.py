"""A model as an ONNX graph, for programs without torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from ..data.texts import TEXT
from ..errors import BadInput
from ..models.graph_networks import Network
from ..models.trial import sample_inputs
from ..schema import Schema
from ..tensors import nbytes

INPUT, OUTPUT = "inputs", "scores"

ONE_FILE_BYTES = 1_500_000_000
"""An ONNX file ends at 2 GB; the weights of a larger model lie beside it."""


def require_onnx() -> None:
    """Raise BadInput where the packages are missing that write a graph."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise BadInput(
            f"export: model.onnx needs {' and '.join(missing)}: pip install 'umbel[onnx]', or "
            "leave it out with --no-onnx"
        )


def write_graph(model: nn.Module, schema: Schema, path: Path) -> None:
    """Write a model as ONNX: `scores` (n, classes) of `inputs`, any number n of them.

    Inputs are what the model gets in training: images float32 (n, C, H, W) in [0, 1], tables
    (n, F), texts as token ids (n, length). Raises BadInput where the model cannot be written so.
    """
    if isinstance(model, Network):
        raise BadInput("export: networks over graphs are not written as ONNX; add --no-onnx")
    inputs = sample_inputs(model, schema)
    axes = {0: "batch", 1: "length"} if schema.dtype == TEXT else {0: "batch"}
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                model,
                (inputs,),
                path,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(axes,),
                external_data=nbytes(model.state_dict()) > ONE_FILE_BYTES,
                verbose=False,
            )
    except Exception as error:
        # The library raises whatever its parts do, with pages of advice to its own developers.
        said = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise BadInput(
            f"export: the model cannot be written as ONNX ({type(error).__name__}"
            f"{': ' + said[0][:200] if said else ''}); leave it out with --no-onnx"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library tells its own developers from the user."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
