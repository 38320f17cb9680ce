"""What the library of an architecture needs beside the weights, to read them by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn


def transformers_body(model: nn.Module) -> Any | None:
    """The part of a model that is a transformer of the library's; None where there is none."""
    body: Any = getattr(model, "body", None)
    return body if hasattr(getattr(body, "config", None), "model_type") else None


def write_library_files(model: nn.Module, folder: Path) -> None:
    """Write a transformer's configuration, and a reader's tokenizer, into a folder."""
    body = transformers_body(model)
    if body is not None:
        body.config.save_pretrained(folder)
    tokenizer: Any = getattr(model, "tokenizer", None)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
