"""From an experiment's names to its objects: the same ones at the server and at every client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from . import registry
from .errors import BadInput
from .paradigms.base import Paradigm, TakesGraphs
from .randomness import torch_seeded
from .schema import Schema
from .tensors import Tensors

if TYPE_CHECKING:
    from .data.shard import Shard
    from .experiment import Experiment
    from .sections import ModelSection


class Models:
    """Makes the experiment's model, which is all that most paradigms ask for, its teacher, and what
    the server gives to every client to learn from."""

    def __init__(self, experiment: Experiment, *, told: bool) -> None:
        self._experiment, self._told = experiment, told
        self._model, self._teacher = experiment.model, experiment.teacher

    def __call__(self, schema: Schema) -> nn.Module:
        """The model, with the weights of a file where the experiment names one."""
        return _built(self._model, schema, "model")

    def teacher(self, schema: Schema, *, whole: bool) -> nn.Module:
        """The model that the other learns from, with an output layer that was trained for the same
        classes where it must be `whole`; raises BadInput where there is none such."""
        if self._teacher is None:
            raise BadInput("teacher: this paradigm needs one; add a section [teacher]")
        if whole and self._teacher.weights is None and not self._told:
            raise BadInput(
                "teacher.weights: missing; the teacher must have been trained for the same classes"
            )
        return _built(self._teacher, schema, "teacher", whole=whole)

    def weights(self) -> Tensors:
        """What the file of `model.weights` holds, for a paradigm that makes its model itself; empty
        where none is named, or where a server sends what was in it."""
        if self._model.weights is None:
            return {}
        from .models.weights import read_weights

        return read_weights(Path(self._model.weights))

    def auxiliary(self, schema: Schema, count: int) -> Shard | None:
        """So many examples of `data.auxiliary`; None where they come with a server's messages."""
        if self._told:
            return None
        from .data import auxiliary_examples

        return auxiliary_examples(self._experiment, schema, count)


def _built(section: ModelSection, schema: Schema, key: str, *, whole: bool = False) -> nn.Module:
    module: nn.Module = registry.build("model", section.name, section.parameters, schema)
    if section.weights is not None:
        from .models.weights import put_weights

        put_weights(module, Path(section.weights), key, whole=whole)
    return module


def build_paradigm(experiment: Experiment, *, told: bool = False) -> Paradigm:
    """The experiment's paradigm over its model; of one that a server has `told`, weights come with
    its messages."""
    choice = experiment.paradigm
    paradigm: Paradigm = registry.build(
        "paradigm", choice.name, choice.parameters, Models(experiment, told=told)
    )
    return paradigm


def build_model(paradigm: Paradigm, experiment: Experiment, schema: Schema) -> nn.Module:
    """The model with its first weights: the same at the server and at every client."""
    kind = schema.task.partition("-")[0]
    if kind in ("node", "graph") and not isinstance(paradigm, TakesGraphs):
        name = experiment.paradigm.name
        raise BadInput(f"paradigm.name: {name} takes no graphs, and there is {schema.summary()}")
    with torch_seeded(experiment.experiment.seed, purpose="model"):
        return paradigm.build(schema)
