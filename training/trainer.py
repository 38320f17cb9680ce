"""The generic trainer: one client's local epochs, whatever the paradigm and the strategy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from ..errors import UmbelError
from ..paradigms.base import (
    Batch,
    Descent,
    FollowsTraining,
    MetricSums,
    Paradigm,
    Prepared,
)
from ..strategies.local_parts import Local, LocalRun
from . import pace
from .optimizers import GradientDescent


@dataclass(frozen=True)
class Effort:
    """How long and in what batches a client trains: `epochs`, or `steps` where given."""

    epochs: int
    steps: int | None
    batch_size: int
    clip_norm: float | None


@dataclass(frozen=True)
class Trained:
    """What training gave: optimiser steps taken, and metric sums over the examples seen."""

    steps: int
    metrics: MetricSums


@dataclass(frozen=True)
class Trainer:
    """Descends the paradigm's loss with what the strategy's local part adds to it."""

    paradigm: Paradigm
    local: Local
    effort: Effort
    descent: Descent | None = None
    """The paradigm's quicker way to take a plain step, if it has one for this model."""

    def train(
        self,
        prepared: Prepared,
        run: LocalRun,
        optimizer: Optimizer | GradientDescent,
        memo: Any,
        generator: torch.Generator,
    ) -> Trained:
        """Train `run.model` in place; raises UmbelError if the loss stops being finite."""
        paradigm = self.paradigm
        follows = paradigm if isinstance(paradigm, FollowsTraining) else None
        if follows is not None:
            follows.begin(run.model, prepared, run.round)
        step = self._step(run, optimizer, memo, generator)
        losses: list[Tensor] = []
        counts: list[int] = []
        for batch in self._batches(prepared, generator):
            pace.check()
            losses.append(step(batch))
            counts.append(example_count(batch))
        means = torch.stack(losses).tolist() if losses else []
        total = math.fsum(mean * count for mean, count in zip(means, counts, strict=True))
        if not math.isfinite(total):
            raise UmbelError(
                f"round {run.round}: the training loss is not finite after {len(losses)} steps; "
                "a smaller client.optimizer.lr, or client.clip_norm, may mend it"
            )
        sums = {"loss": total, "examples": float(sum(counts))}
        return Trained(len(losses), sums if follows is None else follows.end() | sums)

    def _step(
        self,
        run: LocalRun,
        optimizer: Optimizer | GradientDescent,
        memo: Any,
        generator: torch.Generator,
    ) -> Callable[[Batch], Tensor]:
        """How to take one step; gives the batch's mean loss, without the local part's own."""
        plain = self.local.plain
        descent, clip_norm = self.descent, self.effort.clip_norm
        alone = descent if plain and clip_norm is None else None
        if alone and isinstance(optimizer, GradientDescent) and optimizer.even:
            rate, quick = optimizer.rate, alone
            return lambda batch: quick(batch, rate)
        run.model.train()
        parameters = trainable(run.model)

        def step(batch: Batch) -> Tensor:
            own = self.paradigm.loss(run.model, batch, generator)
            loss = own if plain else self.local.loss(memo, run, own)
            gradients = list(
                torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            )
            if not plain:
                gradients = self.local.gradients(memo, run, gradients)
            if clip_norm is not None:
                _clip(gradients, clip_norm)
            _descend(optimizer, parameters, gradients)
            return own.detach()

        return step

    def _batches(self, prepared: Prepared, generator: torch.Generator) -> Iterator[Batch]:
        if example_count(prepared) == 0:
            return iter(())
        size = self.effort.batch_size
        if self.effort.steps is None:
            epochs = range(self.effort.epochs)
            return itertools.chain.from_iterable(
                self.paradigm.batches(prepared, size, generator) for _ in epochs
            )
        endless = itertools.chain.from_iterable(
            self.paradigm.batches(prepared, size, generator) for _ in itertools.count()
        )
        return itertools.islice(endless, self.effort.steps)


def trainable(model: torch.nn.Module) -> list[Parameter]:
    """The parameters that training moves, in the model's own order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def example_count(tensors: Prepared) -> int:
    """How many examples a prepared shard or a batch holds.

    >>> example_count({"x": torch.zeros(3, 2), "y": torch.zeros(3)})
    3
    """
    return int(next(iter(tensors.values())).shape[0])


def _descend(
    optimizer: Optimizer | GradientDescent, parameters: list[Parameter], gradients: list[Tensor]
) -> None:
    if isinstance(optimizer, GradientDescent):
        optimizer.descend(gradients)
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def _clip(gradients: list[Tensor], limit: float) -> None:
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    factor = limit / (norm + 1e-12)
    if factor < 1:
        torch._foreach_mul_(gradients, float(factor))
