"""Where a model's features end and its class scores begin, and which of its parts are its own."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..errors import BadInput


def output_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """The name and the module of a model's output layer: what its `output_layer` names, else the
    last `nn.Linear` of its own, in the order in which it holds its parts. What that gets first are
    the model's features, and its `out_features` are how many scores it gives.

    Raises BadInput for a model without one.

    >>> output_layer(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2', Linear(in_features=3, out_features=2, bias=True))
    """
    named = getattr(model, "output_layer", None)
    if named is not None:
        return str(named), model.get_submodule(str(named))
    found = [(name, m) for name, m in own_modules(model) if isinstance(m, nn.Linear)]
    if not found:
        raise BadInput(
            f"model: {type(model).__name__} has no linear layer, so what its features are "
            "cannot be told; use another strategy, or a model that ends in nn.Linear"
        )
    return found[-1]


def own_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A model's modules by name, without the helpers that a paradigm put beside them, as a
    teacher: its `helper_names` tell which those are."""
    for name, module in model.named_modules():
        if name.partition(".")[0] not in helper_names(model):
            yield name, module


def helper_names(model: nn.Module) -> tuple[str, ...]:
    """What a model's helpers are called; none where no paradigm put any there."""
    return tuple(getattr(model, "helper_names", ()))
