"""Which part of a model is trained on, and what of it has to travel for that."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ... import registry
from ...errors import BadInput

HEAD, ALL, NORMS = "head", "all", "norms"

NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


def blocks(body: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts of a body that have parameters, from the input to the output.

    A part that holds all of them is looked into, so that a backbone within a shell counts its own.

    >>> body = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))
    >>> [name for name, _ in blocks(body)]
    ['0.0', '0.2']
    """
    children = body.named_children()
    found = [(name, part) for name, part in children if next(part.parameters(), None) is not None]
    if len(found) == 1:
        name, only = found[0]
        return [(f"{name}.{inner}", part) for inner, part in blocks(only)] or found
    return found


def check_depth(train: str | int) -> None:
    """Raise ValueError for what says no part of a model."""
    if isinstance(train, int):
        if train < 0:
            raise ValueError(f"train: {train} is no number of blocks")
    elif train not in (HEAD, ALL, NORMS):
        hint = registry.nearest(train, [HEAD, ALL, NORMS])
        raise ValueError(f"train: {train!r} is unknown{hint}; or how many of the last blocks")


def freeze(model: nn.Module, train: str | int) -> list[nn.Module]:
    """Have only a part of a classifier's parameters trained; returns the parts that are not, whose
    normalisations stay as they are.

    Args:
        model: has a `body` and a `head`.
        train: `head` alone; `all`; `norms`, the body's normalisations, with the head; or how many
            of the last blocks of the body, with the head.

    Raises BadInput for a model without these parts, or with fewer blocks.
    """
    body, head = getattr(model, "body", None), getattr(model, "head", None)
    if not isinstance(body, nn.Module) or not isinstance(head, nn.Module):
        raise BadInput('paradigm.train: the model has no body and head; use train = "all"')
    if train == ALL:
        return []
    body.requires_grad_(False)
    if train == HEAD:
        return [body]
    if train == NORMS:
        norms = [m for m in body.modules() if isinstance(m, NORMALISATIONS)]
        if not norms:
            raise BadInput("paradigm.train: the model has no normalisations; train its head")
        _thaw(norms)
        return []
    parts = blocks(body)
    if int(train) > len(parts):
        raise BadInput(f"paradigm.train: {train} blocks, but the model has {len(parts)}")
    first = len(parts) - int(train)
    _thaw([part for _, part in parts[first:]])
    return [part for _, part in parts[:first]]


def _thaw(parts: Sequence[nn.Module]) -> None:
    for part in parts:
        part.requires_grad_(True)


def travelling(model: nn.Module, frozen: Sequence[nn.Module]) -> list[str]:
    """The names of the tensors that training changes: parameters that are trained, and buffers,
    such as a normalisation's statistics, of parts that are not frozen."""
    still = {id(inner) for part in frozen for inner in part.modules()}
    parameters = dict(model.named_parameters())

    def changes(name: str) -> bool:
        if name in parameters:
            return parameters[name].requires_grad
        return id(model.get_submodule(name.rpartition(".")[0])) not in still

    return [name for name in model.state_dict() if changes(name)]
