"""How good the model is: at the clients, each on what it held out, and on the server's test set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..data.shard import Shard
from ..paradigms.base import MetricSums, Paradigm, Prepared
from ..rounds import smaller_is_better
from ..tensors import Tensors
from ..training.threads import one_thread

if TYPE_CHECKING:
    from torch import nn

    from ..experiment import Experiment
    from ..sections import Stop


def add_sums(total: MetricSums, more: Mapping[str, float]) -> MetricSums:
    """Metric sums over two groups of examples together.

    >>> add_sums({"accuracy": 3.0, "examples": 4.0}, {"accuracy": 1.0, "examples": 4.0})
    {'accuracy': 4.0, 'examples': 8.0}
    """
    return {name: total.get(name, 0.0) + more.get(name, 0.0) for name in {**total, **more}}


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Metric sums divided by their number of examples, but for those that are numbers of their
    own, called `..._count`; empty without examples.

    >>> means({"accuracy": 4.0, "examples": 8.0})
    {'accuracy': 0.5, 'examples': 8.0}
    """
    examples = sums.get("examples", 0.0)
    if not examples:
        return {}
    return {name: value if _counts(name) else value / examples for name, value in sums.items()}


def _counts(name: str) -> bool:
    return name == "examples" or name.endswith("_count")


class CentralTest:
    """A test set that the server holds, scored with the model as it stands."""

    def __init__(self, paradigm: Paradigm, model: nn.Module, shard: Shard) -> None:
        self.paradigm = paradigm
        self.model = model
        self.prepared: Prepared = paradigm.prepare(shard)

    def score(self, tensors: Tensors) -> dict[str, float]:
        """Means over the test set."""
        self.model.load_state_dict(tensors)
        self.model.eval()
        with one_thread():
            return means(self.paradigm.evaluate(self.model, self.prepared))


@dataclass
class EarlyStop:
    """Ends a run when a metric reached its target, or no longer gets better.

    Loss and other errors are better when smaller, everything else when larger.

    >>> stop = EarlyStop(metric="accuracy", patience=1)
    >>> [stop.reached({"federated": {"accuracy": a}}) for a in (0.5, 0.6, 0.6)]
    ['', '', 'accuracy has not improved on 0.6 for 1 evaluations']
    """

    metric: str
    patience: int | None = None
    min_delta: float = 0.0
    target: float | None = None
    best: float | None = field(default=None)
    since: int = 0

    @classmethod
    def of(cls, experiment: Experiment) -> EarlyStop | None:
        stop: Stop | None = experiment.evaluation.stop
        if stop is None:
            return None
        return cls(stop.metric, stop.patience, stop.min_delta, stop.target)

    def reached(self, metrics: Mapping[str, Mapping[str, float]]) -> str:
        """Why the run should end here; empty if it should go on. The server's own test set
        counts before the clients' held-out examples."""
        value = next(
            (
                metrics[source][self.metric]
                for source in ("central", "federated")
                if self.metric in metrics.get(source, {})
            ),
            None,
        )
        if value is None or not math.isfinite(value):
            return ""
        sign = -1.0 if smaller_is_better(self.metric) else 1.0
        if self.target is not None and sign * value >= sign * self.target:
            return f"{self.metric} {value:g} reached the target {self.target:g}"
        if self.best is None or sign * value > sign * self.best + self.min_delta:
            self.best, self.since = value, 0
        else:
            self.since += 1
        if self.patience is not None and self.since >= self.patience:
            return f"{self.metric} has not improved on {self.best:g} for {self.since} evaluations"
        return ""


def total(sums: Iterable[Mapping[str, float]]) -> MetricSums:
    """Metric sums of many clients together."""
    result: MetricSums = {}
    for more in sums:
        result = add_sums(result, more)
    return result
