"""Which part of a model is trained on, and what of it has to travel for that."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ...errors import BadInput

HEAD, ALL, NORMS = "head", "all", "norms"

NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm)

LISTS = (nn.Sequential, nn.ModuleList)
"""Layers one after another."""


def blocks(body: nn.Module) -> list[list[nn.Module]]:
    """The parts of a body that have parameters, from the input to the output.

    What a list of layers holds counts one by one, and so do the parts of a shell that has but one,
    or of what has most of the parameters and such a list; a normalisation belongs to the block
    before it, and embeddings side by side are one block.

    >>> shell = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)))
    >>> [[type(part).__name__ for part in block] for block in blocks(shell)]
    [['Linear', 'LayerNorm'], ['Linear']]
    """
    found: list[list[nn.Module]] = []
    for part in _parts(body, sum(value.numel() for value in body.parameters())):
        beside = isinstance(part, nn.Embedding) and found and isinstance(found[-1][0], nn.Embedding)
        if found and (beside or isinstance(part, NORMALISATIONS)):
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _parts(module: nn.Module, total: int) -> list[nn.Module]:
    """The parts of a module in a body of so many parameters."""
    if isinstance(module, LISTS):
        return _elements(module)
    parts = _trained(module)
    if len(parts) == 1:
        return _parts(parts[0], total) or parts
    return [inner for part in parts for inner in _opened(part, total)]


def _opened(part: nn.Module, total: int) -> list[nn.Module]:
    if isinstance(part, LISTS):
        return _elements(part)
    inner = _trained(part)
    shell = len(inner) == 1 and isinstance(inner[0], nn.ModuleList)
    most = sum(value.numel() for value in part.parameters()) > total / 2
    if shell or (most and any(isinstance(one, LISTS) for one in inner)):
        return _parts(part, total)
    return [part]


def _elements(part: nn.Module) -> list[nn.Module]:
    """What a list holds, and lists in it."""
    if not isinstance(part, LISTS):
        return [part]
    return [inner for element in _trained(part) for inner in _elements(element)]


def _trained(module: nn.Module) -> list[nn.Module]:
    """The children that have parameters."""
    return [part for part in module.children() if next(part.parameters(), None) is not None]


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
    _thaw([part for block in parts[first:] for part in block])
    return [part for block in parts[:first] for part in block]


def _thaw(parts: Sequence[nn.Module]) -> None:
    for part in parts:
        part.requires_grad_(True)


def linear_head(model: nn.Module) -> nn.Linear:
    """The output layer; raises BadInput where it is not one linear layer."""
    head = model.get_submodule("head")
    if not isinstance(head, nn.Linear):
        raise BadInput(
            f"paradigm.name: the model's head is a {type(head).__name__}; this paradigm needs one "
            "linear layer"
        )
    return head


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
