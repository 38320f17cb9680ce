"""How much each update counts in a mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from .parts import Update

Weight: TypeAlias = Callable[[Update], float]
WeightingName: TypeAlias = Literal["examples", "uniform"]


def by_examples(update: Update) -> float:
    """n_k, the number of examples the client trained on (McMahan et al. 2017)."""
    return float(update.examples)


def uniform(update: Update) -> float:
    """Every client counts the same."""
    return 1.0


WEIGHTINGS: dict[str, Weight] = {"examples": by_examples, "uniform": uniform}
