"""How updates become one: the weighted mean."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..tensors import Tensors
from .parts import Update
from .weighting import NO_WEIGHT, Weight, by_examples, weighed

LARGE = 4_000_000
"""Tensors of more values than this are summed in single precision, smaller ones in double.

Double precision takes twice the memory and, as it is memory that a sum waits for, nearly twice
the time. Over 100 clients single precision errs by about 1e-6 of a value."""

CHUNK = 65_536
"""Elements added at once: their float64 copy stays in the processor's cache."""


@dataclass
class MeanState:
    """The sum so far; `total` is float64 for floating tensors, float32 for large ones of single
    or half precision, and as sent for the others."""

    model: Tensors
    weight: float = 0.0
    total: Tensors = field(default_factory=dict)
    scratch: Tensor = field(default_factory=lambda: torch.empty(CHUNK, dtype=torch.float64))


@dataclass(frozen=True)
class WeightedMean:
    """The weighted mean of the clients' values, `sum_k w_k x_k / sum_k w_k`, summed in float64.

    Integer and boolean tensors, such as batch normalisation's step counter, have no mean of
    their type: they take the largest value that any client sent.

    >>> rule = WeightedMean()
    >>> state = rule.init({"w": torch.zeros(1)})
    >>> state = rule.fold(state, Update("a", {"w": torch.tensor([1.0])}, examples=1))
    >>> state = rule.fold(state, Update("b", {"w": torch.tensor([4.0])}, examples=2))
    >>> rule.finish(state)
    {'w': tensor([3.])}
    """

    weight: Weight = by_examples
    streams: bool = field(default=True, init=False)

    def init(self, model: Tensors) -> MeanState:
        return MeanState(model)

    def fold(self, state: MeanState, update: Update) -> MeanState:
        weight = weighed(self.weight, update)
        for name, value in update.tensors.items():
            total = state.total.get(name)
            if not value.is_floating_point():
                state.total[name] = value if total is None else torch.maximum(total, value)
            elif total is None:
                state.total[name] = value.to(sum_dtype(value), copy=True).mul_(weight)
            elif total.dtype in (value.dtype, torch.float32):
                add_in_place(total, value, weight)
            else:
                add_scaled(total, value, weight, state.scratch)
        state.weight += weight
        return state

    def finish(self, state: MeanState) -> Tensors:
        if state.weight <= 0:
            raise ValueError(NO_WEIGHT)
        combined: Tensors = {}
        while state.total:  # One after another, and none of them twice in memory.
            name, total = state.total.popitem()
            dtype = state.model[name].dtype
            combined[name] = (
                total.div_(state.weight).to(dtype) if dtype.is_floating_point else total
            )
        return {name: combined[name] for name in state.model if name in combined}


def sum_dtype(value: Tensor) -> torch.dtype:
    """In which precision a tensor is summed: single where it is large, double where it is not.

    >>> sum_dtype(torch.zeros(3))
    torch.float64
    """
    single = value.numel() > LARGE and value.dtype != torch.float64
    return torch.float32 if single else torch.float64


def add_in_place(total: Tensor, value: Tensor, weight: float) -> None:
    """`total += weight * value` in the precision of `total`, a piece at a time.

    >>> total = torch.ones(2)
    >>> add_in_place(total, torch.tensor([1.0, 2.0]), 3.0)
    >>> total.tolist()
    [4.0, 7.0]
    """
    sums, values = total.view(-1), value.reshape(-1)
    for part, piece in zip(sums.split(CHUNK), values.split(CHUNK), strict=True):
        part.add_(piece, alpha=weight)


def add_scaled(total: Tensor, value: Tensor, weight: float, scratch: Tensor) -> None:
    """`total += weight * value` in float64, a piece of the size of `scratch` at a time.

    >>> total = torch.ones(2, dtype=torch.float64)
    >>> add_scaled(total, torch.tensor([1.0, 2.0]), 3.0, torch.empty(1, dtype=torch.float64))
    >>> total.tolist()
    [4.0, 7.0]
    """
    sums, values = total.view(-1), value.reshape(-1)
    for part, piece in zip(sums.split(len(scratch)), values.split(len(scratch)), strict=True):
        part.add_(scratch[: piece.shape[0]].copy_(piece), alpha=weight)
