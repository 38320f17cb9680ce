"""What a client adds to its own training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .parts import LocalRun, Plain


@dataclass(frozen=True)
class Proximal(Plain):
    """FedProx's proximal term, `mu / 2 * ||w - w_t||^2`, by its gradient `mu * (w - w_t)`.

    Paper: Li et al. 2020, Federated Optimization in Heterogeneous Networks, arXiv 1812.06127,
    equation 2. `w_t` is what the server sent this round; `mu >= 0`.
    """

    mu: float = 0.01

    def __post_init__(self) -> None:
        if self.mu < 0:
            raise ValueError(f"mu: {self.mu} is negative")

    def begin(self, run: LocalRun) -> Any:
        parameters = [p for p in run.model.parameters() if p.requires_grad]
        return parameters, [parameter.detach().clone() for parameter in parameters]

    def gradients(self, memo: Any, run: LocalRun, gradients: list[Tensor]) -> list[Tensor]:
        parameters, start = memo
        drift = torch._foreach_sub([p.detach() for p in parameters], start)
        return list(torch._foreach_add(gradients, drift, alpha=self.mu))
