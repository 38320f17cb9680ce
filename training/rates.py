"""The experiment's optimiser, made anew for each round with the rate that its schedule says."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from .. import registry
from .optimizers import GradientDescent
from .trainer import trainable

if TYPE_CHECKING:
    from ..sections import ClientSection


class Optimizers:
    """Makes the optimisers that `[client]` describes.

    Args:
        section: of the experiment.
        factors: what the learning rate is multiplied by, for parameters by their names.
    """

    def __init__(self, section: ClientSection, factors: Mapping[str, float] | None = None) -> None:
        self._factors = factors or {}
        choice = section.optimizer
        self._parameters = choice.parameters
        self._factory = registry.resolve("optimizer", choice.name)
        default = inspect.signature(self._factory).parameters["lr"].default
        self._rate = float(choice.parameters.get("lr", default))
        self._schedule = registry.build(
            "schedule", section.schedule.name, section.schedule.parameters
        )

    def make(self, model: nn.Module, round: int) -> tuple[Optimizer | GradientDescent, float]:
        """A new optimiser of what training moves, and its learning rate in a round (from 1)."""
        rate = self._rate * self._schedule(round)
        settings = {**self._parameters, "lr": rate}
        if not self._factors:
            return self._factory(trainable(model), **settings), rate
        return self._factory(self._groups(model, rate), **settings), rate

    def _groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """What training moves, in the model's order, in groups of one learning rate each."""
        moved = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
        grouped = itertools.groupby(moved, key=lambda named: self._factors.get(named[0], 1.0))
        return [{"params": [p for _, p in group], "lr": rate * f} for f, group in grouped]
