"""Classes of which no client has a label, by what the clients told before round 1."""

from __future__ import annotations

from ..errors import BadInput
from ..experiment import Experiment
from ..paradigms.base import Divides, Paradigm
from ..paradigms.catalogue import SEMI_SUPERVISED
from ..schema import without_labels
from .population import Population


def lacking_labels(experiment: Experiment, paradigm: Paradigm, population: Population) -> str:
    """What to tell of them; empty where there are none, where the server alone has labels, where
    what is learnt is no label, or where some client did not tell.

    Raises BadInput where a paradigm learns from labelled and unlabelled examples and nobody has a
    label.
    """
    data, schema, labelled = experiment.data, population.schema, population.labelled
    if data.labels_at == "server" or isinstance(paradigm, Divides):
        return ""
    if schema is None or labelled is None:
        return ""
    alone = not data.server_has_examples and experiment.paradigm.name in SEMI_SUPERVISED
    if alone and schema.classes and not labelled:
        raise BadInput(
            f"paradigm.name: {experiment.paradigm.name} learns from labels, too, and no client has "
            "one; label some examples, or give the server some (data.server)"
        )
    return without_labels(schema.classes, labelled)
