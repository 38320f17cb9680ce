"""Edges without a direction, as messages go along them."""

from __future__ import annotations

import torch
from torch import Tensor


def both_ways(pairs: Tensor) -> Tensor:
    """Pairs of nodes (m, 2) as edges (2, 2m): all from the first to the second, then back.

    >>> both_ways(torch.tensor([[0, 1], [1, 2]])).tolist()
    [[0, 1, 1, 2], [1, 2, 0, 1]]
    """
    return torch.cat([pairs, pairs.flip(1)]).T.contiguous()
