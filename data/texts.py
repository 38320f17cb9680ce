"""Texts as examples: arrays of strings, each as long as it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

TEXT = "text"
"""The dtype, in a schema, of examples that are texts; their shape is ()."""


def as_texts(texts: Iterable[str]) -> np.ndarray:
    """Texts as an array (n,).

    >>> as_texts(["one", "and another"])[[1]].tolist()
    ['and another']
    """
    return np.array(list(texts), dtype=np.dtypes.StringDType())


def dtype_of(x: np.ndarray) -> str:
    """What a schema calls the type of stored examples.

    >>> dtype_of(as_texts(["one"])), dtype_of(np.zeros(1, np.uint8))
    ('text', 'uint8')
    """
    return TEXT if isinstance(x.dtype, np.dtypes.StringDType) else str(x.dtype)


def write_texts(path: Path, texts: np.ndarray) -> None:
    """Write texts to a Parquet file of one column."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": texts.tolist()}), path)


def read_texts(path: Path) -> np.ndarray:
    """Read what `write_texts` wrote; raises ValueError or OSError for anything else."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return as_texts(parquet.read_table(path, columns=["text"])["text"].to_pylist())
    except (KeyError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"not a Parquet file of texts: {error}") from error
