"""A finished run's model, built again from what its folder says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..building import build_model, build_paradigm
from ..data.loading import load_dataset
from ..errors import BadInput
from ..experiment import Experiment
from ..faults import read_toml
from ..models.weights import HEAD, library_names
from ..paradigms.base import Paradigm
from ..paradigms.helpers import HasHelpers
from ..paradigms.transfer.lora import merge_adapters
from ..paradigms.transfer.trees import forest_head
from ..result import EXPERIMENT_FILE, MODEL_FILE, Result, read_environment
from ..schema import Schema
from ..tensors import Tensors, is_finite, read_tensors

LOCAL = ("simulate", "up")
"""The runtimes whose clients have the data that the experiment file names."""


@dataclass(frozen=True)
class Trained:
    """A run's model in evaluation mode, its adapters merged into its weights, and the run's facts.

    `kept` names the tensors that were trained at the clients, and stayed there: in the model they
    are as they were at the start.
    """

    result: Result
    experiment: Experiment
    environment: Mapping[str, Any]
    schema: Schema
    model: nn.Module
    kept: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> Trained:
        """Raises BadInput where a folder holds no run, or one without a final model, or where the
        model cannot be built here."""
        result = Result.open(folder)
        path = folder / MODEL_FILE
        if not path.is_file():
            raise BadInput(
                f"{folder}: the run has no final model, for it has not come to its end; go on "
                f"with: umbel resume {folder}"
            )
        # Not `load`, which asks for the file that the run began with: it may be gone by now.
        told = Experiment(**read_toml(folder / EXPERIMENT_FILE, "the run's experiment"))
        model_alone = {"model": told.model.model_copy(update={"weights": None})}
        experiment = told.model_copy(update=model_alone)
        environment = read_environment(folder)
        schema = _schema(folder, experiment, environment)
        paradigm = build_paradigm(experiment, told=True)
        model = build_model(paradigm, experiment, schema)
        _drop_helpers(paradigm, model)
        travels = {tensor["name"] for tensor in environment.get("travels") or ()}
        kept = sorted(set(paradigm.travels(model)) - travels) if travels else []
        _put(model, path)
        merge_adapters(model)
        return cls(result, told, environment, schema, model.eval(), tuple(kept))

    @property
    def tensors(self) -> Tensors:
        """The model's, as its architecture calls them; of one whose head is none that a library
        makes, as umbel does."""
        if forest_head(self.model) is not None:
            return self.model.state_dict()
        return library_names(self.model, self.model.state_dict())

    @property
    def backbone(self) -> Tensors:
        """The same without the output layer, which is for this run's classes alone."""
        tensors = self.model.state_dict()
        body = {name: value for name, value in tensors.items() if not name.startswith(HEAD)}
        return library_names(self.model, body)

    @property
    def parameters(self) -> int:
        """How many numbers are learnt, adapters not counted; of a model that no descent moves, how
        many it has."""
        learnt = list(self.model.parameters()) or self.model.buffers()
        return sum(value.numel() for value in learnt)


def _schema(folder: Path, experiment: Experiment, environment: Mapping[str, Any]) -> Schema:
    """What the run's examples look like: as its record says or, where an older umbel wrote that,
    as the data set does that the run was of."""
    found = environment.get("schema")
    if found is not None:
        try:
            return Schema.from_json(json.dumps(found))
        except ValueError as error:
            raise BadInput(f"{folder}/environment.json: schema: {error}") from error
    missing = f"{folder}/environment.json: does not say the examples' shape and classes (schema)"
    if environment.get("runtime") not in LOCAL:
        raise BadInput(f"{missing}, for an older umbel wrote it; run the experiment anew")
    try:
        return load_dataset(experiment.data.source, label=experiment.data.label).schema
    except BadInput as error:
        raise BadInput(f"{missing}, and the data set is not here: {error}") from error


def _drop_helpers(paradigm: Paradigm, model: nn.Module) -> None:
    """Take out what only helped to train the model."""
    if isinstance(paradigm, HasHelpers):
        for name in [n for n, _ in model.named_children() if paradigm.is_helper(f"{n}.")]:
            delattr(model, name)


def _put(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(read_tensors(path)[0])
    except ValueError as error:
        raise BadInput(str(error)) from error
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise BadInput(
            f"{path}: is not of the model that {path.parent / EXPERIMENT_FILE} names: {first}"
        ) from error
    if not all(map(is_finite, model.parameters())):
        raise BadInput(f"{path}: holds values that are not finite; such a model is of no use")
