"""Classes of which nobody has a label, by what the clients told before round 1."""

from __future__ import annotations

import numpy as np

from ..data.learnable import LABELLED, LINKED, unlearnable
from ..data.rows import COUNTS
from ..data.shard import UNLABELLED, Shard, label_codes
from ..errors import BadInput
from ..experiment import Experiment
from ..messages import EDGE_COUNT
from ..paradigms.base import Divides, LearnsFrom, Paradigm
from ..paradigms.catalogue import SEMI_SUPERVISED
from ..schema import without_labels
from .population import Population


def lacking_labels(
    experiment: Experiment, paradigm: Paradigm, population: Population, own: Shard | None
) -> str:
    """What to tell of them; empty where there are none, where what is learnt is no label, or where
    some client did not tell. `own` are examples of the server's from which the model learns, too.

    Raises BadInput where a paradigm learns from labels, from examples without, or from edges, and
    nobody has one.
    """
    schema, labelled = population.schema, population.labelled
    if isinstance(paradigm, LearnsFrom) and paradigm.learns_from == LINKED:
        _check_edges(experiment, population)
    if isinstance(paradigm, Divides) or schema is None or labelled is None:
        return ""
    taught = frozenset[int]() if own is None else _codes(own)
    if schema.task.endswith("classification"):
        _check_labels(experiment, paradigm, labelled, taught)
    who = "no client has" if own is None else "neither a client nor the server has"
    return without_labels(schema.classes, labelled | taught, who)


def _check_labels(
    experiment: Experiment, paradigm: Paradigm, told: frozenset[int], taught: frozenset[int]
) -> None:
    """Raise BadInput where nobody has a label, or nobody an example without one, that the paradigm
    learns from; `told` are the clients' codes, `taught` the server's."""
    name = experiment.paradigm.name
    if told - {UNLABELLED}:
        if name in SEMI_SUPERVISED and UNLABELLED not in told:
            raise BadInput(
                f"paradigm.name: {name} learns from examples without a label, and no client has "
                "one; take supervised"
            )
        return
    if isinstance(paradigm, LearnsFrom) and paradigm.learns_from == LABELLED:
        if experiment.data.labels_at == "server":
            raise BadInput(unlearnable(name))
        raise BadInput(
            f"paradigm.name: {name} learns from labels, and no client has one to train on; "
            "label some examples"
        )
    if name in SEMI_SUPERVISED and not taught:
        raise BadInput(
            f"paradigm.name: {name} learns from labels, too, and no client has one; label "
            "some examples, or give the server some (data.server) with strategy semifl"
        )


def _codes(own: Shard) -> frozenset[int]:
    """The classes of which the server's examples have labels."""
    if COUNTS not in own.arrays:
        return frozenset(label_codes(own, 0.0, 0)) - {UNLABELLED}
    found = np.unique(own.arrays["y"][own.arrays[COUNTS]])
    return frozenset(found.tolist()) - {UNLABELLED}


def _check_edges(experiment: Experiment, population: Population) -> None:
    """Raise BadInput where all clients told how many edges they have, and that is none."""
    told = [row.get(EDGE_COUNT) for row in population.graphs.values()]
    if len(told) == len(population) and not any(count != 0 for count in told):
        raise BadInput(
            f"paradigm.name: {experiment.paradigm.name} learns from edges, and no client has one"
        )
