"""MixMatch: guessed labels, and examples mixed with one another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, one_hot

from ...data.texts import TEXT
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch
from .mixed import Mixed, labelled_loss, scores_beside
from .ramp import ramped
from .semi import Stand


class MixMatch:
    """`mean_x CE(p, f(x')) + weight ramp mean_u |q - f(u')|^2`: q is the mean of the predictions
    for `copies` weakly changed copies of u, sharpened, `q_c^(1/T)` over its sum; and each x' and
    u' is `l a + (1 - l) b`, with its label, for a partner b among all of the batch's and
    `l = max(l', 1 - l')`, `l'` drawn from Beta(alpha, alpha).

    Paper: Berthelot et al. 2019, MixMatch, arXiv 1905.02249, algorithm 1 and equations 2 to 11.
    """

    def __init__(
        self,
        mixed: Mixed,
        *,
        copies: int,
        temperature: float,
        alpha: float,
        weight: float,
        ramp: int,
    ) -> None:
        if copies < 1:
            raise ValueError(f"copies: {copies} is not at least 1")
        for name, value in (("temperature", temperature), ("alpha", alpha)):
            if not value > 0:
                raise ValueError(f"{name}: {value:g} is not above 0")
        if not weight >= 0:
            raise ValueError(f"weight: {weight:g} is less than 0")
        if ramp < 0:
            raise ValueError(f"ramp: {ramp} is less than 0")
        self._mixed = mixed
        self._copies, self._temperature, self._alpha = copies, temperature, alpha
        self._weight, self._ramp = weight, ramp
        self._classes = 0

    def attach(self, model: nn.Module, schema: Schema) -> None:
        if schema.dtype == TEXT:
            raise BadInput("paradigm.name: mixmatch mixes examples, and texts cannot be mixed")
        self._classes = len(schema.classes)

    def begin(self, stand: Stand) -> None:
        return None

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        model, count = stand.model, len(batch["x"])
        if not len(batch["u"]):
            return labelled_loss(model(batch["x"]), batch["y"])
        views = [self._mixed.weak(batch["u"], generator) for _ in range(self._copies)]
        with torch.no_grad():
            said = [scores_beside(model, view, batch["x"]).softmax(dim=1) for view in views]
        known = one_hot(batch["y"], self._classes).float()
        guessed = sharpened(torch.stack(said).mean(dim=0), self._temperature)
        every = torch.ones(len(guessed), dtype=torch.bool)
        self._mixed.count(every, guessed.argmax(dim=1), batch)
        inputs = torch.cat([self._mixed.weak(batch["x"], generator), *views])
        targets = torch.cat([known, *[guessed] * self._copies])
        partner = torch.randperm(len(inputs), generator=generator)
        share = beta_draws(self._alpha, len(inputs), generator)
        share = torch.maximum(share, 1 - share)
        wide = share.view(-1, *[1] * (inputs.dim() - 1))
        inputs = wide * inputs + (1 - wide) * inputs[partner]
        targets = share.view(-1, 1) * targets + (1 - share.view(-1, 1)) * targets[partner]
        logits = model(inputs)
        own = -(targets[:count] * log_softmax(logits[:count], 1)).sum(dim=1)
        apart = (logits[count:].softmax(dim=1) - targets[count:]).square()
        loss = own.mean() if count else logits.sum() * 0.0
        total: Tensor = loss + self._weight * ramped(stand.round, self._ramp) * apart.mean()
        return total

    def end(self, stand: Stand) -> None:
        return None


def beta_draws(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draws (n,) from Beta(alpha, alpha): of two gamma draws, the share of the first."""
    drawn = torch._standard_gamma(torch.full((2, count), alpha), generator=generator)
    return drawn[0] / drawn.sum(dim=0).clamp(min=1e-30)


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """`p_c^(1/T) / sum_j p_j^(1/T)`, of probabilities (n, classes).

    >>> sharpened(torch.tensor([[0.8, 0.2]]), 0.5)
    tensor([[0.9412, 0.0588]])
    """
    # As shares of the largest, whose power never comes to 0, as all may at a small temperature.
    powers = (probabilities / probabilities.amax(dim=-1, keepdim=True)) ** (1 / temperature)
    return powers / powers.sum(dim=-1, keepdim=True)
