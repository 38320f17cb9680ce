"""Features that transfer: what a frozen backbone makes of the examples goes into a random forest at
each client, and the server pools the trees."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from ...data.learnable import LABELLED
from ...schema import Schema
from ..base import BuildModel, LocalRequest, LocalResult, Prepared
from .depth import linear_head
from .finetune import FineTune
from .trees import Forest


class RandomForest:
    """A random forest over a frozen backbone's features; the server pools the clients' trees
    (strategy `pool`).

    Paper: Breiman 2001, Random Forests, Machine Learning 45, doi 10.1023/A:1010933404324; pooled as
    by Hauschild et al. 2022, Federated Random Forests can improve local performance of predictive
    models for various healthcare applications, Bioinformatics 38, doi
    10.1093/bioinformatics/btac065.

    Args:
        trees: how many each client grows, and the pooled forest has, >= 1.
        depth: how many questions a tree asks at most, in 1 to 12.
        max_features: how many features are tried at each: `sqrt` of their number, `log2` of it, or
            `all`.
    """

    pooled: ClassVar[Literal[True]] = True
    transfers: ClassVar[bool] = True
    learns_from: ClassVar[str] = LABELLED

    def __init__(
        self,
        build_model: BuildModel,
        *,
        trees: int = 100,
        depth: int = 8,
        max_features: Literal["sqrt", "log2", "all"] = "sqrt",
    ) -> None:
        if trees < 1:
            raise ValueError(f"trees: {trees} is not at least 1")
        if not 1 <= depth <= 12:
            raise ValueError(f"depth: {depth} is not in 1 to 12")
        self._features = FineTune(build_model)
        self._trees, self._depth, self._max_features = trees, depth, max_features
        self.travels, self.prepare = self._features.travels, self._features.prepare
        self.batches, self.loss = self._features.batches, self._features.loss
        self.evaluate, self.predictions = self._features.evaluate, self._features.predictions

    @property
    def keeps_features(self) -> bool:
        return self._features.keeps_features

    def build(self, schema: Schema) -> nn.Module:
        model = self._features.build(schema)
        width = linear_head(model).in_features
        head = Forest(width, len(schema.classes), trees=self._trees, depth=self._depth)
        model.set_submodule("head", head)
        return model

    def local_update(
        self, model: nn.Module, prepared: Prepared, request: LocalRequest
    ) -> LocalResult:
        from sklearn.ensemble import RandomForestClassifier

        head = cast("Forest", model.get_submodule("head"))
        x, y = prepared["x"].numpy(), prepared["y"].numpy()
        seed = int(torch.randint(2**31, (1,), generator=request.generator))
        tried = None if self._max_features == "all" else self._max_features
        grown = RandomForestClassifier(
            self._trees, max_depth=self._depth, max_features=tried, random_state=seed
        )
        with threadpool_limits(limits=1):
            grown.fit(x, y)
        for place, estimator in enumerate(grown.estimators_):
            head.fill(place, estimator.tree_, np.asarray(grown.classes_))
        return LocalResult(examples=len(y), metrics=self.evaluate(model, prepared))
