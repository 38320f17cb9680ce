"""Consistency: a model should say the same of an example however it is changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...schema import Schema
from ..base import Batch
from ..helpers import add_helper
from .mixed import Mixed, labelled_loss
from .ramp import ramped
from .semi import Stand

TEACHER = "teacher"


@dataclass(frozen=True)
class Weight:
    """The weight of what is learnt without labels, >= 0, which grows as `exp(-5 (1 - t)^2)` over so
    many rounds, >= 0."""

    weight: float
    ramp: int

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight: {self.weight:g} is less than 0")
        if self.ramp < 0:
            raise ValueError(f"ramp: {self.ramp} is less than 0")

    def at(self, round: int) -> float:
        return self.weight * ramped(round, self.ramp, "sigmoid")


class Consistent:
    """`CE(y, f(x)) + w(t) mean |p(z) - p'(z')|^2`, over labelled and unlabelled examples, where z
    and z' are two changed copies, p the model's probabilities, and p' those of the teacher: itself
    (the Pi-model), or the running mean of its weights.

    A mean teacher travels and is averaged like the model. In round 1 it is the plain mean for as
    long as that forgets the first weights sooner: `teacher = decay teacher + (1 - decay) model`
    with `min(decay, 1 - 1 / t)` after t steps. The code of the authors (CuriousAI/mean-teacher)
    has `1 - 1 / (t + 1)`: it counts the first weights as a step's.
    """

    def __init__(self, mixed: Mixed, weight: Weight, decay: float | None) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay: {decay:g} is not in [0, 1)")
        self._mixed, self._weight, self._decay = mixed, weight, decay
        self._steps = 0

    def attach(self, model: nn.Module, schema: Schema) -> None:
        if self._decay is not None:
            teacher = copy.deepcopy(model).requires_grad_(False)
            add_helper(model, TEACHER, teacher, TEACHER)

    def begin(self, stand: Stand) -> None:
        self._steps = 0

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        self._follow(stand)
        self._steps += 1
        if not len(batch["u"]):
            return labelled_loss(stand.model(batch["x"]), batch["y"])
        both = torch.cat([batch["x"], batch["u"]])
        logits = stand.model(self._mixed.weak(both, generator))
        teacher = stand.model
        if self._decay is not None:
            teacher = stand.model.get_submodule(TEACHER)
        other = self._mixed.weak(both, generator)
        with torch.set_grad_enabled(self._decay is None):
            said = teacher(other).softmax(dim=1)
        apart = (logits.softmax(dim=1) - said).square().mean()
        weight = self._weight.at(stand.round)
        loss: Tensor = labelled_loss(logits[: len(batch["x"])], batch["y"]) + weight * apart
        return loss

    def end(self, stand: Stand) -> None:
        self._follow(stand)

    def _follow(self, stand: Stand) -> None:
        """Move the teacher, once after each step."""
        if self._decay is None or not self._steps:
            return
        new = 1 - self._decay
        if stand.round == 1:
            new = max(new, 1 / self._steps)
        follow(stand.model.get_submodule(TEACHER), stand.model, new)


def follow(teacher: nn.Module, model: nn.Module, new: float) -> None:
    """`teacher = (1 - new) teacher + new model`, for a teacher with the model's tensors."""
    mine = model.state_dict()
    with torch.no_grad():
        for name, value in teacher.state_dict().items():
            if value.is_floating_point():
                value.lerp_(mine[name], new)
            else:
                value.copy_(mine[name])
