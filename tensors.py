"""State dicts as bytes and back: safetensors, every dtype as it is, never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

Tensors: TypeAlias = dict[str, Tensor]
"""Named tensors: a model's state dict, a part of one, or sums of statistics."""


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as one safetensors blob; equal tensors give equal bytes.

    Tensors that share memory (tied weights, views of one buffer) are written each on its own.

    >>> unpack(pack({"steps": torch.tensor([3]), "half": torch.ones(2, dtype=torch.bfloat16)}))
    {'half': tensor([1., 1.], dtype=torch.bfloat16), 'steps': tensor([3])}
    """
    # The library's own writer copies every value twice and looks for shared memory, several
    # times the work of one join: a simulated round of many updates would feel it.
    header: dict[str, object] = {}
    parts: list[memoryview] = []
    start = 0
    for name, tensor in sorted(tensors.items(), key=_alignment):
        value = tensor.detach().cpu().contiguous()
        part = value.reshape(-1).view(torch.uint8).numpy().data
        header[name] = {
            "dtype": _FORMAT_NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [start, start + len(part)],
        }
        parts.append(part)
        start += len(part)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _alignment(item: tuple[str, Tensor]) -> tuple[int, str]:
    """Wide values first, as the format asks, so that every value is aligned."""
    name, tensor = item
    return -tensor.element_size(), name


_FORMAT_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def unpack(blob: bytes) -> Tensors:
    """The tensors of a blob, in the order of their names; raises ValueError if it is damaged."""
    try:
        tensors = safetensors.torch.load(blob)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"not a safetensors blob: {error}") from error
    return dict(sorted(tensors.items()))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file under a temporary name, then rename it: never half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    safetensors.torch.save_file(_apart(tensors), temporary, dict(metadata) if metadata else None)
    os.replace(temporary, path)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors and the metadata of a safetensors file; raises ValueError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from error


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
