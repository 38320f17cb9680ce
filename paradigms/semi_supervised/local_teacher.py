"""A client's own teacher: what its model was over its last steps says what it should."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from ...schema import Schema
from ..base import Batch
from ..helpers import add_helper
from .consistency import TEACHER, follow
from .mixed import Mixed, labelled_loss
from .mixing import sharpened
from .semi import Stand

TAUGHT = "taught"
"""The part of a model that counts how far its teacher is."""


class Taught(nn.Module):
    """How many steps a client's teacher has followed; 0 where it has none yet."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


class LocalTeacher:
    """`CE(y, f(x)) + weight mean_u |p(A(u)) - sharp(p'(a(u)))|^2`: p' are the probabilities of the
    teacher, in evaluation mode, for a weakly changed copy a(u), `sharp(q)_c = q_c^(1/T) / sum_j
    q_j^(1/T)`, and p those of the model for a strongly changed one. After step t, from 0, `teacher
    = d teacher + (1 - d) model` with `d = min(1 - 1 / (t + 1), decay)`.

    The teacher stays at its client, as t does. It begins as the model that the client first gets
    and is never sent, nor set to what the others have become.

    Paper: Liang, Lin, Fu, Zhu and Li 2022, RSCFed, arXiv 2203.13993, section 3, and the authors'
    code (github.com/XMed-Lab/RSCFed); there a client has labels for all of its examples or for
    none, and so one term of the two. Running statistics follow as weights do.

    Args:
        mixed: the examples.
        decay: in [0, 1).
        temperature: T, > 0.
        weight: >= 0.
    """

    def __init__(self, mixed: Mixed, *, decay: float, temperature: float, weight: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay: {decay:g} is not in [0, 1)")
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature:g} is not above 0")
        if not weight >= 0:
            raise ValueError(f"weight: {weight:g} is less than 0")
        self._mixed, self._decay = mixed, decay
        self._temperature, self._weight = temperature, weight
        self._stepped = False

    def attach(self, model: nn.Module, schema: Schema) -> None:
        teacher = copy.deepcopy(model).requires_grad_(False)
        add_helper(model, TEACHER, teacher, TEACHER)
        add_helper(model, TAUGHT, Taught(), TEACHER)

    def begin(self, stand: Stand) -> None:
        self._stepped = False
        if not int(_steps(stand.model)):
            follow(stand.model.get_submodule(TEACHER), stand.model, 1.0)

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        model, x, u = stand.model, batch["x"], batch["u"]
        if not len(u):
            return labelled_loss(model(x), batch["y"])
        self._follow(stand)
        self._stepped = True
        x = self._mixed.weak(x, generator)
        weak, shown = self._mixed.weak(u, generator), self._mixed.strong(u, generator)
        with torch.no_grad():
            said = model.get_submodule(TEACHER).eval()(weak).softmax(dim=1)
        logits = model(torch.cat([x, shown]))
        told = sharpened(said, self._temperature)
        apart = (logits[len(x) :].softmax(dim=1) - told).square().sum(dim=1).mean()
        loss: Tensor = labelled_loss(logits[: len(x)], batch["y"]) + self._weight * apart
        return loss

    def end(self, stand: Stand) -> None:
        self._follow(stand)
        self._stepped = False

    def _follow(self, stand: Stand) -> None:
        """Move the teacher, once after each step."""
        if not self._stepped:
            return
        steps = _steps(stand.model)
        new = max(1 / (int(steps) + 1), 1 - self._decay)
        follow(stand.model.get_submodule(TEACHER), stand.model, new)
        steps += 1


def _steps(model: nn.Module) -> Tensor:
    """How many steps a model's teacher has followed, (), to be counted up in place."""
    return cast("Taught", model.get_submodule(TAUGHT)).steps
