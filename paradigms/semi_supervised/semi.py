"""What a method of learning from few labels is asked, and the paradigm that runs it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ...data.shard import UNLABELLED
from ...schema import Schema
from ...tensors import Tensors
from ..base import Batch, MetricSums, Prepared
from ..helpers import StoodIn
from .mixed import Mixed, scores
from .peers import Lending, random_example


@dataclass(frozen=True)
class Stand:
    """A client's training: its model, the round (from 1), its examples, and what other clients lend
    of their models."""

    model: nn.Module
    round: int
    prepared: Prepared
    peers: Sequence[Tensors] = ()

    @property
    def unlabelled(self) -> Tensor:
        """The rows of the examples without a label."""
        return (self.prepared["y"] == UNLABELLED).nonzero().flatten()

    def scores(self, rows: Tensor, instead: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the model, in evaluation mode, makes of some examples; with other tensors `instead`
        of those of their names."""
        return scores(self.model, self.prepared["x"][rows], instead)


class Method(Protocol):
    """How the unlabelled examples are learnt from."""

    def attach(self, model: nn.Module, schema: Schema) -> None:
        """Add to a newly made model what travels beside it, by `add_helper`."""
        ...

    def begin(self, stand: Stand) -> None:
        """Called before a client's first step of a round."""
        ...

    def loss(self, stand: Stand, batch: Batch, generator: torch.Generator) -> Tensor:
        """The batch's loss, of labelled and unlabelled examples together."""
        ...

    def end(self, stand: Stand) -> None:
        """Called after the last step."""
        ...


ALONE = Lending(0)


class SemiSupervised:
    """A method over a shard's labelled and unlabelled examples; `lending` says what a client gets
    of others' models, `stand_in` how the names of the helper begin that is judged, and is the
    result, in the model's place, and `own` how those do that each client keeps to itself."""

    def __init__(
        self,
        mixed: Mixed,
        method: Method,
        lending: Lending = ALONE,
        *,
        stand_in: str = "",
        own: tuple[str, ...] = (),
    ) -> None:
        self._mixed, self._method, self._lending = mixed, method, lending
        self._stand: Stand | None = None
        self._changes_labelled = False
        self._example: Tensor | None = None
        self._peers: Sequence[Tensors] = ()
        self.stand_in, self._own = stand_in, own
        self._helpers: tuple[str, ...] = ()
        self.prepare, self.batches = mixed.prepare, mixed.batches

    def build(self, schema: Schema) -> nn.Module:
        model = self._mixed.build(schema)
        own = dict(model.named_children())
        self._method.attach(model, schema)
        self._helpers = tuple(f"{n}." for n, _ in model.named_children() if n not in own)
        if self._lending.peers:
            self._example = self._mixed.inputs(random_example(schema), schema)
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return [name for name in self._mixed.travels(model) if not name.startswith(self._own)]

    def keeps(self, model: nn.Module) -> Collection[str]:
        return [name for name in self._mixed.travels(model) if name.startswith(self._own)]

    def is_helper(self, name: str) -> bool:
        return name.startswith(self._helpers)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return self._mixed.evaluate(self._judged(model), prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return self._mixed.predictions(self._judged(model), prepared, training)

    def _judged(self, model: nn.Module) -> nn.Module:
        return StoodIn(model, self.stand_in.removesuffix(".")) if self.stand_in else model

    def begin(self, model: nn.Module, prepared: Prepared, round: int) -> None:
        self._mixed.begin(prepared)
        self._stand = Stand(model, round, prepared, self._peers)
        self._method.begin(self._stand)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        if self._stand is None:
            raise RuntimeError("training begins with `begin`")
        if self._changes_labelled and not len(batch["u"]):
            batch = {**batch, "x": self._mixed.weak(batch["x"], generator)}
        return self._method.loss(self._stand, batch, generator)

    def end(self) -> MetricSums:
        if self._stand is not None:
            self._method.end(self._stand)
        self._stand, self._peers = None, ()
        return self._mixed.counted()

    def at_server(self) -> SemiSupervised:
        """The same, but for batches of labelled examples alone: these are weakly changed, which a
        client leaves as they are, that it train as under `supervised`. SemiFL, algorithm 1."""
        other = copy.copy(self)
        other._changes_labelled = True
        return other

    @property
    def peers(self) -> int:
        return self._lending.peers

    def lends(self, model: nn.Module) -> Collection[str]:
        return [name for name in self.travels(model) if name.startswith(self._lending.prefix)]

    def place(self, model: nn.Module) -> Tensor:
        if self._example is None:
            raise RuntimeError("models are compared after one is built")
        return scores(model, self._example).softmax(dim=1)[0].double()

    def meet(self, peers: Sequence[Tensors]) -> None:
        self._peers = peers
