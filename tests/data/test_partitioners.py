from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import registry
from umbel.data import Dataset, Pool, make_shards
from umbel.data.catalogue import PARTITIONERS
from umbel.errors import BadInput
from umbel.experiment import Experiment

MakeExperiment = Callable[..., Experiment]
CLIENTS = 6
PARAMETERS = {
    "dirichlet": {"alpha": 1.0, "min_examples": 1},
    "pathological": {"classes": 2, "assignment": "deterministic"},
    "shards": {"per_client": None, "size": 7, "incomplete": True},
    "exponential": {},
}
GRAPHS = {"bipartite", "louvain", "scaffold"}
"""Those for graphs, and for molecules."""
WHOLE = sorted(set(PARTITIONERS) - GRAPHS - {"bootstrap", "sizes", "natural"})
"""Those that, with the parameters above, put every example in exactly one shard."""


def partition(name: str, pool: Pool) -> list[list[int]]:
    indices = registry.build("partitioner", name, PARAMETERS.get(name, {}), pool)
    return [indices(client).tolist() for client in range(pool.clients)]


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**40), extra=st.integers(0, 300))
def test_every_example_is_in_exactly_one_shard(name: str, seed: int, extra: int) -> None:
    labels = np.random.default_rng(seed).integers(5, size=700 + extra)
    pool = Pool(labels=labels, clients=CLIENTS, seed=seed, classes=5)
    shards = partition(name, pool)
    assert sorted(np.concatenate(shards)) == list(range(len(labels)))
    assert all(shards)
    assert partition(name, pool) == shards


@pytest.mark.parametrize("name", sorted(set(PARTITIONERS) - GRAPHS - {"natural", "sizes"}))
def test_another_seed_gives_another_partition(name: str) -> None:
    labels = np.arange(900) % 5
    first, second = (
        partition(name, Pool(labels=labels, clients=CLIENTS, seed=seed, classes=5))
        for seed in (1, 2)
    )
    assert first != second


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 2), min_size=1, max_size=60),
    clients=st.integers(1, 12),
    seed=st.integers(0, 10**9),
)
def test_iid_shares_differ_by_at_most_one_or_are_refused(
    labels: list[int], clients: int, seed: int
) -> None:
    pool = Pool(labels=np.array(labels), clients=clients, seed=seed, classes=3)
    if clients > len(labels):
        with pytest.raises(BadInput, match=f"{clients} clients but only {len(labels)} examples"):
            partition("iid", pool)
        return
    sizes = [len(shard) for shard in partition("iid", pool)]
    assert max(sizes) - min(sizes) <= 1


def test_natural_gives_each_owner_its_own_examples(blobs: Dataset) -> None:
    assert blobs.groups is not None
    pool = Pool(blobs.train["y"], clients=12, seed=0, classes=5, groups=blobs.groups)
    for shard in partition("natural", pool):
        assert len(set(blobs.groups[shard])) == 1


def test_natural_needs_owners_and_as_many_clients(blobs: Dataset) -> None:
    with pytest.raises(BadInput, match="group="):
        partition("natural", Pool(blobs.train["y"], clients=3, seed=0, classes=5))
    with pytest.raises(BadInput, match=r"12 owners; set data\.clients = 12"):
        partition("natural", Pool(blobs.train["y"], 3, 0, 5, groups=blobs.groups))


def test_pathological_gives_exactly_so_many_classes(
    blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    source = make_shards(
        make_experiment("pathological", clients=10, parameters={"classes": 3}), blobs
    )
    assert all(len(set(source.shard(i).arrays["y"].tolist())) == 3 for i in range(10))


def test_smaller_alpha_is_a_stronger_skew(blobs: Dataset, make_experiment: MakeExperiment) -> None:
    def largest_share(alpha: float) -> float:
        parameters = {"alpha": alpha, "min_examples": 1}
        source = make_shards(make_experiment("dirichlet", clients=5, parameters=parameters), blobs)
        counts = [np.bincount(source.shard(i).arrays["y"], minlength=5) for i in range(5)]
        return float(np.mean([count.max() / count.sum() for count in counts]))

    assert largest_share(0.1) > largest_share(100.0) + 0.2


def test_sizes_are_obeyed_and_must_be_one_a_client(
    make_experiment: MakeExperiment, make_blobs: Callable[..., Dataset]
) -> None:
    blobs = make_blobs(np.zeros(100, int), classes=1)
    parameters = {"examples": [50, 7, 1]}
    source = make_shards(make_experiment("sizes", clients=3, parameters=parameters), blobs)
    assert [len(source.shard(i)) for i in range(3)] == [50, 7, 1]
    with pytest.raises(BadInput, match="3 sizes for 4 clients"):
        make_shards(make_experiment("sizes", clients=4, parameters=parameters), blobs)


def test_a_skew_that_starves_a_client_is_refused(
    blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    with pytest.raises(BadInput, match="data.partition: exponential"):
        make_shards(make_experiment("exponential", clients=20), blobs)
    with pytest.raises(BadInput, match="data.partition: dirichlet"):
        parameters = {"alpha": 0.01, "min_examples": 20}
        make_shards(make_experiment("dirichlet", clients=15, parameters=parameters), blobs)


def test_a_million_bootstrap_clients_are_drawn_on_demand(
    blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    parameters = {"examples": 40}
    many = make_shards(
        make_experiment("bootstrap", clients=1_000_000, parameters=parameters), blobs
    )
    few = make_shards(make_experiment("bootstrap", clients=10, parameters=parameters), blobs)
    assert len(many) == 1_000_000
    assert len(many.shard(999_999)) == 40
    # A client's examples do not depend on how many others there are.
    assert np.array_equal(many.shard(3).arrays["x"], few.shard(3).arrays["x"])


def test_bootstrap_can_be_skewed_and_refuses_nonsense(
    blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    def source(**parameters: float) -> list[int]:
        experiment = make_experiment("bootstrap", clients=40, parameters=parameters)
        shards = make_shards(experiment, blobs)
        return [len(np.unique(shards.shard(i).arrays["y"])) for i in range(40)]

    assert np.mean(source(examples=30, alpha=0.05)) < 3 < np.mean(source(examples=30))
    with pytest.raises(BadInput, match="examples = 0"):
        source(examples=0)
    with pytest.raises(BadInput, match="alpha = 0"):
        source(alpha=0.0)
