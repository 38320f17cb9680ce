"""The stand-in that Flower's partitioners see must divide as a real data set does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from umbel.data.flower import GROUP, LABEL, divide, partitioners
from umbel.data.pool import Pool

MAKERS: dict[str, Callable[[ModuleType], Any]] = {
    "iid": lambda f: f.IidPartitioner(4),
    "dirichlet": lambda f: f.DirichletPartitioner(4, LABEL, 0.5, min_partition_size=1, seed=3),
    "balanced": lambda f: f.DirichletPartitioner(4, LABEL, 0.5, 1, self_balancing=True, seed=3),
    "pathological": lambda f: f.PathologicalPartitioner(4, LABEL, 2, seed=3),
    "linear": lambda f: f.LinearPartitioner(4),
    "square": lambda f: f.SquarePartitioner(4),
    "exponential": lambda f: f.ExponentialPartitioner(4),
    "sizes": lambda f: f.SizePartitioner([5, 6, 7, 8]),
    "natural": lambda f: f.NaturalIdPartitioner(GROUP),
}


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(5)
    labels = rng.integers(-1, 4, size=203)
    return Pool(labels, clients=4, seed=0, classes=4, groups=(labels % 4).astype(str))


def rows(pool: Pool) -> Any:
    from datasets import Dataset

    columns = {"index": np.arange(len(pool)), LABEL: pool.labels, GROUP: pool.groups}
    return Dataset.from_dict(columns)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_same_division_as_a_real_data_set(name: str, pool: Pool) -> None:
    real = MAKERS[name](partitioners())
    real.dataset = rows(pool)
    ours = divide(pool, name, MAKERS[name])
    for client in range(pool.clients):
        assert ours(client).tolist() == list(real.load_partition(client)["index"])


def test_shards_have_the_same_labels_as_from_a_real_data_set(pool: Pool) -> None:
    # Which of the equal labels comes first is left open by the library's sort.
    def make(f: ModuleType) -> Any:
        return f.ShardPartitioner(4, LABEL, num_shards_per_partition=2, seed=3)

    real = make(partitioners())
    real.dataset = rows(pool)
    ours = divide(pool, "shards", make)
    for client in range(pool.clients):
        assert pool.labels[ours(client)].tolist() == list(real.load_partition(client)[LABEL])


def test_the_bare_parent_is_gone_after_the_import() -> None:
    code = (
        "from umbel.data.flower import partitioners; ours = partitioners(); import sys\n"
        "assert 'seaborn' not in sys.modules and 'flwr_datasets' not in sys.modules\n"
        "import flwr_datasets\n"
        "assert flwr_datasets.FederatedDataset\n"
        "assert flwr_datasets.partitioner.IidPartitioner is ours.IidPartitioner\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
