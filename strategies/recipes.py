"""The named strategies: each a recipe over the parts that reads as its paper."""

from __future__ import annotations

from .combine import WeightedMean
from .hyper import Hyper
from .local_parts import together
from .parts import Need
from .pool import Pool
from .proximal import Proximal
from .select import Choice, chosen
from .step import Replace
from .strategy import Strategy
from .weighting import WEIGHTINGS, WeightingName, telling


def fedavg(
    *,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """Federated averaging: the mean of the clients' models, weighted by their examples.

    Paper: McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from
    Decentralized Data, arXiv 1602.05629, algorithm 1: `w_{t+1} = sum_k (n_k / n) w^k_{t+1}`
    over a cohort of `max(1, C * K)` clients.

    Args:
        weighting: how much each update counts: by `examples` as in the paper, `uniform`, by
            `loss`, `inverse-variance` or `label-entropy`.
        fraction: C, the share of the population in each round, in (0, 1].
        select: the rule that draws it: `fraction` as in the paper, `round-robin`,
            `power-of-choice` or `over-selection`, or a table of its name and parameters.

    >>> fedavg(fraction=0.1).name
    'fedavg'
    """
    return Strategy(
        name="fedavg",
        select=chosen(select, fraction),
        local=telling(weighting),
        combine=WeightedMean(WEIGHTINGS[weighting]),
        step=Replace(),
    )


def fedprox(
    *,
    mu: Hyper = 0.01,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """FedAvg whose clients are held near the model they were sent.

    Paper: Li et al. 2020, Federated Optimization in Heterogeneous Networks, arXiv 1812.06127,
    algorithm 2: each client descends `F_k(w) + mu / 2 * ||w - w_t||^2`.

    Args:
        mu: the proximal term's weight, >= 0, or a schedule of it; 0 is FedAvg.
        weighting: how much each update counts.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fedprox(mu=0.1).local
    Proximal(mu=0.1)
    """
    return Strategy(
        name="fedprox",
        select=chosen(select, fraction),
        local=together(telling(weighting), Proximal(mu)),
        combine=WeightedMean(WEIGHTINGS[weighting]),
        step=Replace(),
    )


def pool(*, fraction: float = 1.0, select: Choice = "fraction") -> Strategy:
    """One ensemble of the members of the clients' ensembles, as many of each client's as its share
    of the examples gives it.

    Paper: Hauschild et al. 2022, Federated Random Forests can improve local performance of
    predictive models for various healthcare applications, Bioinformatics 38, doi
    10.1093/bioinformatics/btac065, with the global forest as large as a local one.

    Args:
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> pool().combine.streams
    False
    """
    why = "it puts trees of the clients' forests together, and other models have none"
    return Strategy(
        name="pool",
        select=chosen(select, fraction),
        combine=Pool(),
        step=Replace(),
        needs=(Need("paradigm", "forest", why),),
    )
