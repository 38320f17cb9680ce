"""The named strategies that stand clients who send what they like, and those that ask the
server's own examples."""

from __future__ import annotations

from typing import Any

from .bulyan import Bulyan
from .centred_clipping import CentredClipping
from .fltrust import FLTrust
from .geometric_median import GeometricMedian
from .hyper import Hyper
from .krum import Krum
from .median import Median
from .norm_bound import NormBound
from .parts import Combine
from .select import Choice, chosen
from .strategy import Strategy
from .trimmed_mean import TrimmedMean
from .validated_mean import ValidatedMean
from .weighting import WEIGHTINGS, WeightingName, telling


def median(*, fraction: float = 1.0, select: Choice = "fraction") -> Strategy:
    """The median of each coordinate of the clients' models.

    Paper: Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical
    Rates, arXiv 1803.01498, definition 1.

    Args:
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> median().combine.streams
    False
    """
    return _robust("median", Median(), (select, fraction))


def trimmed_mean(
    *, trim: float = 0.2, fraction: float = 1.0, select: Choice = "fraction"
) -> Strategy:
    """The mean of each coordinate without its largest and smallest values.

    Paper: Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical
    Rates, arXiv 1803.01498, definition 2.

    Args:
        trim: the share of values cut at each end, in [0, 1/2), no less than the share of
            attackers (the paper's beta).
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> trimmed_mean(trim=0.1).combine
    TrimmedMean(trim=0.1)
    """
    return _robust("trimmed_mean", TrimmedMean(trim), (select, fraction))


def krum(*, byzantine: int = 1, fraction: float = 1.0, select: Choice = "fraction") -> Strategy:
    """The one update that is closest to its neighbours.

    Paper: Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent, arXiv 1703.02757, section 4.

    Args:
        byzantine: how many attackers there may be in a cohort (the paper's f); a round needs
            at least 2f + 3 updates.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> krum(byzantine=2).combine.fault(6)[:40]
    'byzantine: 2 among 6 updates are too man'
    """
    return _robust("krum", Krum(byzantine, keep=1), (select, fraction))


def multi_krum(
    *,
    byzantine: int = 1,
    keep: int | None = None,
    weighting: WeightingName = "uniform",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """The mean of the updates that are closest to their neighbours.

    Paper: Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent, arXiv 1703.02757, section 4.

    Args:
        byzantine: how many attackers there may be in a cohort (the paper's f); a round needs
            at least 2f + 3 updates.
        keep: how many of the n updates are kept (the paper's m), n - f - 2 if not given.
        weighting: `uniform` as in the paper; `examples` as in Flower lets attackers claim many.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> multi_krum(keep=3).combine.keep
    3
    """
    return _robust(
        "multi_krum",
        Krum(byzantine, keep, WEIGHTINGS[weighting]),
        (select, fraction),
        weighting,
    )


def bulyan(*, byzantine: int = 1, fraction: float = 1.0, select: Choice = "fraction") -> Strategy:
    """Krum's choice of updates, then the mean of the values around each coordinate's median.

    Paper: El Mhamdi et al. 2018, The Hidden Vulnerability of Distributed Learning in Byzantium,
    arXiv 1802.07927, section 4.

    Args:
        byzantine: how many attackers there may be in a cohort (the paper's f); a round needs
            at least 4f + 3 updates.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> bulyan(byzantine=2).combine.fault(11)
    ''
    """
    return _robust("bulyan", Bulyan(byzantine), (select, fraction))


def geometric_median(
    *,
    nu: float = 1e-6,
    iterations: int = 10,
    weighting: WeightingName = "uniform",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """The point with the smallest sum of distances to the clients' models (RFA).

    Paper: Pillutla et al. 2022, Robust Aggregation for Federated Learning, arXiv 1912.13445,
    algorithm 2, the smoothed Weiszfeld algorithm.

    Args:
        nu: the distance below which the smoothing begins, > 0.
        iterations: the most steps of the algorithm.
        weighting: `uniform`, or `examples` as in the paper, which lets attackers claim many.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> geometric_median().combine.iterations
    10
    """
    rule = GeometricMedian(nu, iterations, weight=WEIGHTINGS[weighting])
    return _robust("geometric_median", rule, (select, fraction), weighting)


def centred_clipping(
    *,
    tau: Hyper | None = None,
    iterations: int = 3,
    memory: bool = True,
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """The mean of the updates, each clipped to a ball around where the last round went.

    Paper: Karimireddy et al. 2021, Learning from History for Byzantine Robust Optimization,
    arXiv 2012.10333, algorithm 2: `v <- v + 1/n sum_i (x_i - v) min(1, tau / ||x_i - v||)`.

    Args:
        tau: the ball's radius, > 0, or a schedule of it; the median distance if not given.
        iterations: how often the centre moves in a round, at least 1.
        memory: whether a round's centre begins where the last round's change leads, as the
            paper's does, or at the model.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> centred_clipping(tau=10.0, iterations=1).combine.tau
    10.0
    """
    return _robust("centred_clipping", CentredClipping(tau, iterations, memory), (select, fraction))


def norm_bound(
    *,
    bound: Hyper | None = None,
    weighting: WeightingName = "uniform",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """The mean of the clients' changes, none of them longer than a bound.

    Paper: Sun et al. 2019, Can You Really Backdoor Federated Learning?, arXiv 1911.07963,
    section 4: `w + 1/n sum_k (w_k - w) min(1, M / ||w_k - w||)`.

    Args:
        bound: M, > 0, or a schedule of it; the median of the round's norms if not given.
        weighting: `uniform`, or `examples`, which lets attackers claim many.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> norm_bound(bound=1.0).combine.streams, norm_bound().combine.streams
    (True, False)
    """
    return _robust(
        "norm_bound",
        NormBound(bound, WEIGHTINGS[weighting]),
        (select, fraction),
        weighting,
    )


def fltrust(*, fraction: float = 1.0, select: Choice = "fraction") -> Strategy:
    """Clients are trusted as far as they go the way of the server's own training.

    Paper: Cao et al. 2021, FLTrust: Byzantine-robust Federated Learning via Trust
    Bootstrapping, arXiv 2012.13995, equations 2 to 4. Needs `data.server`.

    Args:
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fltrust().combine.streams
    True
    """
    return _robust("fltrust", FLTrust(), (select, fraction))


def validated(
    *, metric: str = "accuracy", fraction: float = 1.0, select: Choice = "fraction"
) -> Strategy:
    """The clients' models, each weighted by its accuracy on the server's own examples.

    Paper: Lyu et al. 2020, Collaborative Fairness in Federated Learning, arXiv 2008.12161,
    whose server scores clients' models so. Needs `data.server`.

    Args:
        metric: what the weight is, one that is better when larger.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> validated().combine
    ValidatedMean(metric='accuracy')
    """
    return _robust("validated", ValidatedMean(metric), (select, fraction))


def _robust(
    name: str,
    rule: Combine[Any],
    chosen_as: tuple[Choice, float],
    weighting: WeightingName = "uniform",
) -> Strategy:
    return Strategy(name=name, select=chosen(*chosen_as), local=telling(weighting), combine=rule)
