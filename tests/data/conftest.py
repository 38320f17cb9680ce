"""What the data tests share: an experiment's data section, and torchvision made importable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from umbel.data import Dataset
from umbel.experiment import Experiment
from umbel.schema import Schema

MakeExperiment = Callable[..., Experiment]
MakeDataset = Callable[..., Dataset]


@pytest.fixture(scope="session")
def make_experiment() -> MakeExperiment:
    """An experiment from its data section and seed; `partition` as (name, parameters)."""

    def make(partition: str = "iid", *, seed: int = 0, **data: Any) -> Experiment:
        parameters = data.pop("parameters", {})
        section = {"partition": {"name": partition, **parameters}, **data}
        return Experiment(experiment={"seed": seed}, data=section)

    return make


@pytest.fixture(scope="session")
def blobs() -> Dataset:
    """300 examples in 5 classes and 12 natural groups."""
    rng = np.random.default_rng(0)
    return _blobs(rng.integers(5, size=300), classes=5, groups=rng.integers(12, size=300))


@pytest.fixture(scope="session")
def make_blobs() -> MakeDataset:
    """A data set with the given label codes and number of classes."""
    return _blobs


def _blobs(labels: np.ndarray, classes: int, groups: np.ndarray | None = None) -> Dataset:
    """Each example's only feature is its own index."""
    return Dataset(
        name="blobs",
        schema=Schema(
            task="classification",
            shape=(1,),
            dtype="float32",
            classes=tuple(str(code) for code in range(classes)),
            features=("index",),
        ),
        train={
            "x": np.arange(len(labels), dtype=np.float32)[:, None],
            "y": labels.astype(np.int64),
        },
        groups=None if groups is None else groups.astype(str),
    )


@pytest.fixture
def torchvision() -> Any:
    """torchvision, skipped where it is not installed."""
    return pytest.importorskip("torchvision", reason="the extra `vision` is not installed")
