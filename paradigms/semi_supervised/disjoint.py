"""FedMatch: what the models of like clients agree on, learnt by parameters of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, kl_div, log_softmax, one_hot

from ...schema import Schema
from ..base import Batch
from ..helpers import add_helper
from .mixed import Mixed, labelled_loss, scores_beside
from .semi import Stand
from .thresholds import Threshold
from .told import Told

PSI = "psi"
"""Beside a model's parameters theta those that learn without labels; sigma is `theta - psi`."""

BEGIN = 1 / 6
"""Of theta, psi at first: a fifth of sigma, as in the authors' code (github.com/wyjeong/FedMatch).
"""


@dataclass(frozen=True)
class Pull:
    """What psi is drawn by: `closeness |sigma - psi|^2 + sparsity |psi|_1`, each >= 0."""

    closeness: float
    sparsity: float

    def __post_init__(self) -> None:
        for name, value in (("closeness", self.closeness), ("sparsity", self.sparsity)):
            if not value >= 0:
                raise ValueError(f"{name}: {value:g} is less than 0")


class Disjoint:
    """A model's parameters are `theta = sigma + psi`. Sigma descends `CE(y, f(x))` alone, and psi
    `weight (CE(l(u), f(A(u))) + 1/H sum_j KL(f_j(u) || f(u))) + closeness |sigma - psi|^2 +
    sparsity |psi|_1`, over the unlabelled examples u of which the model is sure. f_j are the models
    of H peers, `sigma + psi_j` with the sigma that the round began with, and l(u) is the class that
    most of the peers and the model itself say.

    Paper: Jeong, Yoon, Yang and Hwang 2021, FedMatch, arXiv 2006.12097, equations 2 to 5. Both take
    their step at once. The model has theta and psi: theta moves as sigma and psi do together, which
    is exact for gradient descent with or without momentum and weight decay.
    """

    def __init__(self, mixed: Mixed, threshold: Threshold, weight: float, pull: Pull) -> None:
        if not weight >= 0:
            raise ValueError(f"weight: {weight:g} is less than 0")
        self._mixed, self._threshold = mixed, threshold
        self._weight, self._pull = weight, pull
        self._told: Told | None = None

    def attach(self, model: nn.Module, schema: Schema) -> None:
        add_helper(model, PSI, _like(model), PSI)

    def begin(self, stand: Stand) -> None:
        self._told = None
        if not len(stand.unlabelled):
            return
        with torch.no_grad():
            pairs = _pairs(stand.model)
            theirs = [
                {
                    name: theta - psi + lent.get(f"{PSI}.{name}", psi)
                    for name, (theta, psi) in pairs.items()
                }
                for lent in stand.peers
            ]
        self._told = Told(stand, theirs, lambda scores: scores.softmax(dim=1))

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        model, x, u = stand.model, batch["x"], batch["u"]
        if not len(u) or self._told is None:
            return labelled_loss(model(x), batch["y"])
        x, rows = self._mixed.weak(x, generator), batch["rows"][len(x) :]
        shown = self._mixed.strong(u, generator)
        pairs = _pairs(model)
        # Theta's own values, whose gradient goes to theta and to psi alike.
        moved = {name: theta + (psi - psi.detach()) for name, (theta, psi) in pairs.items()}
        logits = functional_call(model, moved, (torch.cat([u, shown]),))
        said, ours = logits[: len(u)], logits[len(u) :]
        probabilities, told = said.detach().softmax(dim=1), self._told.each(rows)
        chosen = self._threshold.chosen(stand, probabilities, rows)
        labels = agreed(probabilities, told)
        self._mixed.count(chosen, labels, batch)
        loss = self._drawn(pairs)
        if bool(chosen.any()):
            apart = cross_entropy(ours[chosen], labels[chosen])
            for theirs in told[:, chosen]:
                far = kl_div(log_softmax(said[chosen], 1), theirs, reduction="batchmean")
                apart = apart + far / len(told)
            loss = loss + self._weight * apart
        return loss + labelled_loss(scores_beside(model, x, u), batch["y"]) if len(x) else loss

    def end(self, stand: Stand) -> None:
        self._told = None

    def _drawn(self, pairs: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        total = torch.zeros(())
        for theta, psi in pairs.values():
            sigma = (theta - psi).detach()
            own = psi + (theta - theta.detach())
            total = total + self._pull.closeness * (sigma - own).square().sum()
            total = total + self._pull.sparsity * own.abs().sum()
        return total


def agreed(own: Tensor, others: Tensor) -> Tensor:
    """The classes (n,) that most of a model and its peers say, by their probabilities (n, classes)
    and (peers, n, classes); of several, the first.

    >>> own = torch.tensor([[0.9, 0.1, 0.0]])
    >>> agreed(own, torch.tensor([[[0.0, 0.6, 0.4]], [[0.2, 0.5, 0.3]]])), agreed(own, own[:0])
    (tensor([1]), tensor([0]))
    """
    votes = one_hot(own.argmax(dim=1), own.shape[1])
    for said in others:
        votes = votes + one_hot(said.argmax(dim=1), own.shape[1])
    return votes.argmax(dim=1)


def _like(model: nn.Module) -> nn.Module:
    """Parameters of the names and shapes of a model's, a share of them."""
    made = nn.Module()
    for name, theta in list(model.named_parameters()):
        if not theta.requires_grad:
            continue
        *path, last = name.split(".")
        place = made
        for step in path:
            if step not in dict(place.named_children()):
                place.add_module(step, nn.Module())
            place = place.get_submodule(step)
        place.register_parameter(last, nn.Parameter(theta.detach() * BEGIN))
    return made


def _pairs(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Theta and psi by the names of the model's parameters."""
    psi = dict(model.get_submodule(PSI).named_parameters())
    return {name: (model.get_parameter(name), own) for name, own in psi.items()}
