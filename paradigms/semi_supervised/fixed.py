"""SemiFL's clients: the global model's sure pseudo-labels, fixed for a round, and mixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.texts import TEXT
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch
from .mixed import Mixed, labelled_loss, scores_beside
from .mixing import beta_draws
from .semi import Stand
from .told import Told


class FixedAndMixed:
    """`CE(y, f(x)) + CE(l(u), f(A(u))) + weight (s CE(l(u), f(m)) + (1 - s) CE(l(v), f(m)))` with
    `m = s a(u) + (1 - s) a(v)`: u are the examples of which the received model is sure, l(u) what
    it says of them, and s is drawn from Beta(alpha, alpha). For each u a v is drawn, with
    replacement, from all examples without a label: be the model sure of it or not.

    Paper: Diao, Ding and Tarokh 2022, SemiFL, arXiv 2106.01432, equations 3 to 6. A v is drawn anew
    whenever its u comes, as in the authors' code (`MixDataset`). A client without labels that was
    sure of no example that it came to is idle.
    """

    def __init__(self, mixed: Mixed, *, threshold: float, weight: float, alpha: float) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold: {threshold:g} is not in [0, 1]")
        if not weight >= 0:
            raise ValueError(f"weight: {weight:g} is less than 0")
        if not alpha > 0:
            raise ValueError(f"alpha: {alpha:g} is not above 0")
        self._mixed = mixed
        self._threshold, self._weight, self._alpha = threshold, weight, alpha
        self._unlabelled = torch.zeros(0, dtype=torch.int64)
        self._told: Told | None = None
        self._learns = True

    def attach(self, model: nn.Module, schema: Schema) -> None:
        if schema.dtype == TEXT and self._weight > 0:
            raise BadInput("paradigm.weight: texts cannot be mixed; set it to 0")

    def begin(self, stand: Stand) -> None:
        self._unlabelled = stand.unlabelled
        self._learns = len(self._unlabelled) < len(stand.prepared["y"])
        self._told = None
        if len(self._unlabelled):
            self._told = Told(stand, [{}], lambda scores: scores.softmax(dim=1))

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        model = stand.model
        if not len(batch["u"]) or self._told is None:
            return labelled_loss(model(batch["x"]), batch["y"])
        top, labels = self._told.mean(batch["rows"][len(batch["x"]) :]).max(dim=1)
        chosen = top >= self._threshold
        self._mixed.count(chosen, labels, batch)
        u, labels = batch["u"][chosen], labels[chosen]
        if not len(batch["x"]) and not len(u):
            return torch.zeros((), requires_grad=True)  # Batch normalisation takes no empty batch.
        x = self._mixed.weak(batch["x"], generator)
        shown = self._mixed.strong(u, generator)
        parts = [x, shown]
        partner = self._partners(len(u), generator)
        share = float(beta_draws(self._alpha, 1, generator))
        if self._weight > 0:
            other = self._mixed.weak(stand.prepared["x"][partner], generator)
            parts.append(share * self._mixed.weak(u, generator) + (1 - share) * other)
        logits = scores_beside(model, torch.cat(parts), batch["u"])
        loss = labelled_loss(logits[: len(x)], batch["y"])
        if not len(u):
            return loss
        self._learns = True
        fixed = cross_entropy(logits[len(x) : len(x) + len(u)], labels)
        if not self._weight:
            return loss + fixed
        mixture = logits[len(x) + len(u) :]
        both = share * cross_entropy(mixture, labels) + (1 - share) * cross_entropy(
            mixture, self._told.mean(partner).argmax(dim=1)
        )
        return loss + fixed + self._weight * both

    def end(self, stand: Stand) -> None:
        if self._told is not None:
            self._mixed.note_idle(not self._learns)
        self._told = None

    def _partners(self, count: int, generator: torch.Generator) -> Tensor:
        """The rows (count,) of what so many examples are mixed with."""
        drawn = torch.randint(len(self._unlabelled), (count,), generator=generator)
        return self._unlabelled[drawn]
