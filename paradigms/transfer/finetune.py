"""Fine-tuning: a pretrained model is trained on, all of it or a part; only that part travels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...data.learnable import LABELLED
from ...data.shard import Shard
from ...errors import BadInput
from ...models.trial import called_layers
from ...schema import Schema
from ..base import Batch, BuildModel, MetricSums, Prepared
from ..supervised import Supervised
from .depth import HEAD, travelling
from .plans import Part, plan_of
from .rates import check_decay, rates_by_depth

FEATURE_BATCH = 64
"""Examples that a frozen body sees at once: always the same ones together, so that features have
the same bits whether they are computed once or every round."""


class FineTune:
    """Cross-entropy on the labelled examples, for a part of a pretrained model.

    What is not trained stays as it is, normalisations in evaluation mode, and does not travel:
    clients have it already (`model.weights`).

    Args:
        train: `head`, the output layer alone; `all`; `norms`, the body's normalisations, with the
            head; how many of the last blocks of the body, with the head; `gradual` or `lora`, or a
            table of either name and its settings.
        rate_decay: in (0, 1]: each block's learning rate is that of the block above it times this.
        keep_features: with `head`, compute what the frozen body makes of the examples once a
            client, and not every round; it is kept on the client's disk, and the result is the
            same.
        label_smoothing: in [0, 1): the share of the target that is spread over all classes.
    """

    transfers: ClassVar[bool] = True
    learns_from: ClassVar[str] = LABELLED

    def __init__(
        self,
        build_model: BuildModel,
        *,
        train: str | int | dict[str, Any] = HEAD,
        rate_decay: float = 1.0,
        keep_features: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        check_decay(rate_decay)
        self._supervised = Supervised(build_model, label_smoothing=label_smoothing)
        self._plan = plan_of(train)
        self._head_alone = self._plan == Part(HEAD)
        self._rate_decay = rate_decay
        self._keep_features = keep_features
        self._frozen: list[nn.Module] = []
        self._model: Any = None

    @property
    def keeps_features(self) -> bool:
        return self._head_alone and self._keep_features

    def build(self, schema: Schema) -> nn.Module:
        self._model = model = self._supervised.build(schema)
        called = called_layers(model, schema)
        if self._head_alone and not callable(getattr(model, "features", None)):
            raise BadInput(
                'paradigm.train: "head" needs a model with a method `features`, of which its head '
                'makes scores; use train = "all"'
            )
        self._plan.prepare(model, called)
        self._frozen = self._plan.enter(model, 1)
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return travelling(model, self._frozen)

    def enter(self, model: nn.Module, round: int) -> None:
        if self._plan.changes:
            self._frozen = self._plan.enter(model, round)

    def rates(self, model: nn.Module) -> Mapping[str, float]:
        return rates_by_depth(model, self._rate_decay)

    def prepare(self, shard: Shard) -> Prepared:
        prepared = self._supervised.prepare(shard)
        return self._with_features(prepared) if self._keep_features else prepared

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        if not self._keep_features:
            prepared = self._with_features(prepared)
        return self._supervised.batches(prepared, batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        for part in self._frozen:
            part.eval()
        return self._supervised.loss(self._trained(model), batch, generator)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        if not self._keep_features:
            prepared = self._with_features(prepared)
        return self._supervised.evaluate(self._trained(model), prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        if not self._keep_features:
            prepared = self._with_features(prepared)
        return self._supervised.predictions(self._trained(model), prepared, training)

    def _trained(self, model: Any) -> nn.Module:
        """What the examples, or their features, go through."""
        part: nn.Module = model.head if self._head_alone else model
        return part

    def _with_features(self, prepared: Prepared) -> Prepared:
        """The examples as the trained part takes them."""
        if not self._head_alone or len(prepared["y"]) == 0:
            return prepared
        self._model.eval()
        with torch.no_grad():
            parts = [self._model.features(x) for x in prepared["x"].split(FEATURE_BATCH)]
        return {**prepared, "x": torch.cat(parts)}
