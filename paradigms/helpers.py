"""Parts of a model that are none of the result: a teacher, examples, running means."""

from __future__ import annotations

from torch import nn

from ..errors import BadInput


def add_helper(model: nn.Module, name: str, helper: nn.Module, called: str) -> None:
    """Have a module be a part of a model by its name, so that it is checked, kept and sent like any
    other; raises BadInput, with what it is `called`, for a model without a place for it."""
    if isinstance(model, nn.Sequential):
        raise BadInput(f"model: a plain Sequential has no place for {called}; give it a class")
    model.add_module(name, helper)
