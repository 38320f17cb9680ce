"""What of a model is trained, round by round: what `paradigm.train` may say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeAlias

from pydantic import TypeAdapter, ValidationError
from torch import nn

from ... import registry
from .depth import ALL, HEAD, NORMS, blocks, freeze
from .lora import Lora

Train: TypeAlias = str | int | Mapping[str, Any]
"""A name, a number of blocks, or a table of a name and its settings."""


class Plan(Protocol):
    """What is trained when."""

    def prepare(self, model: nn.Module, called: Collection[nn.Module]) -> None:
        """Add to a newly made model, which calls these of its parts, what it needs; raises BadInput
        where that is not possible."""
        ...

    def enter(self, model: nn.Module, round: int) -> list[nn.Module]:
        """Have a round's parameters trained; returns the parts that stay as they are, whose
        normalisations do, too."""
        ...

    @property
    def changes(self) -> bool:
        """Whether more is trained in a later round than in an earlier one."""
        ...


@dataclass(frozen=True)
class Part:
    """The same part in every round; `train` as for `freeze`."""

    train: str | int = HEAD

    def __post_init__(self) -> None:
        if isinstance(self.train, int):
            if self.train < 0:
                raise ValueError(f"train: {self.train} is no number of blocks")
        elif self.train not in NAMES:
            hint = registry.nearest(self.train, NAMES)
            raise ValueError(
                f"train: {self.train!r} is unknown{hint}; or how many of the last blocks"
            )

    @property
    def changes(self) -> bool:
        return False

    def prepare(self, model: nn.Module, called: Collection[nn.Module]) -> None:
        self.enter(model, 1)

    def enter(self, model: nn.Module, round: int) -> list[nn.Module]:
        return freeze(model, self.train)


@dataclass(frozen=True)
class Gradual:
    """Gradual unfreezing: the head alone at first, then one block more every so many rounds, from
    the last to the first.

    Paper: Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification,
    arXiv 1801.06146, section 3.3; there a step is an epoch.

    Args:
        every: rounds before the next block is trained, too.
        blocks: the most that are; None for all.

    >>> plan = Gradual(every=2, blocks=2)
    >>> [plan.depth(round) for round in range(1, 8)]
    [0, 0, 1, 1, 2, 2, 2]
    """

    every: int = 1
    blocks: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"train.every: {self.every} is not at least 1")
        if self.blocks is not None and self.blocks < 1:
            raise ValueError(f"train.blocks: {self.blocks} is not at least 1")

    @property
    def changes(self) -> bool:
        return True

    def depth(self, round: int) -> int:
        """How many blocks are trained in a round."""
        due = (round - 1) // self.every
        return due if self.blocks is None else min(due, self.blocks)

    def prepare(self, model: nn.Module, called: Collection[nn.Module]) -> None:
        freeze(model, self.blocks or HEAD)

    def enter(self, model: nn.Module, round: int) -> list[nn.Module]:
        found = len(blocks(model.get_submodule("body")))
        return freeze(model, min(self.depth(round), found))


NAMES: tuple[str, ...] = (HEAD, ALL, NORMS, "gradual", "lora")
_TABLES: Mapping[str, type[Gradual] | type[Lora]] = {"gradual": Gradual, "lora": Lora}


def plan_of(train: Train) -> Plan:
    """What `paradigm.train` says; raises ValueError where it says nothing that is known.

    >>> plan_of("head"), plan_of({"name": "gradual", "every": 5})
    (Part(train='head'), Gradual(every=5, blocks=None))
    """
    settings = dict(train) if isinstance(train, Mapping) else {"name": train}
    name = settings.pop("name", "")
    made = _TABLES.get(str(name))
    if made is None:
        plan: Plan = Part(name)
        if settings:
            raise ValueError(f"train: {name!r} takes no settings")
        return plan
    known = [field.name for field in fields(made)]
    unknown = next((key for key in settings if key not in known), None)
    if unknown is not None:
        raise ValueError(f"train.{unknown}: unknown{registry.nearest(unknown, known)}")
    try:
        plan = TypeAdapter(made).validate_python(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        message = fault["msg"].removeprefix("Value error, ")
        place = f"train.{fault['loc'][0]}: " if fault["loc"] else ""
        raise ValueError(f"{place}{message.replace('Input should be', 'must be')}") from None
    return plan
