"""What one process needs to work on a run: built once, used for every client and round."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from .. import registry
from ..building import build_model, build_paradigm
from ..data.rows import parted
from ..data.shard import Shard, divided_rows
from ..messages import PEERS
from ..paradigms.base import (
    AbsorbsTotal,
    Descends,
    Divides,
    KeepsFeatures,
    LearnsFrom,
    Prepared,
    ScalesRates,
    SharesStatistics,
    Unfreezes,
    UpdatesLocally,
    prepare_training,
)
from ..paradigms.helpers import KeepsOwn
from ..paradigms.peers import peers_of
from ..randomness import numpy_generator
from ..rounds import natural
from ..strategies.proximal import Proximal
from ..strategies.strategy import ClientSide, Strategy
from ..tensors import Tensors, difference, digest, is_finite, nbytes
from ..training.optimizers import GradientDescent
from ..training.rates import Optimizers
from ..training.trainer import Effort, Trainer, example_count
from .features import KeptFeatures

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..schema import Schema

CACHE_BYTES = 128_000_000
"""Prepared shards are kept up to this size, so that memory does not grow with the population."""


@dataclass(frozen=True)
class Workplace:
    """One client's own side: its name, and its examples for training and for evaluation."""

    client: str
    schema: Schema
    train: Prepared
    held_out: Prepared
    examples: int

    @property
    def nbytes(self) -> int:
        own = {name: t for name, t in self.held_out.items() if t is not self.train.get(name)}
        return nbytes(self.train) + nbytes(own)


class Workbench:
    """The model, the paradigm, the trainer and the prepared shards of one experiment.

    The model object is shared by all clients of this process: `load` puts a client's weights
    into it before anything else looks at it.
    """

    def __init__(self, experiment: Experiment, schema: Schema, side: ClientSide) -> None:
        self.experiment = experiment
        self.schema = schema
        self.local, self.chain = side.local, side.chain
        self.paradigm = build_paradigm(experiment, told=True)
        self.shares_statistics = isinstance(self.paradigm, SharesStatistics)
        self.learns_from = "examples"
        if isinstance(self.paradigm, LearnsFrom):
            self.learns_from = self.paradigm.learns_from
        self.updates_locally = isinstance(self.paradigm, UpdatesLocally)
        self.sends_model = not isinstance(self.paradigm, AbsorbsTotal)
        self.model = build_model(self.paradigm, experiment, schema)
        client = experiment.client
        effort = Effort(client.epochs, client.steps, client.batch_size, client.clip_norm)
        paradigm = self.paradigm
        descent = paradigm.descent(self.model) if isinstance(paradigm, Descends) else None
        self.trainer = Trainer(paradigm, self.local, effort, descent)
        self._tensors: Mapping[str, Tensor] = dict(self.model.state_dict())
        self._initial = {name: value.clone() for name, value in self._tensors.items()}
        self.kept: tuple[str, ...] = ()
        self.travels: tuple[str, ...] = ()
        self._note_what_travels()
        self._rest = [name for name in self._initial if name not in self.travels]
        self._digest = ""
        self.keeps_state = bool(self.kept) or self.updates_locally or not self.local.plain
        self._workplaces: OrderedDict[int, Workplace] = OrderedDict()
        self._held_bytes = 0
        rates = paradigm.rates(self.model) if isinstance(paradigm, ScalesRates) else {}
        self._optimizers = Optimizers(client, rates)
        self._round = 1

    def enter(self, round: int) -> None:
        """Have the model be as a round trains it."""
        if round != self._round and isinstance(self.paradigm, Unfreezes):
            self.paradigm.enter(self.model, round)
            self._note_what_travels()
        self._round = round

    def _note_what_travels(self) -> None:
        travelling = set(self.paradigm.travels(self.model))
        names = [name for name in self._tensors if name in travelling]
        kept = self.local.keeps(self.model, names)
        own = self.paradigm.keeps(self.model) if isinstance(self.paradigm, KeepsOwn) else ()
        self.kept = tuple(name for name in self._tensors if name in {*kept, *own})
        self.travels = tuple(name for name in names if name not in kept)

    def rest(self) -> Tensors:
        """The tensors, as they are at the start, that are not in the first round's message."""
        return {name: self._initial[name] for name in self._rest}

    @property
    def rest_digest(self) -> str:
        """Their hash."""
        self._digest = self._digest or digest(self.rest())
        return self._digest

    def take_rest(self, tensors: Tensors, named: str) -> None:
        """Have them be others; what was prepared with the former ones is prepared anew."""
        self._initial.update({name: value.clone() for name, value in tensors.items()})
        self._digest = named
        with torch.no_grad():
            for name, value in tensors.items():
                self._tensors[name].copy_(value)
        self._workplaces.clear()
        self._held_bytes = 0

    def load(self, received: Tensors, kept: Tensors) -> None:
        """Put a client's weights into the model: what travelled, what it kept, and the rest
        as it was at the start; raises ValueError where names, shapes or dtypes differ."""
        expected = {name: self._tensors[name] for name in self.travels}
        fault = difference(received, expected)
        if fault:
            raise ValueError(f"the server's model does not fit this client's: {fault}")
        whole = len(expected) == len(self._tensors)
        values = received if whole else {**self._initial, **received, **kept}
        with torch.no_grad():
            for name, value in values.items():
                self._tensors[name].copy_(value)

    def receive(self, groups: Mapping[str, Tensors]) -> None:
        """Give the paradigm what came for it beside the model; raises ValueError where what other
        clients lend is not as it should be."""
        if isinstance(self.paradigm, SharesStatistics):
            self.paradigm.receive(groups.get("statistics", {}))
        if (asked := peers_of(self.paradigm)) is not None:
            lends = set(asked.lends(self.model))
            expected = {name: self._tensors[name] for name in self.travels if name in lends}
            come = sorted((name for name in groups if name.startswith(PEERS)), key=natural)
            asked.meet([_lent(groups[name], expected) for name in come])

    def values(self, names: tuple[str, ...]) -> Tensors:
        """The model's present tensors by name, not copied."""
        return {name: self._tensors[name] for name in names}

    def optimizer(self, round: int) -> tuple[Optimizer | GradientDescent, float]:
        """A new optimiser, and its learning rate, which the schedule has scaled for the round."""
        return self._optimizers.make(self.model, round)

    def workplace(
        self,
        key: int,
        open_shard: Callable[[], Shard],
        features: KeptFeatures | None = None,
    ) -> Workplace:
        """A client's prepared shard, from the cache, from its disk or made anew."""
        workplace = self._workplaces.get(key)
        if workplace is not None:
            self._workplaces.move_to_end(key)
            return workplace
        workplace = self._workplaces[key] = self._prepare(open_shard(), features)
        self._held_bytes += workplace.nbytes
        while self._held_bytes > CACHE_BYTES and len(self._workplaces) > 1:
            self._held_bytes -= self._workplaces.popitem(last=False)[1].nbytes
        return workplace

    def forget(self, key: int) -> None:
        """Have a client's shard be prepared anew."""
        workplace = self._workplaces.pop(key, None)
        self._held_bytes -= workplace.nbytes if workplace else 0

    def divided(self, shard: Shard) -> tuple[Shard, Shard]:
        """A client's shard as (train, held out)."""
        share, seed = self.experiment.data.held_out, self.experiment.experiment.seed
        if isinstance(self.paradigm, Divides):
            generator = numpy_generator(seed, purpose="held-out", client=shard.client)
            return self.paradigm.divide(shard, share, generator)
        return split(shard, share, seed)

    def _prepare(self, shard: Shard, features: KeptFeatures | None) -> Workplace:
        train, held_out = self.divided(shard)
        prepared = self._kept(train, "train", features)
        return Workplace(
            client=shard.client,
            schema=shard.schema,
            train=prepared,
            held_out=self._kept(held_out, "held out", features),
            examples=example_count(prepared),
        )

    def _kept(self, shard: Shard, part: str, features: KeptFeatures | None) -> Prepared:
        """A part of a shard as tensors, from the client's disk where that is quicker."""
        paradigm = self.paradigm

        def make() -> Prepared:
            return prepare_training(paradigm, shard) if part == "train" else paradigm.prepare(shard)

        keeps = isinstance(paradigm, KeepsFeatures) and paradigm.keeps_features
        if features is None or not keeps:
            return make()
        model = self.experiment.model.model_dump_json()
        facts = json.dumps([part, model, self.schema.to_json(), self.rest_digest])
        return features.of(shard, facts, make)


def _lent(tensors: Tensors, expected: Tensors) -> Tensors:
    fault = difference(tensors, expected)
    if not fault and not all(map(is_finite, tensors.values())):
        fault = "it holds values that are not finite"
    if fault:
        raise ValueError(f"another client's model that the server sent does not fit: {fault}")
    return tensors


def build_client_side(experiment: Experiment, config: Mapping[str, object]) -> ClientSide:
    """What of the experiment's strategy lives at the clients; Flower's own strategies have
    nothing there, but the proximal weight that Flower's FedProx sends is honoured."""
    choice = experiment.strategy
    if "proximal-mu" in config:
        return ClientSide(Proximal(float(str(config["proximal-mu"]))))
    if choice.name.startswith("flwr."):
        return ClientSide()
    strategy = registry.build("strategy", choice.name, choice.parameters)
    return strategy.client_side if isinstance(strategy, Strategy) else ClientSide()


def split(shard: Shard, held_out: float, seed: int) -> tuple[Shard, Shard]:
    """A shard as (train, held out): the same examples in every round and runtime.

    See `divided_rows` for which examples those are.
    """
    rest, held = divided_rows(shard.arrays, held_out, seed, shard.client)
    parts = parted(shard.arrays, rest, held)
    train, other = (Shard(shard.client, shard.schema, arrays) for arrays in parts)
    return train, other
