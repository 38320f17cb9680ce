"""Data: readers for real files, bundled data sets, partitioners, and shards on disk.

Names load when first used, so that listing the catalogue imports no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fetching import fetch as fetch
    from .graph_objects import from_networkx as from_networkx
    from .graph_objects import from_pyg as from_pyg
    from .learnable import check_learnable as check_learnable
    from .loading import load_dataset as load_dataset
    from .picture import plot_partition as plot_partition
    from .pool import Partition as Partition
    from .pool import Pool as Pool
    from .shard import UNLABELLED as UNLABELLED
    from .shard import Dataset as Dataset
    from .shard import Shard as Shard
    from .shard import ShardSource as ShardSource
    from .sharding import PartitionedShards as PartitionedShards
    from .sharding import auxiliary_examples as auxiliary_examples
    from .sharding import central_test as central_test
    from .sharding import make_shards as make_shards
    from .sharding import server_examples as server_examples
    from .sources import resolve_source as resolve_source
    from .storage import read_shard as read_shard
    from .storage import write_shards as write_shards

_HOME_OF = {
    "UNLABELLED": "shard",
    "Dataset": "shard",
    "Partition": "pool",
    "PartitionedShards": "sharding",
    "Pool": "pool",
    "Shard": "shard",
    "ShardSource": "shard",
    "auxiliary_examples": "sharding",
    "central_test": "sharding",
    "check_learnable": "learnable",
    "fetch": "fetching",
    "from_networkx": "graph_objects",
    "from_pyg": "graph_objects",
    "load_dataset": "loading",
    "make_shards": "sharding",
    "plot_partition": "picture",
    "read_shard": "storage",
    "resolve_source": "sources",
    "server_examples": "sharding",
    "write_shards": "storage",
}

__all__ = [
    "UNLABELLED",
    "Dataset",
    "Partition",
    "PartitionedShards",
    "Pool",
    "Shard",
    "ShardSource",
    "auxiliary_examples",
    "central_test",
    "check_learnable",
    "fetch",
    "from_networkx",
    "from_pyg",
    "load_dataset",
    "make_shards",
    "plot_partition",
    "read_shard",
    "resolve_source",
    "server_examples",
    "write_shards",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value
