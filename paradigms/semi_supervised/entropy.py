"""Entropy minimisation: a model should be sure of what it says."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ...schema import Schema
from ..base import Batch
from .consistency import Weight
from .mixed import Mixed, labelled_loss
from .semi import Stand


class LowEntropy:
    """`CE(y, f(x)) + w(t) mean_u H(p(u))`, with `H(p) = - sum_c p_c log p_c`.

    Paper: Grandvalet and Bengio 2004, Semi-supervised Learning by Entropy Minimization, Advances in
    Neural Information Processing Systems 17, equation 5.
    """

    def __init__(self, mixed: Mixed, weight: Weight) -> None:
        self._mixed, self._weight = mixed, weight

    def attach(self, model: nn.Module, schema: Schema) -> None:
        return None

    def begin(self, stand: Stand) -> None:
        return None

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        if not len(batch["u"]):
            return labelled_loss(stand.model(batch["x"]), batch["y"])
        x = self._mixed.weak(batch["x"], generator)
        u = self._mixed.weak(batch["u"], generator)
        logits = stand.model(torch.cat([x, u]))
        said = log_softmax(logits[len(x) :], dim=1)
        loss = labelled_loss(logits[: len(x)], batch["y"])
        return loss - self._weight.at(stand.round) * (said.exp() * said).sum(dim=1).mean()

    def end(self, stand: Stand) -> None:
        return None
