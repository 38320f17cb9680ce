"""What models that stay as they are for a round say of a client's examples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .semi import Stand


class Told:
    """The mean of what the received model and the peers' say, once of each example: when a step
    first asks for it, for in a round of few steps most are never asked for.

    Args:
        stand: of the client, before its first step.
        read: what of the scores (n, classes) of a model's is taken, (n, classes).
    """

    def __init__(self, stand: Stand, read: Callable[[Tensor], Tensor]) -> None:
        model = stand.model
        tensors = (*model.named_parameters(), *model.named_buffers())
        received = {name: value.detach().clone() for name, value in tensors}
        # A peer's model has the tensors that are lent, and else those of the received one.
        self._members = [{**received, **peer} for peer in ({}, *stand.peers)]
        self._stand, self._read = stand, read
        self._known = torch.zeros(len(stand.prepared["y"]), dtype=torch.bool)
        self._said = torch.zeros(len(self._known), 0)

    def of(self, rows: Tensor) -> Tensor:
        """What is said of the examples in `rows` (n,), at least one: (n, classes)."""
        new = rows[~self._known[rows]]
        if len(new):
            each = [self._read(self._stand.scores(new, tensors)) for tensors in self._members]
            said = torch.stack(each).mean(dim=0)
            if not self._said.shape[1]:
                self._said = said.new_zeros(len(self._known), said.shape[1])
            self._said[new], self._known[new] = said, True
        return self._said[rows]
