"""The named strategies for clients with few labels, or with none."""

from __future__ import annotations

from .alternating import ThenTrained
from .consensus import SubConsensus
from .select import Choice, chosen
from .strategy import Strategy


def semifl(*, fraction: float = 1.0, select: Choice = "fraction") -> Strategy:
    """Clients train without labels, and the server trains their mean on its own.

    Paper: Diao, Ding and Tarokh 2022, SemiFL: Semi-Supervised Federated Learning for Unlabeled
    Clients with Alternate Training, arXiv 2106.01432, algorithm 1. Its clients' part is the
    paradigm `semifl`. Needs `data.labels_at = "server"`, or `data.server`.

    Args:
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> semifl().combine.streams
    True
    """
    return Strategy(name="semifl", select=chosen(select, fraction), combine=ThenTrained())


def rscfed(
    *,
    groups: int = 3,
    size: int = 5,
    beta: float = 100.0,
    seed: int = 0,
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """The mean of the means of random groups of clients, in which those apart count less.

    Paper: Liang, Lin, Fu, Zhu and Li 2022, RSCFed: Random Sampling Consensus Federated
    Semi-supervised Learning, arXiv 2203.13993. Its clients' part is the paradigm `rscfed`.

    Args:
        groups: M, how many are drawn.
        size: K, how many clients are in each.
        beta: how much less a client counts that is far from its group's mean, >= 0: of two with n
            examples each, one that is farther by d counts exp(-beta d / n) times as much.
        seed: of the groups.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> rscfed(groups=2).combine.groups
    2
    """
    rule = SubConsensus(groups, size, beta, seed)
    return Strategy(name="rscfed", select=chosen(select, fraction), combine=rule)
