"""The exchange after the last round in which clients tell which classes the model confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import UpdateRefused
from ..messages import CONFUSION
from ..tensors import Tensors
from .outcomes import believed, failure_rows
from .phases import Phases


def measure_confusion(
    phases: Phases, max_examples: int, round: int, model: Tensors, classes: Sequence[str]
) -> dict[str, Any]:
    """Ask as many clients as evaluate; what confusion.json says of it, but for whose model it is.

    Args:
        phases: of the run.
        max_examples: the most that a client may claim to hold.
        round: the last that was played.
        model: what travels of the run's model.
        classes: their names, in the order of their codes.
    """
    groups, asked = {"model": model}, {CONFUSION: True}
    judged = phases.judge("the confusion of classes", round, groups, asked)
    told = judged.statistics
    found, failures = believed(
        judged, lambda client, _: read_counts(told[client], len(classes), max_examples)
    )
    return {
        "round": round,
        "classes": list(classes),
        "clients": [
            {"client": client, "examples": sum(row[-1] for row in counts), "counts": counts}
            for client, counts in found.items()
        ],
        "failures": failure_rows(failures),
        "bytes_up": judged.bytes_up,
        "bytes_down": judged.bytes_down,
    }


def read_counts(statistics: Tensors, classes: int, max_examples: int) -> list[list[int]]:
    """A client's counts as rows of true class, told class and examples, in the order of classes.

    >>> told = {"confusion": torch.tensor([[1, 0, 2], [0, 0, 5]])}
    >>> read_counts(told, classes=2, max_examples=9)
    [[0, 0, 5], [1, 0, 2]]

    Raises UpdateRefused where they are in another form, of a class that there is not, told twice,
    below 1, or more than `max_examples` together.
    """
    if set(statistics) != {CONFUSION}:
        raise UpdateRefused("it does not tell the counts by class, and nothing else")
    counts = statistics[CONFUSION]
    if counts.dtype != torch.int64 or counts.dim() != 2 or counts.shape[1] != 3:
        raise UpdateRefused("its counts by class are no table of three columns of whole numbers")
    if not 1 <= len(counts) <= classes**2:
        raise UpdateRefused(f"it tells {len(counts)} counts of {classes} classes")
    codes, numbers = counts[:, :2], counts[:, 2]
    if bool((codes < 0).any()) or bool((codes >= classes).any()):
        raise UpdateRefused(f"it counts a class that is none of the {classes}")
    if len(codes.unique(dim=0)) < len(codes):
        raise UpdateRefused("it counts the same pair of classes twice")
    # Each on its own first: a sum could run over.
    if bool((numbers < 1).any()) or bool((numbers > max_examples).any()):
        raise UpdateRefused(f"a count by class is not in 1 to {max_examples}")
    if int(numbers.sum()) > max_examples:
        raise UpdateRefused(f"{int(numbers.sum())} held-out examples are more than {max_examples}")
    return sorted(counts.tolist())
