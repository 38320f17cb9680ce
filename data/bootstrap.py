"""A population of any size, whose clients' examples are drawn only when asked for."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from ..randomness import numpy_generator
from .pool import Partition, Pool


def bootstrap(pool: Pool, *, examples: int = 100, alpha: float | None = None) -> Partition:
    """Each client draws its own examples with replacement, on demand: a million clients fit.

    `examples` is the size of every shard. With `alpha`, a client's class shares are drawn
    from a symmetric Dirichlet distribution of that concentration; without, classes come as
    often as in the data.

    >>> pool = Pool(labels=np.array([0, 1, 1]), clients=1_000_000, seed=7, classes=2)
    >>> bootstrap(pool, examples=4)(999_999).tolist()
    [0, 1, 1, 0]
    """
    if pool.edges is not None:
        raise BadInput("data.partition: bootstrap draws a node more than once; take another")
    if examples < 1:
        raise BadInput(f"data.partition: bootstrap: examples = {examples}; at least 1 is needed")
    if alpha is not None and not alpha > 0:
        raise BadInput(f"data.partition: bootstrap: alpha = {alpha:g}; it must be above 0")
    members = [np.flatnonzero(pool.labels == code) for code in np.unique(pool.labels)]

    def indices(client: int) -> np.ndarray:
        rng = numpy_generator(pool.seed, purpose="bootstrap", client=f"client-{client}")
        if alpha is None:
            return rng.integers(len(pool), size=examples)
        shares = rng.dirichlet(np.full(len(members), alpha))
        counts = rng.multinomial(examples, shares)
        drawn = [rng.choice(m, size=count) for m, count in zip(members, counts, strict=True)]
        return rng.permutation(np.concatenate(drawn))

    return indices
