"""Classes of which no client has a label, by what the clients told before round 1."""

from __future__ import annotations

from ..data.learnable import LABELLED, LINKED
from ..errors import BadInput
from ..experiment import Experiment
from ..messages import EDGE_COUNT
from ..paradigms.base import Divides, LearnsFrom, Paradigm
from ..paradigms.catalogue import SEMI_SUPERVISED
from ..schema import without_labels
from .population import Population


def lacking_labels(experiment: Experiment, paradigm: Paradigm, population: Population) -> str:
    """What to tell of them; empty where there are none, where the server alone has labels, where
    what is learnt is no label, or where some client did not tell.

    Raises BadInput where a paradigm learns from labels, alone or beside others, or from edges, and
    nobody has one.
    """
    data, schema, labelled = experiment.data, population.schema, population.labelled
    if isinstance(paradigm, LearnsFrom) and paradigm.learns_from == LINKED:
        _check_edges(experiment, population)
    if data.labels_at == "server" or isinstance(paradigm, Divides):
        return ""
    if schema is None or labelled is None:
        return ""
    name = experiment.paradigm.name
    if schema.task.endswith("classification") and not labelled:
        if isinstance(paradigm, LearnsFrom) and paradigm.learns_from == LABELLED:
            raise BadInput(
                f"paradigm.name: {name} learns from labels, and no client has one to train on; "
                "label some examples"
            )
        if name in SEMI_SUPERVISED and not data.server_has_examples:
            raise BadInput(
                f"paradigm.name: {name} learns from labels, too, and no client has one; label "
                "some examples, or give the server some (data.server)"
            )
    return without_labels(schema.classes, labelled)


def _check_edges(experiment: Experiment, population: Population) -> None:
    """Raise BadInput where all clients told how many edges they have, and that is none."""
    told = [row.get(EDGE_COUNT) for row in population.graphs.values()]
    if len(told) == len(population) and not any(count != 0 for count in told):
        raise BadInput(
            f"paradigm.name: {experiment.paradigm.name} learns from edges, and no client has one"
        )
