"""Arrays in files: NPZ, and the IDX files in which MNIST and its relatives are published."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .assembly import Part, assemble, label_names
from .boundary import with_boundary
from .graphs import graph_of_arrays
from .rows import EDGES
from .shard import Dataset

_CHANNELS = (1, 3, 4)


def read_npz(path: Path) -> Dataset:
    """Read an NPZ file.

    Its arrays are `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`. `x` is (n,
    features), kept as float32; or images (n, height, width[, channels]), uint8 or float in
    [0, 1]; images with the channel axis first are turned round. `y` (n,) holds whole numbers
    (-1: no label) or names. `classes` (names by label code) and `groups` (n,) may be there
    too. With `edges` it is a graph; see `graphs.graph_of_arrays` and `boundary.with_boundary`.
    """
    arrays = _load(path)
    if EDGES in arrays:
        return with_boundary(graph_of_arrays(path, arrays), arrays, path)
    names = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    for name in names:
        if name not in arrays:
            raise BadInput(
                f"{path}: has no array {name!r} (found: {', '.join(arrays) or 'none'}); "
                "save it with x and y, or x_train, y_train, x_test and y_test"
            )
    classes = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
    train = _part(arrays, names, path, classes)
    tests = ("x_test", "y_test")
    test = _part(arrays, tests, path, classes) if all(n in arrays for n in tests) else None
    return assemble(path.stem, train, test, classes=classes)


def read_idx_folder(folder: Path, *, classes: tuple[str, ...] | None = None) -> Dataset:
    """Read a folder of `train-images-idx3-ubyte[.gz]` and its three companions."""

    def part(prefix: str) -> Part:
        images = read_idx(_idx_file(folder, f"{prefix}-images-idx3-ubyte"))
        labels = read_idx(_idx_file(folder, f"{prefix}-labels-idx1-ubyte")).astype(np.int64)
        names = label_names(labels, str(folder))
        if classes is not None:
            names = np.array(classes)[labels]
        return Part(x=images, labels=names, where=str(folder))

    return assemble(folder.name, part("train"), part("t10k"), classes=classes)


def is_idx_folder(folder: Path) -> bool:
    return any(folder.glob("train-images-idx3-ubyte*"))


def read_idx(path: Path) -> np.ndarray:
    """One IDX file of unsigned bytes, gzipped or not, as a uint8 array of its own shape."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: not a readable IDX file: {error}") from None
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise BadInput(f"{path}: not an IDX file of unsigned bytes")
    axes = raw[3]
    if len(raw) < 4 + 4 * axes:
        raise BadInput(f"{path}: cut short: {len(raw)} bytes hold no shape of {axes} axes")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", count=axes, offset=4))
    if len(raw) != 4 + 4 * axes + int(np.prod(shape)):
        raise BadInput(f"{path}: cut short: {len(raw)} bytes do not hold shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _idx_file(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise BadInput(f"{folder}: has no {name} or {name}.gz; all four IDX files are needed")


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(
            f"{path}: not a readable NPZ file of plain arrays: {str(error).splitlines()[0]}"
        ) from None


def _part(
    arrays: Mapping[str, np.ndarray],
    names: tuple[str, str],
    path: Path,
    classes: list[str] | None,
) -> Part:
    x, y = (arrays[name] for name in names)
    where = f"{path}: {names[0]}"
    if y.ndim != 1:
        raise BadInput(f"{path}: {names[1]} has shape {y.shape}; labels have one axis (n,)")
    if classes is not None and y.dtype.kind in "iu":
        outside = np.flatnonzero(y >= len(classes))
        if len(outside):
            raise BadInput(
                f"{path}: row {outside[0] + 1}: label {y[outside[0]]} is outside the "
                f"{len(classes)} classes; valid: 0 to {len(classes) - 1}, or -1 for no label"
            )
        labels = np.array([*classes, ""])[np.maximum(y.astype(np.int64), -1)]
    else:
        labels = label_names(y, str(path))
    return Part(
        x=_features(x, where),
        labels=labels,
        where=str(path),
        groups=arrays["groups"].astype(str) if "groups" in arrays else None,
    )


def _features(x: np.ndarray, where: str) -> np.ndarray:
    """Tables as float32; images with their channels last, uint8 or float32 in [0, 1]."""
    if x.dtype.kind not in "fiub":
        raise BadInput(f"{where} holds {x.dtype}, not numbers")
    if x.ndim == 2:
        return x.astype(np.float32)
    if x.ndim not in (3, 4):
        raise BadInput(
            f"{where} has shape {x.shape}; use (n, features) or (n, height, width[, channels])"
        )
    if x.ndim == 4 and x.shape[3] not in _CHANNELS:
        if x.shape[1] not in _CHANNELS:
            raise BadInput(f"{where} has shape {x.shape}; images have 1, 3 or 4 channels")
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind != "f":
        raise BadInput(f"{where} holds {x.dtype} images; use uint8, or floats in [0, 1]")
    if x.size and (np.nanmin(x) < 0 or np.nanmax(x) > 1):
        raise BadInput(
            f"{where} holds images from {np.nanmin(x):g} to {np.nanmax(x):g}; floats must lie "
            "in [0, 1]"
        )
    return x.astype(np.float32)
