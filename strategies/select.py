"""Who takes part in a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .parts import Selection


@dataclass(frozen=True)
class Fraction:
    """A uniform sample without replacement of a share of the population.

    `m = max(1, round(fraction * population))` clients, as in FedAvg's algorithm 1
    (McMahan et al. 2017, arXiv 1602.05629).

    >>> import numpy as np
    >>> Fraction(0.5)(Selection(round=1, population=4, generator=np.random.default_rng(0)))
    [2, 3]
    """

    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction: {self.fraction} is not in (0, 1]")

    def __call__(self, selection: Selection) -> Sequence[int]:
        size = max(1, round(self.fraction * selection.population))
        if size == selection.population:
            return range(size)
        chosen = selection.generator.choice(selection.population, size, replace=False)
        return sorted(int(position) for position in chosen)
