"""How much each update counts in a mean."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from typing import Literal, TypeAlias

from ..errors import UmbelError, UpdateRefused
from .local_parts import Local, Plain, sent_as
from .parts import Update
from .telling import ENTROPY, VARIANCE, TellsGradientVariance, TellsLabelEntropy

Weight: TypeAlias = Callable[[Update], float]
WeightingName: TypeAlias = Literal[
    "examples", "uniform", "loss", "inverse-variance", "label-entropy"
]


NO_WEIGHT = "the weights of the updates sum to nothing: there is no mean; take another weighting"


def by_examples(update: Update) -> float:
    """n_k, the number of examples the client trained on (McMahan et al. 2017)."""
    return float(update.examples)


def uniform(update: Update) -> float:
    """Every client counts the same."""
    return 1.0


def by_loss(update: Update) -> float:
    """`n_k F_k`: those who do worse count more.

    Paper: Li et al. 2020, Fair Resource Allocation in Federated Learning, arXiv 1905.10497:
    the gradient of its objective (equation 2) at q = 1 is `sum_k p_k F_k(w) grad F_k(w)`.
    F_k is the client's mean training loss over the round.
    """
    return update.examples * mean_loss(update)


def by_inverse_variance(update: Update) -> float:
    """`1 / v_k`, where v_k estimates the variance of the client's mean gradient (`telling`).

    Paper: Cochran 1954, The Combination of Estimates from Different Experiments, doi
    10.2307/3001666: independent unbiased estimates are best combined in proportion to the
    inverse of their variances.
    """
    variance = _told(update, VARIANCE)
    if not variance > sys.float_info.min:  # The inverse of a smaller one would be infinite.
        raise UpdateRefused(f"its gradient variance is {variance:g}, which has no inverse")
    return 1 / variance


def by_label_entropy(update: Update) -> float:
    """`H_k`, the entropy of the client's labels in nats (`telling`): those who see more kinds
    count more, and whoever has one class only does not count.

    Paper: Khan 2025, FedEmerge: An Entropy-Guided Federated Learning Method for Sensor Networks
    and Edge Intelligence, doi 10.3390/s25123728, which weighs clients by the entropy of their
    data; here it is that of the labels.
    """
    entropy = _told(update, ENTROPY)
    if entropy < 0:
        raise UpdateRefused(f"its label entropy is {entropy:g}, less than 0")
    return entropy


def weighed(weight: Weight, update: Update) -> float:
    """What an update counts; raises UmbelError, naming the weight and its file and line, where
    that is no number of 0 or more.

    >>> weighed(by_examples, Update("a", {}, examples=10))
    10.0
    """
    found = weight(update)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if 0 <= value < math.inf:
        return value
    name = getattr(weight, "__name__", type(weight).__name__)
    code = inspect.unwrap(weight).__code__ if inspect.isfunction(weight) else None
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    raise UmbelError(
        f"{name}{place}: it weighs {update.client} by {found!r}; a weight is a number of 0 or more"
    )


def mean_loss(update: Update) -> float:
    """A client's mean training loss; raises UpdateRefused where it tells none, or a negative
    one."""
    examples, total = update.metrics.get("examples", 0.0), update.metrics.get("loss")
    if total is None or not examples > 0:
        raise UpdateRefused("it tells no training loss, which this strategy weighs by")
    if total < 0:
        raise UpdateRefused(f"its training loss is {total / examples:g}, less than 0")
    return total / examples


WEIGHTINGS: dict[str, Weight] = {
    "examples": by_examples,
    "uniform": uniform,
    "loss": by_loss,
    "inverse-variance": by_inverse_variance,
    "label-entropy": by_label_entropy,
}

_TELLING: dict[str, Local] = {
    "inverse-variance": TellsGradientVariance(),
    "label-entropy": TellsLabelEntropy(),
}


def telling(weighting: str) -> Local:
    """The local part by which clients tell what a weighting goes by; it goes first among
    several, since the others change the gradients that it looks at."""
    return _TELLING.get(weighting, Plain())


def _told(update: Update, name: str) -> float:
    sent = sent_as(update.extra, name)
    if sent is None:
        raise UpdateRefused(f"it tells no {name.replace('_', ' ')}, which this strategy weighs by")
    return float(sent)
