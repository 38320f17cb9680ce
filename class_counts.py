"""How the examples of each class lie over a run's clients, where umbel divided them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .told import read_told

if TYPE_CHECKING:
    import numpy as np

    from .data.sharding import PartitionedShards

FILE = "partition.json"


@dataclass(frozen=True)
class ClassCounts:
    """How many examples of each class some clients hold, those held out among them.

    Args:
        classes: their names, in the order of their codes.
        population: how many clients there are; of many, evenly spread ones are counted.
        counts: by client, pairs of a class code, -1 for no label, and how many; what there are
            none of is left out.

    >>> held = ClassCounts(("cat", "dog"), 1, {"a": [(-1, 4), (1, 2)]})
    >>> held.of("a").tolist()
    [0, 2, 4]
    """

    classes: tuple[str, ...]
    population: int
    counts: Mapping[str, Sequence[Sequence[int]]]

    def of(self, client: str) -> np.ndarray:
        """A client's examples by class (classes + 1,), int64, the last those without a label;
        raises KeyError for one that is not counted."""
        import numpy as np

        found = np.zeros(len(self.classes) + 1, np.int64)
        for code, count in self.counts[client]:
            if not (-1 <= code < len(self.classes) and count > 0):
                raise ValueError(f"{count} examples of class {code}")
            found[code] = count
        return found

    @classmethod
    def of_file(cls, told: Mapping[str, Any]) -> ClassCounts:
        """What partition.json holds; raises LookupError, TypeError or ValueError if it is not
        so."""
        counts = {str(row["client"]): row["counts"] for row in told["clients"]}
        found = cls(tuple(map(str, told["classes"])), int(told["population"]), counts)
        for client in found.counts:
            found.of(client)
        return found


def counted(shards: PartitionedShards) -> dict[str, Any] | None:
    """What partition.json is to hold; None where the data have no classes."""
    from .data.picture import class_counts, evenly_spread

    classes = shards.schema.classes
    if not classes:
        return None
    shown = evenly_spread(len(shards))
    codes = [*range(len(classes)), -1]
    rows = []
    for index, held in zip(shown.tolist(), class_counts(shards, shown).tolist(), strict=True):
        pairs = [[code, count] for code, count in zip(codes, held, strict=True) if count]
        rows.append({"client": shards.name(index), "counts": pairs})
    return {"classes": list(classes), "population": len(shards), "clients": rows}


def read_class_counts(folder: Path) -> ClassCounts | None:
    """A run folder's partition.json, None where there is none; raises UmbelError for a damaged
    one."""
    return read_told(folder / FILE, ClassCounts.of_file)
