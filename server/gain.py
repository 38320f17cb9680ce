"""The exchange after the last round: clients compare the run's model to those without the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..building import build_model, build_paradigm
from ..errors import BadInput, UpdateRefused
from ..gain import EXAMPLES, MODELS, RUN, metric_of
from ..messages import GAIN, START
from ..paradigms.base import Paradigm, Transfers
from ..rounds import phases as seconds_of
from ..schema import Schema
from ..tensors import Tensors
from .evaluation import means
from .outcomes import believed, failure_rows
from .phases import Phases

if TYPE_CHECKING:
    from ..experiment import Experiment

MOST = 1e100
"""The largest mean that a client may claim; sums of such are still finite."""


def measures_gain(experiment: Experiment, paradigm: Paradigm) -> bool:
    """Whether a run ends with this: as `evaluation.gain` says, or else where the paradigm is one
    that transfers, and clients hold something out.

    Raises BadInput where it is asked for and there is nothing to compare on.
    """
    wanted, held_out = experiment.evaluation.gain, experiment.data.held_out
    if wanted and held_out == 0:
        raise BadInput("evaluation.gain: nothing to compare on; set data.held_out")
    return (isinstance(paradigm, Transfers) if wanted is None else wanted) and held_out > 0


def first_weights(experiment: Experiment, schema: Schema) -> Tensors:
    """The model as it was before round 1."""
    return dict(build_model(build_paradigm(experiment), experiment, schema).state_dict())


def measure_gain(
    phases: Phases,
    max_examples: int,
    round: int,
    models: tuple[Tensors, Tensors],
    records: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """Ask as many clients as evaluate; what gain.json says of it, but for whose model it is.

    The training alone takes a client as long as the run's rounds did, which is added to the
    deadline of an exchange.

    Args:
        phases: of the run.
        max_examples: the most that a client may claim to hold.
        round: the last that was played.
        models: what travels of the run's model, and the same tensors before round 1.
        records: the run's rounds.
    """
    spent = sum(seconds_of(record).get("train", 0.0) for record in records)
    groups = {"model": models[0], START: models[1]}
    judged = phases.judge("the transfer gain", round, groups, {GAIN: True}, spent)
    clients, failures = believed(judged, lambda _, sums: read_scores(sums, max_examples))
    usual = _usual([scores[RUN] for scores in clients.values()])
    for client in [c for c, scores in clients.items() if frozenset(scores[RUN]) != usual]:
        del clients[client]
        failures[client] = ("refused", "its metrics are named unlike the others'")
    return {
        "round": round,
        "metric": metric_of(sorted(usual)),
        "clients": [{"client": client, **scores} for client, scores in clients.items()],
        "failures": failure_rows(failures),
        "bytes_up": judged.bytes_up,
        "bytes_down": judged.bytes_down,
    }


def read_scores(sums: Mapping[str, float], max_examples: int) -> dict[str, Any]:
    """A client's metric sums, named as `gain.told_as` does, as means by model.

    >>> sums = {"examples": 4, "run/loss": 2, "alone/loss": 1, "untouched/loss": 8}
    >>> read_scores(sums, max_examples=9)
    {'examples': 4, 'run': {'loss': 0.5}, 'alone': {'loss': 0.25}, 'untouched': {'loss': 2.0}}

    Raises UpdateRefused where a model lacks a metric that another has, there is none, a number
    is absurd, or the examples are not 1 to `max_examples`.
    """
    examples = sums.get(EXAMPLES, 0.0)
    if not 1 <= examples <= max_examples:
        raise UpdateRefused(f"{examples:g} held-out examples are not in 1 to {max_examples}")
    scores: dict[str, dict[str, float]] = {model: {} for model in MODELS}
    for name, value in means(sums).items():
        model, _, metric = name.partition("/")
        if name == EXAMPLES:
            continue
        if model not in scores or not metric:
            raise UpdateRefused(f"{name!r} is no metric of one of the three models")
        if abs(value) > MOST:
            raise UpdateRefused(f"metric {name!r} is {value:g}, beyond {MOST:g}")
        scores[model][metric] = value
    for model in MODELS:
        lacking = sorted(set().union(*scores.values()) - set(scores[model]))
        if lacking or not scores[model]:
            raise UpdateRefused(
                f"it does not tell the {' '.join(lacking[:1] or ['score'])} of the model {model!r}"
            )
    return {EXAMPLES: round(examples), **scores}


def _usual(found: list[Mapping[str, float]]) -> frozenset[str]:
    """The names of metrics that most clients have; the first of equally many."""
    counted = Counter(frozenset(metrics) for metrics in found).most_common(1)
    return counted[0][0] if counted else frozenset()
