"""Which classes a run's model takes for which, by what its clients hold out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .told import LeftOut, count_of, left_out_of, missing_of, read_told

if TYPE_CHECKING:
    import numpy as np

FILE = "confusion.json"


@dataclass(frozen=True)
class Confusion:
    """How often the run's model took examples of one class for another, at each client.

    Args:
        classes: their names, in the order of their codes.
        counts: by client, rows of true class, told class, and how many held-out examples; what
            there are none of is left out.
        left_out: those that were asked and did not tell, and why. Names and texts come from
            clients: untrusted.

    >>> told = {"a": [(0, 0, 3), (0, 1, 1)], "b": [(1, 1, 2)]}
    >>> confusion = Confusion(("cat", "dog"), told)
    >>> confusion.of("a").tolist(), confusion.total.tolist()
    ([[3, 1], [0, 0]], [[3, 1], [0, 2]])
    """

    classes: tuple[str, ...]
    counts: Mapping[str, Sequence[Sequence[int]]]
    left_out: LeftOut = ()

    def of(self, client: str) -> np.ndarray:
        """A client's examples (classes, classes) by true class and told class, int64; raises
        KeyError for one that told nothing."""
        import numpy as np

        found = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for true, told, count in self.counts[client]:
            found[true, told] = count
        return found

    @property
    def total(self) -> np.ndarray:
        """The same of all clients together."""
        import numpy as np

        found = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for client in self.counts:
            found += self.of(client)
        return found

    @property
    def summary(self) -> str:
        """Who told it, in one line."""
        missing = missing_of(self.left_out)
        return f"confusion of classes: told by {count_of(self.counts)}{missing}"

    @classmethod
    def of_file(cls, told: Mapping[str, Any]) -> Confusion:
        """What confusion.json holds; raises LookupError, TypeError or ValueError if it is not
        so."""
        counts = {row["client"]: row["counts"] for row in told["clients"]}
        left_out = left_out_of(told)
        confusion = cls(tuple(told["classes"]), counts, left_out)
        confusion.total  # noqa: B018  # Reads every row.
        return confusion


def read_confusion(folder: Path) -> Confusion | None:
    """A run folder's confusion.json, None where there is none; raises UmbelError for a damaged
    one."""
    return read_told(folder / FILE, Confusion.of_file)
