"""Control variates: each client corrects its own drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..tensors import Tensors
from .local_parts import LocalRun, Plain
from .parts import Need, Turn


@dataclass
class _Drift:
    """One client's round: where it began, its own control variate, and what its gradients are
    corrected by, in their order."""

    start: Tensors
    own: Tensors
    correction: list[Tensor]


@dataclass(frozen=True)
class ControlVariates(Plain):
    """SCAFFOLD's control variates: a client descends `g_i - c_i + c`.

    `c_i+ = c_i - c + (x - y_i) / (K eta_l)` (option II) after K steps from x to y_i; what goes
    up is `c_i+ - c_i`, and the server's `c <- c + |S| / N * mean(c_i+ - c_i)`. All begin at 0.

    Paper: Karimireddy et al. 2020, SCAFFOLD: Stochastic Controlled Averaging for Federated
    Learning, arXiv 1910.06378, algorithm 1.
    """

    def begin(self, run: LocalRun) -> _Drift:
        start = {n: p.detach().clone() for n, p in run.trained.items() if n in run.context}
        own = {name: run.state.get(name, torch.zeros_like(v)) for name, v in start.items()}
        # A trained tensor that stays at the client has no drift from anybody else.
        correction = [
            run.context[name] - own[name] if name in start else torch.zeros_like(parameter)
            for name, parameter in run.trained.items()
        ]
        return _Drift(start, own, correction)

    def gradients(self, memo: _Drift, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        return list(torch._foreach_add(gradients, memo.correction))

    def finish(self, memo: _Drift, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        sent: Tensors = {}
        kept: Tensors = {}
        trained = run.trained
        for name, start in memo.start.items():
            gradient = (start - trained[name].detach()) / (steps * run.learning_rate)
            sent[name] = gradient - run.context[name]
            kept[name] = memo.own[name] + sent[name]
        return sent, kept

    def sends(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        return {name: value for name, value in model.items() if name in trained}

    def context(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        return {n: torch.zeros_like(v) for n, v in self.sends(model, trained).items()}

    def absorb(self, context: Tensors, extra: Tensors, turn: Turn) -> Tensors:
        return {name: c + turn.share * extra[name] for name, c in context.items()}


def plain_descent(why: str) -> tuple[Need, ...]:
    """What a strategy asks for that reckons with plain SGD at the clients."""
    wanted: dict[str, Any] = {
        "client.optimizer.name": "sgd",
        "client.optimizer.momentum": 0.0,
        "client.optimizer.nesterov": False,
        "client.clip_norm": None,
    }
    return (*(Need(key, value, why) for key, value in wanted.items()), even_rates(why))


def even_rates(why: str) -> Need:
    """What a strategy asks for that reckons with one learning rate for all of a model."""
    return Need("paradigm.rate_decay", 1.0, why, optional=True)
