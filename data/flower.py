"""Run Flower's partitioners on nothing but a column of labels.

flwr-datasets divides Hugging Face data sets. umbel hands its partitioners a stand-in that
answers the few questions they ask (columns, length, select, shard, sort) from numpy, so that
dividing 60,000 examples takes milliseconds instead of seconds and copies no example.
`tests/data/test_flower.py` holds the stand-in equal to a real data set.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import BadInput
from .pool import Partition, Pool

LABEL, GROUP = "label", "group"
_PACKAGE = "flwr_datasets"


def divide(
    pool: Pool, name: str, make: Callable[[ModuleType], Any], *, shuffle: np.ndarray | None = None
) -> Partition:
    """The partition that the Flower partitioner returned by `make` gives the pool.

    `shuffle` is a permutation applied before dividing, for partitioners that cut the
    examples in the order they come. Raises BadInput with Flower's own reason where the
    pool cannot be divided so, or a client would be left without an example.
    """
    if len(pool) < pool.clients:
        raise BadInput(
            f"data.clients: {pool.clients} clients but only {len(pool)} examples; "
            "ask for fewer clients, or use the partitioner bootstrap"
        )
    order = np.arange(len(pool)) if shuffle is None else shuffle
    columns = {LABEL: pool.labels[order]}
    if pool.groups is not None:
        columns[GROUP] = pool.groups[order]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            partitioner = make(partitioners())
            partitioner.dataset = _stand_in()(order, columns)
            shards = [partitioner.load_partition(index) for index in range(pool.clients)]
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"data.partition: {name}: {reason}") from None
    for index, shard in enumerate(shards):
        if len(shard) == 0:
            raise BadInput(
                f"data.partition: {name}: client-{index} would get no example; "
                "ask for fewer clients or a milder skew"
            )
    return shards.__getitem__


@functools.cache
def partitioners() -> ModuleType:
    """The module `flwr_datasets.partitioner`, imported without its parent's own imports.

    The parent's `__init__` imports seaborn and matplotlib for its pictures: three quarters
    of the seconds its import takes, at the start of every run. A bare parent stands in for
    it while the submodule loads; a later `import flwr_datasets` gets the real one.
    """
    if _PACKAGE in sys.modules:
        return importlib.import_module(f"{_PACKAGE}.partitioner")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise BadInput(
            "data.partition: the package flwr-datasets is not installed; "
            "install it with: pip install flwr-datasets"
        )
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{_PACKAGE}.partitioner")
    finally:
        del sys.modules[_PACKAGE]


@functools.cache
def _stand_in() -> type:
    """The stand-in's class, made when first needed: importing `datasets` takes its time."""
    import pyarrow as pa
    from datasets import Dataset

    class Columns(Dataset):  # type: ignore[misc]  # datasets ships no types
        """Columns in numpy; a selection of rows is the array of their original indices."""

        def __init__(self, order: np.ndarray, columns: dict[str, np.ndarray]) -> None:
            super().__init__(pa.table({}))
            self._order, self._columns = order, columns

        def __len__(self) -> int:
            return len(self._order)

        @property
        def num_rows(self) -> int:
            return len(self._order)

        def __getitem__(self, key: str) -> np.ndarray:
            return self._columns[key]

        def unique(self, column: str) -> list[Any]:
            return list(np.unique(self._columns[column]).tolist())

        def select(self, indices: Any) -> np.ndarray:
            return self._order[np.asarray(indices, dtype=np.int64)]

        def shard(self, num_shards: int, index: int, contiguous: bool = True) -> np.ndarray:
            return np.array_split(self._order, num_shards)[index]

        def sort(self, column: str) -> Columns:
            by = np.argsort(self._columns[column], kind="stable")
            return Columns(self._order[by], {k: v[by] for k, v in self._columns.items()})

    return Columns
