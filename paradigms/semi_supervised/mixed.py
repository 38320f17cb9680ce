"""Labelled and unlabelled examples side by side: what the methods of this folder share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ...data.shard import UNLABELLED, Shard
from ...data.tensors import to_inputs
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from ..supervised import EVALUATION_BATCH, Supervised
from .augmentation import Augmentation, Changes, Choice, Unchanged, augmentation_of
from .examples import Truths, evaluate_labelled, labelled, pseudo_label_counts


class Mixed:
    """A shard's labelled and unlabelled examples, in batches that hold some of both.

    A prepared shard has `x` (n, ...), and `y` (n,) with -1 for no label. A batch has `rows` of the
    prepared shard, the labelled ones first, `x` and `y` of those, and `u`, the others. One epoch
    sees each example at least once: those of the kind that fills fewer batches come again, in a new
    order, until it ends. A last unlabelled one that would be by itself joins the batch before.
    Where there are no unlabelled ones, training is what it is without this: the batches are the
    same, and nothing is changed.

    Args:
        build_model: of the experiment.
        ratio: unlabelled examples in a batch for each labelled one, >= 1.
        augmentation: what examples are changed by.
    """

    def __init__(self, build_model: BuildModel, *, ratio: int, augmentation: Choice) -> None:
        if ratio < 1:
            raise ValueError(f"ratio: {ratio} is not at least 1")
        self._supervised = Supervised(build_model)
        self._ratio, self._choice = ratio, augmentation
        self._encode: Callable[[np.ndarray], Tensor] | None = None
        self.augmentation: Augmentation = augmentation_of(augmentation, None)
        self._changes: Changes = Unchanged()
        self._truths = Truths()
        self._truth: Tensor | None = None
        self._sums: dict[str, Tensor | float] = {}

    def build(self, schema: Schema) -> nn.Module:
        model = self._supervised.build(schema)
        self._encode = getattr(model, "encode", None)
        try:
            self.augmentation = augmentation_of(self._choice, schema)
        except ValueError as error:
            raise BadInput(f"paradigm.{error}") from None
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def prepare(self, shard: Shard) -> Prepared:
        return self._truths.prepare(shard, self.inputs(shard.arrays["x"], shard.schema))

    def inputs(self, x: np.ndarray, schema: Schema) -> Tensor:
        """Stored examples (n, ...) as the model takes them."""
        return to_inputs(x, schema) if self._encode is None else self._encode(x)

    def begin(self, prepared: Prepared) -> None:
        """Called with a client's examples before its first step of a round."""
        # A client whose training failed left what it had counted.
        self._sums = {}
        self._truth = self._truths.of(prepared)
        self._changes = self.augmentation.fitted(prepared["x"])

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        has_label = prepared["y"] != UNLABELLED
        labelled, unlabelled = has_label.nonzero().flatten(), (~has_label).nonzero().flatten()
        size = batch_size or max(1, len(labelled))
        if not len(unlabelled):
            for rows in _shuffled(labelled, generator).split(size):
                yield _batch(prepared, rows, unlabelled)
            return
        many = self._ratio * batch_size or len(unlabelled)
        steps = max(math.ceil(len(labelled) / size), len(_pieces(unlabelled, many)))
        others = _again(unlabelled, many, generator)
        supply = _endless(labelled, min(size, len(labelled)), generator)
        for rows, known in itertools.islice(zip(others, supply, strict=False), steps):
            yield _batch(prepared, known, rows)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return evaluate_labelled(self._supervised, model, prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return self._supervised.predictions(model, labelled(prepared), training)

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs (n, ...), weakly changed."""
        return self._changes.weak(inputs, generator) if len(inputs) else inputs

    def strong(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs (n, ...), strongly changed."""
        return self._changes.strong(inputs, generator) if len(inputs) else inputs

    def count(self, chosen: Tensor, labels: Tensor, batch: Batch) -> None:
        """Note which of a batch's unlabelled examples (n,) were learnt from, and as what."""
        self._add("unlabelled_count", float(len(chosen)))
        truth = self._truth
        if truth is not None:
            truth = truth[batch["rows"][len(batch["x"]) :]]
        for name, count in pseudo_label_counts(chosen, labels, truth).items():
            self._add(name, count)

    def note_idle(self, idle: bool) -> None:
        """Note whether a client has nothing to learn from in this round: it does not count where
        the strategy `semifl` averages."""
        self._add("idle_count", float(idle))

    def counted(self) -> MetricSums:
        """What was noted since it was last asked."""
        sums, self._sums = self._sums, {}
        return {name: float(value) for name, value in sums.items()}

    def _add(self, name: str, value: Tensor | float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value


def labelled_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy; 0 where there are no labels."""
    return cross_entropy(logits, labels) if len(labels) else logits.sum() * 0.0


def scores_beside(model: nn.Module, inputs: Tensor, others: Tensor) -> Tensor:
    """What a model makes of inputs (n, ...) by themselves; of a single one beside others (m, ...),
    for batch normalisation takes no batch of one."""
    if len(inputs) != 1:
        said: Tensor = model(inputs)
        return said
    together: Tensor = model(torch.cat([inputs, others]))
    return together[:1]


def scores(model: nn.Module, inputs: Tensor, instead: Mapping[str, Tensor] | None = None) -> Tensor:
    """What a model in evaluation mode makes of inputs (n, ...), without gradients; with other
    tensors `instead` of those of their names."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            parts, tensors = inputs.split(EVALUATION_BATCH), dict(instead or {})
            return torch.cat([functional_call(model, tensors, (part,)) for part in parts])
    finally:
        model.train(training)


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _pieces(rows: Tensor, size: int) -> list[Tensor]:
    """So many at a time. One that is left over joins those before it, for batch normalisation takes
    no batch of one."""
    pieces = list(rows.split(size))
    if size > 1 and len(pieces) > 1 and len(pieces[-1]) == 1:
        pieces[-2:] = [torch.cat(pieces[-2:])]
    return pieces


def _again(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All of them, so many at a time, over and over, each time in a new order."""
    while True:
        yield from _pieces(_shuffled(rows, generator), size)


def _endless(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """So many at a time, each as often as every other, give or take one."""
    left = rows[:0]
    while True:
        while len(left) < size:
            left = torch.cat([left, _shuffled(rows, generator)])
        yield left[:size]
        left = left[size:]


def _batch(prepared: Prepared, labelled: Tensor, unlabelled: Tensor) -> dict[str, Any]:
    return {
        "rows": torch.cat([labelled, unlabelled]),
        "x": prepared["x"][labelled],
        "y": prepared["y"][labelled],
        "u": prepared["x"][unlabelled],
    }
