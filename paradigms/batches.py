"""The rows of an epoch's batches."""

from __future__ import annotations

import torch
from torch import Tensor


def shuffled(count: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """So many rows in a drawn order, a piece for each batch; `batch_size` 0 means all at once.

    >>> [len(rows) for rows in shuffled(5, 2, torch.Generator())]
    [2, 2, 1]
    """
    order = torch.randperm(count, generator=generator)
    pieces: tuple[Tensor, ...] = order.split(batch_size or max(1, count))
    return pieces
