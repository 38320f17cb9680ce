"""Whether what a strategy is made of are parts, and what it asks of an experiment is there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flwr.serverapp.strategy import Strategy as FlowerStrategy

from .. import registry
from .calibrated import Calibrated
from .clusters import SplitBySequences
from .combine import WeightedMean
from .contrast import Contrastive
from .local_parts import Plain, parts_of
from .parts import AsksServer, CountsSteps, Need
from .step import Replace

ASKED: Mapping[str, tuple[str, ...]] = {
    "select": ("__call__",),
    "local": ("plain", "keeps", "begin", "loss", "gradients", "finish", "sends", "absorb"),
    "combine": ("streams", "init", "fold", "finish"),
    "step": ("init", "apply"),
    "chain": ("encode", "decode", "expected"),
    "extra": ("streams", "init", "fold", "finish"),
}
"""What each part of a strategy must have."""


def unfit(name: str, part: object) -> str:
    """Why an object cannot be a strategy's part `name`; empty where it can.

    >>> unfit("combine", "median")
    "combine: 'median' is no such part: it has no streams, init, fold, finish"
    """
    shown = repr(part) if isinstance(part, str) else type(part).__name__
    if isinstance(part, type):
        return f"{name}: {part.__name__} is a class; give one of it, as {part.__name__}()"
    lacking = [asked for asked in ASKED[name] if not hasattr(part, asked)]
    return f"{name}: {shown} is no such part: it has no {', '.join(lacking)}" if lacking else ""


def unmet(strategy: object, experiment: object) -> list[str]:
    """What keeps an object from being an experiment's strategy, a phrase each.

    >>> unmet(print, None)
    ['it is a builtin_function_or_method, not a strategy; call it to make one']
    """
    if not isinstance(strategy, FlowerStrategy):
        hint = "; call it to make one" if callable(strategy) else ""
        return [f"it is a {type(strategy).__name__}, not a strategy{hint}"]
    needs: tuple[Need, ...] = getattr(strategy, "needs", ())
    faults = _useless(strategy, experiment) or _idle(strategy, experiment)
    faults += _unpooled(strategy, experiment) + _untaught(strategy, experiment)
    faults += _unseen(strategy, experiment) + _undivided(strategy, experiment)
    return faults + [
        f"it needs {need.key} = {_shown(need.value)}, found {_shown(found)}: {need.why}"
        for need in needs
        if (found := _at(experiment, need.key)) != need.value
        and not (need.optional and found is None)
    ]


def unused(strategy: object, rounds: int) -> str:
    """What to tell of a strategy that would not come to what it is for in so many rounds; empty
    where it may."""
    rule = getattr(strategy, "clusters", None)
    reason = rule.never(rounds) if isinstance(rule, SplitBySequences) else ""
    if not reason:
        return ""
    return f"strategy.name: in {rounds} rounds it is no more than fedavg: {reason}; set more rounds"


def _idle(strategy: object, experiment: object) -> list[str]:
    """Whether a strategy changes how clients descend, and the paradigm does not."""
    choice = getattr(experiment, "paradigm", None)
    if choice is None or not hasattr(registry.resolve("paradigm", choice.name), "local_update"):
        return []
    parts = parts_of(getattr(strategy, "local", Plain()))
    changes = any(
        getattr(type(part), name, None) is not getattr(Plain, name)
        for part in parts
        for name in ("loss", "gradients", "finish", "sends")
    )
    counts = isinstance(getattr(strategy, "combine", None), CountsSteps)
    if not changes and not counts:
        return []
    return [
        f"it changes how clients descend, and the paradigm {choice.name} does not descend; "
        "take fedavg, or another that only combines updates"
    ]


def _useless(strategy: object, experiment: object) -> list[str]:
    """Whether a strategy would combine what a paradigm's clients do not send: its server makes the
    model of sums, which must stay as they are."""
    choice = getattr(experiment, "paradigm", None)
    if choice is None or not hasattr(registry.resolve("paradigm", choice.name), "absorb"):
        return []
    parts = (getattr(strategy, name, None) for name in ("local", "chain", "combine", "step"))
    local, chain, combine, step = parts
    alone = local is not None and local.plain and chain is not None and not chain.links
    if alone and type(combine) is WeightedMean and type(step) is Replace:
        return []
    return [
        f"the model of the paradigm {choice.name} is made of sums over all clients, and there is "
        "nothing to combine; take fedavg"
    ]


def _unpooled(strategy: object, experiment: object) -> list[str]:
    """Whether a strategy makes means of a model of which no mean can be made."""
    choice = getattr(experiment, "paradigm", None)
    if choice is None or not getattr(registry.resolve("paradigm", choice.name), "pooled", False):
        return []
    if getattr(getattr(strategy, "combine", None), "pools", False):
        return []
    return [f"there is no mean of what the paradigm {choice.name} makes; take strategy pool"]


def _unseen(strategy: object, experiment: object) -> list[str]:
    """Whether a strategy looks at what a layer gives, and the paradigm does not call it."""
    choice = getattr(experiment, "paradigm", None)
    if choice is None or not hasattr(registry.resolve("paradigm", choice.name), "passes_around"):
        return []
    parts = parts_of(getattr(strategy, "local", Plain()))
    if not any(isinstance(part, Calibrated | Contrastive) for part in parts):
        return []
    return [f"it looks at the model's output layer, which the paradigm {choice.name} does not call"]


def _undivided(strategy: object, experiment: object) -> list[str]:
    """Whether a strategy goes by how far clients descend, and the paradigm does not."""
    choice = getattr(experiment, "paradigm", None)
    if choice is None or getattr(strategy, "clusters", None) is None:
        return []
    paradigm = registry.resolve("paradigm", choice.name)
    if not hasattr(paradigm, "local_update") and not hasattr(paradigm, "absorb"):
        return []
    return [
        f"it tells clients apart by how far they descend, and the paradigm {choice.name} does not "
        "descend; take fedavg"
    ]


def _untaught(strategy: object, experiment: object) -> list[str]:
    """Whether the server has all labels, and a strategy would not learn from them."""
    labels_at = getattr(getattr(experiment, "data", None), "labels_at", "clients")
    if labels_at == "clients" or isinstance(getattr(strategy, "combine", None), AsksServer):
        return []
    return [
        "it learns from the clients alone, and the server has all labels (data.labels_at); "
        'take semifl, or labels_at = "clients"'
    ]


def _at(experiment: object, key: str) -> Any:
    """The value of a dotted key, which may lead to a parameter of a name, or to its default."""
    found: Any = experiment
    path = key.split(".")
    for place, part in enumerate(path):
        parameters = getattr(found, "parameters", {})
        if part in parameters:
            found = parameters[part]
        elif hasattr(found, "parameters") and part != "name":
            found = _default(path[place - 1], found.name, part)
        else:
            found = getattr(found, part, None)
    return found.name if hasattr(found, "parameters") else found


def _default(kind: str, name: str, parameter: str) -> Any:
    """What a name's own parameter is where nobody gives it; None where it has no such one."""
    if kind not in registry.KINDS:
        return None
    known = inspect.signature(registry.resolve(kind, name)).parameters
    default = known[parameter].default if parameter in known else None
    return None if default is inspect.Parameter.empty else default


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return f'"{value}"' if isinstance(value, str) else str(value)
