from __future__ import annotations

import numpy as np
import pytest
import torch

from umbel.data.tensors import to_inputs
from umbel.schema import Schema


def schema(shape: tuple[int, ...], dtype: str) -> Schema:
    return Schema(task="classification", shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 5), (3, 1, 4, 5)), ((4, 5, 3), (3, 3, 4, 5)), ((7,), (3, 7))]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_shapes(shape: tuple[int, ...], expected: tuple[int, ...], dtype: str) -> None:
    inputs = to_inputs(np.ones((3, *shape), dtype), schema(shape, dtype))
    assert inputs.shape == expected
    assert inputs.dtype == torch.float32 and inputs.is_contiguous()


def test_bytes_become_the_unit_interval_and_channels_keep_their_place() -> None:
    x = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    inputs = to_inputs(x, schema((3, 4, 3), "uint8"))
    assert inputs[1, 2, 0, 3] == torch.tensor(float(x[1, 0, 3, 2])) / 255
    assert to_inputs(np.full((1, 2, 2), 255, np.uint8), schema((2, 2), "uint8")).max() == 1


def test_tables_are_left_alone_and_the_stored_array_too() -> None:
    x = np.array([[300.0, -2.0]], np.float32)
    inputs = to_inputs(x, schema((2,), "float32"))
    assert inputs.tolist() == x.tolist()
    inputs += 1
    assert x.tolist() == [[300.0, -2.0]]
