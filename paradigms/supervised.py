"""Supervised classification: cross-entropy on the labelled examples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..data.learnable import LABELLED
from ..data.shard import UNLABELLED, Shard
from ..data.tensors import to_inputs
from ..schema import Schema
from .base import Batch, BuildModel, Descent, MetricSums, Prepared
from .perceptron import Perceptron

EVALUATION_BATCH = 512
"""Examples scored at once; it bounds memory and has no effect on the sums' meaning."""


class Supervised:
    """Cross-entropy on a shard's labelled examples, all of the model's tensors travelling.

    Examples without a label are left out. A model that has a method `encode` makes its inputs of
    the examples (n, ...), as they are stored, itself. `label_smoothing` in [0, 1) spreads that
    share of the target over all classes (Szegedy et al. 2016, arXiv 1512.00567).
    """

    learns_from = LABELLED

    def __init__(self, build_model: BuildModel, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing: {label_smoothing} is not in [0, 1)")
        self._build_model = build_model
        self._encode: Callable[[np.ndarray], Tensor] | None = None
        self._label_smoothing = label_smoothing

    def build(self, schema: Schema) -> nn.Module:
        model = self._build_model(schema)
        self._encode = getattr(model, "encode", None)
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return list(model.state_dict())

    def prepare(self, shard: Shard) -> Prepared:
        labelled = shard.arrays["y"] != UNLABELLED
        x, y = shard.arrays["x"], shard.arrays["y"]
        if not labelled.all():
            x, y = x[labelled], y[labelled]
        inputs = to_inputs(x, shard.schema) if self._encode is None else self._encode(x)
        return {"x": inputs, "y": torch.tensor(y, dtype=torch.int64)}

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        x, y = prepared["x"], prepared["y"]
        order = torch.randperm(len(y), generator=generator)
        size = batch_size or max(1, len(y))
        rows = (values.index_select(0, order).split(size) for values in (x, y))
        shuffled = zip(*rows, strict=True)
        return ({"x": inputs, "y": labels} for inputs, labels in shuffled)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        logits = model(batch["x"])
        return cross_entropy(logits, batch["y"], label_smoothing=self._label_smoothing)

    def descent(self, model: nn.Module) -> Descent | None:
        """By hand for multilayer perceptrons."""
        perceptron = Perceptron.of(model)
        if perceptron is None or self._label_smoothing:
            return None
        return lambda batch, rate: perceptron.step(batch["x"], batch["y"], rate)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        sums = {"loss": 0.0, "accuracy": 0.0, "examples": float(len(prepared["y"]))}
        for logits, labels in _scored(model, prepared):
            sums["loss"] += float(cross_entropy(logits, labels, reduction="sum"))
            sums["accuracy"] += float((logits.argmax(dim=1) == labels).sum())
        return sums

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        told = [logits.argmax(dim=1) for logits, _ in _scored(model, prepared)]
        return prepared["y"], torch.cat(told)


def _scored(model: nn.Module, prepared: Prepared) -> Iterator[tuple[Tensor, Tensor]]:
    """A model's scores (n, classes) of some examples at a time, and their labels (n,)."""
    parts = (prepared[name].split(EVALUATION_BATCH) for name in ("x", "y"))
    for inputs, labels in zip(*parts, strict=True):
        with torch.no_grad():
            logits = model(inputs)
        yield logits, labels
