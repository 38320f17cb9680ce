"""Changes to examples that leave their class as it is: weak ones, and strong ones.

All work on batches of tensors, each example by draws of its own from the generator of its client
and round, so that every runtime sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeAlias

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ... import registry
from ...data.texts import TEXT
from ...errors import BadInput
from ...schema import Schema
from .pictures import Pictures

PADDING = -1
"""The token id after a text's end."""

Choice: TypeAlias = str | Mapping[str, Any]
"""A name, or a table of a name and its settings."""


class Changes(Protocol):
    """Two ways to change inputs (n, ...) into others of the same shape and class."""

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor: ...

    def strong(self, inputs: Tensor, generator: torch.Generator) -> Tensor: ...


class Augmentation(Protocol):
    """How examples are changed, before a client's are known."""

    def fitted(self, inputs: Tensor) -> Changes:
        """The changes for a client with these inputs (n, ...)."""
        ...


@dataclass(frozen=True)
class Vectors:
    """Tables: normal noise, in units of each feature's standard deviation over the client's
    examples, and in the strong way features that are hidden by their mean.

    Args:
        noise: the weak noise's standard deviation, >= 0; the strong one's is four times that.
        dropout: the share of features that the strong way hides, in [0, 1).
    """

    noise: float = 0.05
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _check("noise", self.noise, 0, None)
        _check("dropout", self.dropout, 0, 1)

    def fitted(self, inputs: Tensor) -> Changes:
        mean = inputs.mean(dim=0, keepdim=True)
        # Not by `std`, which warns of a client without examples.
        deviation = (inputs - mean).square().mean(dim=0, keepdim=True).sqrt()
        return _Noise(self, mean, deviation)


@dataclass(frozen=True)
class _Noise:
    """Those of `Vectors`, with each feature's mean and standard deviation, (1, ...)."""

    settings: Vectors
    mean: Tensor
    deviation: Tensor

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return self._noisy(inputs, self.settings.noise, generator)

    def strong(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        noisy = self._noisy(inputs, 4 * self.settings.noise, generator)
        hidden = torch.rand(inputs.shape, generator=generator) < self.settings.dropout
        return torch.where(hidden, self.mean, noisy)

    def _noisy(self, inputs: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        return inputs + torch.randn(inputs.shape, generator=generator) * self.deviation * noise


@dataclass(frozen=True)
class Tokens:
    """Texts: tokens that are left out; the rest closes up.

    Args:
        weak_dropout: the share that the weak way leaves out, in [0, 1).
        strong_dropout: the share that the strong way does, in [0, 1).
    """

    weak_dropout: float = 0.05
    strong_dropout: float = 0.3

    def __post_init__(self) -> None:
        _check("weak_dropout", self.weak_dropout, 0, 1)
        _check("strong_dropout", self.strong_dropout, 0, 1)

    def fitted(self, inputs: Tensor) -> Changes:
        return self

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return _without(inputs, self.weak_dropout, generator)

    def strong(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return _without(inputs, self.strong_dropout, generator)


@dataclass(frozen=True)
class Unchanged:
    """Examples as they are, in both ways."""

    def fitted(self, inputs: Tensor) -> Changes:
        return self

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs

    def strong(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs


KINDS: Mapping[str, type[Any]] = {
    "image": Pictures,
    "vector": Vectors,
    "text": Tokens,
    "none": Unchanged,
}


def augmentation_of(choice: Choice, schema: Schema | None) -> Augmentation:
    """What `paradigm.augmentation` says, "auto" being what suits the examples.

    Raises ValueError for what is unknown, BadInput for what does not suit them.

    >>> augmentation_of({"name": "vector", "noise": 0.1}, None)
    Vectors(noise=0.1, dropout=0.2)
    """
    settings = dict(choice) if isinstance(choice, Mapping) else {"name": choice}
    name = str(settings.pop("name", "auto"))
    if name not in ("auto", *KINDS):
        known = ["auto", *KINDS]
        raise ValueError(f"augmentation: {name!r} is unknown{registry.nearest(name, known)}")
    suited = name if schema is None else _kind(schema)
    if name not in ("auto", "none", suited):
        raise BadInput(
            f"paradigm.augmentation: {name} is for other examples; these take {suited}, or none"
        )
    if name == "auto":
        name = _meant(settings) if schema is None else suited
    return _made(KINDS[name], settings)


def _meant(settings: Mapping[str, Any]) -> str:
    """The kind that has such settings, for examples that are not known yet; raises ValueError
    where none has any of them."""
    known = {key: name for name, kind in KINDS.items() for key in _settings(kind)}
    kinds = [known[key] for key in settings if key in known]
    if settings and not kinds:
        raise _unknown(next(iter(settings)), list(known))
    return kinds[0] if kinds else "none"


def _settings(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind)]


def _unknown(key: str, known: list[str]) -> ValueError:
    return ValueError(f"augmentation.{key}: unknown{registry.nearest(key, known)}")


def _made(kind: type[Any], settings: Mapping[str, Any]) -> Augmentation:
    known = _settings(kind)
    for key in settings:
        if key not in known:
            raise _unknown(key, known)
    try:
        found: Augmentation = TypeAdapter(kind).validate_python(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        place = f"augmentation.{fault['loc'][0]}: " if fault["loc"] else "augmentation."
        raise ValueError(place + fault["msg"].removeprefix("Value error, ")) from None
    return found


def _kind(schema: Schema) -> str:
    if schema.dtype == TEXT:
        return "text"
    return "image" if len(schema.shape) in (2, 3) else "vector"


def _check(name: str, value: float, least: float, below: float | None) -> None:
    if not (least <= value and (below is None or value < below)):
        bound = f"[{least}, {below})" if below is not None else f"at least {least}"
        raise ValueError(f"{name}: {value:g} is not {'in ' if below is not None else ''}{bound}")


def _without(tokens: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Token ids (n, length) without a share of each text's, but never without all."""
    draws = torch.rand(tokens.shape, generator=generator)
    kept = (tokens != PADDING) & (draws >= share)
    kept[:, :1] |= ~kept.any(dim=1, keepdim=True)
    # A stable order brings what is kept to the front as it stood.
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
    closed = torch.where(kept, tokens, PADDING)
    return closed.gather(1, order)
