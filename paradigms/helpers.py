"""Parts of a model that are none of the result: a teacher, examples, running means."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.func import functional_call

from ..errors import BadInput
from ..tensors import Tensors
from .base import Paradigm


@runtime_checkable
class HasHelpers(Protocol):
    """A paradigm whose model holds more than what is learnt, as a teacher."""

    def is_helper(self, name: str) -> bool:
        """Whether a tensor of the model's is no part of the result."""
        ...


@runtime_checkable
class HasStandIn(HasHelpers, Protocol):
    """A paradigm one of whose helpers may be the result, in the model's place."""

    @property
    def stand_in(self) -> str:
        """How the names of its tensors begin, before the model's names of them; empty where the
        model itself is the result."""
        ...


@runtime_checkable
class KeepsOwn(Protocol):
    """A paradigm whose model holds what each client has for itself alone, as a teacher of its
    own: it does not travel, and a client has it again in its next round."""

    def keeps(self, model: nn.Module) -> Collection[str]:
        """The names of such tensors; none of them `travels`. A client that kept none yet, or lost
        them, has those that the model was built with."""
        ...


def learnt(paradigm: Paradigm, tensors: Tensors) -> Tensors:
    """The tensors of a model that are the result of a run, by the model's own names."""
    if not isinstance(paradigm, HasHelpers):
        return tensors
    prefix = paradigm.stand_in if isinstance(paradigm, HasStandIn) else ""
    return {name: tensors[f"{prefix}{name}"] for name in tensors if not paradigm.is_helper(name)}


def add_helper(model: nn.Module, name: str, helper: nn.Module, called: str) -> None:
    """Have a module be a part of a model by its name, so that it is checked, kept and sent like any
    other; raises BadInput, with what it is `called`, for a model without a place for it, or with
    something of its own there.

    The model's `helper_names` tell of it, by which a strategy knows it from the model's own parts.

    >>> class Model(nn.Module): pass
    >>> add_helper(model := Model(), "teacher", nn.Linear(2, 1), "a teacher")
    >>> model.helper_names
    ('teacher',)
    """
    if isinstance(model, nn.Sequential):
        raise BadInput(f"model: a plain Sequential has no place for {called}; give it a class")
    if hasattr(model, name):
        raise BadInput(
            f"model: its own part {name!r} is in the place of {called} that this paradigm adds; "
            "give it another name"
        )
    model.add_module(name, helper)
    told: Any = model
    told.helper_names = (*getattr(model, "helper_names", ()), name)


class StoodIn(nn.Module):
    """A model as it computes with a helper's tensors, each in place of its own of that name.

    The model itself is what is called: who looks into its layers sees what these are then given.
    """

    def __init__(self, model: nn.Module, helper: str) -> None:
        super().__init__()
        self._model = model
        self._tensors = dict(model.get_submodule(helper).state_dict())

    def forward(self, inputs: Tensor) -> Tensor:
        made: Tensor = functional_call(self._model, self._tensors, (inputs,))
        return made
