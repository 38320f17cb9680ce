"""A mean that the server then trains on examples of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..tensors import Tensors
from .combine import MeanState, WeightedMean
from .parts import ServerSide, Update
from .weighting import by_examples

IDLE = "idle_count"
"""The metric by which a client says that it had nothing to learn from."""


def by_examples_unless_idle(update: Update) -> float:
    """n_k, the number of examples the client trained on; 0 where it says that it had nothing to
    learn from.

    >>> told = [Update("a", {}, examples=9, metrics={"idle_count": idle}) for idle in (0.0, 1.0)]
    >>> [by_examples_unless_idle(update) for update in told]
    [9.0, 0.0]
    """
    return 0.0 if update.metrics.get(IDLE, 0.0) > 0 else by_examples(update)


@dataclass(frozen=True)
class ThenTrained:
    """The weighted mean of the clients' models, trained on by the server as a client would.

    A client that is idle does not count in the mean; where all are, the model stays, and the server
    trains that one on.

    Paper: Diao, Ding and Tarokh 2022, SemiFL, arXiv 2106.01432, algorithm 1, where the server alone
    has labels.
    """

    mean: WeightedMean = field(default_factory=lambda: WeightedMean(by_examples_unless_idle))
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
        mean = self.mean.finish(state) if state.weight > 0 else state.model
        return self.server.train(mean, self.round)
