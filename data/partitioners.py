"""How a data set is divided among clients: Flower's partitioners behind one table of names.

Each factory takes the `Pool` and its own parameters, and returns a `Partition`. Where a rule
cuts the examples in the order they come, they are shuffled first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import BadInput
from ..randomness import derive_seed, numpy_generator
from .flower import GROUP, LABEL, divide
from .pool import Partition, Pool


def iid(pool: Pool) -> Partition:
    """Equal shares drawn at random: every client sees the whole data's distribution."""
    return divide(pool, "iid", lambda f: f.IidPartitioner(pool.clients), shuffle=_shuffle(pool))


def dirichlet(
    pool: Pool, *, alpha: float = 0.5, min_examples: int = 2, balanced: bool = False
) -> Partition:
    """Label skew: each class is divided by a Dirichlet draw; smaller alpha, stronger skew.

    Paper: Yurochkin et al., 2019, arXiv 1905.12022

    Draws again (ten times at most) while a client holds fewer than `min_examples`;
    `balanced` stops giving to clients that hold more than the average.
    """
    return divide(
        pool,
        "dirichlet",
        lambda f: f.DirichletPartitioner(
            pool.clients,
            LABEL,
            alpha,
            min_partition_size=min_examples,
            self_balancing=balanced,
            seed=_seed(pool),
        ),
    )


def pathological(pool: Pool, *, classes: int = 2, assignment: str = "random") -> Partition:
    """Label skew: each client holds examples of exactly so many classes.

    Paper: Li et al., 2021, arXiv 2102.02079

    `assignment` is "random", "deterministic" (client i holds the classes i, i+1, ...) or
    "first-deterministic" (its first class is i, the rest random).
    """
    return divide(
        pool,
        "pathological",
        lambda f: f.PathologicalPartitioner(
            pool.clients,
            LABEL,
            classes,
            class_assignment_mode=assignment,
            seed=_seed(pool),
        ),
    )


def shards(
    pool: Pool, *, per_client: int | None = 2, size: int | None = None, incomplete: bool = False
) -> Partition:
    """Label skew: examples sorted by label are cut into blocks, so many a client.

    Paper: McMahan et al., 2017, arXiv 1602.05629

    `size` is the number of examples in a block (default: as large as possible); with
    `incomplete`, a last smaller block is used too.
    """
    return divide(
        pool,
        "shards",
        lambda f: f.ShardPartitioner(
            pool.clients,
            LABEL,
            num_shards_per_partition=per_client,
            shard_size=size,
            keep_incomplete_shard=incomplete,
            seed=_seed(pool),
        ),
        shuffle=_shuffle(pool),
    )


def linear(pool: Pool) -> Partition:
    """Quantity skew: client i holds i+1 parts of the data."""
    return divide(
        pool, "linear", lambda f: f.LinearPartitioner(pool.clients), shuffle=_shuffle(pool)
    )


def square(pool: Pool) -> Partition:
    """Quantity skew: client i holds (i+1) squared parts of the data."""
    return divide(
        pool, "square", lambda f: f.SquarePartitioner(pool.clients), shuffle=_shuffle(pool)
    )


def exponential(pool: Pool) -> Partition:
    """Quantity skew: each client holds e times as much as the one before; for few clients."""
    return divide(
        pool,
        "exponential",
        lambda f: f.ExponentialPartitioner(pool.clients),
        shuffle=_shuffle(pool),
    )


def sizes(pool: Pool, *, examples: Sequence[int]) -> Partition:
    """Quantity skew as given: client i holds `examples[i]` examples drawn at random."""
    if len(examples) != pool.clients:
        raise BadInput(
            f"data.partition: sizes: {len(examples)} sizes for {pool.clients} clients; "
            f"give one a client, or set data.clients = {len(examples)}"
        )
    return divide(
        pool, "sizes", lambda f: f.SizePartitioner(list(examples)), shuffle=_shuffle(pool)
    )


def natural(pool: Pool) -> Partition:
    """One client an owner, as the data says who owns what (option group= of the source)."""
    if pool.groups is None:
        raise BadInput(
            "data.partition: natural: the data does not say who owns an example; name the "
            "column with the source's option group=, or use another partitioner"
        )
    owners = len(np.unique(pool.groups))
    if owners != pool.clients:
        raise BadInput(
            f"data.clients: {pool.clients}, but the data has {owners} owners; "
            f"set data.clients = {owners}"
        )
    return divide(pool, "natural", lambda f: f.NaturalIdPartitioner(GROUP))


def _seed(pool: Pool) -> int:
    return derive_seed(pool.seed, purpose="partition")


def _shuffle(pool: Pool) -> np.ndarray:
    return numpy_generator(pool.seed, purpose="partition order").permutation(len(pool))
