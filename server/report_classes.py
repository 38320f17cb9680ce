"""Points coloured by their classes, as traces of a plot."""

from __future__ import annotations

from collections.abc import Sequence

from .report_figures import COLOURS, Trace

SYMBOLS = ("circle", "diamond", "cross", "square")
CLASSES_MOST = len(COLOURS) * len(SYMBOLS)
"""More classes are told apart by shade and by name alone."""


def by_class(
    places: Sequence[Sequence[float]],
    codes: Sequence[int],
    said: Sequence[str],
    classes: Sequence[str],
    marker: Trace,
) -> list[Trace]:
    """A trace for each class that some points are of.

    >>> traces = by_class([[0, 1], [2, 3]], [1, 1], ["one", "two"], ["a", "b"], {"size": 6})
    >>> [(trace["name"], trace["x"], trace["y"]) for trace in traces]
    [('b', [0, 2], [1, 3])]

    Args:
        places: of the points, (n, 2).
        codes: of their classes (n,).
        said: of each, what is shown where the pointer is.
        classes: their names as labels.
        marker: what all points look like.
    """
    groups = range(len(classes)) if len(classes) <= CLASSES_MOST else [None]
    traces: list[Trace] = []
    for code in groups:
        rows = [row for row, own in enumerate(codes) if code in (None, own)]
        if not rows:
            continue
        if code is None:
            look = {"color": [codes[row] for row in rows], "colorscale": "Portland"}
        else:
            symbol = SYMBOLS[code // len(COLOURS)]
            look = {"color": COLOURS[code % len(COLOURS)], "symbol": symbol}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "all classes" if code is None else classes[code],
                "x": [places[row][0] for row in rows],
                "y": [places[row][1] for row in rows],
                "text": [said[row] for row in rows],
                "marker": {**marker, **look},
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return traces
