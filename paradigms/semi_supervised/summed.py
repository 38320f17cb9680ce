"""What paradigms share whose model is made of sums over all clients' examples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ...data.shard import UNLABELLED, Shard
from ...data.tensors import to_inputs
from ...data.texts import TEXT
from ...errors import BadInput
from ...schema import Schema, without_labels
from ...tensors import Tensors
from ..base import Batch, MetricSums, Prepared
from ..supervised import Supervised
from .examples import Truths, evaluate_labelled, labelled

PROGRESS = "progress"
"""The part of a model that says how far it is made; none of the result."""


class Models(Protocol):
    """Makes the experiment's model, and gets the tensors of the file that it names."""

    def __call__(self, schema: Schema) -> nn.Module: ...

    def weights(self) -> Tensors: ...


class Progress(nn.Module):
    """How far a model is made: `stage` counts its rounds until each is like the one before."""

    stage: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))


def stage_of(model: nn.Module) -> Tensor:
    """The stage () of a model to which `Progress` was added."""
    return cast("Progress", model.get_submodule(PROGRESS)).stage


class NoDescent:
    """Everything of a model travels, and there are no batches and no loss."""

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        raise RuntimeError("this paradigm does not descend")

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        raise RuntimeError("this paradigm does not descend")


class Summed(NoDescent):
    """A shard with all its examples.

    A prepared shard has `x` (n, ...) as a model takes it, and `y` (n,) with -1 for no label.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._supervised = Supervised(models)
        self._truths = Truths()

    def is_helper(self, name: str) -> bool:
        return name.startswith(f"{PROGRESS}.")

    def prepare(self, shard: Shard) -> Prepared:
        return self._truths.prepare(shard, to_inputs(shard.arrays["x"], shard.schema))

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return evaluate_labelled(self._supervised, model, prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return self._supervised.predictions(model, labelled(prepared), training)


def check_numbers(schema: Schema, what: str) -> None:
    """Raise BadInput for texts, and for examples of which no class is known."""
    if schema.dtype == TEXT:
        raise BadInput(f"paradigm: {what} is of numbers; the examples are texts")
    if not schema.classes:
        raise BadInput(f"paradigm: {what} says classes, and the data has none; label some examples")


def points(inputs: Tensor) -> Tensor:
    """A model's inputs (n, ...) as points (n, d), float64."""
    return inputs.flatten(1).double()


def label_counts(labels: Tensor, classes: int) -> Tensor:
    """How many examples of each class have a label, (classes,), float64."""
    known = labels[labels != UNLABELLED]
    return torch.bincount(known, minlength=classes)[:classes].double()


def unlabelled_classes(counts: Tensor, classes: Sequence[str]) -> str:
    """What to tell of classes of which nobody has a label, by how many there are of each; raises
    BadInput where there are none at all."""
    known = (counts > 0).nonzero().flatten().tolist()
    if not known:
        raise BadInput("data: no client has a label, so no class has a name; label some examples")
    return without_labels(classes, known)
