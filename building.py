"""From an experiment's names to its objects: the same ones at the server and at every client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from . import registry
from .paradigms.base import Paradigm
from .randomness import torch_seeded
from .schema import Schema

if TYPE_CHECKING:
    from .experiment import Experiment


def build_paradigm(experiment: Experiment) -> Paradigm:
    """The experiment's paradigm over its model, with the weights of a file where it names one."""
    model = experiment.model

    def build(schema: Schema) -> nn.Module:
        module: nn.Module = registry.build("model", model.name, model.parameters, schema)
        if model.weights is not None:
            from .models.weights import put_weights

            put_weights(module, Path(model.weights))
        return module

    choice = experiment.paradigm
    paradigm: Paradigm = registry.build("paradigm", choice.name, choice.parameters, build)
    return paradigm


def build_model(paradigm: Paradigm, experiment: Experiment, schema: Schema) -> nn.Module:
    """The model with its first weights: the same at the server and at every client."""
    with torch_seeded(experiment.experiment.seed, purpose="model"):
        return paradigm.build(schema)
