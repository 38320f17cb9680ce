"""A strategy from one function: the shortest way to a combining rule of one's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any, TypeAlias

from ..tensors import Tensors
from .parts import Update
from .select import Choice, chosen
from .strategy import Strategy

RuleFunction: TypeAlias = Callable[..., Mapping[str, Any]]
"""`(updates, model, ...) -> values`: all updates of a round in the order of the cohort, the
model that the clients were sent, and what it becomes, tensors by name in both."""

OWN = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

FREE = (
    Parameter("fraction", Parameter.KEYWORD_ONLY, default=1.0, annotation=float),
    Parameter("select", Parameter.KEYWORD_ONLY, default="fraction", annotation=Choice),
)
"""What every strategy of a function takes beside the function's own parameters."""


@dataclass
class Gathered:
    """The updates of a round so far."""

    model: Tensors
    updates: list[Update] = field(default_factory=list)


@dataclass(frozen=True)
class FunctionRule:
    """Combines by a function of all updates, which it holds until the round ends."""

    function: RuleFunction
    parameters: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = field(default=False, init=False)

    def init(self, model: Tensors) -> Gathered:
        return Gathered(model)

    def fold(self, state: Gathered, update: Update) -> Gathered:
        state.updates.append(update)
        return state

    def finish(self, state: Gathered) -> Tensors:
        # A copy: a function that changes its arguments must not change the model of the run.
        model = {name: value.clone() for name, value in state.model.items()}
        return self.function(state.updates, model, **self.parameters)  # type: ignore[return-value]


def combine(function: RuleFunction) -> Callable[..., Strategy]:
    """Make a strategy of a function that combines a round's updates.

    Args:
        function: given the list of `Update` and the model, both with tensors by name, it
            returns the model's next values: the same names, shapes and dtypes, all finite. Its
            other parameters are what a user may give; they need types to be checked.

    Returns what an experiment may name: a function of those parameters, of `fraction`, the share
    of the clients in each round, and of `select`, the rule that draws it, that makes the
    strategy. Raises TypeError where `function` cannot be called so.

    >>> import torch
    >>> @combine
    ... def largest(updates: Sequence[Update], model: Tensors, scale: float = 1.0) -> Tensors:
    ...     "The largest value that any client sent."
    ...     stacked = {n: torch.stack([u.tensors[n] for u in updates]) for n in model}
    ...     return {name: scale * values.amax(dim=0) for name, values in stacked.items()}
    >>> largest(scale=2.0, fraction=0.5).select
    Fraction(fraction=0.5)
    >>> rule = largest(scale=2.0).combine
    >>> state = rule.init({"w": torch.zeros(1)})
    >>> state = rule.fold(state, Update("a", {"w": torch.tensor([3.0])}, examples=1))
    >>> rule.finish(state)
    {'w': tensor([6.])}
    """
    own = _own_parameters(function)
    whole = [*own, *FREE]
    signature = inspect.Signature(whole, return_annotation=Strategy)

    @functools.wraps(function)
    def make(**given: Any) -> Strategy:
        bound = signature.bind(**given)
        bound.apply_defaults()
        fraction, select = (bound.arguments.pop(free.name) for free in FREE)
        rule = FunctionRule(function, dict(bound.arguments))
        return Strategy(name=function.__name__, select=chosen(select, fraction), combine=rule)

    make.__signature__ = signature  # type: ignore[attr-defined]
    make.__annotations__ = {p.name: p.annotation for p in whole if p.annotation != p.empty}
    return make


def _own_parameters(function: RuleFunction) -> Sequence[Parameter]:
    """What a function takes beside the updates and the model, by keyword."""
    if not inspect.isfunction(function):
        raise TypeError(f"umbel.combine is for functions, not for a {type(function).__name__}")
    found = list(inspect.signature(function).parameters.values())
    name = function.__name__
    if len(found) < 2 or any(p.kind is p.KEYWORD_ONLY for p in found[:2]):
        raise TypeError(f"{name}: a combining rule is called as {name}(updates, model)")
    for parameter in found:
        if parameter.kind not in OWN:
            raise TypeError(f"{name}: {parameter}: each parameter needs a name of its own")
    for free in FREE:
        if any(parameter.name == free.name for parameter in found):
            raise TypeError(f"{name}: {free.name} says who takes part; name it otherwise")
    return [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in found[2:]]
