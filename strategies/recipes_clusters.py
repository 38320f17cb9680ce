"""The named strategies that have a model for each of several clusters of clients."""

from __future__ import annotations

from .clusters import SplitBySequences
from .combine import WeightedMean
from .select import Choice, chosen
from .strategy import Strategy
from .weighting import WEIGHTINGS, WeightingName, telling


def gcfl(
    *,
    epsilon1: float = 0.07,
    epsilon2: float = 0.28,
    length: int = 5,
    after: int = 20,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """GCFL+: clusters of clients whose updates go alike over time, each with a mean of its own.

    Paper: Xie, Ma, Xiong and Yang 2021, Federated Graph Classification over Non-IID Graphs, arXiv
    2106.13423, section 5. The sequences that are compared are of the norms of the clients' updates,
    as the authors' code has beside those of their gradients: clients tell nothing beside their
    updates. The thresholds are the authors' for molecules.

    Args:
        epsilon1: a cluster splits only where the norm of its clients' mean update is below this,
            > 0,
        epsilon2: and that of one of its clients' above this, > 0.
        length: d, over how many of its rounds a client's norms are compared, >= 1.
        after: in how many rounds at the start no cluster splits, >= 0.
        weighting: how much each update counts in its cluster's mean.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> gcfl(epsilon2=0.5).clusters
    SplitBySequences(epsilon1=0.07, epsilon2=0.5, length=5, after=20)
    """
    return Strategy(
        name="gcfl",
        select=chosen(select, fraction),
        local=telling(weighting),
        combine=WeightedMean(WEIGHTINGS[weighting]),
        clusters=SplitBySequences(epsilon1, epsilon2, length, after),
    )
