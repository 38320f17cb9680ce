"""What the rows of `graphs.py` have in common: where they work, and how they tell a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

EXACT, ABOUT = 1.0, 2.0
"""How many points a figure may be below one that is published, or that is told as "about" so
much."""


@dataclass(frozen=True)
class Setting:
    """Where the graphs are, where runs are kept, and with how many seeds."""

    data: Path
    out: Path
    seeds: int | None

    def over(self, default: int) -> range:
        return range(self.seeds or default)


def judged(
    what: str, found: Sequence[float], published: float, tolerance: float = EXACT
) -> list[str]:
    """Print a figure beside what is published; the fault of one that is too low."""
    about = "about " if tolerance == ABOUT else ""
    print(f"{what}: {shown(found)} (published: {about}{published})", flush=True)
    low = mean(found) < published - tolerance
    return [f"{what}: {mean(found):.1f}, not {about}{published}"] if low else []


def shown(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"
