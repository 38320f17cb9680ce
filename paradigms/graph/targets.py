"""What is to be told of a node or a graph: its class, or a number."""

from __future__ import annotations

import inspect
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ...data.rows import TARGET
from ...data.shard import UNLABELLED, Shard
from ...errors import BadInput
from ...schema import Schema
from ..base import BuildModel, MetricSums


class Targets(Protocol):
    """Reads targets, and judges scores by them."""

    def of(self, shard: Shard) -> tuple[Tensor, Tensor]:
        """The targets of all examples (n,), and which of them are known (n,)."""
        ...

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean over examples, of scores (n, outputs)."""
        ...

    def sums(self, scores: Tensor, targets: Tensor) -> MetricSums:
        """Metric sums over examples."""
        ...


class Classes:
    """Cross-entropy on classes."""

    def of(self, shard: Shard) -> tuple[Tensor, Tensor]:
        y = torch.tensor(shard.arrays["y"], dtype=torch.int64)
        return y, y != UNLABELLED

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(scores, targets)

    def sums(self, scores: Tensor, targets: Tensor) -> MetricSums:
        return {
            "loss": float(cross_entropy(scores, targets, reduction="sum")),
            "accuracy": float((scores.argmax(dim=1) == targets).sum()),
            "examples": float(len(targets)),
        }


class Numbers:
    """The squared error of numbers; one that is not finite is not known."""

    def of(self, shard: Shard) -> tuple[Tensor, Tensor]:
        if TARGET not in shard.arrays:
            raise BadInput(f"data.source: {shard.schema.task} needs numbers in an array {TARGET!r}")
        numbers = torch.tensor(shard.arrays[TARGET], dtype=torch.float32)
        return numbers, numbers.isfinite()

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(scores.flatten(), targets)

    def sums(self, scores: Tensor, targets: Tensor) -> MetricSums:
        apart = (scores.flatten() - targets).double()
        return {
            "loss": float(apart.square().sum()),
            "mean_absolute_error": float(apart.abs().sum()),
            "examples": float(len(targets)),
        }


def targets_of(schema: Schema) -> Targets:
    """By the task that a schema names."""
    return Numbers() if schema.task.endswith("-regression") else Classes()


def build_network(build_model: BuildModel, schema: Schema, kind: str, inputs: int) -> nn.Module:
    """The experiment's model for what is about a `kind` of thing, which takes so many inputs;
    raises BadInput where the data or the model are not for that."""
    if not schema.task.startswith(f"{kind}-"):
        raise BadInput(f"paradigm.name: this one is about {kind}s, and there is {schema.summary()}")
    if len(schema.shape) != 1 or schema.edge_width < 0:
        raise BadInput(f"data: a node has a list of numbers, and there is {schema.summary()}")
    model = build_model(schema)
    taken = inspect.signature(model.forward).parameters.values()
    if sum(p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in taken) < inputs:
        raise BadInput(
            f"model.name: {type(model).__name__} looks at no edges; take a model for graphs, as gcn"
        )
    return model
