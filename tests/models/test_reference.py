from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from umbel import registry
from umbel.data.tensors import to_inputs
from umbel.errors import BadInput
from umbel.schema import Schema


def schema(shape: tuple[int, ...], classes: int = 10) -> Schema:
    dtype = "uint8" if len(shape) > 1 else "float32"
    names = tuple(str(code) for code in range(classes))
    return Schema(task="classification", shape=shape, dtype=dtype, classes=names)


def build(name: str, shape: tuple[int, ...], classes: int = 10, **parameters: Any) -> Any:
    return registry.build("model", name, parameters, schema(shape, classes))


@pytest.mark.parametrize("name", ["2nn", "cnn", "lenet", "logistic", "mlp"])
@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (9, 7), (4, 4), (16, 16, 3), (13,)])
def test_every_model_fits_every_shape_it_takes(name: str, shape: tuple[int, ...]) -> None:
    least = {"cnn": 4, "lenet": 16}.get(name, 0)
    if least and (len(shape) == 1 or min(shape[:2]) < least):
        with pytest.raises(BadInput, match=f"{name} takes images"):
            build(name, shape)
        return
    model = build(name, shape, classes=3)
    inputs = to_inputs(np.zeros((5, *shape), schema(shape).dtype), schema(shape))
    scores = model(inputs)
    assert scores.shape == (5, 3) and scores.dtype == torch.float32
    scores.sum().backward()
    assert all(tensor.grad is not None for tensor in model.parameters())
    assert list(model.state_dict())[-2:] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("name", "parameters", "count"),
    [
        ("cnn", {}, 1_663_370),
        (
            "cnn",
            {"channels": [4, 8], "hidden": 9, "batch_norm": True},
            (4 * 25 + 4) + 2 * 4 + (8 * 4 * 25 + 8) + 2 * 8 + (8 * 7 * 7 * 9 + 9) + (9 * 10 + 10),
        ),
        (
            "cnn",
            {"channels": [4, 8], "hidden": 9, "group_norm": 2},
            (4 * 25 + 4) + 2 * 4 + (8 * 4 * 25 + 8) + 2 * 8 + (8 * 7 * 7 * 9 + 9) + (9 * 10 + 10),
        ),
        ("lenet", {}, 44_426),
        ("mlp", {"hidden": [9], "batch_norm": True}, 784 * 9 + 9 + 2 * 9 + 9 * 10 + 10),
        ("2nn", {}, 199_210),
        ("mlp", {}, 784 * 128 + 128 + 128 * 10 + 10),
        ("mlp", {"hidden": []}, 7_850),
        ("logistic", {}, 7_850),
        ("mlp", {"hidden": [30, 20], "dropout": 0.5}, 784 * 30 + 30 + 30 * 20 + 20 + 210),
    ],
)
def test_parameters_at_28_by_28(name: str, parameters: dict[str, Any], count: int) -> None:
    model = build(name, (28, 28), **parameters)
    assert sum(tensor.numel() for tensor in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "message"),
    [
        ("cnn", (3, 9), {}, "from 4x4"),
        ("cnn", (8, 8), {"channels": [1]}, "two channel counts"),
        ("cnn", (8, 8), {"hidden": 0}, "nothing below 1"),
        ("cnn", (8, 8), {"channels": [4, 6], "group_norm": 4}, "does not divide"),
        ("cnn", (8, 8), {"group_norm": 0}, "group_norm = 0 does not divide"),
        ("cnn", (8, 8), {"group_norm": 4, "batch_norm": True}, "not both"),
        ("mlp", (8,), {"hidden": [0]}, "at least 1"),
        ("mlp", (8,), {"dropout": 1.0}, r"not in \[0, 1\)"),
        ("mlp", (8,), {"width": 3}, "width"),
    ],
)
def test_bad_parameters(
    name: str, shape: tuple[int, ...], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        build(name, shape, **parameters)


def test_groups_are_normalised_for_each_image_by_itself() -> None:
    model = build("cnn", (8, 8), channels=[4, 8], hidden=9, group_norm=2)
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-6)
    assert not list(model.buffers())


def test_data_without_classes() -> None:
    with pytest.raises(BadInput, match="has no labels"):
        build("mlp", (8,), classes=0)


def test_same_torch_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build("cnn", (8, 8)).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
