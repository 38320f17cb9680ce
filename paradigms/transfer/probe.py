"""Features that transfer: what a frozen backbone makes of the examples goes into a linear model of
scikit-learn's at each client, and the server averages those."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ...data.learnable import LABELLED
from ...data.shard import Shard
from ...schema import Schema
from ..base import Batch, BuildModel, LocalRequest, LocalResult, MetricSums, Prepared
from .depth import linear_head
from .finetune import FineTune

Learner = Literal["logistic", "svm"]


class Probe:
    """The output layer over a frozen backbone, fitted to a client's own features in closed form or
    by a solver, not by descent from the server's: what travels is averaged.

    A class that a client has no example of keeps the row that the server sent.

    Args:
        learner: `logistic` regression, or a linear `svm`, one class against the others.
        c: the inverse of the penalty's weight, > 0, as scikit-learn's C.
        iterations: the most that its solver takes.
    """

    transfers: ClassVar[bool] = True
    learns_from: ClassVar[str] = LABELLED

    def __init__(
        self,
        build_model: BuildModel,
        *,
        learner: Learner = "logistic",
        c: float = 1.0,
        iterations: int = 1000,
    ) -> None:
        if not c > 0:
            raise ValueError(f"c: {c:g} is not above 0")
        if iterations < 1:
            raise ValueError(f"iterations: {iterations} is not at least 1")
        self._features = FineTune(build_model)
        self._learner, self._c, self._iterations = learner, c, iterations

    @property
    def keeps_features(self) -> bool:
        return self._features.keeps_features

    def build(self, schema: Schema) -> nn.Module:
        model = self._features.build(schema)
        head = linear_head(model)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return self._features.travels(model)

    def prepare(self, shard: Shard) -> Prepared:
        return self._features.prepare(shard)

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        return self._features.batches(prepared, batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return self._features.loss(model, batch, generator)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return self._features.evaluate(model, prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return self._features.predictions(model, prepared, training)

    def local_update(
        self, model: nn.Module, prepared: Prepared, request: LocalRequest
    ) -> LocalResult:
        head = cast("nn.Linear", model.get_submodule("head"))
        x, y = prepared["x"].double().numpy(), prepared["y"].numpy()
        present = np.unique(y)
        if len(present) > 1:
            seed = int(torch.randint(2**31, (1,), generator=request.generator))
            rows, bias = self._fitted(x, y, seed)
            with torch.no_grad():
                head.weight[present] = torch.tensor(rows, dtype=head.weight.dtype)
                head.bias[present] = torch.tensor(bias, dtype=head.bias.dtype)
        metrics = self.evaluate(model, prepared)
        return LocalResult(examples=len(y), metrics=metrics)

    def _fitted(self, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights (present classes, features) and biases."""
        model = self._estimator(seed)
        # The number of threads changes sums in their last bits.
        with warnings.catch_warnings(), threadpool_limits(limits=1):
            # A solver that is not quite done is like a client that trains for few steps.
            warnings.simplefilter("ignore")
            model.fit(x, y)
        if len(model.coef_) > 1:
            return model.coef_, model.intercept_
        # Of two classes scikit-learn has one row, the difference of two.
        half = np.array([-0.5, 0.5])
        return half[:, None] * model.coef_, half * model.intercept_

    def _estimator(self, seed: int) -> Any:
        if self._learner == "svm":
            from sklearn.svm import LinearSVC

            return LinearSVC(C=self._c, max_iter=self._iterations, random_state=seed)
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self._c, max_iter=self._iterations)
