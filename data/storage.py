"""Shards on disk: a plain folder a client, read back to the same bytes.

client-3/
    schema.json   the shard's Schema
    shard.json    format version, the client's name, how many examples, labels by class
    x.npy  y.npy  one array a file, numpy's own format, never pickled; texts are x.parquet; of a
                  graph edges.npy, and of a part of one ids.npy and outward.npy
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..schema import Schema
from .assembly import recode
from .rows import EDGE_X, layout_fault
from .shard import UNLABELLED, Dataset, Shard, ShardSource
from .sources import path_source
from .texts import TEXT, dtype_of, read_texts, write_texts

FORMAT = 1
_SCHEMA, ABOUT = "schema.json", "shard.json"


def write_shards(source: ShardSource, folder: str | os.PathLike[str]) -> list[Path]:
    """Write every shard of `source` into its own subfolder of `folder`; returns those.

    All or nothing: the shards are written beside `folder` and moved there when complete.
    Raises BadInput where `folder` already holds something.
    """
    target = Path(folder)
    check_writable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        names = [source.name(index) for index in range(len(source))]
        for index, name in enumerate(names):
            _write_shard(source.shard(index), partial / name)
        partial.chmod(0o755)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return [target / name for name in names]


def check_writable(folder: Path) -> None:
    """Raise BadInput unless `folder` is absent or empty."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file; give a folder for the shards")
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInput(f"{folder}: is not empty; give a new folder, or remove this one first")


def read_shard(
    folder: str | os.PathLike[str],
    *,
    client: str | None = None,
    label: str | None = None,
    classes: Sequence[str] | None = None,
) -> Shard:
    """Read one client's examples.

    `folder` is what `write_shards` wrote for a client, or a site's own data: anything that
    `load_dataset` reads from a path (a test part stays out). The client's name is `client`,
    else the written shard's, else the folder's or file's; options may
    follow a question mark (`photos?size=32`). `label` and `classes` are as for
    `load_dataset`. Raises BadInput for what cannot be read.
    """
    from .loading import load_path

    source = path_source(str(folder))
    path = Path(source.name).expanduser()
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder; give this client's own data")
    name = client
    if name is None and is_shard_folder(path):
        name = str(_read_about(path)["client"])
    dataset = load_path(source, label=label)
    if classes is not None:
        dataset = recode(dataset, classes, str(path))
    return Shard(client=name or path.resolve().stem, schema=dataset.schema, arrays=dataset.train)


def is_shard_folder(folder: Path) -> bool:
    return (folder / ABOUT).is_file() and (folder / _SCHEMA).is_file()


def shard_as_dataset(folder: Path) -> Dataset:
    """A written shard as a data set of its own."""
    about = _read_about(folder)
    try:
        schema = Schema.from_json((folder / _SCHEMA).read_text("utf-8"))
    except ValueError as error:
        raise BadInput(f"{folder / _SCHEMA}: {error}; write the shards anew") from None
    arrays = {name: _read_array(folder, name) for name in about["arrays"]}
    _check_arrays(folder, schema, arrays, about["examples"])
    return Dataset(name=str(about["client"]), schema=schema, train=arrays)


def _write_shard(shard: Shard, folder: Path) -> None:
    folder.mkdir()
    for name, array in shard.arrays.items():
        _write_array(folder, name, array)
    labels = shard.arrays["y"]
    counts = np.bincount(labels[labels >= 0], minlength=len(shard.schema.classes))
    about = {
        "format": FORMAT,
        "client": shard.client,
        "examples": len(shard),
        "arrays": sorted(shard.arrays),
        "labels": dict(zip(shard.schema.classes, counts.tolist(), strict=True)),
        "unlabelled": int((labels == UNLABELLED).sum()),
    }
    (folder / _SCHEMA).write_text(shard.schema.to_json() + "\n", "utf-8")
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text("utf-8"))
        if about["format"] != FORMAT:
            raise BadInput(f"{path}: format {about['format']}; this umbel reads {FORMAT}")
        checked = {"client": str(about["client"]), "examples": int(about["examples"])}
        names = [str(name) for name in about["arrays"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not the description of a shard: {error!r}") from None
    if not {"x", "y"} <= set(names) or not all(name.isidentifier() for name in names):
        raise BadInput(f"{path}: lists the arrays {names}; x and y are needed")
    return checked | {"arrays": names}


def _write_array(folder: Path, name: str, array: np.ndarray) -> None:
    if dtype_of(array) == TEXT:
        write_texts(folder / f"{name}.parquet", array)
    else:
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _read_array(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.parquet"
    try:
        if path.is_file():
            return read_texts(path)
        path = folder / f"{name}.npy"
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: cannot be read: {reason}; write the shards anew") from None


def _check_arrays(
    folder: Path, schema: Schema, arrays: dict[str, np.ndarray], examples: int
) -> None:
    """Refuse a shard whose arrays do not fit its own schema: half-copied, or edited."""
    x, y = arrays["x"], arrays["y"]
    faults = []
    fault = layout_fault(arrays, examples)
    if fault:
        faults.append(f"{folder}: {fault}")
    if x.shape[1:] != schema.shape or dtype_of(x) != schema.dtype:
        faults.append(
            f"{folder / 'x.npy'}: {dtype_of(x)} {x.shape[1:]}, but {_SCHEMA} says "
            f"{schema.dtype} {schema.shape}"
        )
    width = arrays[EDGE_X].shape[1:] if EDGE_X in arrays else (0,)
    if width != (schema.edge_width,):
        faults.append(
            f"{folder}: edges are known by {width} numbers, but {_SCHEMA} says {schema.edge_width}"
        )
    if y.dtype != np.int64 or y.ndim != 1:
        faults.append(f"{folder / 'y.npy'}: {y.dtype} {y.shape}; labels are int64 (n,)")
    elif len(outside := np.flatnonzero((y < UNLABELLED) | (y >= len(schema.classes)))):
        row = int(outside[0])
        faults.append(
            f"{folder / 'y.npy'}: row {row + 1}: label {y[row]} is outside the "
            f"{len(schema.classes)} classes of {_SCHEMA}"
        )
    if faults:
        raise BadInput(faults)
