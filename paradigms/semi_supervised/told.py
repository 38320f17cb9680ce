"""What models that stay as they are for a round say of a client's examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .semi import Stand


class Told:
    """What each of some models says, once of each example: when a step first asks for it, for in a
    round of few steps most are never asked for.

    Args:
        stand: of the client, before its first step.
        models: each the received model, but for the tensors of these names, which stay as they are.
        read: what of a model's scores (n, classes) is taken, (n, classes).
    """

    def __init__(
        self,
        stand: Stand,
        models: Sequence[Mapping[str, Tensor]],
        read: Callable[[Tensor], Tensor],
    ) -> None:
        tensors = [*stand.model.named_parameters(), *stand.model.named_buffers()] if models else []
        received = {name: value.detach().clone() for name, value in tensors}
        self._models = [{**received, **instead} for instead in models]
        self._stand, self._read = stand, read
        self._known = torch.zeros(len(stand.prepared["y"]), dtype=torch.bool)
        self._said = torch.zeros(len(models), len(self._known), 0)

    def each(self, rows: Tensor) -> Tensor:
        """What each says of the examples in `rows` (n,): (models, n, classes); no classes where
        there is no model."""
        new = rows[~self._known[rows]]
        if len(new) and self._models:
            scores = [self._stand.scores(new, tensors) for tensors in self._models]
            said = torch.stack([self._read(one) for one in scores])
            if not self._said.shape[2]:
                self._said = said.new_zeros(len(said), len(self._known), said.shape[2])
            self._said[:, new], self._known[new] = said, True
        return self._said[:, rows]

    def mean(self, rows: Tensor) -> Tensor:
        """The mean of that, (n, classes)."""
        return self.each(rows).mean(dim=0)
