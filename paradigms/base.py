"""What a paradigm is asked: the contract between a way of learning and the generic trainer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ..data.shard import Shard
from ..schema import Schema
from ..tensors import Tensors

Prepared: TypeAlias = Mapping[str, Tensor]
"""A shard as tensors whose first axis counts examples."""

Batch: TypeAlias = Mapping[str, Tensor]
"""Some of a prepared shard's examples."""

MetricSums: TypeAlias = dict[str, float]
"""Sums over examples, by the name of their mean, and `examples`, how many there were. Sums
add up across batches and clients; means do not."""

Descent: TypeAlias = Callable[[Batch, float], Tensor]
"""One step on a batch at a learning rate; returns the batch's mean loss before the step."""

BuildModel: TypeAlias = Callable[[Schema], nn.Module]


class Paradigm(Protocol):
    """What a client learns from its own shard."""

    def build(self, schema: Schema) -> nn.Module:
        """The module for this task; weights are drawn from torch's generator, already seeded."""
        ...

    def travels(self, model: nn.Module) -> Collection[str]:
        """Names in the model's state dict of the tensors that leave the client."""
        ...

    def prepare(self, shard: Shard) -> Prepared:
        """The shard as tensors; called once a client and cached across rounds."""
        ...

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """One epoch; `batch_size` 0 means the whole shard at once."""
        ...

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The batch's mean loss, a scalar with a gradient."""
        ...

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        """Metric sums over the prepared examples, without gradients."""
        ...


@runtime_checkable
class TakesGraphs(Protocol):
    """A paradigm over graphs; no other is given them."""

    takes_graphs: ClassVar[bool]


@runtime_checkable
class LearnsFrom(Protocol):
    """A paradigm that tells what a client trains on: one that has none of it has no part in a
    round, and where all have none there is no run."""

    learns_from: ClassVar[str]
    """`LABELLED` or `LINKED`, of `data.learnable`."""


@runtime_checkable
class Divides(Protocol):
    """A paradigm that holds out something else than examples."""

    def divide(
        self, shard: Shard, share: float, generator: np.random.Generator
    ) -> tuple[Shard, Shard]:
        """A shard as (train, held out)."""
        ...


@runtime_checkable
class Descends(Protocol):
    """A paradigm that knows a quicker way to take a step of plain gradient descent."""

    def descent(self, model: nn.Module) -> Descent | None:
        """The quicker way for a model, None where there is none.

        It must move the parameters as `loss` and autograd would on the model in training mode,
        but for rounding; it is used where nothing else looks at the gradients.
        """
        ...


@runtime_checkable
class KeepsFeatures(Protocol):
    """A paradigm whose prepared shards take long to make, and depend on nothing but the shard and
    the tensors that do not travel: they may be kept on disk."""

    @property
    def keeps_features(self) -> bool:
        """Whether they do with the settings that it has."""
        ...


@runtime_checkable
class Unfreezes(Protocol):
    """A paradigm that may train more of the model in a later round than in an earlier one."""

    def enter(self, model: nn.Module, round: int) -> None:
        """Have the model be trained as in a round (from 1): `travels` says then what travels in
        it, which in no later round is less. A model that was just built is in round 1."""
        ...


@runtime_checkable
class FollowsTraining(Protocol):
    """A paradigm that looks at a client's training as a whole."""

    def begin(self, model: nn.Module, prepared: Prepared, round: int) -> None:
        """Called with the received model before a client's first step of a round."""
        ...

    def end(self) -> MetricSums:
        """Called after the last step; more sums for the round's record. Those whose names end in
        `_count` are no means, but numbers of their own."""
        ...


@runtime_checkable
class ScalesRates(Protocol):
    """A paradigm with a learning rate of its own for each parameter."""

    def rates(self, model: nn.Module) -> Mapping[str, float]:
        """What the experiment's learning rate is multiplied by, by the parameters' names; empty
        where all are 1."""
        ...


@runtime_checkable
class Transfers(Protocol):
    """A paradigm that brings knowledge from elsewhere to the clients: unless `evaluation.gain` says
    otherwise, its runs tell what that gained each of them."""

    transfers: ClassVar[bool]


@runtime_checkable
class PreparesTraining(Protocol):
    """A paradigm that makes something else of a shard that is trained on than of one that is
    judged."""

    def prepare_training(self, shard: Shard) -> Prepared:
        """As `prepare`, for examples that are trained on."""
        ...


@runtime_checkable
class AddsExamples(PreparesTraining, Protocol):
    """A paradigm that trains on more examples than a client's own, the same at every client."""

    @property
    def added(self) -> int:
        """How many more."""
        ...

    def prepare_training(self, shard: Shard) -> Prepared:
        """The first tensor counts the client's own; others may count those that are added."""
        ...


def prepare_training(paradigm: Paradigm, shard: Shard) -> Prepared:
    """A shard as tensors to train on."""
    if isinstance(paradigm, PreparesTraining):
        return paradigm.prepare_training(shard)
    return paradigm.prepare(shard)


@dataclass(frozen=True)
class LocalResult:
    """What a local update that is not SGD gives: the tensors that travel are in the model."""

    examples: int
    metrics: MetricSums
    statistics: Tensors = field(default_factory=dict)
    state: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class LocalRequest:
    """What a local update that is not SGD may look at: the round (from 1), the sum of the
    statistics that all clients sent in the last round, and what this client kept from it."""

    round: int
    context: Tensors
    state: Tensors
    generator: torch.Generator


@runtime_checkable
class UpdatesLocally(Protocol):
    """A paradigm that replaces SGD: EM, closed forms, label propagation."""

    def local_update(
        self, model: nn.Module, prepared: Prepared, request: LocalRequest
    ) -> LocalResult: ...


@runtime_checkable
class AbsorbsTotal(UpdatesLocally, Protocol):
    """A paradigm whose model is made of what the clients' statistics come to, and of nothing else.

    Clients send no tensors of the model's back. At the end of a round the server has the model
    `absorb` the total, and the next round's clients get that model, and no total.
    """

    def least_rounds(self, model: nn.Module) -> int:
        """The fewest rounds after which a model that was just built is one."""
        ...

    def fault(self, model: nn.Module, statistics: Tensors) -> str:
        """Why these cannot be a client's in a round that begins with this model; empty where they
        can."""
        ...

    def gather(self, total: Tensors, more: Tensors) -> None:
        """Take a client's statistics into the total, in place; it is empty at first."""
        ...

    def absorb(self, model: nn.Module, total: Tensors, round: int) -> str:
        """Move the model that a round (from 1) began with by the round's total; returns what the
        user should be told, or an empty string. Raises UmbelError where there is no such model,
        BadInput where that is the experiment's fault."""
        ...


@runtime_checkable
class LooksBeside(Protocol):
    """A paradigm that judges a client's new examples by those that the client trains on."""

    def evaluate_beside(
        self, model: nn.Module, prepared: Prepared, training: Prepared
    ) -> MetricSums:
        """As `evaluate`, beside the client's prepared training examples."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """A paradigm that tells classes."""

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        """The class codes (n,) of the prepared examples that have a label, and those (n,) that a
        model in evaluation mode tells of them, without gradients. `training` are the client's
        prepared training examples, for who judges by them; a server has none."""
        ...


@runtime_checkable
class SharesStatistics(Protocol):
    """A paradigm whose clients send sums over their examples beside the model.

    The server adds the float64 sums up exactly, and sends the total to every client of the
    next round as its `context`.
    """

    def receive(self, context: Tensors) -> None:
        """Take the total of the last round, before training; empty in round 1."""
        ...

    def statistics(self, model: nn.Module, prepared: Prepared) -> Tensors:
        """This client's sums, after training."""
        ...
