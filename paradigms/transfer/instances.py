"""Instances that transfer: examples of another distribution, weighted at each client by how much
they look like its own.

The server has them, and sends them once to a client that lacks them (`server.rest`), as tensors: no
client reads a file for it. They travel in no round, and are not in the run's model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.learnable import LABELLED
from ...data.shard import Shard
from ...data.tensors import to_inputs
from ...data.texts import TEXT
from ...errors import BadInput, UmbelError
from ...schema import Schema
from ..base import Batch, MetricSums, Prepared
from ..helpers import add_helper
from ..supervised import Supervised

AUXILIARY = "auxiliary."
"""How the names of the tensors with the source's examples begin."""

WEIGHTS = "weights"
"""What a shard prepared for training calls the weights of the source's examples."""

MOST_MATCHED = 5000
"""Kernel mean matching compares each example of the source to each."""

Weighting = Literal["kmm", "classifier", "uniform"]


class Sources(Protocol):
    """Makes the model, and gets the source's examples, None where a server will send them."""

    def __call__(self, schema: Schema) -> nn.Module: ...

    def auxiliary(self, schema: Schema, count: int) -> Shard | None: ...


class _Examples(nn.Module):
    """Examples as a part of a model by its name: checked, kept and sent like any other."""

    def __init__(self, schema: Schema, count: int, found: Shard | None) -> None:
        super().__init__()
        if found is None:
            x = torch.zeros((count, *schema.shape), dtype=getattr(torch, schema.dtype))
            y = torch.zeros(count, dtype=torch.int64)
        else:
            x, y = (torch.tensor(found.arrays[name]) for name in ("x", "y"))
        self.register_buffer("x", x)
        self.register_buffer("y", y)


@dataclass(frozen=True)
class _Source:
    """The source's examples: as they were sent, as a model takes them, and as points (m, d) with
    what those were divided by."""

    sent: tuple[Tensor, Tensor]
    prepared: Prepared
    points: np.ndarray
    scale: np.ndarray

    def is_of(self, x: Tensor, y: Tensor) -> bool:
        return torch.equal(self.sent[0], x) and torch.equal(self.sent[1], y)


class Instances:
    """The client's own examples, and weighted ones of `data.auxiliary`: the loss is the mean of
    `w CE(y, s)` over both, with w = 1 for its own.

    The weights stand for how much likelier an input is at the client than in the source. Both ways
    to them look at inputs alone, so also at the client's own without a label, and hold where the
    same input has the same label here and there.

    Paper: Huang et al. 2006, Correcting Sample Selection Bias by Unlabeled Data, NIPS 19,
    doi 10.7551/mitpress/7503.003.0080 for `kmm`; Bickel, Brueckner and Scheffer 2009,
    Discriminative Learning under Covariate Shift, JMLR 10:2137-2155, for `classifier`.

    Args:
        weighting: `kmm`; by a `classifier` of whose an example is; or `uniform`, all weigh 1.
        examples: how many of the source's, drawn by the seed, >= 1; with `kmm` 5000 at most.
        bound: the largest weight, >= 1.
    """

    transfers: ClassVar[bool] = True
    learns_from: ClassVar[str] = LABELLED

    def __init__(
        self,
        models: Sources,
        *,
        weighting: Weighting = "kmm",
        examples: int = 500,
        bound: float = 10.0,
    ) -> None:
        if examples < 1:
            raise ValueError(f"examples: {examples} is not at least 1")
        if weighting == "kmm" and examples > MOST_MATCHED:
            raise ValueError(f"examples: {examples} is more than the {MOST_MATCHED} of kmm")
        if not 1 <= bound < math.inf:
            raise ValueError(f"bound: {bound:g} is not a number from 1")
        self._sources, self._supervised = models, Supervised(models)
        self._weighting, self._count, self._bound = weighting, examples, bound
        self._examples: Any = None
        self._source: _Source | None = None

    @property
    def added(self) -> int:
        return self._count

    def build(self, schema: Schema) -> nn.Module:
        if schema.dtype == TEXT:
            raise BadInput("paradigm: instances are compared as numbers; the examples are texts")
        model = self._supervised.build(schema)
        found = self._sources.auxiliary(schema, self._count)
        self._examples = _Examples(schema, self._count, found)
        add_helper(model, AUXILIARY.removesuffix("."), self._examples, "examples")
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return [name for name in model.state_dict() if not self.is_helper(name)]

    def is_helper(self, name: str) -> bool:
        return name.startswith(AUXILIARY)

    def prepare(self, shard: Shard) -> Prepared:
        return self._supervised.prepare(shard)

    def prepare_training(self, shard: Shard) -> Prepared:
        """With the weights (m,) of the source's examples, once and for all rounds."""
        prepared = self._supervised.prepare(shard)
        if not len(prepared["y"]):
            return prepared
        source = self._sent(shard.schema)
        # The number of threads changes sums in their last bits.
        with threadpool_limits(limits=1):
            points = _points(shard.arrays["x"], shard.schema) / source.scale
            weights = self._weights(source.points, points)
        return {**prepared, WEIGHTS: torch.tensor(weights, dtype=torch.float32)}

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """An epoch is a pass over the client's own and the source's, mixed."""
        if self._source is None:
            raise RuntimeError("batches are made after a shard was prepared for training")
        source, own = self._source.prepared, len(prepared["y"])
        order = torch.randperm(own + self._count, generator=generator)
        for rows in order.split(batch_size or len(order)):
            here, there = rows[rows < own], rows[rows >= own] - own
            weights = prepared[WEIGHTS][there]
            yield {
                "x": torch.cat([prepared["x"][here], source["x"][there]]),
                "y": torch.cat([prepared["y"][here], source["y"][there]]),
                WEIGHTS: torch.cat([torch.ones(len(here)), weights]),
            }

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        # Divided by how many there are, not by their weights' sum: over an epoch the mean of the
        # batches' gradients is then the whole's, however the weights fall into them.
        losses = cross_entropy(model(batch["x"]), batch["y"], reduction="none")
        return (batch[WEIGHTS] * losses).mean()

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return self._supervised.evaluate(model, prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return self._supervised.predictions(model, prepared, training)

    def _weights(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        if self._weighting == "uniform":
            return np.ones(len(source))
        # scikit-learn takes long to import, and only who weighs needs it.
        if self._weighting == "kmm":
            from .matching import kernel_mean_matching

            return kernel_mean_matching(source, target, self._bound)
        from .density import density_ratio

        return density_ratio(source, target, self._bound)

    def _sent(self, schema: Schema) -> _Source:
        """The source's examples as they now are in the model, where a server may have put others
        than before."""
        if self._examples is None:
            raise RuntimeError("a shard is prepared after the model is built")
        x, y = self._examples.x, self._examples.y
        if self._source is None or not self._source.is_of(x, y):
            if not bool(((y >= 0) & (y < len(schema.classes))).all()):
                raise UmbelError("an example of data.auxiliary is labelled with no class")
            shard = Shard("auxiliary", schema, {"x": x.numpy().copy(), "y": y.numpy().copy()})
            points = _points(shard.arrays["x"], schema)
            if not np.isfinite(points).all():
                raise UmbelError("an example of data.auxiliary holds a value that is not finite")
            scale = _scale(points, schema)
            prepared = self._supervised.prepare(shard)
            self._source = _Source((x.clone(), y.clone()), prepared, points / scale, scale)
        return self._source


def _points(x: np.ndarray, schema: Schema) -> np.ndarray:
    """Examples as model inputs, flat: (n, d), float64."""
    return to_inputs(x, schema).flatten(1).double().numpy()


def _scale(points: np.ndarray, schema: Schema) -> np.ndarray:
    """What each column of a table is divided by, its standard deviation in the source: columns
    have units of their own, which pixels have not."""
    if len(schema.shape) > 1:
        return np.ones(points.shape[1])
    spread = points.std(axis=0)
    return np.where(spread > 0, spread, 1.0)
