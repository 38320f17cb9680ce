"""Server optimisers: the mean change of a round as a gradient for the model.

`D_t = combined - model` is the direction in which the clients moved. Tensors that training does
not move, such as running means, take the combined value: an optimiser's memory of them would
have no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tensors import Tensors
from .hyper import Hyper, at, check_hyper
from .parts import Turn


@dataclass(frozen=True)
class Momentum:
    """SGD with heavy-ball momentum: `v <- beta v + D`, `x <- x + eta v`.

    Paper: Hsu, Qi and Brown 2019, Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification, arXiv 1909.06335, section 3.3 (FedAvgM; there eta is 1).
    """

    learning_rate: Hyper = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        check_hyper("learning_rate", self.learning_rate, above=0.0)
        _check_beta("beta", self.beta)

    def init(self, model: Tensors) -> Tensors:
        return _named("v", {name: torch.zeros_like(w) for name, w in wide(model).items()})

    def apply(
        self, model: Tensors, combined: Tensors, state: Tensors, turn: Turn
    ) -> tuple[Tensors, Tensors]:
        rate = at(self.learning_rate, turn.round)
        moved, kept = {**model, **combined}, dict(state)
        for name, change in changes(model, combined, turn).items():
            kept[f"v/{name}"] = velocity = self.beta * state[f"v/{name}"] + change
            moved[name] = stepped(model[name], rate * velocity)
        return moved, kept


@dataclass(frozen=True)
class _Adaptive:
    """`m <- beta1 m + (1 - beta1) D`, v as the subclass says, `x <- x + eta m / (sqrt(v) + tau)`.

    Paper: Reddi et al. 2021, Adaptive Federated Optimization, arXiv 2003.00295, algorithm 2:
    no correction of bias; m starts at 0 and v at tau^2, the least that the paper allows.

    Where Flower's differ: v starts at 0, FedAdam's rate is corrected for bias as in Kingma and Ba
    2015 (with the round plus one as the exponent), and tensors that training does not move go
    through the optimiser like the others.
    """

    learning_rate: Hyper = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        check_hyper("learning_rate", self.learning_rate, above=0.0)
        _check_beta("beta1", self.beta1)
        _check_beta("beta2", self.beta2)
        check_hyper("tau", self.tau, above=0.0)

    def init(self, model: Tensors) -> Tensors:
        values = wide(model)
        m = {name: torch.zeros_like(w) for name, w in values.items()}
        v = {name: torch.full_like(w, self.tau**2) for name, w in values.items()}
        return _named("m", m) | _named("v", v)

    def apply(
        self, model: Tensors, combined: Tensors, state: Tensors, turn: Turn
    ) -> tuple[Tensors, Tensors]:
        rate = at(self.learning_rate, turn.round)
        moved, kept = {**model, **combined}, dict(state)
        for name, change in changes(model, combined, turn).items():
            m = self.beta1 * state[f"m/{name}"] + (1 - self.beta1) * change
            v = self.second_moment(state[f"v/{name}"], change.square())
            kept[f"m/{name}"], kept[f"v/{name}"] = m, v
            moved[name] = stepped(model[name], rate * m / (v.sqrt() + self.tau))
        return moved, kept

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """The next v, given `D^2`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Adagrad(_Adaptive):
    """FedAdagrad's step: `v <- v + D^2`; `beta1` is 0 in the paper's experiments."""

    learning_rate: Hyper = 0.1
    beta1: float = 0.0

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        return v + square


@dataclass(frozen=True)
class Adam(_Adaptive):
    """FedAdam's step: `v <- beta2 v + (1 - beta2) D^2`."""

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        return self.beta2 * v + (1 - self.beta2) * square


@dataclass(frozen=True)
class Yogi(_Adaptive):
    """FedYogi's step: `v <- v - (1 - beta2) D^2 sign(v - D^2)`."""

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        return v - (1 - self.beta2) * square * torch.sign(v - square)


def changes(model: Tensors, combined: Tensors, turn: Turn) -> Tensors:
    """`D_t` of the tensors that training moves, in float32 at least."""
    names = [name for name in combined if name in turn.trained]
    old, new = (wide({name: t[name] for name in names}) for t in (model, combined))
    return {name: new[name] - old[name] for name in names}


def wide(tensors: Tensors) -> Tensors:
    """The floating tensors, half precision as float32: an optimiser's sums need the room."""
    return {
        name: value.float() if value.element_size() < 4 else value
        for name, value in tensors.items()
        if value.is_floating_point()
    }


def stepped(value: Tensor, step: Tensor) -> Tensor:
    """`value + step` in the value's own dtype."""
    return (value.to(step.dtype) + step).to(value.dtype)


def _check_beta(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: {value} is not in [0, 1)")


def _named(group: str, tensors: Tensors) -> Tensors:
    return {f"{group}/{name}": value for name, value in tensors.items()}
