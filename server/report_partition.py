"""How the examples of each class lie over the clients, as a plot of a run's report."""

from __future__ import annotations

import numpy as np

from ..class_counts import ClassCounts
from ..rounds import natural
from .report_clients import NAMED_BARS_MOST, unique_labels
from .report_figures import COLOURS, Figure, Trace

CLASSES_MOST = 20
"""Of more classes, those with the fewest examples are drawn as one."""

_OTHERS, _UNLABELLED = "#8b95a1", "#d5d8dc"


def partition(held: ClassCounts | None) -> list[Figure]:
    """A bar a client, of its examples by class; none where nobody counted them."""
    if held is None or not held.counts:
        return []
    names = sorted(held.counts, key=natural)
    labels, named = unique_labels(names), len(names) <= NAMED_BARS_MOST
    counts = np.stack([held.of(name) for name in names])
    by_class, unlabelled = counts[:, :-1], counts[:, -1]
    drawn = np.sort(np.argsort(-by_class.sum(axis=0), kind="stable")[:CLASSES_MOST])
    others = np.delete(by_class, drawn, axis=1)
    classes, colours = unique_labels(held.classes), _colours(len(drawn))
    parts = [
        (classes[code], colour, by_class[:, code])
        for code, colour in zip(drawn.tolist(), colours, strict=True)
    ]
    parts += [(f"{others.shape[1]:,} other classes", _OTHERS, others.sum(axis=1))]
    parts += [("no label", _UNLABELLED, unlabelled)]
    traces = [_bars(name, colour, labels, y) for name, colour, y in parts if y.any()]
    layout = {
        "xaxis": {"type": "category", "showgrid": False, "showticklabels": named},
        "barmode": "stack",
        "bargap": 0.6 if len(names) <= 6 else 0.25 if named else 0,
    }
    return [Figure("Examples of each class at each client", traces, _note(held), layout)]


def _note(held: ClassCounts) -> str:
    said = ["What is held out counts, too."]
    if len(held.counts) < held.population:
        said.append(f"{len(held.counts):,} of {held.population:,} clients, evenly spread.")
    if len(held.classes) > CLASSES_MOST:
        said.append(f"The {CLASSES_MOST} largest of {len(held.classes):,} classes by themselves.")
    return " ".join(said)


def _colours(classes: int) -> list[str]:
    """A colour for each of so many classes.

    >>> _colours(2), _colours(9)[0]
    (['#2563eb', '#e07b00'], 'hsl(0, 60%, 45%)')
    """
    if classes <= len(COLOURS):
        return list(COLOURS[:classes])
    return [f"hsl({360 * k // classes}, 60%, {62 if k % 2 else 45}%)" for k in range(classes)]


def _bars(name: str, colour: str, labels: list[str], y: np.ndarray) -> Trace:
    return {
        "type": "bar",
        "name": name,
        "x": labels,
        "y": y.tolist(),
        "marker": {"color": colour, "line": {"width": 0}},
        "hovertemplate": "%{x}: %{y} of %{fullData.name}<extra></extra>",
    }
