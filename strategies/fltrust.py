"""FLTrust: the server's own training says whom to trust."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..errors import UpdateRefused
from ..tensors import Tensors
from .buffered import middle
from .changes import add_change, changes, length, moved, nothing, whole_numbers
from .parts import ServerSide, Update


@dataclass
class TrustState:
    """What the server trained and how far that went, the sum of the clients' changes by their
    trust, and the tensors that are not floating of those that were trusted."""

    model: Tensors
    own: Tensors
    length: float
    total: Tensors
    trust: float = 0.0
    whole: list[Tensors] = field(default_factory=list)


@dataclass(frozen=True)
class FLTrust:
    """`w + 1/sum_i TS_i sum_i TS_i ||g_0|| / ||g_i|| g_i`, trust being the positive part of the
    cosine between a client's change and the server's: `TS_i = max(0, cos(g_i, g_0))`.

    Paper: Cao et al. 2021, FLTrust: Byzantine-robust Federated Learning via Trust
    Bootstrapping, arXiv 2012.13995, equations 2 to 4. `g_0` is the change that the server finds
    when it trains the model on examples of its own, as a client would. Near `g_0` however many
    clients attack. Where nobody is trusted, which the paper leaves open, the model stays.
    Changes of tensors that training does not move, such as running variances, are made shorter
    like the others, and never longer: a variance moved further than any client had it could
    become negative.
    """

    server: ServerSide | None = field(default=None, repr=False, compare=False)
    round: int = 1
    trained: frozenset[str] | None = None
    """Which tensors training moves; the round tells, by `among`."""

    @property
    def streams(self) -> bool:
        return True

    def among(self, trained: frozenset[str]) -> FLTrust:
        return replace(self, trained=trained)

    def helped(self, server: ServerSide, round: int) -> FLTrust:
        return replace(self, server=server, round=round)

    def init(self, model: Tensors) -> TrustState:
        if self.server is None:
            raise ValueError("FLTrust needs a server with examples of its own (data.server)")
        own = self.server.train(model, self.round)
        return TrustState(model, own, length(own, model), nothing(model))

    def fold(self, state: TrustState, update: Update) -> TrustState:
        norm = length(update.tensors, state.model)
        if norm == float("inf"):
            raise UpdateRefused("its change is too long to be measured")
        trust = _trust(update.tensors, norm, state)
        if trust > 0:
            scale = state.length / norm
            trained = self.trained if self.trained is not None else frozenset(state.model)
            for names, factor in (
                (trained, scale),
                (state.model.keys() - trained, min(1.0, scale)),
            ):
                part = {name: value for name, value in state.model.items() if name in names}
                add_change(state.total, update.tensors, part, trust * factor)
            state.whole.append(whole_numbers(update.tensors))
        state.trust += trust
        return state

    def finish(self, state: TrustState) -> Tensors:
        if not state.trust > 0:
            return {name: value.clone() for name, value in state.model.items()}
        combined = moved(state.model, state.total, state.trust)
        return {
            name: combined[name]
            if name in combined
            else middle([tensors[name] for tensors in state.whole])
            for name in state.model
        }


def _trust(tensors: Tensors, norm: float, state: TrustState) -> float:
    """How far a client is trusted, from 0 to 1: the cosine of its change and the server's."""
    if not norm or not state.length:
        return 0.0
    pairs = zip(changes(tensors, state.model), changes(state.own, state.model), strict=True)
    # Each divided by its length first: the product of two large changes may overflow.
    cosine = sum(
        float((piece / norm * (own / state.length)).sum()) for (_, _, piece), (_, _, own) in pairs
    )
    return min(1.0, max(0.0, cosine))
