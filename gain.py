"""Transfer gain: what a run's model is worth to each client, beside what it has without the run.

Two models are had without it: the one that the run began with, untouched, and that one trained on
the client's own examples alone. All three are scored on what the client held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeAlias

from .rounds import headline_metric, natural, printable, smaller_is_better
from .told import LeftOut, count_of, left_out_of, missing_of, read_told, reason_of

FILE = "gain.json"

RUN, ALONE, UNTOUCHED = "run", "alone", "untouched"
MODELS = (RUN, ALONE, UNTOUCHED)
EXAMPLES = "examples"

NAMED = 3
"""So many clients are named in a warning."""

Without: TypeAlias = Literal["alone", "untouched"]

WORDS: Mapping[Without, str] = {"alone": "training alone", "untouched": "the untouched model"}

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""Means over a client's held-out examples: by model, and then by metric."""


def told_as(sums: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Three models' metric sums over the same examples as one table, as a client tells them.

    >>> told_as({"run": {"accuracy": 3.0, "examples": 4.0}, "alone": {"accuracy": 2.0}})
    {'examples': 4.0, 'run/accuracy': 3.0, 'alone/accuracy': 2.0}
    """
    flat = {
        f"{model}/{name}": value
        for model, metrics in sums.items()
        for name, value in metrics.items()
        if name != EXAMPLES
    }
    return {EXAMPLES: sums[RUN][EXAMPLES], **flat}


@dataclass(frozen=True)
class Gain:
    """What transfer gained the clients that were asked, and could tell.

    Args:
        metric: the one that gains are told in.
        scores: by client, in the order of their names.
        left_out: those that were asked and could not tell, and why. Both texts come from
            clients: untrusted.

    >>> scores = {"run": {"accuracy": 0.75}, "alone": {"accuracy": 0.5}}
    >>> told = {"a": scores | {"untouched": {"accuracy": 0.25}}}
    >>> told["b"] = scores | {"untouched": {"accuracy": 1.0}}
    >>> gain = Gain("accuracy", told)
    >>> gain.over("untouched"), gain.mean("untouched"), gain.hurt
    ({'a': 0.5, 'b': -0.25}, 0.125, ('b',))
    """

    metric: str
    scores: Mapping[str, Scores]
    left_out: LeftOut = ()

    def over(self, model: Without) -> dict[str, float]:
        """By client, how much better the run's model is than `alone` or `untouched`; below 0
        where it is worse, also of a metric that is an error."""
        sign = -1.0 if smaller_is_better(self.metric) else 1.0
        name = self.metric
        return {
            client: sign * (scores[RUN][name] - scores[model][name])
            for client, scores in self.scores.items()
        }

    def mean(self, model: Without) -> float | None:
        """The mean gain over the clients, each counting the same; None without any."""
        return fmean(self.over(model).values()) if self.scores else None

    @cached_property
    def hurt(self) -> tuple[str, ...]:
        """The clients that would do better without the run, those that lose most first."""
        worst = {c: min(self.over(model)[c] for model in WORDS) for c in self.scores}
        losing = [client for client, gained in worst.items() if gained < 0]
        return tuple(sorted(losing, key=lambda client: (worst[client], natural(client))))

    @property
    def summary(self) -> str:
        """The mean gains in one line."""
        if not self.scores:
            return f"transfer gain: no client told it{reason_of(self.left_out)}"
        means = " and ".join(f"{self.mean(m) or 0.0:+.4f} over {w}" for m, w in WORDS.items())
        missing = missing_of(self.left_out)
        shown = printable(self.metric, 40)
        return f"transfer gain in {shown}, mean of {count_of(self.scores)}: {means}{missing}"

    @property
    def warning(self) -> str:
        """Whom transfer hurts, in one line; empty where it hurts nobody."""
        if not self.hurt:
            return ""
        gains = {model: self.over(model) for model in WORDS}

        def told(client: str) -> str:
            lost = {model: gains[model][client] for model in WORDS}
            model = min(lost, key=lambda m: lost[m])
            return f"{printable(client, 60)} ({lost[model]:+.4f} to {WORDS[model]})"

        named = ", ".join(told(client) for client in self.hurt[:NAMED])
        more = len(self.hurt) - NAMED
        return f"transfer hurts {len(self.hurt)} of {count_of(self.scores)}: {named}" + (
            f", and {more} more" if more > 0 else ""
        )

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Gain:
        """What gain.json holds; raises LookupError, TypeError or AttributeError if it is not so."""
        rows: Sequence[Mapping[str, Any]] = told["clients"]
        scores = {row["client"]: {model: row[model] for model in MODELS} for row in rows}
        left_out = left_out_of(told)
        gain = cls(told["metric"], scores, left_out)
        for model in WORDS:
            gain.over(model)
        return gain


def metric_of(names: Sequence[str]) -> str:
    """The metric to tell gains in: accuracy, where it is there.

    >>> metric_of(["loss", "accuracy"]), metric_of(["loss"])
    ('accuracy', 'loss')
    """
    first = headline_metric([{"metrics": {"federated": dict.fromkeys(names, 0.0)}}])
    return first if first in names else min(names, default="")


def read_gain(folder: Path) -> Gain | None:
    """A run folder's gain.json, None where there is none; raises UmbelError for a damaged one."""
    return read_told(folder / FILE, Gain.of)
