"""What the rows of `graphs.py` have in common: where they work, and how they tell a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev


@dataclass(frozen=True)
class Setting:
    """Where the graphs are, where runs are kept, and with how many seeds."""

    data: Path
    out: Path
    seeds: int | None

    def over(self, default: int) -> range:
        return range(self.seeds or default)


def judged(what: str, found: Sequence[float], published: float) -> list[str]:
    print(f"{what}: {shown(found)} (published: {published})", flush=True)
    return [f"{what}: {mean(found):.1f}, not {published}"] if mean(found) < published - 1 else []


def shown(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"
