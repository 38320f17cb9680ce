"""A mean that the server then trains on examples of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..tensors import Tensors
from .combine import MeanState, WeightedMean
from .parts import ServerSide, Update


@dataclass(frozen=True)
class ThenTrained:
    """The weighted mean of the clients' models, trained on by the server as a client would.

    Paper: Diao, Ding and Tarokh 2022, SemiFL, arXiv 2106.01432, algorithm 1, where the server alone
    has labels.
    """

    mean: WeightedMean = field(default_factory=WeightedMean)
    server: ServerSide | None = field(default=None, repr=False, compare=False)
    round: int = 1

    @property
    def streams(self) -> bool:
        return True

    def helped(self, server: ServerSide, round: int) -> ThenTrained:
        return replace(self, server=server, round=round)

    def init(self, model: Tensors) -> MeanState:
        return self.mean.init(model)

    def fold(self, state: MeanState, update: Update) -> MeanState:
        return self.mean.fold(state, update)

    def finish(self, state: MeanState) -> Tensors:
        if self.server is None:
            raise ValueError("ThenTrained needs a server with examples of its own (data.server)")
        return self.server.train(self.mean.finish(state), self.round)
