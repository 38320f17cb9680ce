"""How the weight of what is learnt without labels grows."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["linear", "sigmoid"]


def ramped(round: int, rounds: int, shape: Shape = "linear") -> float:
    """The share of the full weight in a round (from 1), which it reaches after so many `rounds`.

    `linear` is Lee 2013, equation 16, from the first round on; `sigmoid` is
    `exp(-5 (1 - t)^2)`, Laine and Aila 2017, arXiv 1610.02242, section 2.

    >>> [ramped(round, 4) for round in (1, 3, 5, 9)]
    [0.0, 0.5, 1.0, 1.0]
    """
    if rounds <= 0 or round > rounds:
        return 1.0
    way = (round - 1) / rounds
    return way if shape == "linear" else math.exp(-5 * (1 - way) ** 2)
