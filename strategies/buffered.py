"""What rules share that need all of a round's updates at once.

They hold the updates as they came, and work on a piece of every update at a time, in float64:
at the most a few model-sized tensors beside the updates, whatever the number of clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from ..tensors import Tensors
from .parts import Update
from .weighting import NO_WEIGHT

PIECE = 250_000
"""Values that are looked at together, of all clients: 2 MB in float64."""

Coordinate: TypeAlias = Callable[[Tensor], Tensor]
"""From the clients' values (clients, elements) in float64 to one for each element."""


@dataclass
class Gathered:
    """The model that the cohort was sent, and the updates so far."""

    model: Tensors
    updates: list[Update] = field(default_factory=list)


@dataclass(frozen=True)
class Buffered:
    """A rule that looks at all updates together: a subclass says how, in `combined`.

    They come to it in the order of the clients' names, so that no bit depends on the order in
    which they were folded.
    """

    @property
    def streams(self) -> bool:
        return False

    def init(self, model: Tensors) -> Gathered:
        return Gathered(model)

    def fold(self, state: Gathered, update: Update) -> Gathered:
        state.updates.append(update)
        return state

    def finish(self, state: Gathered) -> Tensors:
        fault = self.fault(len(state.updates))
        if fault:
            raise ValueError(fault)
        updates = sorted(state.updates, key=lambda update: update.client)
        return self.combined(state.model, updates)

    def fault(self, updates: int) -> str:
        """Why so many updates cannot be combined; empty where they can."""
        return "" if updates else "there are no updates to combine"

    def combined(self, model: Tensors, updates: Sequence[Update]) -> Tensors:
        """The combined values, named, shaped and typed as the model's."""
        raise NotImplementedError


def coordinatewise(model: Tensors, updates: Sequence[Update], rule: Coordinate) -> Tensors:
    """Each floating tensor by `rule`, each other one by its lower median.

    >>> updates = [Update(c, {"w": torch.tensor([v])}, 1) for c, v in (("a", 1.0), ("b", 3.0))]
    >>> coordinatewise({"w": torch.zeros(1)}, updates, lambda rows: rows.mean(dim=0))
    {'w': tensor([2.])}
    """
    combined: Tensors = {}
    for name, like in model.items():
        if like.is_floating_point():
            flat = torch.empty(like.numel(), dtype=like.dtype)
            for place, rows in pieces(name, updates):
                flat[place] = rule(rows).to(like.dtype)
            combined[name] = flat.view(like.shape)
        else:
            combined[name] = middle([update.tensors[name] for update in updates])
    return combined


def pieces(name: str, updates: Sequence[Update]) -> Iterator[tuple[slice, Tensor]]:
    """A tensor of all updates, a piece at a time: where it lies, and its values (clients,
    elements) in float64, which may be changed."""
    flat = [update.tensors[name].reshape(-1) for update in updates]
    span = max(1, PIECE // len(flat))
    for begin in range(0, len(flat[0]), span):
        place = slice(begin, min(begin + span, len(flat[0])))
        rows = torch.empty(len(flat), place.stop - begin, dtype=torch.float64)
        for row, values in zip(rows, flat, strict=True):
            row.copy_(values[place])
        yield place, rows


def middle(values: Sequence[Tensor]) -> Tensor:
    """The lower median of integer or boolean tensors, a value that some client sent.

    The largest value, which a plain mean takes, would be any one client's to choose.

    >>> middle([torch.tensor([1, 7]), torch.tensor([2, 8]), torch.tensor([900, 0])])
    tensor([2, 7])
    """
    stacked = torch.stack(list(values))
    comparable = stacked.to(torch.uint8) if stacked.dtype == torch.bool else stacked
    ordered = comparable.sort(dim=0).values
    return ordered[(len(values) - 1) // 2].to(stacked.dtype)


def median(rows: Tensor) -> Tensor:
    """The median of each column; of an even number, the mean of the middle two.

    >>> median(torch.tensor([[1.0], [9.0], [2.0], [4.0]]))
    tensor([3.])
    """
    ordered = rows.sort(dim=0).values
    lower, upper = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2]
    return lower / 2 + upper / 2


def mean(rows: Tensor) -> Tensor:
    """The mean of each column."""
    return rows.mean(dim=0)


def weighted(weights: Tensor) -> Coordinate:
    """The weighted mean of each column; raises ValueError where the weights sum to nothing."""
    total = float(weights.sum())
    if not total > 0:
        raise ValueError(NO_WEIGHT)
    return lambda rows: weights @ rows / total


def squared_distances(model: Tensors, updates: Sequence[Update]) -> Tensor:
    """`||x_i - x_j||^2` over all floating tensors, (clients, clients) in float64.

    From differences: `||x||^2 + ||y||^2 - 2 x.y`, which is quicker, loses everything to
    rounding where one client is far away.
    """
    total = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    for name in floating(model):
        for _, rows in pieces(name, updates):
            apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
            total += apart.square()
    return total


def distances_to(centre: Tensors, updates: Sequence[Update]) -> Tensor:
    """`||x_i - centre||` over the floating tensors of `centre`, (clients,) in float64."""
    total = torch.zeros(len(updates), dtype=torch.float64)
    for name in floating(centre):
        flat = centre[name].reshape(-1)
        for place, rows in pieces(name, updates):
            total += rows.sub_(flat[place]).square().sum(dim=1)
    return total.sqrt()


def floating(tensors: Tensors) -> list[str]:
    """The names of the floating tensors."""
    return [name for name, value in tensors.items() if value.is_floating_point()]


def check_byzantine(byzantine: int) -> None:
    """Raise ValueError unless it is a possible number of attackers."""
    if byzantine < 0:
        raise ValueError(f"byzantine: {byzantine} is less than 0")
