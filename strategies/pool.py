"""Pooling: the members of the clients' ensembles become one ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from ..tensors import Tensors
from .buffered import Buffered, middle
from .parts import Update
from .weighting import NO_WEIGHT, Weight, by_examples, weighed


@dataclass(frozen=True)
class Pool(Buffered):
    """An ensemble as large as each client's, of which a client fills a part that goes by its
    weight, with its members of the same places.

    The first axis of a tensor counts members. Who fills how many of n places is the method of
    largest remainders on `n w_k / sum w`: each gets the whole part of that, and the places that
    are left go to the largest remainders, to the earlier name among equal ones.

    >>> rule = Pool()
    >>> state = rule.init({"tree": torch.zeros(4)})
    >>> for client, examples in (("a", 10), ("b", 30)):
    ...     tree = torch.arange(4.0) + (10 if client == "b" else 0)
    ...     state = rule.fold(state, Update(client, {"tree": tree}, examples))
    >>> rule.finish(state)
    {'tree': tensor([ 0., 11., 12., 13.])}
    """

    weight: Weight = by_examples

    pools = True
    """Whether members stay whole, where other rules make a mean of them."""

    def combined(self, model: Tensors, updates: Sequence[Update]) -> Tensors:
        weights = [weighed(self.weight, update) for update in updates]
        if not sum(weights) > 0:
            raise ValueError(NO_WEIGHT)
        made: Tensors = {}
        for name, like in model.items():
            values = [update.tensors[name] for update in updates]
            if not like.dim():
                made[name] = middle(values)
                continue
            ends = list(accumulate(apportioned(len(like), weights), initial=0))
            parts = zip(values, pairwise(ends), strict=True)
            made[name] = torch.cat([members[begin:end] for members, (begin, end) in parts])
        return made


def apportioned(places: int, weights: Sequence[float]) -> list[int]:
    """How many of the places each weight gets, by largest remainders.

    >>> apportioned(10, [1.0, 1.0, 1.0])
    [4, 3, 3]
    """
    total = sum(weights)
    quotas = [places * weight / total for weight in weights]
    given = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda k: given[k] - quotas[k])
    for k in by_remainder[: places - sum(given)]:
        given[k] += 1
    return given
