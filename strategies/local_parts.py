"""What a client adds to its own training, and what the server does with what it sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor, nn

from ..tensors import Tensors
from .parts import Turn


@dataclass
class LocalRun:
    """One client's training in one round, as the local part sees it.

    `model` holds the received weights when the round begins; `received` are the tensors that
    travelled, `context` what the strategy's server half sent beside them, `state` what this
    client kept from its last round, `prepared` its shard as tensors, `learning_rate` its
    optimiser's.
    """

    model: nn.Module
    received: Tensors
    context: Tensors
    state: Tensors
    round: int
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    learning_rate: float = 0.0

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


class Local(Protocol):
    """What a client adds to its own training. `Plain` adds nothing; subclass it.

    The first six are asked at the client, the others at the server.
    """

    @property
    def plain(self) -> bool:
        """Whether nothing is added at all, so that training may take its quickest way."""
        ...

    def keeps(self, model: nn.Module, names: Sequence[str]) -> frozenset[str]:
        """Which of the travelling tensors stay at the client instead; asked on both sides."""
        ...

    def begin(self, run: LocalRun) -> Any:
        """Called before the first step; what it returns is handed to the others as `memo`."""
        ...

    def loss(self, memo: Any, run: LocalRun, loss: Tensor) -> Tensor:
        """The loss to descend, given the paradigm's own."""
        ...

    def gradients(self, memo: Any, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        """The gradients to descend, in the order of the trainable parameters."""
        ...

    def finish(self, memo: Any, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        """(what goes up beside the update, what this client keeps for its next round)."""
        ...

    def release(self, memo: Any) -> None:
        """Called when training is over, however it ended: what `begin` hung on the model goes."""
        ...

    def sends(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        """What goes up beside the update, as tensors of the names, shapes and dtypes that it
        must have; an update that brings anything else is refused."""
        ...

    def context(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        """What the clients of the first round are sent beside the model."""
        ...

    def absorb(self, context: Tensors, extra: Tensors, turn: Turn) -> Tensors:
        """The next round's context, given this round's and the combined extras."""
        ...


@dataclass(frozen=True)
class Plain:
    """Local training with nothing added."""

    @property
    def plain(self) -> bool:
        return type(self) is Plain

    def keeps(self, model: nn.Module, names: Sequence[str]) -> frozenset[str]:
        return frozenset()

    def begin(self, run: LocalRun) -> Any:
        return None

    def loss(self, memo: Any, run: LocalRun, loss: Tensor) -> Tensor:
        return loss

    def gradients(self, memo: Any, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        return gradients

    def finish(self, memo: Any, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        return {}, {}

    def release(self, memo: Any) -> None:
        return None

    def sends(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        return {}

    def context(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        return {}

    def absorb(self, context: Tensors, extra: Tensors, turn: Turn) -> Tensors:
        return context


@dataclass(frozen=True)
class Together(Plain):
    """Several local parts at once: each adds to what the ones before it made.

    What each sends, keeps and gets is named apart, so that two of a kind do not meet.

    >>> from .proximal import Proximal
    >>> Together((Proximal(0.1), Proximal(0.2))).plain
    False
    """

    parts: tuple[Local, ...] = ()

    @property
    def plain(self) -> bool:
        return all(part.plain for part in self.parts)

    def keeps(self, model: nn.Module, names: Sequence[str]) -> frozenset[str]:
        return frozenset().union(*(part.keeps(model, names) for part in self.parts))

    def begin(self, run: LocalRun) -> Any:
        return [(own := self._own(run, n), part.begin(own)) for n, part in enumerate(self.parts)]

    def loss(self, memo: Any, run: LocalRun, loss: Tensor) -> Tensor:
        for part, (own, note) in zip(self.parts, memo, strict=True):
            loss = part.loss(note, own, loss)
        return loss

    def gradients(self, memo: Any, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        for part, (own, note) in zip(self.parts, memo, strict=True):
            gradients = part.gradients(note, own, gradients)
        return gradients

    def finish(self, memo: Any, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        sent: Tensors = {}
        kept: Tensors = {}
        for n, (part, (own, note)) in enumerate(zip(self.parts, memo, strict=True)):
            extra, state = part.finish(note, own, steps)
            sent |= _named(n, extra)
            kept |= _named(n, state)
        return sent, kept

    def release(self, memo: Any) -> None:
        for part, (_, note) in zip(self.parts, memo, strict=True):
            part.release(note)

    def sends(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        return _all(part.sends(model, trained) for part in self.parts)

    def context(self, model: Tensors, trained: frozenset[str]) -> Tensors:
        return _all(part.context(model, trained) for part in self.parts)

    def absorb(self, context: Tensors, extra: Tensors, turn: Turn) -> Tensors:
        return _all(
            part.absorb(_of(n, context), _of(n, extra), turn) for n, part in enumerate(self.parts)
        )

    def _own(self, run: LocalRun, number: int) -> LocalRun:
        return replace(run, context=_of(number, run.context), state=_of(number, run.state))


def together(*parts: Local) -> Local:
    """Several local parts as one; those that add nothing are left out."""
    active = tuple(part for part in parts if not part.plain)
    if len(active) == 1:
        return active[0]
    return Together(active) if active else Plain()


def parts_of(local: Local) -> Sequence[Local]:
    """The local parts that one is made of: itself, unless it is several together."""
    return local.parts if isinstance(local, Together) else (local,)


def absorbs(local: Local) -> bool:
    """Whether the server makes a context of what the clients send beside their updates.

    >>> absorbs(Plain()), absorbs(Together((Plain(), Plain())))
    (False, False)
    """
    return any(type(part).absorb is not Plain.absorb for part in parts_of(local))


def sent_as(extra: Tensors, name: str) -> Tensor | None:
    """What a local part sent under a name, whether it was alone or one of several.

    >>> from torch import tensor
    >>> sent_as({"1.entropy": tensor(2)}, "entropy"), sent_as({}, "entropy")
    (tensor(2), None)
    """
    return next((t for n, t in extra.items() if n == name or n.endswith(f".{name}")), None)


def _named(number: int, tensors: Tensors) -> Tensors:
    return {f"{number}.{name}": tensor for name, tensor in tensors.items()}


def _of(number: int, tensors: Tensors) -> Tensors:
    start = f"{number}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def _all(tensors: Iterable[Tensors]) -> Tensors:
    return {name: t for n, own in enumerate(tensors) for name, t in _named(n, own).items()}
