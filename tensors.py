"""State dicts as bytes and back: safetensors, every dtype as it is, never pickle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .processes import replacing

Tensors: TypeAlias = dict[str, Tensor]
"""Named tensors: a model's state dict, a part of one, or sums of statistics."""

REMEMBERED_HEADER = 65_536
"""Headers up to this many bytes are read once: a cohort's updates all have the same."""

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes that need not be copied to be looked at."""


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as one safetensors blob; equal tensors give equal bytes.

    Tensors that share memory (tied weights, views of one buffer) are written each on its own.

    >>> unpack(pack({"steps": torch.tensor([3]), "half": torch.ones(2, dtype=torch.bfloat16)}))
    {'half': tensor([1., 1.], dtype=torch.bfloat16), 'steps': tensor([3])}
    """
    header, parts = _parts(tensors)
    return b"".join([header, *parts])


def pack_into(tensors: Mapping[str, Tensor], allocate: Callable[[int], memoryview]) -> memoryview:
    """The blob of `pack` in memory that `allocate` gives for its number of bytes."""
    header, parts = _parts(tensors)
    view = allocate(len(header) + sum(len(part) for part in parts))
    start = 0
    for part in (memoryview(header), *parts):
        view[start : start + len(part)] = part
        start += len(part)
    return view


def _parts(tensors: Mapping[str, Tensor]) -> tuple[bytes, list[memoryview]]:
    """A blob's header and values, not copied.

    The library's own writer and reader copy every value twice, and look for shared memory:
    several times the work of one join. A simulated round of many updates would feel it.
    """
    values = [(name, t.detach().cpu().contiguous()) for name, t in sorted(tensors.items())]
    form = tuple((name, value.dtype, tuple(value.shape)) for name, value in values)
    header, order = _header(form)
    return header, [_bytes(values[place][1]) for place in order]


def _bytes(value: Tensor) -> memoryview:
    known = value.view(torch.int16) if value.dtype == torch.bfloat16 else value
    return known.numpy().reshape(-1).view(np.uint8).data


_Form: TypeAlias = tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]
"""Names, dtypes and shapes, in the order of the names."""


@lru_cache(maxsize=64)
def _header(form: _Form) -> tuple[bytes, tuple[int, ...]]:
    """The start of a blob, and the order in which the values follow: wide ones first, as the
    format asks, so that every value is aligned."""
    order = sorted(range(len(form)), key=lambda place: -form[place][1].itemsize)
    entries: dict[str, object] = {}
    start = 0
    for place in order:
        name, dtype, shape = form[place]
        end = start + math.prod(shape) * dtype.itemsize
        entries[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, tuple(order)


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def unpack(blob: Buffer) -> Tensors:
    """The tensors of a blob, in the order of their names; raises ValueError if it is damaged.

    The tensors of a writable blob are views of it and keep it alive; one that is not writable
    is copied once.
    """
    view = memoryview(blob).cast("B")
    size = int.from_bytes(view[:8], "little")
    if len(view) < 8 or size > len(view) - 8:
        raise ValueError("not a safetensors blob: it ends before its header does")
    layout = _layout if size <= REMEMBERED_HEADER else _layout.__wrapped__
    places = layout(bytes(view[8 : 8 + size]), len(view) - 8 - size)
    start = 8 + size
    if view.readonly or start % 8:
        view, start = memoryview(bytearray(view[start:])), 0
    return {
        name: torch.frombuffer(view, dtype=dtype, count=count, offset=start + offset).view(shape)
        if count
        else torch.empty(shape, dtype=dtype)
        for name, dtype, shape, offset, count in places
    }


_Place: TypeAlias = tuple[str, torch.dtype, tuple[int, ...], int, int]
"""A tensor in a blob: its name, dtype and shape, its first byte, and how many values it has."""


@lru_cache(maxsize=64)
def _layout(header: bytes, data: int) -> tuple[_Place, ...]:
    """Where a blob's tensors lie, by its header alone, and by how many bytes follow that.

    Nothing of the header is believed: values must fill the data one after another, without a
    gap, an overlap or a rest. Raises ValueError where they do not.
    """
    try:
        entries = json.loads(header, object_pairs_hook=_once)
        entries.pop("__metadata__", None)
        places = [_place(name, entry) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a safetensors blob: {error}") from error
    end = 0
    for name, dtype, _, offset, count in sorted(places, key=lambda place: (place[3], place[4])):
        if offset != end or offset % dtype.itemsize:
            raise ValueError(f"not a safetensors blob: {name!r} is not where it should be")
        end += count * dtype.itemsize
    if end != data:
        raise ValueError(f"not a safetensors blob: {data} bytes of values, {end} are announced")
    return tuple(sorted(places))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name comes twice")
    return entries


def _place(name: str, entry: Mapping[str, Any]) -> _Place:
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    begin, end = entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
        raise ValueError(f"{name!r} has a size that is no whole number")
    if math.prod(size for size in shape if size) >= 1 << 63:
        raise ValueError(f"{name!r} has a shape beyond any memory")
    count = math.prod(shape)
    if end - begin != count * dtype.itemsize:
        raise ValueError(f"{name!r} has {end - begin} bytes, not those of its shape")
    return name, dtype, tuple(shape), begin, count


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file under a temporary name, then rename it: never half a file."""
    told = dict(metadata) if metadata else None
    with replacing(path) as temporary:
        safetensors.torch.save_file(_apart(tensors), temporary, told)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors and the metadata of a safetensors file; raises ValueError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors with their names, in whatever order they come.

    >>> digest({"a": torch.ones(1), "b": torch.zeros(1)})[:8]
    '4c557642'
    >>> digest({"b": torch.zeros(1), "a": torch.ones(1)})[:8]
    '4c557642'
    """
    return hashlib.sha256(pack({name: tensors[name] for name in sorted(tensors)})).hexdigest()


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite numbers.

    >>> is_finite(torch.tensor([3e38, 3e38])), is_finite(torch.tensor([0.0, float("nan")]))
    (True, False)
    """
    # A sum is finite only if every value is, and takes one pass and no memory; only where it is
    # not, since large finite values can overflow it, is every value looked at.
    if not tensor.is_floating_point() or math.isfinite(tensor.sum().item()):
        return True
    return bool(torch.isfinite(tensor).all())


def nbytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors' values.

    >>> nbytes({"weight": torch.zeros(10, 4)})
    160
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def difference(tensors: Tensors, expected: Mapping[str, Tensor]) -> str:
    """How tensors differ from those expected in names, shapes and dtypes; empty if they match.

    >>> difference({"w": torch.zeros(2)}, {"w": torch.zeros(3)})
    "tensor 'w' has shape (2,), (3,) is expected"
    """
    for name in expected:
        if name not in tensors:
            return f"tensor {name!r} is missing"
    for name, tensor in tensors.items():
        if name not in expected:
            return f"tensor {name!r} is not part of the model"
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            return f"tensor {name!r} has shape {found}, {wanted} is expected"
        if tensor.dtype != expected[name].dtype:
            return f"tensor {name!r} is {tensor.dtype}, {expected[name].dtype} is expected"
    return ""


def _apart(tensors: Mapping[str, Tensor]) -> Tensors:
    seen: set[int] = set()
    apart: Tensors = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        whole = storage.nbytes() == value.numel() * value.element_size()
        if storage.data_ptr() in seen or not whole:
            value = value.clone()
        seen.add(storage.data_ptr())
        apart[name] = value
    return apart
