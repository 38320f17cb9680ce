"""What the rows of `graphs.py` have in common: where they work, and how they tell a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from umbel.data import load_dataset
from umbel.data.rows import ROLE, TEST, TRAIN, VALIDATION

EXACT, ABOUT = 1.0, 2.0
"""How many points a figure may be below one that is published, or that is told as "about" so
much."""

PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer"}


@dataclass(frozen=True)
class Setting:
    """Where the graphs are, a folder of NPZ files or Planetoid's; where runs are kept; and with how
    many seeds."""

    data: str
    out: Path
    seeds: int | None

    def over(self, default: int) -> range:
        return range(self.seeds or default)

    def graph(self, name: str) -> Path:
        """A graph's NPZ file, made of Planetoid's if need be."""
        source, mark, options = self.data.partition("?")
        if source != "planetoid":
            return Path(self.data) / f"{name}.npz"
        path = self.out / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = dict(load_dataset(f"planetoid:{PLANETOID[name]}{mark}{options}").train)
            role = arrays.pop(ROLE)
            parts = {"train": TRAIN, "val": VALIDATION, "test": TEST}
            rows = {part: np.flatnonzero(role == code) for part, code in parts.items()}
            np.savez_compressed(path, **arrays, **rows)
        return path


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
