"""Parts of a model that are none of the result: a teacher, examples, running means."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import BadInput


def add_helper(model: nn.Module, name: str, helper: nn.Module, called: str) -> None:
    """Have a module be a part of a model by its name, so that it is checked, kept and sent like any
    other; raises BadInput, with what it is `called`, for a model without a place for it.

    The model's `helper_names` tell of it, by which a strategy knows it from the model's own parts.

    >>> class Model(nn.Module): pass
    >>> add_helper(model := Model(), "teacher", nn.Linear(2, 1), "a teacher")
    >>> model.helper_names
    ('teacher',)
    """
    if isinstance(model, nn.Sequential):
        raise BadInput(f"model: a plain Sequential has no place for {called}; give it a class")
    model.add_module(name, helper)
    told: Any = model
    told.helper_names = (*getattr(model, "helper_names", ()), name)
