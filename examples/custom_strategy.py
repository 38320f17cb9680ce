"""A strategy of one's own: FedAvg, with the clients' median in place of their mean.

python examples/custom_strategy.py
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

import umbel
from umbel.strategies import Fraction, Strategy, Update


@dataclass(frozen=True)
class Median:
    """The coordinate-wise median (Yin et al. 2018, arXiv 1803.01498, algorithm 1)."""

    streams: bool = field(default=False, init=False)

    def init(self, model: dict[str, Tensor]) -> list[Update]:
        return []

    def fold(self, state: list[Update], update: Update) -> list[Update]:
        return [*state, update]

    def finish(self, state: list[Update]) -> dict[str, Tensor]:
        names = state[0].tensors
        stacked = {name: torch.stack([u.tensors[name] for u in state]) for name in names}
        return {name: values.median(dim=0).values for name, values in stacked.items()}


def median(*, fraction: float = 1.0) -> Strategy:
    """The clients' median; `fraction` of them take part in each round."""
    return Strategy(name="median", select=Fraction(fraction), combine=Median())


if __name__ == "__main__":
    experiment = umbel.Experiment(
        data={"clients": 5}, client={"optimizer": {"name": "sgd", "lr": 0.2}}
    )
    result = umbel.simulate(experiment, strategy=median())
    print(result.metrics)
