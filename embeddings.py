"""What a run's model makes of the server's test examples before it tells their classes, on a
plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .told import read_told

if TYPE_CHECKING:
    import numpy as np

FILE = "embeddings.json"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Test examples as the model's last layer is given them, by their two principal components.

    Args:
        classes: their names, in the order of their codes.
        points: (n, 2), float64, about their mean.
        truth: class codes (n,), int64.
        told: those that the model tells, likewise.
        explained: which share of the variance in the layer's inputs each component has.
        width: how many numbers the layer is given of an example.
        examples: how many test examples with a label there are, of which n were drawn.
    """

    classes: tuple[str, ...]
    points: np.ndarray
    truth: np.ndarray
    told: np.ndarray
    explained: tuple[float, float]
    width: int
    examples: int

    @classmethod
    def of_file(cls, told: Mapping[str, Any]) -> Embeddings:
        """What embeddings.json holds; raises LookupError, TypeError or ValueError if it is not
        so.

        >>> told = {"classes": ["a"], "points": [[0, 1]], "truth": [0], "told": [0]}
        >>> Embeddings.of_file(told | {"explained": [1, 0], "width": 3, "examples": 1}).points
        array([[0., 1.]])
        """
        import numpy as np

        classes, (first, second) = tuple(map(str, told["classes"])), told["explained"]
        points = np.array(told["points"], np.float64).reshape(-1, 2)
        truth, said = (np.array(told[name], np.int64) for name in ("truth", "told"))
        for codes in (truth, said):
            if codes.shape != (len(points),) or not ((codes >= 0) & (codes < len(classes))).all():
                raise ValueError("a point has no class")
        explained = float(first), float(second)
        return cls(classes, points, truth, said, explained, told["width"], told["examples"])


def read_embeddings(folder: Path) -> Embeddings | None:
    """A run folder's embeddings.json, None where there is none; raises UmbelError for a damaged
    one."""
    return read_told(folder / FILE, Embeddings.of_file)
