"""Pseudo-labels: what the model is sure of is learnt as if it were a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from ...schema import Schema
from ..base import Batch
from .mixed import Mixed, labelled_loss, scores_beside
from .ramp import ramped
from .semi import Stand
from .thresholds import Threshold
from .told import Told

Source = Literal["model", "round", "committee"]
"""Whose pseudo-labels: of the model as it is in each step, or as the client received it; or the
mean of what that one and the peers' models say."""


class Extra(Protocol):
    """A term beside that of the pseudo-labels."""

    def __call__(self, model: nn.Module, strong: Tensor, chosen: Tensor) -> Tensor:
        """Of the scores of the strongly changed examples, and which of them are learnt from."""
        ...


@dataclass(frozen=True)
class Terms:
    """How pseudo-labels are learnt.

    Args:
        weight: of their loss beside that of the labels, >= 0.
        ramp: rounds in which it grows to that, >= 0.
        strong: learn them of a strongly changed copy, told from a weakly changed one; else of the
            latter itself.
        sharpen: None for the likeliest class, or learn the probabilities, sharpened by this
            temperature.
        source: whose they are.
        hinge: learn by the multi-class hinge loss, and be sure by the margin between the two best
            scores, not by the probability of the best class.
    """

    weight: float = 1.0
    ramp: int = 0
    strong: bool = True
    sharpen: float | None = None
    source: Source = "model"
    hinge: bool = False

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight: {self.weight:g} is less than 0")
        if self.ramp < 0:
            raise ValueError(f"ramp: {self.ramp} is less than 0")
        if self.sharpen is not None and not self.sharpen > 0:
            raise ValueError(f"temperature: {self.sharpen:g} is not above 0")


class Confident:
    """`CE(y, f(x)) + weight ramp mean_u [sure(u)] CE(label(u), f(A(u)))`, over all of a batch's
    unlabelled examples u: those of which the model is not sure count as 0."""

    def __init__(
        self, mixed: Mixed, terms: Terms, threshold: Threshold, extra: Extra | None = None
    ) -> None:
        self._mixed, self._terms = mixed, terms
        self._threshold, self._extra = threshold, extra
        self._told: Told | None = None

    def attach(self, model: nn.Module, schema: Schema) -> None:
        self._threshold.attach(model, schema)

    def begin(self, stand: Stand) -> None:
        self._told = None
        if self._terms.source != "model" and len(stand.unlabelled):
            # A peer's model has the tensors that are lent, and else those of the received one.
            self._told = Told(stand, [{}, *stand.peers], self._said)
        self._threshold.begin(stand, self._told)

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        u, model = batch["u"], stand.model
        if not len(u):
            return self._labelled(model(batch["x"]), batch["y"])
        x = self._mixed.weak(batch["x"], generator)
        rows = batch["rows"][len(x) :]
        # What was told of an example as it is needs no weak copy of it to be told of.
        unchanged = self._told is not None and self._terms.strong
        weak = u if unchanged else self._mixed.weak(u, generator)
        shown = self._mixed.strong(u, generator) if self._terms.strong else weak
        logits = model(torch.cat([x, shown]))
        ours = logits[len(x) :]
        if self._told is not None:
            said = self._told.mean(rows)
        elif self._terms.strong:
            with torch.no_grad():
                said = self._said(scores_beside(model, weak, x))
        else:
            said = self._said(ours.detach())
        chosen = self._threshold.chosen(stand, said, rows)
        labels = said.argmax(dim=1)
        self._mixed.count(chosen, labels, batch)
        term = (self._far(ours, said, labels) * chosen).mean()
        share = self._terms.weight * ramped(stand.round, self._terms.ramp)
        loss = self._labelled(logits[: len(x)], batch["y"]) + share * term
        return loss if self._extra is None else loss + self._extra(model, ours, chosen)

    def end(self, stand: Stand) -> None:
        self._told = None

    def _said(self, logits: Tensor) -> Tensor:
        """What a threshold and a pseudo-label go by: probabilities, or scores, (n, classes)."""
        return logits if self._terms.hinge else logits.softmax(dim=1)

    def _labelled(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self._terms.hinge and len(labels):
            return hinge(logits, labels).mean()
        return labelled_loss(logits, labels)

    def _far(self, ours: Tensor, said: Tensor, labels: Tensor) -> Tensor:
        """The loss of each example, (n,)."""
        if self._terms.hinge:
            return hinge(ours, labels)
        if self._terms.sharpen is None:
            return cross_entropy(ours, labels, reduction="none")
        sharp = said.clamp(min=1e-12).log() / self._terms.sharpen
        target = sharp.softmax(dim=1)
        # KL from the target, whose own entropy has no gradient: equation 1 of UDA.
        return (target * (log_softmax(sharp, 1) - log_softmax(ours, 1))).sum(dim=1)


def hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """`max(0, 1 + max_(r != y) s_r - s_y)`, (n,), of scores (n, classes) and labels y (n,).

    Crammer and Singer 2001, equation 4, with ones for the costs: of the other classes the best
    alone counts.

    >>> hinge(torch.tensor([[2.0, 0.0, 0.5], [0.0, 1.0, 0.5]]), torch.tensor([0, 2]))
    tensor([0.0000, 1.5000])
    """
    own = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return (1 + others - own[:, 0]).clamp(min=0)
