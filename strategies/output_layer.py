"""Where a model's features end and its class scores begin."""

from __future__ import annotations

from torch import nn

from ..errors import BadInput


def output_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """The name and the module of a model's output layer: what its `output_layer` names, else its
    last `nn.Linear`, in the order in which the model holds its parts. What it gets first are the
    model's features, and its `out_features` are how many scores it gives.

    Raises BadInput for a model without one.

    >>> output_layer(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2', Linear(in_features=3, out_features=2, bias=True))
    """
    named = getattr(model, "output_layer", None)
    if named is not None:
        return str(named), model.get_submodule(str(named))
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not found:
        raise BadInput(
            f"model: {type(model).__name__} has no linear layer, so what its features are "
            "cannot be told; use another strategy, or a model that ends in nn.Linear"
        )
    return found[-1]
