"""The clients' optimisers by name; any `torch.optim` class works by its import path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


class GradientDescent:
    """`w <- w - lr * g`, every parameter in one call: what `torch.optim.SGD` does without
    momentum or weight decay, at a fraction of its bookkeeping.

    It is no `torch.optim.Optimizer`: the first of those in a process imports torch's compiler,
    which takes two seconds.
    """

    def __init__(self, params: Iterable[Parameter] | Iterable[dict[str, Any]], lr: float) -> None:
        groups: list[dict[str, Any]]
        groups = [p if isinstance(p, dict) else {"params": [p]} for p in params]
        self._parameters = [p.detach() for group in groups for p in group["params"]]
        rates = [float(group.get("lr", lr)) for group in groups for _ in group["params"]]
        self._rates = rates if set(rates) - {lr} else []
        self.rate = lr

    @property
    def even(self) -> bool:
        """Whether all parameters have the same learning rate."""
        return not self._rates

    def descend(self, gradients: Sequence[Tensor]) -> None:
        """One step along gradients given in the order of the parameters."""
        if self._rates:
            steps = torch._foreach_mul(list(gradients), self._rates)
            torch._foreach_sub_(self._parameters, steps)
        else:
            torch._foreach_add_(self._parameters, list(gradients), alpha=-self.rate)


def sgd(
    params: Iterable[Parameter] | Iterable[dict[str, Any]],
    *,
    lr: float = 0.05,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Optimizer | GradientDescent:
    """Stochastic gradient descent, with momentum where it is asked for.

    Args:
        lr: the learning rate, > 0.
        momentum: in [0, 1).
        weight_decay: the L2 penalty's weight, >= 0.
        nesterov: Nesterov's momentum; needs momentum > 0.
    """
    if momentum or weight_decay or nesterov:
        return torch.optim.SGD(
            params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, foreach=True
        )
    return GradientDescent(params, lr)


def adam(
    params: Iterable[Parameter],
    *,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam, its moments new in every round.

    Paper: Kingma and Ba 2015, arXiv 1412.6980.
    """
    return torch.optim.Adam(params, lr, (beta1, beta2), weight_decay=weight_decay, foreach=True)


def adamw(
    params: Iterable[Parameter],
    *,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay, its moments new in every round.

    Paper: Loshchilov and Hutter 2019, arXiv 1711.05101.
    """
    return torch.optim.AdamW(params, lr, (beta1, beta2), weight_decay=weight_decay, foreach=True)
